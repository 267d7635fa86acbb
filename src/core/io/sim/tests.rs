//! What the simulation promises to tests: faults where and as often as asked for.

use super::*;
use crate::buf::{Buffer, Pages, Pool};
use crate::error::Errno;
use crate::io::errno::expected;
use crate::io::metrics::Metrics;
use crate::io::{Engine, Op, Outcome, Output, Terms, Verb, Wait, Which};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

fn host(faults: Faults) -> (Simulation, Arc<Metrics>) {
    let host = Simulation::new(7);
    host.set_faults(faults);
    host.set_manners(Manners {
        wake_for_nothing: 0,
        ..Manners::default()
    });
    (host, Arc::default())
}

fn failing(rate: u32) -> Faults {
    Faults {
        failed: Rates::all(rate),
        ..Faults::none()
    }
}

fn hanging(deaf: u32) -> Faults {
    Faults {
        hung: Rates::all(1000),
        deaf,
        ..Faults::none()
    }
}

fn file(directory: &Path) -> Arc<OwnedFd> {
    let path = directory.join("file");
    std::fs::write(&path, [7; 4096]).unwrap();
    Arc::new(std::fs::File::open(path).unwrap().into())
}

fn op(verb: Verb, file: &Arc<OwnedFd>, buffer: Buffer) -> Op {
    Op {
        verb,
        file: Arc::clone(file),
        buffer,
        offset: 0,
        terms: Terms::default(),
    }
}

fn stat(file: &Arc<OwnedFd>) -> Op {
    op(Verb::Stat, file, Buffer::None)
}

fn ended(engine: &mut dyn Engine, limit: Instant) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    engine.reap(Wait::For(usize::MAX, Some(limit)), &mut outcomes);
    outcomes
}

#[test]
fn faults_are_of_the_directory_that_they_were_set_for() {
    let (bad, good) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (host, metrics) = host(Faults::none());
    host.set_faults_below(bad.path(), failing(1000));
    let mut engine = host.engine(8, metrics.meter()).timeless();
    let files = [file(bad.path()), file(good.path())];
    // Its name is gone, and it is where it was.
    std::fs::remove_file(bad.path().join("file")).unwrap();
    for (tag, file) in files.iter().enumerate() {
        engine.push(tag as u64, stat(file)).unwrap();
    }
    let limit = engine.now() + HOUR;
    for outcome in ended(&mut engine, limit) {
        assert_eq!(outcome.result.is_err(), outcome.tag == 0, "{outcome:?}");
    }
    let injections = host.take_injections();
    assert_eq!(injections.len(), 1);
    assert_eq!(injections[0].below.as_deref(), Some(bad.path()));
    assert_eq!((injections[0].tag, injections[0].operation), (0, "stat"));
    assert!(host.take_injections().is_empty(), "they were taken");
}

#[test]
fn every_errno_that_the_manual_lists_comes_and_some_that_it_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let (host, metrics) = host(failing(1000));
    let mut engine = host.engine(8, metrics.meter()).timeless();
    let file = file(directory.path());
    let mut seen = HashSet::new();
    for _ in 0..300 {
        engine.push(1, stat(&file)).unwrap();
        let limit = engine.now() + HOUR;
        for outcome in ended(&mut engine, limit) {
            seen.insert(outcome.result.expect_err("all fail").raw_os_error());
        }
    }
    for errno in expected(Verb::Stat) {
        assert!(seen.contains(&errno.raw_os_error()), "{errno}");
    }
    assert!(seen.contains(&Errno::XFULL.raw_os_error()));
}

#[test]
fn hours_go_by_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (host, metrics) = host(hanging(0));
    let mut engine = host.engine(8, metrics.meter()).timeless();
    let file = file(directory.path());
    for tag in 0..8 {
        let mut one = stat(&file);
        one.terms.timeout = Some(HOUR * (tag + 1));
        engine.push(u64::from(tag), one).unwrap();
    }
    let (begin, real) = (engine.now(), Instant::now());
    let mut outcomes = Vec::new();
    engine.reap(Wait::For(8, None), &mut outcomes);
    let tags: Vec<u64> = outcomes.iter().map(|outcome| outcome.tag).collect();
    assert_eq!(tags, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(
        outcomes
            .iter()
            .all(|one| one.result.as_ref().err() == Some(&Errno::TIMEDOUT))
    );
    assert!(engine.now() - begin >= HOUR * 8);
    assert!(real.elapsed() < HOUR);
}

#[test]
fn what_hangs_ends_with_its_cancellation_unless_it_is_deaf() {
    let directory = tempfile::tempdir().unwrap();
    for deaf in [0, 1000] {
        let (host, metrics) = host(hanging(deaf));
        let mut engine = host.engine(8, metrics.meter()).timeless();
        let pool = Pool::new(2, 4096, Pages::Small).unwrap();
        let file = file(directory.path());
        for tag in 0..2 {
            let buffer = Buffer::Pool(pool.take().unwrap(), 4096);
            engine.push(tag, op(Verb::Read, &file, buffer)).unwrap();
        }
        let limit = engine.now() + HOUR;
        assert!(ended(&mut engine, limit).is_empty(), "they hang");
        assert_eq!(engine.cancel(Which::Tag(0)), 1);
        let expected = if deaf == 0 { 1 } else { 0 };
        let limit = limit + HOUR;
        assert_eq!(ended(&mut engine, limit).len(), expected);
        let leaked = engine.shut_down(limit + HOUR);
        assert_eq!(leaked, if deaf == 0 { 0 } else { 2 });
        drop(engine);
        let free = [pool.take(), pool.take()].iter().flatten().count();
        assert_eq!(free, 2 - leaked, "what is leaked is not freed");
    }
}

#[test]
fn a_late_wake_is_noticed_when_the_sleep_ends() {
    let (host, metrics) = host(Faults::none());
    host.set_manners(Manners {
        wake_late: 1000,
        wake_for_nothing: 0,
        ..Manners::default()
    });
    let mut engine = host.engine(8, metrics.meter());
    engine.waker().wake();
    let begin = Instant::now();
    let limit = begin + Duration::from_millis(30);
    engine.reap(Wait::For(1, Some(limit)), &mut Vec::new());
    assert!(begin.elapsed() >= Duration::from_millis(30));
    assert_eq!(metrics.snapshot().wakes, 1);
    // Without a limit it comes all the same.
    engine.waker().wake();
    engine.reap(Wait::For(1, None), &mut Vec::new());
    assert_eq!(metrics.snapshot().wakes, 2);
}

#[test]
fn a_crash_tears_what_was_written_and_names_another_boot() {
    let directory = tempfile::tempdir().unwrap();
    let (host, metrics) = host(Faults::default());
    host.keep_back(1 << 20);
    let path = directory.path().join("file");
    std::fs::write(&path, vec![1; 64 << 10]).unwrap();
    let written = std::fs::File::options().read(true).write(true).open(&path);
    let target: Arc<OwnedFd> = Arc::new(written.unwrap().into());
    let mut engine = host.engine(8, metrics.meter()).timeless();
    let pool = Pool::new(1, 64 << 10, Pages::Small).unwrap();
    let mut buffer = pool.take().unwrap();
    buffer.bytes_mut(64 << 10).fill(2);
    let buffer = Buffer::Pool(buffer, 64 << 10);
    engine.push(1, op(Verb::Write, &target, buffer)).unwrap();
    let limit = engine.now() + HOUR;
    let outcomes = ended(&mut engine, limit);
    assert!(
        matches!(outcomes[0].result, Ok(Output::Bytes(0x10000))),
        "{outcomes:?}"
    );
    let boot = host.boot_id();
    let lost = host.crash();
    assert_ne!(boot, host.boot_id());
    let bytes = std::fs::read(&path).unwrap();
    let old = bytes
        .chunks(512)
        .filter(|sector| sector.contains(&1))
        .count() as u64;
    assert_eq!(old, lost);
    assert!((1..128).contains(&lost), "some, and not all: {lost}");
}

#[test]
fn engines_of_one_host_go_their_own_ways() {
    let directory = tempfile::tempdir().unwrap();
    let (host, metrics) = host(Faults::default());
    let file = file(directory.path());
    let mut orders = HashSet::new();
    for _ in 0..4 {
        let mut engine = host.engine(8, metrics.meter()).timeless();
        for tag in 0..8 {
            engine.push(tag, stat(&file)).unwrap();
        }
        let limit = engine.now() + HOUR;
        let tags: Vec<u64> = ended(&mut engine, limit)
            .iter()
            .map(|one| one.tag)
            .collect();
        orders.insert(tags);
    }
    assert!(orders.len() > 1);
}
