//! What only a kernel with a bug, or one in a hurry, brings about.

use super::*;
use crate::buf::{Buffer, Pages, Pool};
use crate::io::metrics::Metrics;
use crate::io::{EngineOptions, Terms, probe};

fn ring(change: fn(&mut EngineOptions), metrics: &Arc<Metrics>) -> Option<Uring> {
    let mut options = EngineOptions::default();
    let granted = probe(&options);
    if granted.first().is_none_or(|first| first.granted.is_err()) {
        eprintln!("skipped: io_uring is refused here");
        return None;
    }
    change(&mut options);
    let owner = Owner::Program { movable: false };
    let plan = Plan::new(&options);
    Uring::new(&plan, 64, owner, Arc::default(), metrics.meter()).ok()
}

fn read(pool: &Pool, file: &Arc<OwnedFd>, timeout: Option<Duration>) -> Op {
    Op {
        verb: Verb::Read,
        file: Arc::clone(file),
        buffer: Buffer::Pool(pool.take().unwrap(), 8),
        offset: 0,
        terms: Terms {
            timeout,
            ..Terms::default()
        },
    }
}

fn zeros() -> Arc<OwnedFd> {
    Arc::new(std::fs::File::open("/dev/zero").unwrap().into())
}

fn reap(ring: &mut Uring, count: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let limit = Instant::now() + Duration::from_secs(30);
    while outcomes.len() < count && Instant::now() < limit {
        ring.reap(Wait::For(1, Some(limit)), &mut outcomes);
    }
    assert_eq!(outcomes.len(), count);
    outcomes
}

#[test]
fn a_stale_completion_is_counted_and_ends_nothing() {
    let metrics = Arc::default();
    let Some(mut ring) = ring(|_| (), &metrics) else {
        return;
    };
    let (pool, file) = (Pool::new(1, 4096, Pages::Small).unwrap(), zeros());
    ring.push(1, read(&pool, &file, None)).unwrap();
    let old = ring.inflight.submitted();
    assert!(matches!(reap(&mut ring, 1)[0].result, Ok(Output::Bytes(8))));
    // Of one that has ended, of its slot's next user, and of no slot at all.
    let mut outcomes = Vec::new();
    ring.completed(old[0], 8, &mut outcomes);
    ring.push(2, read(&pool, &file, None)).unwrap();
    ring.completed(old[0], -libc::EIO, &mut outcomes);
    ring.completed(0x1234_0000_1234, 8, &mut outcomes);
    assert!(outcomes.is_empty());
    let outcomes = reap(&mut ring, 1);
    assert_eq!(outcomes[0].tag, 2);
    assert!(
        matches!(outcomes[0].result, Ok(Output::Bytes(8))),
        "{outcomes:?}"
    );
    assert_eq!(metrics.snapshot().stale_completions, 3);
}

#[test]
fn what_waits_for_room_keeps_its_order() {
    let metrics = Arc::default();
    // Its thread takes pairs from a queue that is nearly empty, and only then.
    let few_at_a_time = |options: &mut EngineOptions| {
        options.sq_poll = Some(Duration::from_millis(50));
    };
    let Some(mut ring) = ring(few_at_a_time, &metrics) else {
        return;
    };
    if !ring.granted().has(Feature::SqPoll) {
        eprintln!("skipped: SQPOLL is refused here");
        return;
    }
    let (pool, file) = (Pool::new(64, 4096, Pages::Small).unwrap(), zeros());
    for tag in 0..64 {
        let timeout = (tag % 3 == 0).then_some(Duration::from_secs(60));
        ring.push(tag, read(&pool, &file, timeout)).unwrap();
    }
    let waiting: Vec<u32> = ring.backlog.iter().copied().collect();
    let tags: Vec<u64> = waiting
        .into_iter()
        .map(|index| ring.inflight.slot(index).tag)
        .collect();
    assert!(tags.is_sorted(), "{tags:?}");
    for outcome in reap(&mut ring, 64) {
        assert!(
            matches!(outcome.result, Ok(Output::Bytes(8))),
            "{outcome:?}"
        );
    }
    assert!(ring.backlog.is_empty());
    let stats = metrics.snapshot();
    assert!(stats.backlog_high_water >= tags.len() as u64);
    assert_eq!(stats.completions, 64);
}
