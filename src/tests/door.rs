//! What a scenario can do, whichever door it goes through.

use super::log::Log;
use super::origin::TestOrigin;
use cachefs_core::{EngineChoice, OriginOptions, Residency, Stats, Verification};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Percents of the file system that are to be free (space_run_percent and so on): the
/// disk that the tests run on may be nearly full.
pub(crate) const SPACE: [u32; 3] = [3, 2, 1];
/// Objects that the caches of the tests have room for: a table for as many as a cache of
/// the default size may have takes a while to look through.
pub(crate) const OBJECTS_MAX: u32 = 4096;
/// Percent of their latency alone that hits may take before fills become fewer: on a busy
/// machine that would happen for no reason of the test.
pub(crate) const LATENCY_PERCENT: u32 = 1_000_000;

/// What scenarios ask of a cache.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) engine: EngineChoice,
    pub(crate) capacity_bytes: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) lease_bytes: u64,
    pub(crate) readahead: bool,
    pub(crate) readahead_bytes: u64,
    pub(crate) direct_copy_bytes: u64,
    pub(crate) durable: bool,
    pub(crate) sync_interval_ms: u64,
    pub(crate) origin_timeout_ms: u64,
    pub(crate) device_timeout_ms: u64,
    pub(crate) close_timeout_ms: u64,
    pub(crate) async_limit: u64,
    /// The number of a word of the option `copy_method`.
    pub(crate) copy_method: u64,
    /// A door of direct objects needs not be told.
    pub(crate) direct: bool,
    pub(crate) log: Option<&'static Log>,
}

impl Settings {
    pub(crate) fn new(engine: EngineChoice) -> Self {
        Self {
            engine,
            capacity_bytes: 0,
            chunk_bytes: 0,
            memory_bytes: 0,
            lease_bytes: 0,
            readahead: true,
            readahead_bytes: 0,
            direct_copy_bytes: 0,
            durable: true,
            sync_interval_ms: 0,
            origin_timeout_ms: 0,
            device_timeout_ms: 0,
            close_timeout_ms: 0,
            async_limit: 0,
            copy_method: 0,
            direct: false,
            log: None,
        }
    }
}

/// The three ways to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Blocking,
    Callback,
    Queue,
}

pub(crate) const WAYS: [Way; 3] = [Way::Blocking, Way::Callback, Way::Queue];

/// A completion with its numbers as the header has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) tag: u64,
    pub(crate) result: i64,
    pub(crate) bytes_from_cache: u64,
    pub(crate) source: u32,
    pub(crate) miss_reason: u32,
}

/// One read of a batch.
pub(crate) struct Ask<'a, F> {
    pub(crate) file: &'a F,
    pub(crate) length: usize,
    pub(crate) offset: u64,
}

/// A pending callback read: its id, and then its bytes.
pub(crate) struct Pending {
    pub(crate) id: u64,
    pub(crate) done: Receiver<(Vec<u8>, Done)>,
}

/// A cache behind one of the doors. Errors are positive errnos.
pub(crate) trait Door: Sized + Send + Sync {
    type Origin: Send + Sync;
    type File: Send + Sync;
    type Queue: QueueDoor<Self>;
    type Lease: LeaseDoor;

    fn open(dir: &Path, settings: &Settings) -> Result<Self, i32>;
    /// Whether it stores.
    fn is_normal(&self) -> bool;
    /// The engine by its name, and the text about it.
    fn engine(&self) -> (EngineChoice, String);
    fn stats(&self) -> Stats;
    fn directory_with(&self, root: &Path, options: &OriginOptions) -> Result<Self::Origin, i32>;
    fn custom_with(
        &self,
        name: &str,
        code: Arc<TestOrigin>,
        options: &OriginOptions,
    ) -> Self::Origin;
    /// `below`: everything below the path, too.
    fn invalidate(&self, origin: &Self::Origin, path: &[u8], below: bool);
    fn file(&self, origin: &Self::Origin, path: &[u8]) -> Result<Self::File, i32>;
    fn read(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> Result<u64, i32>;
    fn read_async(&self, file: &Self::File, length: usize, offset: u64) -> Result<Pending, i32>;
    fn cancel(&self, id: u64);
    /// Released when it is dropped.
    fn lease(&self, file: &Self::File, length: u64, offset: u64) -> Result<Self::Lease, i32>;
    /// `watch` gets the bytes done and in all; false cancels.
    fn fill(&self, file: &Self::File, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, i32>;
    /// Compares all that is cached with its checksums.
    fn verify(&self) -> Result<Verification, i32>;
    fn residency(&self, file: &Self::File) -> Residency;
    fn descriptor(&self, file: &Self::File) -> Result<OwnedFd, i32>;
    fn queue(&self, depth: u32) -> Self::Queue;
    /// Memory that the engine knows; give it back to `free`.
    fn allocate(&self, length: usize) -> *mut u8;
    fn free(&self, memory: *mut u8);
    /// Closes it; what is open of it stays.
    fn close(&self);

    fn directory(&self, root: &Path) -> Result<Self::Origin, i32> {
        self.directory_with(root, &OriginOptions::default())
    }

    fn custom(&self, name: &str, code: Arc<TestOrigin>) -> Self::Origin {
        self.custom_with(name, code, &OriginOptions::default())
    }

    /// One read by one of the ways: the bytes and the count, or the errno.
    fn read_by(
        &self,
        way: Way,
        file: &Self::File,
        length: usize,
        offset: u64,
    ) -> Result<Vec<u8>, i32> {
        let (mut bytes, result) = match way {
            Way::Blocking => {
                let mut bytes = vec![0xAA; length];
                let result = self.read(file, &mut bytes, offset)?;
                (bytes, result as i64)
            }
            Way::Callback => {
                let pending = self.read_async(file, length, offset)?;
                let (bytes, done) = pending.done.recv_timeout(LIMIT).expect("a completion");
                (bytes, done.result)
            }
            Way::Queue => {
                let asks = [Ask {
                    file,
                    length,
                    offset,
                }];
                let mut batch = self.batch(&asks);
                let (bytes, done) = batch.pop().expect("one completion");
                (bytes, done.result)
            }
        };
        let count = usize::try_from(result).map_err(|_| -result as i32)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Reads by one queue, all at once; in the order asked.
    fn batch(&self, asks: &[Ask<'_, Self::File>]) -> Vec<(Vec<u8>, Done)> {
        // Before the queue, so that they outlive it also when the test fails.
        let mut buffers: Vec<Vec<u8>> = asks.iter().map(|ask| vec![0xAA; ask.length]).collect();
        let mut queue = self.queue(asks.len() as u32);
        for (tag, (ask, buffer)) in asks.iter().zip(&mut buffers).enumerate() {
            queue
                .read(ask.file, buffer, ask.offset, tag as u64)
                .expect("room");
        }
        let mut done = queue.wait(asks.len(), asks.len(), Some(LIMIT));
        assert_eq!(done.len(), asks.len(), "every request completes");
        done.sort_by_key(|done| done.tag);
        drop(queue);
        buffers.into_iter().zip(done).collect()
    }
}

/// A lease behind one of the doors.
pub(crate) trait LeaseDoor: Send + Sync {
    fn bytes(&self) -> &[u8];
}

/// A queue behind one of the doors.
pub(crate) trait QueueDoor<D: Door> {
    /// The buffer must stay where it is until the completion.
    fn read(&mut self, file: &D::File, buffer: &mut [u8], offset: u64, tag: u64)
    -> Result<(), i32>;
    fn fill(&mut self, file: &D::File, tag: u64) -> Result<(), i32>;
    fn submit(&mut self);
    fn wait(&mut self, min: usize, max: usize, timeout: Option<Duration>) -> Vec<Done>;
    fn cancel(&mut self, tag: u64) -> usize;
    fn space(&mut self) -> usize;
    fn descriptor(&mut self) -> RawFd;
}

/// Longer than anything may take on a busy machine; a hang fails the test.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The engine that `auto` has to take: what CACHEFS_EXPECT_ENGINE says, else
/// what the kernel says when it is asked without the library. None: it is a
/// matter of what other tests have at the same moment.
pub(crate) fn granted_engine() -> Option<EngineChoice> {
    match std::env::var("CACHEFS_EXPECT_ENGINE").as_deref() {
        Ok("uring") => Some(EngineChoice::Uring),
        Ok("psync") => Some(EngineChoice::Psync),
        Ok("any") => None,
        Ok(other) => panic!("there is no engine {other}"),
        Err(_) if grants_io_uring() => Some(EngineChoice::Uring),
        Err(_) => Some(EngineChoice::Psync),
    }
}

fn grants_io_uring() -> bool {
    /// IORING_FEAT_NODROP and IORING_FEAT_EXT_ARG of io_uring_setup(2).
    const NEEDED: u32 = 1 << 1 | 1 << 8;
    // `struct io_uring_params` has 120 bytes; the sixth word is `features`.
    let mut parameters = [0u32; 30];
    // SAFETY: the call writes no more than the structure.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) };
    if ring < 0 {
        return false;
    }
    // SAFETY: a new descriptor, which is ours.
    drop(unsafe { OwnedFd::from_raw_fd(ring as RawFd) });
    parameters[5] & NEEDED == NEEDED
}

/// A directory for the cache and one for the origin.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("origin")).unwrap();
        Self { directory }
    }

    pub(crate) fn cache(&self) -> std::path::PathBuf {
        self.directory.path().join("cache")
    }

    pub(crate) fn origin(&self) -> std::path::PathBuf {
        self.directory.path().join("origin")
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }
}
