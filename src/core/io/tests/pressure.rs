//! More than a queue holds, and the numbers of it all.

use super::*;
use crate::limits::SQ_ENTRIES_MAX;

on_each_engine!(
    more_than_the_queues_hold_loses_nothing,
    the_numbers_of_a_mixed_load_add_up,
    a_full_engine_takes_again_what_it_has_room_for;
    what_finds_the_submission_queue_full_is_counted,
);

/// Deeper than a ring's submission queue, and than twice that: its completion
/// queue, into which nobody looks meanwhile.
const DEEP: u32 = 4 * SQ_ENTRIES_MAX;

fn push_many(engine: &mut dyn Engine, pool: &Pool, file: &Arc<OwnedFd>) {
    for tag in 0..u64::from(DEEP) {
        let one = read(pool, file, 8, tag % 512 * 8);
        engine.push(tag, one).unwrap();
    }
}

fn more_than_the_queues_hold_loses_nothing(make: Make) {
    let content: Vec<u8> = (0..512u64).flat_map(u64::to_ne_bytes).collect();
    let file = file_with(&content);
    let pool = Pool::new(DEEP as usize, 4096, Pages::Small).unwrap();
    let mut engine = make(DEEP);
    push_many(&mut *engine, &pool, &file);
    engine.flush();
    for (tag, outcome) in reap_all(&mut *engine, DEEP as usize).iter().enumerate() {
        assert_eq!(outcome.tag, tag as u64);
        let (Ok(Output::Bytes(8)), Buffer::Pool(buffer, _)) = (&outcome.result, &outcome.buffer)
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(buffer.bytes(8), (tag as u64 % 512).to_ne_bytes());
    }
    let stats = engine.metrics.snapshot();
    assert_eq!(stats.completions, DEEP.into());
    assert_eq!(stats.stale_completions, 0);
    let overflowed = stats.cq_overflows > 0;
    assert!(
        overflowed || !submits_by_itself(&engine),
        "a completion queue holds {SQ_ENTRIES_MAX} twice"
    );
}

/// A ring without a thread of the kernel's: only calls hand over.
fn submits_by_itself(engine: &Made) -> bool {
    engine.is_ring && !engine.features.has(Feature::SqPoll)
}

fn what_finds_the_submission_queue_full_is_counted(make: Make) {
    let file = file_with(&[7; 4096]);
    let pool = Pool::new(DEEP as usize, 4096, Pages::Small).unwrap();
    let mut engine = make(DEEP);
    push_many(&mut *engine, &pool, &file);
    engine.flush();
    let stats = engine.metrics.snapshot();
    let least = match engine.is_ring {
        false => 1,
        // A thread of the kernel's may empty the queue as fast as it is filled.
        true if engine.features.has(Feature::SqPoll) => 0,
        true => 3,
    };
    assert!(stats.sq_full >= least, "{}", stats.sq_full);
    reap_all(&mut *engine, DEEP as usize);
}

fn a_full_engine_takes_again_what_it_has_room_for(make: Make) {
    let file = file_with(&[7; 100]);
    let pool = Pool::new(9, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    let (mut pushed, mut ended) = (0, 0);
    while ended < 500 {
        while let Some(buffer) = pool.take() {
            let one = op(Verb::Read, &file, Buffer::Pool(buffer, 100), 0);
            let room = engine.space();
            assert_eq!(room + engine.in_flight(), 8);
            match engine.push(pushed, one) {
                Ok(()) => pushed += 1,
                Err(refused) => {
                    assert_eq!(room, 0);
                    assert_eq!(refused.buffer.len(), 100);
                    break;
                }
            }
            assert_eq!(engine.space(), room - 1);
        }
        let mut outcomes = Vec::new();
        engine.reap(Wait::For(1, Some(Instant::now() + LIMIT)), &mut outcomes);
        ended += outcomes.len();
    }
    assert_eq!(pushed as usize, ended + engine.in_flight());
    reap_all(&mut *engine, pushed as usize - ended);
}

fn the_numbers_of_a_mixed_load_add_up(make: Make) {
    const ROUNDS: u64 = 10;
    let file = file_with(&[7; 8192]);
    let directory: Arc<OwnedFd> = Arc::new(std::fs::File::open("/").unwrap().into());
    let pool = Pool::new(64, 4096, Pages::Small).unwrap();
    let mut engine = make(64);
    for _ in 0..ROUNDS {
        for tag in 0..10 {
            engine.push(tag, read(&pool, &file, 1000, 0)).unwrap();
            let write = Op {
                verb: Verb::Write,
                ..read(&pool, &file, 500, 4096)
            };
            engine.push(tag + 10, write).unwrap();
            engine
                .push(tag + 20, op(Verb::Stat, &file, Buffer::None, 0))
                .unwrap();
            // At the end of the file, and where there is nothing to read.
            engine
                .push(tag + 30, read(&pool, &file, 4096, 8000))
                .unwrap();
            engine
                .push(tag + 40, read(&pool, &directory, 10, 0))
                .unwrap();
        }
        reap_all(&mut *engine, 50);
    }
    let stats = engine.metrics.snapshot();
    assert_eq!(stats.submissions, 50 * ROUNDS);
    assert_eq!(stats.completions, 50 * ROUNDS);
    assert_eq!(stats.in_flight, 0);
    assert_eq!(stats.bytes_read, ROUNDS * 10 * (1000 + 192));
    assert_eq!(stats.bytes_written, ROUNDS * 10 * 500);
    assert_eq!(stats.stale_completions, 0);
    assert!(
        stats.short_transfers >= ROUNDS * 10,
        "the end was looked for"
    );
    assert!(stats.enters > 0);
    let count = |name| {
        let mut latencies = stats.latencies.iter();
        let found = latencies.find(|latency| latency.operation == name);
        found.map_or(0, |latency| latency.count)
    };
    assert_eq!(count("read"), 30 * ROUNDS);
    assert_eq!(count("write"), 10 * ROUNDS);
    assert_eq!(count("stat"), 10 * ROUNDS);
    for latency in &stats.latencies {
        assert!(latency.p50_ns <= latency.p99_ns && latency.p99_ns <= latency.p999_ns);
        assert!(latency.p999_ns <= latency.max_ns, "{latency:?}");
    }
}
