//! The promises that every user of an engine rests on.

use super::*;
use crate::buf::Lent;
use crate::sys;
use rustix::event::{EventfdFlags, eventfd};
use std::num::NonZeroU32;
use std::os::fd::AsFd;

on_each_engine!(
    every_operation_has_one_outcome,
    short_transfers_are_continued,
    a_transfer_is_short_only_at_the_end_of_the_file,
    whole_blocks_are_read_and_only_what_was_asked_for_is_counted,
    a_stat_tells_what_the_system_call_tells,
    an_error_is_an_errno,
    what_is_written_is_read_back,
    a_full_engine_gives_the_operation_back,
    a_wake_ends_a_sleep_and_is_not_lost,
    a_sleep_ends_with_its_time,
    an_eventfd_tells_of_outcomes,
    a_hung_operation_does_not_hold_up_the_end,
);

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
        let outcomes = reap_all(&mut *engine, 64);
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
    let outcomes = reap_all(&mut *engine, 1);
    assert!(bytes(&outcomes[0]) == whole);
}

fn a_transfer_is_short_only_at_the_end_of_the_file(make: Make) {
    let file = file_with(&[7; 1000]);
    let pool = Pool::new(3, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for (tag, offset) in [(0, 0), (1, 990), (2, 1000)] {
        engine.push(tag, read(&pool, &file, 4096, offset)).unwrap();
    }
    let lengths: Vec<usize> = reap_all(&mut *engine, 3)
        .iter()
        .map(|outcome| bytes(outcome).len())
        .collect();
    assert_eq!(lengths, [1000, 10, 0]);
}

/// Which lengths an engine asks for shows without O_DIRECT, too.
fn whole_blocks_are_read_and_only_what_was_asked_for_is_counted(make: Make) {
    // What is wanted where, what of it there is, and how many bytes are touched.
    let cases = [
        (512, 0, 512, 512),
        (1, 0, 1, 512),
        (513, 512, 513, 788),
        (276, 1024, 276, 276),
        // Behind the end of the file, the rest of a block is not asked for.
        (1024, 1024, 276, 276),
    ];
    let file = file_with(&[7; 1300]);
    let pool = Pool::new(cases.len(), 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for (tag, (wanted, offset, ..)) in cases.iter().enumerate() {
        let mut op = read(&pool, &file, *wanted, *offset);
        if let Buffer::Pool(buffer, _) = &mut op.buffer {
            buffer.bytes_mut(4096).fill(0);
        }
        op.terms.direct = NonZeroU32::new(512);
        engine.push(tag as u64, op).unwrap();
    }
    let outcomes = reap_all(&mut *engine, cases.len());
    for (outcome, (wanted, offset, there, touched)) in outcomes.iter().zip(cases) {
        assert_eq!(bytes(outcome).len(), there, "{wanted} at {offset}");
        let Buffer::Pool(buffer, _) = &outcome.buffer else {
            unreachable!("it was given a buffer of the pool")
        };
        let sevens = buffer.bytes(4096).iter().filter(|byte| **byte == 7);
        assert_eq!(sevens.count(), touched, "{wanted} at {offset}");
    }
}

fn a_stat_tells_what_the_system_call_tells(make: Make) {
    let file = file_with(&[7; 1000]);
    let mut engine = make(8);
    engine
        .push(5, op(Verb::Stat, &file, Buffer::None, 0))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 1);
    let expected = sys::attributes(file.as_fd()).unwrap();
    assert!(matches!(&outcomes[0].result, Ok(Output::Attributes(got)) if *got == expected));
    assert_eq!(expected.size, 1000);
}

fn an_error_is_an_errno(make: Make) {
    let directory: Arc<OwnedFd> = Arc::new(std::fs::File::open("/").unwrap().into());
    let pool = Pool::new(1, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    engine.push(1, read(&pool, &directory, 10, 0)).unwrap();
    let outcomes = reap_all(&mut *engine, 1);
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
    let outcomes = reap_all(&mut *engine, 1);
    assert!(matches!(outcomes[0].result, Ok(Output::Bytes(3))));
    let mut back = [9; 10];
    // SAFETY: the array outlives the operation, which is reaped below.
    let lent = unsafe { Lent::new(back.as_mut_ptr(), back.len()) };
    engine
        .push(2, op(Verb::Read, &file, Buffer::Lent(lent), 0))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 1);
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
    reap_all(&mut *engine, 8);
    engine.push(9, refused.unwrap_err()).unwrap();
    assert_eq!(reap_all(&mut *engine, 1)[0].tag, 9);
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
        assert_eq!(reap_all(&mut *engine, 1)[0].tag, tag);
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
    engine.cancel(Which::Tag(2));
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
    if !rings_are_granted() {
        return;
    }
    // Waiting in vain would take a second each time; a busy machine may be slow
    // once, but not always.
    let quick = (0..10).any(|_| {
        let mut ring = ring(&plan(|_| ()), 8, &Arc::default());
        // Arms the read of the waker.
        ring.reap(Wait::For(1, Some(Instant::now())), &mut Vec::new());
        let begin = Instant::now();
        std::thread::spawn(move || drop(ring)).join().unwrap();
        begin.elapsed() < Duration::from_millis(500)
    });
    assert!(quick, "it waited for what cannot come");
}
