//! What every engine promises, on each of them.

use super::*;
use crate::buf::{Lent, Pages, Pool};
use crate::sys;
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

/// Which engine a test is run on, with what depth.
type Make = fn(u32) -> Box<dyn Engine + Send>;

fn make_psync(depth: u32) -> Box<dyn Engine + Send> {
    let metrics: Arc<metrics::Metrics> = Arc::default();
    Box::new(psync::PsyncPool::new(4).engine(depth, metrics.meter()))
}

/// A ring of these options, or None where io_uring is refused.
fn ring(options: &EngineOptions, depth: u32) -> Option<uring::Uring> {
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let plan = uring::setup::Plan::new(options);
    let owner = Owner::Program { movable: false };
    match uring::Uring::new(&plan, depth, owner, Arc::default(), metrics.meter()) {
        Ok(ring) => Some(ring),
        Err(error) => {
            eprintln!("skipped: io_uring is refused here: {error}");
            None
        }
    }
}

/// Each of them alone, and what a kernel of 5.11 has: none.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod on_psync {
            $(#[test] fn $name() { super::$name(super::make_psync); })+
        }
        on_uring!(on_uring, |_| (); $($name),+);
        on_uring!(on_uring_5_11, |options| {
            options.features = super::FeatureSet::default();
        }; $($name),+);
        on_uring!(on_uring_5_19, |options| {
            options.features = options
                .features
                .without(super::Feature::SingleIssuer)
                .without(super::Feature::DeferTaskrun)
                .without(super::Feature::NoSqarray);
        }; $($name),+);
        on_uring!(on_uring_without_submit_all, |options| {
            options.features = options.features.without(super::Feature::SubmitAll);
        }; $($name),+);
        on_uring!(on_uring_without_defer_taskrun, |options| {
            options.features = options.features.without(super::Feature::DeferTaskrun);
        }; $($name),+);
        on_uring!(on_uring_without_single_issuer, |options| {
            options.features = options.features.without(super::Feature::SingleIssuer);
        }; $($name),+);
        on_uring!(on_uring_without_registered_ring, |options| {
            options.features = options.features.without(super::Feature::RegisteredRing);
        }; $($name),+);
        on_uring!(on_uring_without_registered_files, |options| {
            options.features = options.features.without(super::Feature::RegisteredFiles);
        }; $($name),+);
        on_uring!(on_uring_without_registered_buffers, |options| {
            options.features = options.features.without(super::Feature::RegisteredBuffers);
        }; $($name),+);
        on_uring!(on_uring_without_msg_ring, |options| {
            options.features = options.features.without(super::Feature::MsgRing);
        }; $($name),+);
        on_uring!(on_uring_with_sq_poll, |options| {
            options.sq_poll = Some(super::Duration::from_millis(50));
        }; $($name),+);
        on_uring!(on_uring_with_spin, |options| {
            options.spin = super::Duration::from_micros(50);
        }; $($name),+);
        on_uring!(on_uring_with_io_poll, |options| {
            options.io_poll = true;
        }; $($name),+);
    };
}

macro_rules! on_uring {
    ($module:ident, $change:expr; $($name:ident),+) => {
        mod $module {
            fn make(depth: u32) -> Box<dyn super::Engine + Send> {
                let mut options = super::EngineOptions::default();
                let change: fn(&mut super::EngineOptions) = $change;
                change(&mut options);
                Box::new(super::ring(&options, depth).expect("it was granted before"))
            }
            $(#[test] fn $name() {
                if super::ring(&super::EngineOptions::default(), 8).is_some() {
                    super::$name(make);
                }
            })+
        }
    };
}

on_each_engine!(
    every_operation_has_one_outcome,
    short_transfers_are_continued,
    a_transfer_is_short_only_at_the_end_of_the_file,
    a_stat_tells_what_the_system_call_tells,
    an_error_is_an_errno,
    what_is_written_is_read_back,
    a_full_engine_gives_the_operation_back,
    a_wake_ends_a_sleep_and_is_not_lost,
    a_sleep_ends_with_its_time,
    an_eventfd_tells_of_outcomes,
    a_hung_operation_does_not_hold_up_the_end,
);

const LIMIT: Duration = Duration::from_secs(30);

fn file_with(bytes: &[u8]) -> Arc<OwnedFd> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file.into())
}

fn op(verb: Verb, file: &Arc<OwnedFd>, buffer: Buffer, offset: u64) -> Op {
    Op {
        verb,
        file: Arc::clone(file),
        buffer,
        offset,
        terms: Terms::default(),
    }
}

/// A read into a buffer of the pool, which the engine owns meanwhile.
fn read(pool: &Pool, file: &Arc<OwnedFd>, length: usize, offset: u64) -> Op {
    let buffer = Buffer::Pool(pool.take().unwrap(), length);
    op(Verb::Read, file, buffer, offset)
}

/// Reaps until there are `count` outcomes; in the order of their tags.
fn reap_all(engine: &mut dyn Engine, count: usize) -> Vec<Outcome> {
    let deadline = Instant::now() + LIMIT;
    let mut outcomes = Vec::new();
    while outcomes.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", outcomes.len());
        engine.reap(Wait::For(1, Some(deadline)), &mut outcomes);
    }
    engine.reap(Wait::No, &mut outcomes);
    assert_eq!(outcomes.len(), count, "not one too many");
    assert_eq!(engine.in_flight(), 0);
    outcomes.sort_by_key(|outcome| outcome.tag);
    outcomes
}

fn bytes(outcome: &Outcome) -> &[u8] {
    match (&outcome.result, &outcome.buffer) {
        (Ok(Output::Bytes(count)), Buffer::Pool(buffer, _)) => buffer.bytes(*count),
        other => panic!("not a read: {other:?}"),
    }
}

fn every_operation_has_one_outcome(make: Make) {
    let content: Vec<u8> = (0..=255).cycle().take(64 * 512).collect();
    let file = file_with(&content);
    let pool = Pool::new(64, 4096, Pages::Small).unwrap();
    let mut engine = make(64);
    for round in 0..20 {
        for tag in 0..64 {
            engine
                .push(tag, read(&pool, &file, 512, tag * 512))
                .unwrap();
        }
        let outcomes = reap_all(engine.as_mut(), 64);
        for (tag, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.tag, tag as u64, "round {round}");
            assert_eq!(bytes(outcome), &content[tag * 512..][..512]);
        }
    }
}

/// procfs gives a page at a time, however much is asked for.
fn short_transfers_are_continued(make: Make) {
    let path = "/proc/kallsyms";
    let whole = std::fs::read(path).unwrap();
    let file: Arc<OwnedFd> = Arc::new(std::fs::File::open(path).unwrap().into());
    let pool = Pool::new(1, whole.len().next_multiple_of(4096), Pages::Small).unwrap();
    let mut probe = vec![0; whole.len()];
    let once = rustix::io::pread(&file, &mut probe, 0).unwrap();
    assert!(
        once < whole.len(),
        "this file system gives everything at once"
    );
    let mut engine = make(8);
    engine.push(1, read(&pool, &file, whole.len(), 0)).unwrap();
    let outcomes = reap_all(engine.as_mut(), 1);
    assert!(bytes(&outcomes[0]) == whole);
}

fn a_transfer_is_short_only_at_the_end_of_the_file(make: Make) {
    let file = file_with(&[7; 1000]);
    let pool = Pool::new(3, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for (tag, offset) in [(0, 0), (1, 990), (2, 1000)] {
        engine.push(tag, read(&pool, &file, 4096, offset)).unwrap();
    }
    let lengths: Vec<usize> = reap_all(engine.as_mut(), 3)
        .iter()
        .map(|outcome| bytes(outcome).len())
        .collect();
    assert_eq!(lengths, [1000, 10, 0]);
}

fn a_stat_tells_what_the_system_call_tells(make: Make) {
    let file = file_with(&[7; 1000]);
    let mut engine = make(8);
    engine
        .push(5, op(Verb::Stat, &file, Buffer::None, 0))
        .unwrap();
    let outcomes = reap_all(engine.as_mut(), 1);
    let expected = sys::attributes(file.as_fd()).unwrap();
    assert!(matches!(&outcomes[0].result, Ok(Output::Attributes(got)) if *got == expected));
    assert_eq!(expected.size, 1000);
}

fn an_error_is_an_errno(make: Make) {
    let directory: Arc<OwnedFd> = Arc::new(std::fs::File::open("/").unwrap().into());
    let pool = Pool::new(1, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    engine.push(1, read(&pool, &directory, 10, 0)).unwrap();
    let outcomes = reap_all(engine.as_mut(), 1);
    assert!(
        matches!(outcomes[0].result, Err(Errno::ISDIR)),
        "{outcomes:?}"
    );
    assert!(
        matches!(outcomes[0].buffer, Buffer::Pool(..)),
        "the buffer comes back"
    );
}

fn what_is_written_is_read_back(make: Make) {
    let file = file_with(b"");
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    let mut buffer = pool.take().unwrap();
    buffer.bytes_mut(3).copy_from_slice(b"abc");
    let write = op(
        Verb::Write,
        &file,
        Buffer::Shared(Arc::new(buffer), 0..3),
        5,
    );
    engine.push(1, write).unwrap();
    let outcomes = reap_all(engine.as_mut(), 1);
    assert!(matches!(outcomes[0].result, Ok(Output::Bytes(3))));
    let mut back = [9; 10];
    // SAFETY: the array outlives the operation, which is reaped below.
    let lent = unsafe { Lent::new(back.as_mut_ptr(), back.len()) };
    engine
        .push(2, op(Verb::Read, &file, Buffer::Lent(lent), 0))
        .unwrap();
    let outcomes = reap_all(engine.as_mut(), 1);
    assert!(matches!(outcomes[0].result, Ok(Output::Bytes(8))));
    assert_eq!(&back, b"\0\0\0\0\0abc\x09\x09");
}

fn a_full_engine_gives_the_operation_back(make: Make) {
    let file = file_with(&[7; 100]);
    let pool = Pool::new(9, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for tag in 0..8 {
        assert_eq!(engine.space(), 8 - tag as usize);
        engine.push(tag, read(&pool, &file, 100, 0)).unwrap();
    }
    let refused = engine.push(9, read(&pool, &file, 100, 0));
    assert!(refused.is_err());
    reap_all(engine.as_mut(), 8);
    engine.push(9, refused.unwrap_err()).unwrap();
    assert_eq!(reap_all(engine.as_mut(), 1)[0].tag, 9);
}

fn a_wake_ends_a_sleep_and_is_not_lost(make: Make) {
    let mut engine = make(8);
    let waker = engine.waker();
    let mut outcomes = Vec::new();
    // Before the sleep, and during it.
    for delay_ms in [0, 20] {
        for _ in 0..10 {
            let waker = Arc::clone(&waker);
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay_ms));
                waker.wake();
            });
            if delay_ms == 0 {
                thread.join().unwrap();
                engine.reap(Wait::For(1, Some(Instant::now() + LIMIT)), &mut outcomes);
            } else {
                engine.reap(Wait::For(1, None), &mut outcomes);
                thread.join().unwrap();
            }
            assert!(outcomes.is_empty());
        }
    }
    // A thousand wakes are one.
    (0..1000).for_each(|_| waker.wake());
    let begin = Instant::now();
    engine.reap(Wait::For(1, Some(begin + LIMIT)), &mut outcomes);
    assert!(begin.elapsed() < LIMIT / 2);
    engine.reap(
        Wait::For(1, Some(Instant::now() + Duration::from_millis(30))),
        &mut outcomes,
    );
    assert!(
        begin.elapsed() >= Duration::from_millis(30),
        "none was left over"
    );
}

fn a_sleep_ends_with_its_time(make: Make) {
    let mut engine = make(8);
    let begin = Instant::now();
    engine.reap(
        Wait::For(1, Some(begin + Duration::from_millis(30))),
        &mut Vec::new(),
    );
    assert!(begin.elapsed() >= Duration::from_millis(30));
    engine.reap(Wait::No, &mut Vec::new());
    engine.reap(Wait::For(1, Some(begin)), &mut Vec::new());
}

fn an_eventfd_tells_of_outcomes(make: Make) {
    let file = file_with(&[7; 100]);
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    engine.notify(Arc::clone(&event)).unwrap();
    for tag in 0..2 {
        engine.push(tag, read(&pool, &file, 100, 0)).unwrap();
        engine.flush();
        // Blocks until it is told.
        rustix::io::read(&event, &mut [0u8; 8][..]).unwrap();
        assert_eq!(reap_all(engine.as_mut(), 1)[0].tag, tag);
    }
}

fn a_hung_operation_does_not_hold_up_the_end(make: Make) {
    // Nobody writes to the pipe. (The psync engine does not hang on it: pread(2)
    // refuses pipes. It has to end as soon, all the same.)
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let reader = Arc::new(reader);
    let pool = Pool::new(4, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for tag in 0..4 {
        engine.push(tag, read(&pool, &reader, 100, 0)).unwrap();
    }
    engine.flush();
    assert_eq!(engine.cancel(Which::Tag(2)), 1);
    let begin = Instant::now();
    assert_eq!(
        engine.shut_down(begin + LIMIT),
        0,
        "a pipe's read can be cancelled"
    );
    assert!(begin.elapsed() < LIMIT / 2);
    drop(engine);
    let back: Vec<_> = (0..4).filter_map(|_| pool.take()).collect();
    assert_eq!(back.len(), 4, "no buffer is lost");
}

#[test]
fn a_ring_that_is_dropped_by_another_thread_does_no_harm() {
    // Waiting in vain would take a second each time; a busy machine may be slow
    // once, but not always.
    let quick = (0..10).any(|_| {
        let Some(mut ring) = ring(&EngineOptions::default(), 8) else {
            return true;
        };
        // Arms the read of the waker.
        ring.reap(Wait::For(1, Some(Instant::now())), &mut Vec::new());
        let begin = Instant::now();
        std::thread::spawn(move || drop(ring)).join().unwrap();
        begin.elapsed() < Duration::from_millis(500)
    });
    assert!(quick, "it waited for what cannot come");
}
