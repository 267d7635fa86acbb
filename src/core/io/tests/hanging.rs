//! What never ends by itself: it can be called back, and holds up nothing. (What
//! cannot be called back is tested with a file system that hangs, through C.)

use super::*;
use crate::buf::{Lent, Regions};
use rustix::fs::{FileType, Mode, OFlags};
use std::os::unix::net::UnixStream;

// The psync engine does not hang on any of these: pread(2) and pwrite(2) refuse
// them. It has to give the same outcomes as soon, all the same.
mod on_psync {
    #[test]
    fn a_fifo_without_a_writer_can_be_left() {
        super::a_fifo_without_a_writer_can_be_left(super::make_psync);
    }

    #[test]
    fn a_socket_whose_peer_is_idle_can_be_left() {
        super::a_socket_whose_peer_is_idle_can_be_left(super::make_psync);
    }
}

on_each_ring!(
    a_fifo_without_a_writer_can_be_left,
    a_socket_whose_peer_is_idle_can_be_left,
);

/// Pushes them all, has the first ended by its tag and the rest by the end of the
/// engine; nothing is lost or late.
fn leave(make: Make, pool: &Pool, ops: Vec<Op>) {
    let count = ops.len();
    let mut engine = make(8);
    for (tag, op) in ops.into_iter().enumerate() {
        engine.push(tag as u64, op).unwrap();
    }
    engine.flush();
    engine.cancel(Which::Tag(0));
    let mut outcomes = Vec::new();
    let begin = Instant::now();
    while !outcomes.iter().any(|outcome: &Outcome| outcome.tag == 0) {
        assert!(begin.elapsed() < LIMIT, "it was not called back");
        engine.reap(Wait::For(1, Some(begin + LIMIT)), &mut outcomes);
    }
    let expected = [Errno::CANCELED, Errno::SPIPE];
    for outcome in outcomes.drain(..) {
        assert!(matches!(outcome.result, Err(errno) if expected.contains(&errno)));
    }
    assert_eq!(engine.shut_down(Instant::now() + LIMIT), 0);
    assert!(begin.elapsed() < LIMIT / 2);
    drop(engine);
    let back: Vec<_> = (0..count).filter_map(|_| pool.take()).collect();
    assert_eq!(back.len(), count, "every buffer comes back");
}

fn a_fifo_without_a_writer_can_be_left(make: Make) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
    // For both, so that the open does not wait for somebody else.
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fifo = Arc::new(rustix::fs::open(&path, flags, Mode::empty()).unwrap());
    let pool = Pool::new(4, 4096, Pages::Small).unwrap();
    let ops = (0..4).map(|_| read(&pool, &fifo, 100, 0)).collect();
    leave(make, &pool, ops);
}

fn a_socket_whose_peer_is_idle_can_be_left(make: Make) {
    let (ours, _peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while (&ours).write(&[0; 4096]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    let socket: Arc<OwnedFd> = Arc::new(ours.into());
    let pool = Pool::new(4, 4096, Pages::Small).unwrap();
    let write = || {
        let buffer = pool.take().unwrap();
        op(Verb::Write, &socket, Buffer::Pool(buffer, 4096), 0)
    };
    let ops = vec![
        write(),
        read(&pool, &socket, 100, 0),
        write(),
        read(&pool, &socket, 100, 0),
    ];
    leave(make, &pool, ops);
}

#[test]
fn memory_that_a_hung_read_uses_can_be_unregistered() {
    if !rings_are_granted() {
        return;
    }
    let regions: Arc<Regions> = Arc::default();
    let length = 1 << 16;
    let start = regions.allocate(length, Pages::Small).unwrap();
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let owner = Owner::Program { movable: false };
    let plan = plan(|_| ());
    let known = Arc::clone(&regions);
    let mut ring = uring::Uring::new(&plan, 8, owner, known, metrics.meter()).unwrap();
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let pipe = Arc::new(reader);
    let file = file_with(&[7; 100]);
    // SAFETY: the memory is freed after the ring has ended.
    let lend = || Buffer::Lent(unsafe { Lent::new(start, 100) });
    ring.push(1, op(Verb::Read, &pipe, lend(), 0)).unwrap();
    ring.flush();
    regions.unregister(start.addr()).unwrap();
    // The ring hears of it at its next operation, which goes on.
    let begin = Instant::now();
    ring.push(2, op(Verb::Read, &file, lend(), 0)).unwrap();
    let mut outcomes = Vec::new();
    while outcomes.is_empty() {
        assert!(begin.elapsed() < LIMIT, "held up by the hung read");
        ring.reap(Wait::For(1, Some(begin + LIMIT)), &mut outcomes);
    }
    assert_eq!(outcomes[0].tag, 2);
    assert!(matches!(outcomes[0].result, Ok(Output::Bytes(100))));
    assert_eq!(ring.shut_down(begin + LIMIT), 0);
    drop(ring);
    regions.free(start.addr()).unwrap();
}
