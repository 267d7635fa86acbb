//! The ways to read a cached file: by a queue, blocking, by leases, and with pread(2).
//! All of them read the same blocks; but for leases, into the same registered memory.

use super::subject::Subject;
use super::trouble::Trouble;
use cachefs_core::{Cache, Completion, Lent, Queue, QueueOptions, Source, Treatment};
use std::os::unix::fs::FileExt;

/// One of the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On the queue: a whole batch at once, and the next when all of it is there.
    Batches,
    /// On the queue: as many in flight as it holds, until the end. So many are
    /// fetched, and replaced, together.
    Stream(usize),
    /// One blocking call of the library after the other.
    Blocking,
    /// One lease after the other: acquired, asked where it is, and released.
    Leases,
    /// As blocking calls, without the library.
    Pread,
}

/// A queue, and memory for as many blocks as it holds.
pub struct Reader<'a> {
    // In this order: when the queue is closed, no read is left that goes there.
    queue: Queue,
    memory: Memory<'a>,
    subject: &'a Subject<'a>,
    block: usize,
    /// Reads without a fetched completion.
    in_flight: usize,
    /// Of the last wait.
    completions: Vec<Completion>,
}

impl<'a> Reader<'a> {
    /// For `depth` reads of `block` bytes at once.
    pub fn new(subject: &'a Subject<'a>, block: u64, depth: u32) -> Result<Self, Trouble> {
        let block = block as usize;
        let options = QueueOptions {
            depth,
            ..QueueOptions::default()
        };
        Ok(Self {
            queue: subject.cache.open_queue(options)?,
            memory: Memory::new(&subject.cache, block * depth as usize)?,
            subject,
            block,
            in_flight: 0,
            completions: Vec::with_capacity(depth as usize),
        })
    }

    /// Reads the blocks at these offsets.
    pub fn read(&mut self, way: Way, offsets: &[u64]) -> Result<(), Trouble> {
        let subject = self.subject;
        match way {
            Way::Batches => self.in_batches(offsets),
            Way::Stream(together) => self.in_stream(offsets, together),
            Way::Blocking => self.one_by_one(offsets, |buffer, offset| {
                Ok(subject.file.read_at(buffer, offset)? as usize)
            }),
            Way::Leases => self.by_leases(offsets),
            Way::Pread => self.one_by_one(offsets, |buffer, offset| {
                let copy = &subject.copy;
                copy.read_at(buffer, offset).map_err(Trouble::io("pread"))
            }),
        }
    }

    fn depth(&self) -> usize {
        self.memory.length / self.block
    }

    fn in_batches(&mut self, offsets: &[u64]) -> Result<(), Trouble> {
        for batch in offsets.chunks(self.depth()) {
            self.push(batch.iter().copied().enumerate())?;
            self.fetch(batch.len(), batch.len())?;
        }
        Ok(())
    }

    fn in_stream(&mut self, offsets: &[u64], together: usize) -> Result<(), Trouble> {
        let mut waiting = offsets.iter().copied();
        self.push((0..self.depth()).zip(&mut waiting))?;
        while self.in_flight > 0 {
            self.fetch(together, together)?;
            // Into the places of those that have ended.
            let ended = std::mem::take(&mut self.completions);
            let places = ended.iter().map(|completion| completion.tag as usize);
            self.push(places.zip(&mut waiting))?;
            self.completions = ended;
        }
        Ok(())
    }

    fn one_by_one(
        &mut self,
        offsets: &[u64],
        read: impl Fn(&mut [u8], u64) -> Result<usize, Trouble>,
    ) -> Result<(), Trouble> {
        assert_eq!(self.in_flight, 0, "the memory is lent");
        // As a batch does: one block after the other, and again from the first.
        for batch in offsets.chunks(self.depth()) {
            let blocks = self.memory.bytes().chunks_exact_mut(self.block);
            for (block, &offset) in blocks.zip(batch) {
                let asked = block.len();
                let got = read(block, offset)?;
                if got != asked {
                    return Err(Trouble::Failed(format!(
                        "a read of {asked} bytes gave {got}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn by_leases(&self, offsets: &[u64]) -> Result<(), Trouble> {
        for &offset in offsets {
            let lease = self.subject.file.lease(offset, self.block as u64)?;
            let bytes = std::hint::black_box(lease.bytes());
            if bytes.len() != self.block {
                let (asked, got) = (self.block, bytes.len());
                let text = format!("a lease of {asked} bytes gave {got}");
                return Err(Trouble::Failed(text));
            }
        }
        Ok(())
    }

    /// Queues reads, each into its place of the memory.
    fn push(&mut self, reads: impl Iterator<Item = (usize, u64)>) -> Result<(), Trouble> {
        let file = &self.subject.file;
        let mut batch = self.queue.batch()?;
        for (place, offset) in reads {
            let buffer = self.memory.lend(place * self.block, self.block);
            batch.read(file, buffer, offset, place as u64, Treatment::default())?;
            self.in_flight += 1;
        }
        Ok(())
    }

    /// Waits for at least `min` completions, or all there will be, and takes no more
    /// than `max`.
    fn fetch(&mut self, min: usize, max: usize) -> Result<(), Trouble> {
        self.completions.clear();
        let completions = &mut self.completions;
        self.queue
            .wait((min, max), None, |completion| completions.push(completion))?;
        self.in_flight -= self.completions.len();
        for completion in &self.completions {
            if completion.result != Ok(self.block as u64) || completion.source != Source::Hit {
                let text = format!("a read did not come from the cache: {completion:?}");
                return Err(Trouble::Failed(text));
            }
        }
        Ok(())
    }
}

/// Memory of a cache.
struct Memory<'a> {
    cache: &'a Cache,
    start: *mut u8,
    length: usize,
}

impl<'a> Memory<'a> {
    fn new(cache: &'a Cache, length: usize) -> Result<Self, Trouble> {
        Ok(Self {
            cache,
            start: cache.allocate(length)?,
            length,
        })
    }

    fn lend(&mut self, offset: usize, length: usize) -> Lent {
        assert!(offset + length <= self.length);
        // SAFETY: the range is inside memory that lives until after the queue;
        // `Reader` uses a block again only when its completion was fetched.
        unsafe { Lent::new(self.start.add(offset), length) }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the cache gave it zeroed; `Reader` has nothing in flight now.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: the queue is closed, so no request uses it.
        let freed = unsafe { self.cache.free(self.start) };
        debug_assert!(freed.is_ok(), "it was allocated there");
    }
}
