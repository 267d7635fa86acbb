//! Copies on the engine: two operations, the second linked to the first.

use super::way::Way;
use super::{Failure, Shard, State};
use crate::buf::{Buffer, PoolBuf};
use crate::error::Errno;
use crate::exec::OpTarget;
use crate::io::{NO_OFFSET, Op, Output, Terms, Verb};
use crate::limits::{PIPE_BYTES, PIPES_MAX};
use crate::request::store_op;
use crate::store::checksum;
use rustix::pipe::PipeFlags;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Which operation of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// From the origin.
    In,
    /// To the object.
    Out,
}

type Ended = Result<usize, Errno>;

/// How far a chain is.
#[derive(Default)]
pub(super) struct Chain {
    /// Bytes of the chunk that are copied.
    done: usize,
    /// Bytes that the operations under way are to move.
    wanted: usize,
    /// Operations without an outcome.
    pub(super) pending: u32,
    came_in: Option<Ended>,
    went_out: Option<Ended>,
    pipe: Option<Pipe>,
    /// What the bytes go through, until both operations have ended.
    buffer: Option<Arc<PoolBuf>>,
    /// The checksum of the chunk, if its bytes went through a buffer.
    pub(super) sum: Option<u32>,
}

/// A pipe for splices.
pub(super) struct Pipe {
    read: Arc<OwnedFd>,
    write: Arc<OwnedFd>,
    /// Bytes that it takes.
    bytes: usize,
}

impl Pipe {
    /// Without waiting at either end: a splice that finds it full or empty says
    /// so, in place of hanging for ever.
    fn new() -> Result<Self, Errno> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (read, write) = rustix::pipe::pipe_with(flags)?;
        #[cfg(test)]
        let asked = tests::PIPE_BYTES.load(std::sync::atomic::Ordering::Relaxed);
        #[cfg(not(test))]
        let asked = PIPE_BYTES;
        // Refused where the user's pipes are too large together: then as it is.
        if let Err(errno) = rustix::pipe::fcntl_setpipe_size(&write, asked) {
            tracing::debug!("a pipe stays small: {errno}");
        }
        let bytes = rustix::pipe::fcntl_getpipe_size(&write)?;
        #[cfg(test)]
        let bytes = bytes.max(tests::PIPE_CLAIMS.load(std::sync::atomic::Ordering::Relaxed));
        Ok(Self {
            read: Arc::new(read),
            write: Arc::new(write),
            bytes,
        })
    }

    fn content(&self) -> usize {
        rustix::io::ioctl_fionread(&self.read).unwrap_or(0) as usize
    }
}

impl Shard {
    /// Has a chunk wait for what it needs.
    pub(super) fn queue_copy(&mut self, slot: usize) {
        let copy = &mut self.copying.copies[slot];
        copy.state = State::Waiting;
        copy.deadline = None;
        if !self.copying.is_starved() && self.starved.is_empty() {
            self.progress = Instant::now();
        }
        self.copying.waiting.push_back(slot);
        self.feed_copies();
    }

    /// Gives buffers and pipes to the copies that wait for one.
    pub(crate) fn feed_copies(&mut self) {
        loop {
            self.turn_copies();
            let Some(&slot) = self.copying.waiting.front() else {
                return;
            };
            let started = match self.copying.copies[slot].way {
                Way::Splice => self.start_splices(slot),
                _ => self.start_ring(slot),
            };
            if !started {
                return;
            }
        }
    }

    fn begin_chain(&mut self, slot: usize) {
        self.copying.waiting.pop_front();
        self.progress = Instant::now();
        self.counters.origin_reads.add(1);
        let copy = &mut self.copying.copies[slot];
        copy.state = State::Working;
        copy.begun = self.progress;
        copy.deadline = Some(self.progress + self.config.origin_timeout);
        let (file, bytes) = (Arc::clone(&copy.file), copy.extent().1);
        self.served(&file, bytes);
    }

    fn start_ring(&mut self, slot: usize) -> bool {
        let Some(buffer) = self.pool.take_leaving(self.spare_of_stored()) else {
            return false;
        };
        self.begin_chain(slot);
        let copy = &mut self.copying.copies[slot];
        let (offset, length) = copy.extent();
        let length = length as usize;
        let buffer = Arc::new(buffer);
        let direct = copy.direct.as_ref();
        let read = Op {
            verb: Verb::Read,
            file: Arc::clone(direct.map_or(copy.source(), |direct| &direct.file)),
            // Nobody looks at it before the write, which is linked to the read.
            buffer: Buffer::Shared(Arc::clone(&buffer), length),
            offset,
            terms: Terms {
                direct: direct.map(|direct| direct.block),
                linked: true,
                elsewhere: copy.is_elsewhere(),
                ..copy.terms()
            },
        };
        copy.chain.buffer = Some(Arc::clone(&buffer));
        let write = store_op(copy.object(), (buffer, length), offset, copy.terms());
        copy.chain.wanted = length;
        self.push_chain(slot, read, write);
        true
    }

    /// False: it waits for a pipe.
    fn start_splices(&mut self, slot: usize) -> bool {
        let pipe = match self.copying.pipes.pop() {
            Some(pipe) => pipe,
            None if self.copying.pipe_count >= PIPES_MAX => return false,
            None => match Pipe::new() {
                Ok(pipe) => {
                    self.copying.pipe_count += 1;
                    pipe
                }
                Err(errno) => {
                    tracing::warn!("no pipe to copy through: {errno}");
                    self.copying.copies[slot].way = Way::Ring;
                    return self.start_ring(slot);
                }
            },
        };
        self.begin_chain(slot);
        self.copying.copies[slot].chain = Chain {
            pipe: Some(pipe),
            ..Chain::default()
        };
        self.splice(slot);
        true
    }

    /// The next bytes of a chunk, as many as the pipe takes.
    fn splice(&mut self, slot: usize) {
        let copy = &mut self.copying.copies[slot];
        let (offset, length) = copy.extent();
        let (source, target) = (Arc::clone(copy.source()), Arc::clone(copy.object().data()));
        let terms = copy.terms();
        let chain = &mut copy.chain;
        let pipe = chain.pipe.as_ref().expect("taken before");
        let offset = offset + chain.done as u64;
        chain.wanted = pipe.bytes.min(length as usize - chain.done);
        let into = Op {
            verb: Verb::Splice,
            file: Arc::clone(&pipe.write),
            buffer: Buffer::Fd {
                file: source,
                offset,
                length: chain.wanted,
            },
            offset: NO_OFFSET,
            terms: Terms {
                linked: true,
                ..terms
            },
        };
        let out = out_of(pipe, target, offset, chain.wanted);
        self.push_chain(slot, into, out);
    }

    fn push_chain(&mut self, slot: usize, first: Op, second: Op) {
        let chain = &mut self.copying.copies[slot].chain;
        (chain.came_in, chain.went_out, chain.pending) = (None, None, 2);
        self.push_pair(
            (OpTarget::Copy(slot, Part::In), first),
            (OpTarget::Copy(slot, Part::Out), second),
        );
    }

    pub(super) fn cancel_chain(&mut self, slot: usize) {
        if self.copying.copies[slot].chain.pending > 0 {
            self.cancel_op(OpTarget::Copy(slot, Part::In));
            self.cancel_op(OpTarget::Copy(slot, Part::Out));
        }
    }

    /// One operation of a chain has ended.
    pub(crate) fn chain_ended(&mut self, slot: usize, part: Part, result: Result<Output, Errno>) {
        let result = result.map(|output| match output {
            Output::Bytes(count) => count,
            Output::Attributes(_) => unreachable!("it moves bytes"),
        });
        let chain = &mut self.copying.copies[slot].chain;
        match part {
            Part::In => chain.came_in = Some(result),
            Part::Out => chain.went_out = Some(result),
        }
        chain.pending -= 1;
        if chain.pending > 0 {
            return;
        }
        if self.copying.copies[slot].way == Way::Splice {
            self.splices_ended(slot);
        } else {
            self.ring_ended(slot);
        }
    }

    fn ring_ended(&mut self, slot: usize) {
        let copy = &mut self.copying.copies[slot];
        let (whole, direct) = (copy.chain.wanted, copy.direct.is_some());
        let came_in = copy.chain.came_in.take().expect("both have ended");
        let went_out = copy.chain.went_out.take().expect("both have ended");
        let buffer = copy.chain.buffer.take().expect("both went through it");
        let is_copied = came_in == Ok(whole) && went_out == Ok(whole);
        copy.chain.sum = is_copied.then(|| checksum(buffer.bytes(whole)));
        drop(buffer);
        let result = match (came_in, went_out) {
            (Err(Errno::INVAL), _) if direct && copy.state != State::Overdue => {
                // Less aligned than was promised, or at the end of a file that
                // has become shorter: the ordinary way tells.
                copy.direct = None;
                for waiter in &copy.waiters {
                    self.requests[waiter.request].read_indirectly();
                }
                return self.queue_copy(slot);
            }
            (Err(errno), _) => Err(Failure::Origin(errno)),
            (Ok(count), _) if count < whole => Err(Failure::Origin(Errno::IO)),
            (Ok(_), Err(errno)) => Err(Failure::Cache(errno)),
            (Ok(_), Ok(count)) if count < whole => Err(Failure::Cache(Errno::NOSPC)),
            (Ok(_), Ok(_)) => Ok(()),
        };
        self.copy_ended(slot, result);
    }

    fn splices_ended(&mut self, slot: usize) {
        let copy = &mut self.copying.copies[slot];
        let (offset, length) = copy.extent();
        let overdue = copy.state == State::Overdue;
        let target = Arc::clone(copy.object().data());
        let chain = &mut copy.chain;
        let whole = chain.wanted;
        let pipe = chain.pipe.as_ref().expect("taken before");
        // None: what is in the pipe was all that was wanted of this step.
        let came_in = chain.came_in.take();
        let went_out = chain.went_out.take().expect("it has ended");
        let result = match (came_in, went_out) {
            (Some(Ok(count)), _) if count < whole => Err(Failure::Origin(Errno::IO)),
            (Some(Ok(_)) | None, Ok(count)) if count == whole => Ok(()),
            // The pipe took less than it was said to take.
            (Some(Err(Errno::AGAIN)), _) if pipe.content() > 0 && !overdue => {
                chain.wanted = pipe.content();
                let offset = offset + chain.done as u64;
                let out = out_of(pipe, target, offset, chain.wanted);
                chain.pending = 1;
                return self.push(OpTarget::Copy(slot, Part::Out), out);
            }
            (Some(Err(errno)), _) if refuses(errno) => Err(Failure::Refused),
            (Some(Err(Errno::AGAIN)), _) => Err(Failure::Unclear),
            (Some(Err(errno)), _) => Err(Failure::Origin(errno)),
            (_, Err(errno)) if refuses(errno) => Err(Failure::Refused),
            (_, Err(Errno::AGAIN) | Ok(_)) => Err(Failure::Unclear),
            (_, Err(errno)) => Err(Failure::Cache(errno)),
        };
        if result.is_ok() {
            chain.done += whole;
            if !overdue && chain.done < length as usize {
                return self.splice(slot);
            }
        }
        let pipe = copy.chain.pipe.take().expect("taken before");
        match result {
            Ok(()) => self.copying.pipes.push(pipe),
            // There may be bytes in it.
            Err(_) => self.copying.pipe_count -= 1,
        }
        self.copy_ended(slot, result);
    }

    /// Goes on with what a run could not be copied by.
    pub(super) fn copy_otherwise(&mut self, slot: usize, failure: Failure) {
        let copy = &mut self.copying.copies[slot];
        if failure == Failure::Refused {
            let (way, device) = (copy.way, copy.device);
            let refused = self.copying.refused.entry(device).or_default();
            if way != Way::Hole && !refused.has(way) {
                tracing::info!("files of this origin are not copied by {way:?}: it is refused");
                *refused = refused.with(way);
            }
        }
        let copy = &self.copying.copies[slot];
        let direct = copy.direct.is_some();
        let next = match failure {
            Failure::Refused if copy.way != Way::Hole => {
                self.way((copy.device, direct), copy.object())
            }
            _ => Way::Ring,
        };
        if next.blocks() {
            self.copying.copies[slot].way = next;
            self.start_copy(slot, false);
        } else {
            if let Some(waiter) = copy.waiters.first()
                && direct
            {
                self.pass_by_page_cache(waiter.request, copy.object());
            }
            self.by_engine(slot, next);
        }
    }
}

fn out_of(pipe: &Pipe, target: Arc<OwnedFd>, offset: u64, length: usize) -> Op {
    Op {
        verb: Verb::Splice,
        file: target,
        buffer: Buffer::Fd {
            file: Arc::clone(&pipe.read),
            offset: NO_OFFSET,
            length,
        },
        offset,
        terms: Terms::default(),
    }
}

/// Whether a file system says that it cannot splice.
fn refuses(errno: Errno) -> bool {
    [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS].contains(&errno)
}

#[cfg(test)]
mod tests {
    use crate::{Cache, Config, EngineChoice, OriginOptions, Stats};
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// What pipes are asked to hold.
    pub(super) static PIPE_BYTES: AtomicUsize = AtomicUsize::new(super::PIPE_BYTES);
    /// What they are said to hold at least.
    pub(super) static PIPE_CLAIMS: AtomicUsize = AtomicUsize::new(0);

    fn splice(engine: EngineChoice, bytes: &[u8]) -> Stats {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("origin")).unwrap();
        std::fs::write(place.path().join("origin/file"), bytes).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let mut config = Config {
            engine,
            ..Config::default()
        };
        config.set("copy_method", "splice").unwrap();
        let cache = Cache::open(&place.path().join("cache"), &config).unwrap();
        let origin = cache
            .open_directory(&place.path().join("origin"), &OriginOptions::default())
            .unwrap();
        let file = origin.open(b"file").unwrap();
        let size = bytes.len() as u64;
        assert_eq!(file.fill(0, u64::MAX, |_, _| true).unwrap(), size);
        let copy = std::fs::File::from(file.descriptor().unwrap());
        let mut copied = vec![0; bytes.len()];
        copy.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == bytes, "the copy is the file");
        cache.stats()
    }

    #[test]
    fn a_pipe_that_takes_less_than_it_says_is_survived() {
        let bytes: Vec<u8> = (0..(1u32 << 20) + 4099)
            .map(|at| (at % 251) as u8)
            .collect();
        for engine in [EngineChoice::Auto, EngineChoice::Psync] {
            for (holds, claims) in [(4096, 0), (4096, 64 << 10), (64 << 10, 1 << 20)] {
                PIPE_BYTES.store(holds, Ordering::Relaxed);
                PIPE_CLAIMS.store(claims, Ordering::Relaxed);
                let stats = splice(engine, &bytes);
                assert_eq!(
                    stats.bytes_spliced,
                    bytes.len() as u64,
                    "{engine:?} {holds}"
                );
            }
        }
        PIPE_BYTES.store(super::PIPE_BYTES, Ordering::Relaxed);
        PIPE_CLAIMS.store(0, Ordering::Relaxed);
    }
}
