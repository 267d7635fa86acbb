//! How reads are answered that the kernel does not serve itself.
//!
//! | what | how | system calls with the reply |
//! |---|---|---|
//! | bytes in the cache | the mapped pages of the cached file are the reply | 1 |
//! | the same, many or past the page cache | the memory tier or pread(2), into a buffer | 1 or 2 |
//! | bytes that are not | the library reads, and answers from its own thread | |

use crate::nodes::Node;
use crate::opened::Served;
use crate::reply::{READ_BYTES_MAX, Reply};
use crate::server::Daemon;
use crate::wire::{LseekIn, LseekOut, ReadIn};
use cachefs_core::{Completion, Item, Lent, submit_batch};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a file that is not complete that are answered from its mapped pages, at most:
/// the device is asked for each of these alone, so that no more of it than was wanted is
/// read for a reader in no order. For more, pread(2) reads ahead.
const PRESENT_BYTES_MAX: usize = 64 << 10;

impl Daemon {
    /// Answers a READ, or has it answered.
    pub fn read(
        self: &Arc<Self>,
        node: &Arc<Node>,
        read: &ReadIn,
        buffer: &mut Vec<u8>,
        reply: &Reply,
    ) -> Result<(), Errno> {
        let served = self.served(node)?;
        let size = (read.size as usize).min(READ_BYTES_MAX);
        if let Some(map) = served.map() {
            let begin = usize::try_from(read.offset).map_or(map.len(), |at| at.min(map.len()));
            let end = map.len().min(begin + size);
            // EFAULT: the device has failed. The library reads the bytes once more, so that
            // it drops what is damaged, and the next read is served.
            if reply.try_bytes(&map[begin..end]).is_ok() {
                return Ok(());
            }
        }
        if size <= PRESENT_BYTES_MAX
            && let Some(present) = served.present()
            && let Some(bytes) = present.bytes(read.offset, size)
        {
            // Before it is answered: the next open may then be another one already.
            self.follow(node, &served, (read.offset, bytes.len() as u64));
            if reply.try_bytes(bytes).is_ok() {
                return Ok(());
            }
        }
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        match served.file.read_present(&mut buffer[..size], read.offset) {
            Some(length) => {
                self.follow(node, &served, (read.offset, length));
                reply.bytes(&buffer[..length as usize]);
                Ok(())
            }
            None => self.read_missing(node, served, (read.offset, size), reply),
        }
    }

    /// Reads what may have to come from the origin. Nobody waits for it here.
    fn read_missing(
        self: &Arc<Self>,
        node: &Arc<Node>,
        served: Arc<Served>,
        (offset, size): (u64, usize),
        reply: &Reply,
    ) -> Result<(), Errno> {
        let mut memory: Box<[u8]> = vec![0; size].into();
        // SAFETY: the callback owns the memory, and it is called once the read has
        // completed; a box stays where it is when its owner moves.
        let lent = unsafe { Lent::new(memory.as_mut_ptr(), size) };
        let (daemon, node, answer) = (Arc::clone(self), Arc::clone(node), reply.clone());
        let reader = Arc::clone(&served);
        let callback = move |completion: Completion| match completion.result {
            Ok(length) => {
                daemon.follow(&node, &reader, (offset, length));
                answer.bytes(&memory[..length as usize]);
            }
            Err(errno) => answer.error(errno),
        };
        match served.file.read_async(lent, offset, |_| {}, callback) {
            Ok(()) => Ok(()),
            // So many are under way that this thread can as well wait.
            Err(error) if error.errno() == Errno::AGAIN => {
                let mut memory = vec![0; size];
                let length = served.file.read_at(&mut memory, offset);
                let length = length.map_err(|error| error.errno())?;
                reply.bytes(&memory[..length as usize]);
                Ok(())
            }
            Err(error) => Err(error.errno()),
        }
    }

    /// Does what a read gives rise to: before it is answered.
    fn follow(&self, node: &Node, served: &Arc<Served>, (offset, length): (u64, u64)) {
        let version = served.version();
        if served.is_replaced.load(Ordering::Acquire) {
            // What it read may be in the kernel's pages in a moment.
            self.notices.drop_pages(node.number);
        } else if node.state.lock().version != version {
            self.moved_on(node, version);
        }
        let is_worth_it = served.course.lock().saw(offset, length, version.size);
        if is_worth_it && !served.is_filling.load(Ordering::Relaxed) {
            self.fill(served);
        }
    }

    /// Has the whole file copied into the cache, so that the next open can hand it to
    /// the kernel.
    fn fill(&self, served: &Arc<Served>) {
        if served.is_filling.swap(true, Ordering::AcqRel) {
            return;
        }
        if served.file.residency().complete {
            return;
        }
        let item = Item::background_fill(served.file.clone());
        let announce = |ids: &[u64]| served.fill.store(ids[0], Ordering::Release);
        let filled = Arc::downgrade(served);
        let callback = move |completions: &[Completion]| {
            if let Some(served) = filled.upgrade() {
                served.fill.store(0, Ordering::Release);
            }
            match completions[0].result {
                Ok(_) | Err(Errno::CANCELED) => {}
                Err(errno) => tracing::debug!("a file is not copied as a whole: {errno}"),
            }
        };
        if let Err(error) = submit_batch(vec![item], announce, callback) {
            tracing::debug!("a file is not copied as a whole: {error}");
            served.is_filling.store(false, Ordering::Release);
        }
    }

    /// Nobody has a file open any more that is being copied: unless much of it was read,
    /// the rest is not wanted.
    pub fn leave_off(&self, served: &Served) {
        let fill = served.fill.load(Ordering::Acquire);
        let size = served.version().size;
        if fill != 0 && !served.course.lock().is_mostly_read(size) {
            self.cache.cancel(fill);
        }
    }

    /// Finds data or a hole in a file, as the origin has them.
    pub fn seek(&self, node: &Node, seek: &LseekIn) -> Result<LseekOut, Errno> {
        let from = match seek.whence.cast_signed() {
            libc::SEEK_DATA => SeekFrom::Data(seek.offset),
            libc::SEEK_HOLE => SeekFrom::Hole(seek.offset),
            _ => return Err(Errno::INVAL),
        };
        let mut opened = node.opened.lock();
        let opened = opened.as_deref_mut().ok_or(Errno::BADF)?;
        // The file's own position is nobody's: all reads name theirs.
        let offset = rustix::fs::seek(opened.fd(self, node)?, from)?;
        Ok(LseekOut { offset })
    }
}
