//! Queues in event loops.

use crate::tests::door::{Door, LIMIT, Place, QueueDoor, Settings};
use crate::tests::origin::TestOrigin;
use cachefs_core::EngineChoice;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Advice;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Whether the descriptor becomes readable within the time.
pub(super) fn readable(fd: RawFd, limit: Duration) -> bool {
    // SAFETY: the queue, which is open, owns the descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let limit = Timespec::try_from(limit).unwrap();
    let mut set = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut set, Some(&limit)).unwrap() == 1
}

/// Drops the cached files from the page cache, so that hits end some time after
/// they were submitted, as reads of a disk do.
fn forget_pages(cache: &Path) {
    let mut directories = vec![cache.join("objects")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "data") {
                let file = std::fs::File::open(path).unwrap();
                file.sync_data().unwrap();
                rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            }
        }
    }
}

pub(crate) fn a_queue_descriptor_tells_of_every_completion<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(64 * MIB)));
    let file = cache.file(&origin, b"file").unwrap();
    let mut buffers = vec![vec![0; 4096]; 16];
    let mut queue = cache.queue(16);
    let fd = queue.descriptor();
    assert_eq!(queue.descriptor(), fd, "the same each time");
    assert!(!readable(fd, Duration::ZERO), "nothing was asked");
    let (mut asked, mut done) = (0u64, 0u64);
    // Hits, misses and both at once; one outstanding and many. The loop never
    // waits but for the descriptor, so a lost wake-up is a time-out.
    while done < 2000 {
        if done.is_multiple_of(20) {
            forget_pages(&place.cache());
        }
        let depth = if (done / 100).is_multiple_of(2) {
            1
        } else {
            16
        };
        while asked - done < depth {
            let buffer = &mut buffers[(asked % 16) as usize];
            let offset = (asked * 37 % 64) * MIB + asked;
            queue
                .read(&file, buffer, offset.min(64 * MIB - 4096), asked)
                .unwrap();
            asked += 1;
        }
        done += queue.wait(0, 3, Some(Duration::ZERO)).len() as u64;
        if asked > done {
            assert!(readable(fd, LIMIT), "lost: {done} of {asked}");
        }
    }
    let rest = queue.wait(16, 16, Some(LIMIT)).len() as u64;
    assert_eq!(done + rest, asked);
    // It may be readable once for nothing, but not for ever.
    let mut idle = 0;
    while readable(fd, Duration::from_millis(20)) {
        assert_eq!(queue.wait(0, 1, Some(Duration::ZERO)).len(), 0);
        idle += 1;
        assert!(idle < 100, "readable, and nothing is left to tell");
    }
}

pub(crate) fn a_wait_ends_with_its_time<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let code = Arc::new(TestOrigin::new(MIB));
    code.set_hang(true);
    let origin = cache.custom("code", Arc::clone(&code));
    let file = cache.file(&origin, b"file").unwrap();
    let mut buffer = [0; 10];
    let mut queue = cache.queue(2);
    let begin = Instant::now();
    assert_eq!(
        queue.wait(1, 1, None).len(),
        0,
        "an empty queue does not wait"
    );
    queue.read(&file, &mut buffer, 0, 1).unwrap();
    assert_eq!(queue.wait(1, 1, Some(Duration::from_millis(50))).len(), 0);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            code.set_hang(false);
        });
        assert_eq!(queue.wait(1, 1, None).len(), 1, "woken by another thread");
    });
}
