//! Random operations against a model of the files: each has one outcome, and it
//! is one that the model allows.

use super::*;
use crate::buf::Lent;
use crate::io::sim::{Faults, Injection, Random, Rates};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

on_each_engine!(random_operations_do_what_the_model_says);

/// Runs on the simulated kernel, each from a seed of its own.
const SEEDS: u64 = 200;
const STEPS: usize = 400;
const FILE_BYTES: usize = 20_000;
const FILES: usize = 3;
const DEPTH: u32 = 24;

/// A part of a file that an operation uses.
#[derive(Clone)]
struct Part {
    file: usize,
    start: usize,
    end: usize,
    writes: bool,
}

impl Part {
    fn collides(&self, other: &Part) -> bool {
        let apart = self.file != other.file || self.end <= other.start || other.end <= self.start;
        !apart && (self.writes || other.writes)
    }
}

/// An operation in flight.
struct Flight {
    verb: Verb,
    part: Part,
    /// Lent to all of its chain.
    _memory: Rc<Box<[u8]>>,
    cancelled: bool,
    timed: bool,
    /// The tag of the one before it in its chain.
    after: Option<u64>,
}

/// What an operation came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Short,
    Failed,
}

struct Model {
    random: Random,
    files: Vec<Arc<OwnedFd>>,
    /// None: a write of it failed, so that it may be what it was, or not.
    bytes: Vec<Vec<Option<u8>>>,
    flights: HashMap<u64, Flight>,
    ended: HashMap<u64, End>,
    next_tag: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bytes: Vec<Vec<u8>> = (0..FILES)
            .map(|_| (0..FILE_BYTES).map(|_| random.next() as u8).collect())
            .collect();
        Self {
            files: bytes.iter().map(|bytes| file_with(bytes)).collect(),
            bytes: bytes
                .into_iter()
                .map(|file| file.into_iter().map(Some).collect())
                .collect(),
            random,
            flights: HashMap::new(),
            ended: HashMap::new(),
            next_tag: 0,
        }
    }

    /// A part that no operation in flight, and none of its chain, has a say in.
    fn free_part(&mut self, writes: bool, length: usize, chain: &[(Verb, Part)]) -> Option<Part> {
        for _ in 0..10 {
            // Reads go across the end of the file; writes leave its length alone.
            let last = FILE_BYTES - if writes { length } else { 0 };
            let start = self.random.below(last as u64 + 1) as usize;
            let part = Part {
                file: self.random.below(FILES as u64) as usize,
                start,
                end: start + length,
                writes,
            };
            let flights = self.flights.values().map(|flight| &flight.part);
            let mut all = flights.chain(chain.iter().map(|(_, part)| part));
            if !all.any(|other| other.collides(&part)) {
                return Some(part);
            }
        }
        None
    }

    /// Pushes one operation, or a chain that reads and then writes what it read.
    fn push(&mut self, engine: &mut (impl Engine + ?Sized)) {
        let verbs = match self.random.below(20) {
            0..=5 => vec![Verb::Read],
            6..=12 => vec![Verb::Write],
            13 => vec![Verb::Stat],
            more => {
                let mut chain = vec![Verb::Write; more as usize - 12];
                chain[0] = Verb::Read;
                chain
            }
        };
        if engine.space() < verbs.len() {
            return;
        }
        let length = 1 + self.random.below(4000) as usize;
        let mut chain = Vec::new();
        for verb in verbs {
            match self.free_part(verb == Verb::Write, length, &chain) {
                Some(part) => chain.push((verb, part)),
                None => return,
            }
        }
        self.push_chain(engine, chain);
    }

    fn push_chain(&mut self, engine: &mut (impl Engine + ?Sized), members: Vec<(Verb, Part)>) {
        let length = members[0].1.end - members[0].1.start;
        let mut memory: Box<[u8]> = (0..length).map(|_| self.random.next() as u8).collect();
        // SAFETY: the memory stays in the model until the outcomes of its users.
        let lent = unsafe { Lent::new(memory.as_mut_ptr(), length) };
        let count = members.len();
        let timed = self.random.chance(100);
        let timeout = timed.then(|| Duration::from_millis(self.random.below(40)));
        let mut after = None;
        let memory = Rc::new(memory);
        for (index, (verb, part)) in members.into_iter().enumerate() {
            let tag = self.next_tag;
            self.next_tag += 1;
            let buffer = match verb {
                Verb::Stat => Buffer::None,
                _ => Buffer::Lent(lent),
            };
            let mut one = op(verb, &self.files[part.file], buffer, part.start as u64);
            one.terms.linked = index + 1 < count;
            one.terms.timeout = timeout;
            engine.push(tag, one).expect("there is room");
            let flight = Flight {
                verb,
                part,
                _memory: Rc::clone(&memory),
                cancelled: false,
                timed,
                after,
            };
            self.flights.insert(tag, flight);
            after = Some(tag);
        }
    }

    fn cancel(&mut self, engine: &mut (impl Engine + ?Sized)) {
        let mut tags: Vec<u64> = self.flights.keys().copied().collect();
        tags.sort_unstable();
        let Some(tag) = self.random.pick(&tags).copied() else {
            return;
        };
        engine.cancel(Which::Tag(tag));
        self.flights
            .get_mut(&tag)
            .expect("it is in flight")
            .cancelled = true;
    }

    /// Checks the outcomes in the order of their tags, which chains are in.
    fn check(&mut self, outcomes: &mut Vec<Outcome>, injections: &[Injection]) {
        outcomes.sort_by_key(|outcome| outcome.tag);
        for outcome in outcomes.drain(..) {
            let tag = outcome.tag;
            let flight = self
                .flights
                .remove(&tag)
                .expect("one outcome, of what was pushed");
            let end = self.check_one(&flight, &outcome, injections);
            self.ended.insert(tag, end);
        }
    }

    fn check_one(&mut self, flight: &Flight, outcome: &Outcome, injections: &[Injection]) -> End {
        let tag = outcome.tag;
        // Of one that was called back, what is before it may not have ended.
        let before = flight.after.map(|tag| self.ended.get(&tag).copied());
        let whole = flight.part.end - flight.part.start;
        let file = &mut self.bytes[flight.part.file];
        let result = match &outcome.result {
            Ok(output) => output,
            Err(errno) => {
                let allowed = match *errno {
                    Errno::CANCELED => {
                        let ended = before.flatten();
                        flight.cancelled || ended.is_some_and(|end| end != End::Whole)
                    }
                    Errno::TIMEDOUT if flight.timed => true,
                    other => injections
                        .iter()
                        .any(|one| one.tag == tag && one.errno == Some(other)),
                };
                assert!(
                    allowed,
                    "{errno} of operation {tag}, which nobody brought about"
                );
                // What never began has changed nothing.
                if flight.part.writes && before.is_none_or(|end| end == Some(End::Whole)) {
                    file[flight.part.start..flight.part.end].fill(None);
                }
                return End::Failed;
            }
        };
        assert!(
            before.is_none_or(|end| end == Some(End::Whole)),
            "operation {tag} began although the one before it had not done all"
        );
        match (flight.verb, result) {
            (Verb::Stat, Output::Attributes(attributes)) => {
                assert_eq!(attributes.size, FILE_BYTES as u64);
                End::Whole
            }
            (Verb::Read, Output::Bytes(count)) => {
                let end = flight.part.end.min(FILE_BYTES);
                assert_eq!(*count, end - flight.part.start, "short only at the end");
                let Buffer::Lent(lent) = &outcome.buffer else {
                    panic!("it was lent memory");
                };
                // SAFETY: the memory is the model's, and the read has ended.
                let got = unsafe { std::slice::from_raw_parts(lent.as_ptr(), *count) };
                check_bytes(got, &mut file[flight.part.start..end], tag);
                let all = *count == whole;
                if all { End::Whole } else { End::Short }
            }
            (Verb::Write, Output::Bytes(count)) => {
                assert_eq!(*count, whole);
                let Buffer::Lent(lent) = &outcome.buffer else {
                    panic!("it was lent memory");
                };
                // SAFETY: the memory is the model's, and nobody writes to it now.
                let written = unsafe { std::slice::from_raw_parts(lent.as_ptr(), *count) };
                let place = &mut file[flight.part.start..flight.part.end];
                place
                    .iter_mut()
                    .zip(written)
                    .for_each(|(at, byte)| *at = Some(*byte));
                End::Whole
            }
            other => panic!("{other:?} of operation {tag}"),
        }
    }

    /// What is on disk is what the model says.
    fn check_files(&mut self) {
        for flight in self.flights.values().filter(|flight| flight.part.writes) {
            // What does not end may have come some way.
            self.bytes[flight.part.file][flight.part.start..flight.part.end].fill(None);
        }
        for (file, bytes) in self.files.iter().zip(&mut self.bytes) {
            let mut on_disk = vec![0; FILE_BYTES + 1];
            let count = rustix::io::pread(file, &mut on_disk, 0).unwrap();
            assert_eq!(count, FILE_BYTES);
            check_bytes(&on_disk[..count], bytes, u64::MAX);
        }
    }
}

/// Bytes that are not known are known from here on.
fn check_bytes(got: &[u8], expected: &mut [Option<u8>], tag: u64) {
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let known = expected.get_or_insert(*got);
        assert_eq!(known, got, "byte {index} of operation {tag}");
    }
}

/// Random steps; then everything is called back, and what does not come is what
/// nothing ends. Gives all outcomes as text.
fn drive<E: Engine + ?Sized>(
    seed: u64,
    engine: &mut E,
    now: fn(&E) -> Instant,
    injected: &dyn Fn() -> Vec<Injection>,
) -> Vec<String> {
    let mut model = Model::new(seed);
    let (mut outcomes, mut injections, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let mut settle = |model: &mut Model, outcomes: &mut Vec<Outcome>| {
        told.extend(outcomes.iter().map(|one| match &one.result {
            Ok(Output::Bytes(count)) => format!("{} {count}", one.tag),
            // Its times are the clock's.
            Ok(Output::Attributes(_)) => one.tag.to_string(),
            Err(errno) => format!("{} {errno:?}", one.tag),
        }));
        injections.extend(injected());
        model.check(outcomes, &injections);
    };
    for step in 0..STEPS {
        match model.random.below(12) {
            0..=5 => model.push(engine),
            6 => model.cancel(engine),
            7 => engine.flush(),
            8 | 9 => engine.reap(Wait::No, &mut outcomes),
            10 => engine.waker().wake(),
            _ => {
                let want = 1 + model.random.below(3) as usize;
                let until = now(engine) + Duration::from_millis(2);
                engine.reap(Wait::For(want, Some(until)), &mut outcomes);
            }
        }
        settle(&mut model, &mut outcomes);
        assert_eq!(engine.in_flight(), model.flights.len(), "step {step}");
        assert_eq!(engine.space() + engine.in_flight(), DEPTH as usize);
    }
    for _ in 0..200 {
        for flight in model.flights.values_mut() {
            flight.cancelled = true;
        }
        engine.cancel(Which::All);
        let until = now(engine) + Duration::from_millis(2);
        engine.reap(Wait::For(1, Some(until)), &mut outcomes);
        settle(&mut model, &mut outcomes);
        if model.flights.is_empty() {
            break;
        }
    }
    let deaf = injections.iter().filter(|one| one.deaf).map(|one| one.tag);
    let deaf: HashSet<u64> = deaf.collect();
    for (tag, flight) in &model.flights {
        let mut at = Some(*tag);
        let mut behind = false;
        while let Some(tag) = at {
            behind |= deaf.contains(&tag);
            at = model.flights.get(&tag).and_then(|flight| flight.after);
        }
        assert!(behind, "{:?} {tag} never ended", flight.verb);
    }
    let until = now(engine) + Duration::from_millis(2);
    assert_eq!(
        engine.shut_down(until),
        model.flights.len(),
        "what is leaked"
    );
    model.check_files();
    told
}

fn random_operations_do_what_the_model_says(make: Make) {
    let mut engine = make(DEPTH);
    eprintln!("CACHEFS_SEED={}", *SEED);
    let none = || Vec::new();
    drive(*SEED, &mut *engine, |_| Instant::now(), &none);
}

/// Everything that may go wrong does.
fn drive_through_faults(seed: u64) -> Vec<String> {
    let host = Simulation::new(seed);
    host.set_faults(Faults {
        short: 300,
        interrupted: 100,
        failed: Rates::all(50),
        hung: Rates::all(20),
        deaf: 100,
        ..Faults::none()
    });
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let mut engine = host.engine(DEPTH, metrics.meter()).timeless();
    let told = drive(seed, &mut engine, |engine| engine.now(), &|| {
        host.take_injections()
    });
    let (stats, left) = (metrics.snapshot(), engine.in_flight() as u64);
    assert_eq!(stats.submissions, stats.completions + left);
    told
}

#[test]
fn faults_of_the_kernel_become_what_the_model_allows() {
    let given = std::env::var("CACHEFS_SEED").is_ok();
    let seeds = if given { 1 } else { SEEDS };
    for seed in *SEED..*SEED + seeds {
        let run = std::panic::catch_unwind(|| drive_through_faults(seed));
        assert!(run.is_ok(), "reproduce with CACHEFS_SEED={seed}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let once = drive_through_faults(*SEED);
    assert!(once.len() > 50);
    assert!(once == drive_through_faults(*SEED));
    assert!(once != drive_through_faults(SEED.wrapping_add(1)));
}
