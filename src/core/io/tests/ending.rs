//! Operations that end before they have done what they were to do.

use super::*;
use crate::buf::Lent;

on_each_engine!(
    what_ends_in_time_has_its_bytes,
    an_operation_that_has_ended_cannot_be_cancelled,
    each_cancelled_operation_has_one_outcome,
    priorities_are_accepted;
    a_read_that_hangs_ends_with_its_time,
    the_time_goes_on_over_short_transfers,
    the_operations_of_a_tag_are_cancelled_alone,
    all_operations_can_be_cancelled,
    a_cancelled_read_takes_nothing_from_a_pipe,
);

fn pipe() -> (Arc<OwnedFd>, Arc<OwnedFd>) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (Arc::new(reader), Arc::new(writer))
}

/// A read of what comes through a pipe.
fn pipe_read(pool: &Pool, reader: &Arc<OwnedFd>, length: usize) -> Op {
    read(pool, reader, length, NO_OFFSET)
}

fn within(mut op: Op, timeout: Duration) -> Op {
    op.terms.timeout = Some(timeout);
    op
}

/// Whether a kernel is told of time-outs; said if not.
fn ends_in_time(engine: &Made) -> bool {
    let granted = engine.features.has(Feature::LinkTimeout);
    if !granted {
        eprintln!("skipped: LINK_TIMEOUT is withheld");
    }
    granted
}

fn errno(outcome: &Outcome) -> Option<Errno> {
    outcome.result.as_ref().err().copied()
}

fn what_ends_in_time_has_its_bytes(make: Make) {
    let file = file_with(&[7; 64]);
    let pool = Pool::new(8, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for round in 0..20 {
        for tag in 0..8 {
            let limit = if tag % 2 == 0 { LIMIT } else { Duration::MAX };
            engine
                .push(tag, within(read(&pool, &file, 64, 0), limit))
                .unwrap();
        }
        for outcome in reap_all(&mut *engine, 8) {
            let Ok(Output::Bytes(count)) = outcome.result else {
                panic!("round {round}: {outcome:?}");
            };
            assert_eq!(count, 64);
        }
    }
}

fn a_read_that_hangs_ends_with_its_time(make: Make) {
    let (reader, writer) = pipe();
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    if !ends_in_time(&engine) {
        return;
    }
    let limit = Duration::from_millis(20);
    let begin = Instant::now();
    engine
        .push(1, within(pipe_read(&pool, &reader, 10), limit))
        .unwrap();
    engine
        .push(2, within(pipe_read(&pool, &reader, 10), Duration::ZERO))
        .unwrap();
    for outcome in reap_all(&mut *engine, 2) {
        assert_eq!(errno(&outcome), Some(Errno::TIMEDOUT));
        assert!(matches!(outcome.buffer, Buffer::Pool(..)), "comes back");
    }
    assert!(begin.elapsed() >= limit);
    // What comes later is for the next.
    rustix::io::write(&*writer, b"later").unwrap();
    engine
        .push(3, within(pipe_read(&pool, &reader, 5), LIMIT))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 1);
    assert!(
        matches!(outcomes[0].result, Ok(Output::Bytes(5))),
        "{outcomes:?}"
    );
}

/// Half comes at once and nothing afterwards.
fn the_time_goes_on_over_short_transfers(make: Make) {
    let (reader, writer) = pipe();
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    if !ends_in_time(&engine) {
        return;
    }
    rustix::io::write(&*writer, b"half").unwrap();
    let limit = Duration::from_millis(20);
    engine
        .push(1, within(pipe_read(&pool, &reader, 8), limit))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 1);
    assert_eq!(errno(&outcomes[0]), Some(Errno::TIMEDOUT));
    // And where the rest comes in time, all of it is there.
    rustix::io::write(&*writer, b"half").unwrap();
    engine
        .push(2, within(pipe_read(&pool, &reader, 8), LIMIT))
        .unwrap();
    engine.flush();
    engine.reap(Wait::No, &mut Vec::new());
    rustix::io::write(&*writer, b"more").unwrap();
    let outcomes = reap_all(&mut *engine, 1);
    assert!(
        matches!(outcomes[0].result, Ok(Output::Bytes(8))),
        "{outcomes:?}"
    );
    let Buffer::Pool(buffer, _) = &outcomes[0].buffer else {
        panic!("it was a buffer of the pool");
    };
    assert_eq!(buffer.bytes(8), b"halfmore");
}

fn the_operations_of_a_tag_are_cancelled_alone(make: Make) {
    let (pipes, pool) = ([pipe(), pipe()], Pool::new(8, 4096, Pages::Small).unwrap());
    let mut engine = make(8);
    for tag in 0..8 {
        let (reader, _) = &pipes[tag as usize % 2];
        engine.push(tag % 2, pipe_read(&pool, reader, 3)).unwrap();
    }
    engine.flush();
    assert_eq!(engine.cancel(Which::Tag(1)), 4);
    rustix::io::write(&*pipes[0].1, b"onetwosixten").unwrap();
    for outcome in reap_all(&mut *engine, 8) {
        let canceled = (outcome.tag == 1).then_some(Errno::CANCELED);
        assert_eq!(errno(&outcome), canceled, "{outcome:?}");
    }
}

fn all_operations_can_be_cancelled(make: Make) {
    let (reader, _writer) = pipe();
    let pool = Pool::new(8, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for tag in 0..8 {
        let one = pipe_read(&pool, &reader, 3);
        let one = if tag % 2 == 0 {
            one
        } else {
            within(one, LIMIT)
        };
        engine.push(tag, one).unwrap();
    }
    engine.flush();
    assert_eq!(engine.cancel(Which::All), 8);
    for outcome in reap_all(&mut *engine, 8) {
        assert_eq!(errno(&outcome), Some(Errno::CANCELED));
    }
    assert_eq!(engine.cancel(Which::All), 0, "there are none");
}

fn a_cancelled_read_takes_nothing_from_a_pipe(make: Make) {
    let (reader, writer) = pipe();
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for _ in 0..20 {
        engine.push(1, pipe_read(&pool, &reader, 4)).unwrap();
        engine.flush();
        engine.cancel(Which::Tag(1));
        rustix::io::write(&*writer, b"four").unwrap();
        let outcomes = reap_all(&mut *engine, 1);
        if errno(&outcomes[0]) == Some(Errno::CANCELED) {
            engine.push(2, pipe_read(&pool, &reader, 4)).unwrap();
            let outcomes = reap_all(&mut *engine, 1);
            assert!(
                matches!(outcomes[0].result, Ok(Output::Bytes(4))),
                "{outcomes:?}"
            );
        }
    }
}

fn an_operation_that_has_ended_cannot_be_cancelled(make: Make) {
    let file = file_with(&[7; 64]);
    let pool = Pool::new(1, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    engine.push(1, read(&pool, &file, 64, 0)).unwrap();
    reap_all(&mut *engine, 1);
    assert_eq!(engine.cancel(Which::Tag(1)), 0);
    // The tag is free for another.
    engine.push(1, read(&pool, &file, 64, 0)).unwrap();
    let outcomes = reap_all(&mut *engine, 1);
    assert!(
        matches!(outcomes[0].result, Ok(Output::Bytes(64))),
        "{outcomes:?}"
    );
}

/// Cancelled or done, but never both, and with all bytes if done.
fn each_cancelled_operation_has_one_outcome(make: Make) {
    let content: Vec<u8> = (0..=255).cycle().take(32 * 4096).collect();
    let file = file_with(&content);
    let pool = Pool::new(32, 4096, Pages::Small).unwrap();
    let mut engine = make(32);
    for round in 0..30u64 {
        for tag in 0..32 {
            engine
                .push(tag, read(&pool, &file, 4096, tag * 4096))
                .unwrap();
            if round % 3 == 0 {
                engine.flush();
            }
        }
        for tag in 0..32 {
            if (tag + round) % 3 == 0 {
                engine.cancel(Which::Tag(tag));
            }
        }
        for outcome in reap_all(&mut *engine, 32) {
            if errno(&outcome) == Some(Errno::CANCELED) {
                assert_eq!((outcome.tag + round) % 3, 0, "nobody asked for it");
                continue;
            }
            let Buffer::Pool(buffer, _) = &outcome.buffer else {
                panic!("it was a buffer of the pool");
            };
            assert!(
                matches!(outcome.result, Ok(Output::Bytes(4096))),
                "{outcome:?}"
            );
            let start = outcome.tag as usize * 4096;
            assert!(buffer.bytes(4096) == &content[start..start + 4096]);
        }
    }
}

fn priorities_are_accepted(make: Make) {
    let file = file_with(&[7; 4096]);
    let priorities = [
        Priority::HIGH,
        Priority::LOW,
        Priority::BACKGROUND,
        Priority::default(),
    ];
    let mut memory = [[7; 512]; 8];
    let mut engine = make(8);
    for (index, piece) in memory.iter_mut().enumerate() {
        let verb = [Verb::Read, Verb::Write][index % 2];
        // SAFETY: the memory outlives the operations, which are reaped below.
        let lent = unsafe { Lent::new(piece.as_mut_ptr(), piece.len()) };
        let mut one = op(verb, &file, Buffer::Lent(lent), index as u64 * 512);
        one.terms.priority = priorities[index / 2];
        engine.push(index as u64, one).unwrap();
    }
    for outcome in reap_all(&mut *engine, 8) {
        assert!(
            matches!(outcome.result, Ok(Output::Bytes(512))),
            "{outcome:?}"
        );
    }
}

/// Threads cannot be called back, but what waits for one can.
#[test]
fn what_no_thread_has_begun_is_cancelled_on_psync() {
    let (reader, writer) = pipe();
    let (file, target) = (file_with(&[7; 64]), file_with(b""));
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let mut engine = psync::PsyncPool::new(1).engine(8, metrics.meter());
    let pool = Pool::new(3, 4096, Pages::Small).unwrap();
    let moved = Buffer::Fd {
        file: Arc::clone(&reader),
        offset: NO_OFFSET,
        length: 4,
    };
    engine.push(1, op(Verb::Splice, &target, moved, 0)).unwrap();
    let mut first = read(&pool, &file, 64, 0);
    first.terms.linked = true;
    engine.push(2, first).unwrap();
    engine.push(3, read(&pool, &file, 64, 0)).unwrap();
    engine.push(4, read(&pool, &file, 64, 0)).unwrap();
    assert_eq!(engine.cancel(Which::Tag(3)), 1);
    assert_eq!(engine.cancel(Which::Tag(4)), 1);
    rustix::io::write(&*writer, b"four").unwrap();
    let outcomes = reap_all(&mut engine, 4);
    let errnos: Vec<_> = outcomes.iter().map(errno).collect();
    let canceled = Some(Errno::CANCELED);
    assert_eq!(errnos, [None, None, canceled, canceled]);
    assert_eq!(metrics.snapshot().cancels_won, 2);
}

/// The kernel ends what a thread has pushed when that thread exits.
#[test]
fn a_read_outlives_the_thread_that_pushed_it_on_a_ring() {
    if !rings_are_granted() {
        return;
    }
    let (reader, writer) = pipe();
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let (plan, owner) = (plan(|_| ()), Owner::Program { movable: true });
    let ring = uring::Uring::new(&plan, 8, owner, Arc::default(), metrics.meter());
    let mut ring = ring.unwrap();
    let thread = std::thread::spawn(move || {
        ring.push(1, pipe_read(&pool, &reader, 4)).unwrap();
        ring.push(2, within(pipe_read(&pool, &reader, 4), LIMIT))
            .unwrap();
        ring.flush();
        ring
    });
    let mut ring = thread.join().unwrap();
    // However long the kernel takes over the end of a thread.
    for _ in 0..10 {
        let mut outcomes = Vec::new();
        let limit = Instant::now() + Duration::from_millis(10);
        ring.reap(Wait::For(1, Some(limit)), &mut outcomes);
        assert!(outcomes.is_empty(), "nobody asked for it: {outcomes:?}");
    }
    rustix::io::write(&*writer, b"fourfour").unwrap();
    for outcome in reap_all(&mut ring, 2) {
        assert!(
            matches!(outcome.result, Ok(Output::Bytes(4))),
            "{outcome:?}"
        );
    }
}
