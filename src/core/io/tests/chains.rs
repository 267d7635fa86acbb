//! Operations that are linked: the next begins only if the one before did all.

use super::*;
use crate::buf::Lent;
use crate::limits::CHAIN_MAX;
use rustix::pipe::fcntl_setpipe_size;

on_each_engine!(
    a_chain_copies_from_file_to_file,
    a_chain_survives_short_transfers,
    a_chain_is_done_in_its_order,
    long_chains_are_never_torn_apart,
    a_chain_of_splices_moves_through_a_pipe,
    a_splice_into_a_small_pipe_is_continued_before_the_next_begins,
    a_chain_ends_where_a_file_ends,
    an_error_ends_its_chain_and_no_other,
    a_chain_without_its_end_does_not_hold_up_the_end,
    a_chain_that_is_cancelled_before_it_is_whole_has_its_outcomes;
    a_chain_that_hangs_is_cancelled_whole,
    a_member_that_has_not_begun_can_be_cancelled_alone,
    a_member_that_hangs_after_its_cancellation_does_not_hold_up_the_end,
    a_chain_that_was_cancelled_before_it_was_whole_does_not_begin,
);

/// The same operation, with the next one behind it.
fn linked(mut op: Op) -> Op {
    op.terms.linked = true;
    op
}

/// Memory that several operations use one after another.
fn shared(bytes: &mut [u8]) -> Buffer {
    // SAFETY: the tests keep the memory until the outcomes of what uses it.
    Buffer::Lent(unsafe { Lent::new(bytes.as_mut_ptr(), bytes.len()) })
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn bytes_of(file: &OwnedFd, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let got = rustix::io::pread(file, &mut bytes, 0).unwrap();
    bytes.truncate(got);
    bytes
}

fn moved(outcome: &Outcome) -> std::result::Result<usize, Errno> {
    match &outcome.result {
        Ok(Output::Bytes(count)) => Ok(*count),
        Ok(Output::Attributes(_)) => Ok(0),
        Err(errno) => Err(*errno),
    }
}

fn results(outcomes: &[Outcome]) -> Vec<std::result::Result<usize, Errno>> {
    outcomes.iter().map(moved).collect()
}

fn a_chain_copies_from_file_to_file(make: Make) {
    const PIECE: usize = 10_000;
    let all = content(16 * PIECE);
    let (source, target) = (file_with(&all), file_with(b""));
    let mut memory = vec![0; all.len()];
    let mut engine = make(32);
    for (index, piece) in memory.chunks_mut(PIECE).enumerate() {
        let offset = (index * PIECE) as u64;
        let read = op(Verb::Read, &source, shared(piece), offset);
        let write = op(Verb::Write, &target, shared(piece), offset);
        engine.push(2 * index as u64, linked(read)).unwrap();
        engine.push(2 * index as u64 + 1, write).unwrap();
    }
    let outcomes = reap_all(&mut *engine, 32);
    assert!(results(&outcomes).iter().all(|one| *one == Ok(PIECE)));
    assert!(bytes_of(&target, all.len()) == all);
}

/// procfs gives a page at a time, however much is asked for.
fn a_chain_survives_short_transfers(make: Make) {
    let path = "/proc/kallsyms";
    let whole = std::fs::read(path).unwrap();
    let length = whole.len().min(100_000);
    let source: Arc<OwnedFd> = Arc::new(std::fs::File::open(path).unwrap().into());
    let target = file_with(b"");
    let mut memory = vec![0; length];
    let mut engine = make(8);
    let read = op(Verb::Read, &source, shared(&mut memory), 0);
    let write = op(Verb::Write, &target, shared(&mut memory), 0);
    engine.push(1, linked(read)).unwrap();
    engine.push(2, linked(write)).unwrap();
    engine
        .push(3, op(Verb::Stat, &target, Buffer::None, 0))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 3);
    assert_eq!(results(&outcomes), [Ok(length), Ok(length), Ok(0)]);
    let stat = &outcomes[2].result;
    assert!(
        matches!(stat, Ok(Output::Attributes(got)) if got.size == length as u64),
        "{stat:?}"
    );
    assert!(bytes_of(&target, length + 1) == whole[..length]);
}

fn a_chain_is_done_in_its_order(make: Make) {
    for _ in 0..50 {
        let file = file_with(b"");
        let mut memory: Vec<Vec<u8>> = (0..CHAIN_MAX).map(|one| vec![one as u8; 5000]).collect();
        let mut engine = make(8);
        for (index, piece) in memory.iter_mut().enumerate() {
            let write = op(Verb::Write, &file, shared(piece), 0);
            let is_last = index + 1 == CHAIN_MAX;
            let write = if is_last { write } else { linked(write) };
            engine.push(index as u64, write).unwrap();
        }
        let outcomes = reap_all(&mut *engine, CHAIN_MAX);
        assert!(results(&outcomes).iter().all(|one| *one == Ok(5000)));
        assert!(bytes_of(&file, 5000) == memory[CHAIN_MAX - 1]);
    }
}

/// Each of many chains reads back what it has just written.
fn long_chains_are_never_torn_apart(make: Make) {
    const CHAINS: usize = 64 / CHAIN_MAX;
    const PAIRS: usize = CHAIN_MAX / 2;
    for round in 0..40u8 {
        let file = file_with(&[0xFF; 4 * 64]);
        let mut written: Vec<[u8; 4]> = (0..CHAINS * PAIRS)
            .map(|one| [round ^ one as u8; 4])
            .collect();
        let mut back = vec![[0u8; 4]; CHAINS * PAIRS];
        let mut engine = make(64);
        for index in 0..CHAINS * PAIRS {
            // One place for each chain, so that the order shows.
            let offset = (index / PAIRS * 4) as u64;
            let mut write = op(Verb::Write, &file, shared(&mut written[index]), offset);
            let mut read = op(Verb::Read, &file, shared(&mut back[index]), offset);
            write.terms.linked = true;
            read.terms.linked = (index + 1) % PAIRS != 0;
            for (tag, mut one) in [(2 * index, write), (2 * index + 1, read)] {
                one.terms.timeout = (round % 2 == 1).then_some(LIMIT);
                engine.push(tag as u64, one).unwrap();
            }
        }
        let outcomes = reap_all(&mut *engine, 64);
        assert!(
            results(&outcomes).iter().all(|one| *one == Ok(4)),
            "{outcomes:?}"
        );
        assert_eq!(back, written, "round {round}");
    }
}

fn pipe() -> (Arc<OwnedFd>, Arc<OwnedFd>) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (Arc::new(reader), Arc::new(writer))
}

/// Moves bytes from a file into a pipe, or from a pipe into a file.
fn splice(from: (&Arc<OwnedFd>, u64), to: (&Arc<OwnedFd>, u64), length: usize) -> Op {
    let buffer = Buffer::Fd {
        file: Arc::clone(from.0),
        offset: from.1,
        length,
    };
    op(Verb::Splice, to.0, buffer, to.1)
}

fn a_chain_of_splices_moves_through_a_pipe(make: Make) {
    const PIECE: usize = 16 << 10;
    let all = content(4 * PIECE);
    let (source, target) = (file_with(&all), file_with(b""));
    let (reader, writer) = pipe();
    let mut engine = make(8);
    for index in 0..4 {
        let offset = (index * PIECE) as u64;
        let fill = splice((&source, offset), (&writer, NO_OFFSET), PIECE);
        let empty = splice((&reader, NO_OFFSET), (&target, offset), PIECE);
        engine.push(2 * index as u64, linked(fill)).unwrap();
        let is_last = index == 3;
        let empty = if is_last { empty } else { linked(empty) };
        engine.push(2 * index as u64 + 1, empty).unwrap();
    }
    let outcomes = reap_all(&mut *engine, 8);
    assert!(results(&outcomes).iter().all(|one| *one == Ok(PIECE)));
    assert!(bytes_of(&target, all.len() + 1) == all);
}

/// Another thread reads the pipe, which takes only a page at a time.
fn a_splice_into_a_small_pipe_is_continued_before_the_next_begins(make: Make) {
    const LENGTH: usize = 64 << 10;
    let all = content(LENGTH);
    let (source, target) = (file_with(&all), file_with(b""));
    let (reader, writer) = pipe();
    fcntl_setpipe_size(&*writer, 4096).unwrap();
    let mut note = *b"done";
    let mut engine = make(8);
    let fill = splice((&source, 0), (&writer, NO_OFFSET), LENGTH);
    engine.push(1, linked(fill)).unwrap();
    engine
        .push(2, op(Verb::Write, &target, shared(&mut note), 0))
        .unwrap();
    engine.flush();
    let watched = Arc::clone(&target);
    let drain = std::thread::spawn(move || {
        let (mut got, mut piece) = (Vec::new(), [0; 1000]);
        while got.len() < LENGTH {
            // The last page is in the pipe at the most, so not all is moved.
            let early = got.len() + 2 * 4096 < LENGTH;
            assert!(
                !early || bytes_of(&watched, 4).is_empty(),
                "at {}",
                got.len()
            );
            let count = rustix::io::read(&*reader, &mut piece).unwrap();
            got.extend_from_slice(&piece[..count]);
        }
        got
    });
    let outcomes = reap_all(&mut *engine, 2);
    assert_eq!(results(&outcomes), [Ok(LENGTH), Ok(4)]);
    assert!(drain.join().unwrap() == all);
    assert_eq!(bytes_of(&target, 5), note);
}

fn a_chain_ends_where_a_file_ends(make: Make) {
    let (source, target) = (file_with(&[7; 100]), file_with(b""));
    let mut memory = vec![0; 4096];
    let mut engine = make(8);
    let read = op(Verb::Read, &source, shared(&mut memory), 0);
    let write = op(Verb::Write, &target, shared(&mut memory), 0);
    engine.push(1, linked(read)).unwrap();
    engine.push(2, linked(write)).unwrap();
    engine
        .push(3, op(Verb::Stat, &target, Buffer::None, 0))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 3);
    let canceled = Err(Errno::CANCELED);
    assert_eq!(results(&outcomes), [Ok(100), canceled, canceled]);
    assert_eq!(bytes_of(&target, 1), b"");
    assert!(matches!(outcomes[1].buffer, Buffer::Lent(_)), "comes back");
}

fn an_error_ends_its_chain_and_no_other(make: Make) {
    let directory: Arc<OwnedFd> = Arc::new(std::fs::File::open("/").unwrap().into());
    let target = file_with(b"");
    let mut memory = [[1; 16], [2; 16], [3; 16], [4; 16]];
    let [one, two, three, four] = &mut memory;
    let mut engine = make(8);
    engine
        .push(1, linked(op(Verb::Read, &directory, shared(one), 0)))
        .unwrap();
    engine
        .push(2, op(Verb::Write, &target, shared(two), 0))
        .unwrap();
    engine
        .push(3, linked(op(Verb::Write, &target, shared(three), 16)))
        .unwrap();
    engine
        .push(4, op(Verb::Write, &target, shared(four), 32))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 4);
    assert_eq!(
        results(&outcomes),
        [Err(Errno::ISDIR), Err(Errno::CANCELED), Ok(16), Ok(16)]
    );
    assert_eq!(bytes_of(&target, 16), [0; 16]);
}

fn a_chain_without_its_end_does_not_hold_up_the_end(make: Make) {
    let file = file_with(&[7; 100]);
    let pool = Pool::new(2, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for tag in 0..2 {
        engine
            .push(tag, linked(read(&pool, &file, 100, 0)))
            .unwrap();
    }
    engine.flush();
    let begin = Instant::now();
    assert_eq!(engine.shut_down(begin + LIMIT), 0);
    assert!(begin.elapsed() < LIMIT / 2);
    drop(engine);
    assert_eq!(
        (0..2).filter_map(|_| pool.take()).count(),
        2,
        "none is lost"
    );
}

fn a_chain_that_is_cancelled_before_it_is_whole_has_its_outcomes(make: Make) {
    let file = file_with(&[7; 100]);
    let pool = Pool::new(3, 4096, Pages::Small).unwrap();
    let mut engine = make(8);
    for tag in 0..2 {
        engine
            .push(tag, linked(read(&pool, &file, 100, 0)))
            .unwrap();
    }
    engine.cancel(Which::All);
    engine.push(2, read(&pool, &file, 100, 0)).unwrap();
    for outcome in reap_all(&mut *engine, 3) {
        assert!([Ok(100), Err(Errno::CANCELED)].contains(&moved(&outcome)));
    }
}

fn a_chain_that_hangs_is_cancelled_whole(make: Make) {
    let (reader, _writer) = pipe();
    let target = file_with(b"");
    let mut memory = [0; 16];
    let mut engine = make(8);
    engine
        .push(
            1,
            linked(op(Verb::Read, &reader, shared(&mut memory), NO_OFFSET)),
        )
        .unwrap();
    engine
        .push(2, linked(op(Verb::Write, &target, shared(&mut memory), 0)))
        .unwrap();
    engine
        .push(3, op(Verb::Stat, &target, Buffer::None, 0))
        .unwrap();
    engine.flush();
    assert_eq!(engine.cancel(Which::Tag(1)), 1);
    let outcomes = reap_all(&mut *engine, 3);
    assert_eq!(results(&outcomes), [Err(Errno::CANCELED); 3]);
    assert_eq!(bytes_of(&target, 1), b"");
}

fn a_member_that_has_not_begun_can_be_cancelled_alone(make: Make) {
    let (reader, writer) = pipe();
    let target = file_with(b"");
    let mut memory = [0; 4];
    let mut engine = make(8);
    engine
        .push(
            1,
            linked(op(Verb::Read, &reader, shared(&mut memory), NO_OFFSET)),
        )
        .unwrap();
    engine
        .push(2, op(Verb::Write, &target, shared(&mut memory), 0))
        .unwrap();
    engine.flush();
    assert_eq!(engine.cancel(Which::Tag(2)), 1);
    rustix::io::write(&*writer, b"four").unwrap();
    let outcomes = reap_all(&mut *engine, 2);
    assert_eq!(moved(&outcomes[0]), Ok(4));
    // It comes too late if the kernel knows only what has begun.
    assert!([Ok(4), Err(Errno::CANCELED)].contains(&moved(&outcomes[1])));
}

fn a_member_that_hangs_after_its_cancellation_does_not_hold_up_the_end(make: Make) {
    let (reader, _writer) = pipe();
    let file = file_with(b"four");
    let mut memory = [[0; 4]; 2];
    let [one, two] = &mut memory;
    let mut engine = make(8);
    engine
        .push(1, linked(op(Verb::Read, &file, shared(one), 0)))
        .unwrap();
    engine
        .push(2, op(Verb::Read, &reader, shared(two), NO_OFFSET))
        .unwrap();
    // Before the kernel has heard of either.
    engine.cancel(Which::Tag(2));
    engine.flush();
    let begin = Instant::now();
    assert_eq!(
        engine.shut_down(begin + LIMIT),
        0,
        "a pipe's read can be cancelled"
    );
    assert!(begin.elapsed() < LIMIT / 2);
}

fn a_chain_that_was_cancelled_before_it_was_whole_does_not_begin(make: Make) {
    let (reader, _writer) = pipe();
    let target = file_with(b"");
    let mut memory = [0; 4];
    let mut engine = make(8);
    engine
        .push(
            1,
            linked(op(Verb::Read, &reader, shared(&mut memory), NO_OFFSET)),
        )
        .unwrap();
    assert_eq!(engine.cancel(Which::All), 1);
    engine
        .push(2, op(Verb::Write, &target, shared(&mut memory), 0))
        .unwrap();
    let outcomes = reap_all(&mut *engine, 2);
    assert_eq!(results(&outcomes), [Err(Errno::CANCELED); 2]);
    assert_eq!(bytes_of(&target, 1), b"");
}
