//! The core's own API as a door.

use super::door::{
    Done, Door, LATENCY_PERCENT, LeaseDoor, OBJECTS_MAX, Pending, QueueDoor, SPACE, Settings,
};
use super::log::Log;
use super::origin::TestOrigin;
use super::random::Random;
use crate::capi::read::convert;
use cachefs_core::{
    Cache, Completion, Config, CustomOrigin, EngineChoice, EngineKind, Error, File, Lease, Lent,
    Origin, OriginOptions, Queue, QueueOptions, Report, Residency, Simulation, State, Stats,
    Verification,
};
use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// New objects are direct if the first parameter says so, and the host is a
/// simulated one if the second does.
pub(crate) struct CoreDoor<const DIRECT: bool, const SIMULATED: bool = false> {
    cache: Cache,
    /// What the host was made from: says so when a test fails.
    _seed: Option<Random>,
}

/// On a host whose I/O is late, out of order, short and interrupted, as a seed says.
pub(crate) type SimDoor<const DIRECT: bool> = CoreDoor<DIRECT, true>;

/// A host of its own for each cache that the calling test opens.
fn simulation() -> (Simulation, Random) {
    thread_local! {
        static OPENED: Cell<u64> = const { Cell::new(0) };
    }
    let mut random = Random::new();
    let opened = OPENED.replace(OPENED.get() + 1);
    (Simulation::new(random.next() ^ opened), random)
}

fn errno(error: Error) -> i32 {
    error.errno().raw_os_error()
}

fn done(completion: &Completion) -> Done {
    let completion = convert(completion);
    Done {
        tag: completion.tag,
        result: completion.result,
        bytes_from_cache: completion.bytes_from_cache,
        source: completion.source,
        miss_reason: completion.miss_reason,
    }
}

fn config<const DIRECT: bool>(settings: &Settings) -> Config {
    Config {
        engine: settings.engine,
        capacity_bytes: settings.capacity_bytes,
        objects_max: OBJECTS_MAX.into(),
        fill_latency_percent: LATENCY_PERCENT.into(),
        space_run_percent: SPACE[0].into(),
        space_cull_percent: SPACE[1].into(),
        space_stop_percent: SPACE[2].into(),
        memory_bytes: settings.memory_bytes,
        lease_bytes: settings.lease_bytes,
        readahead: (!settings.readahead).into(),
        readahead_bytes: settings.readahead_bytes,
        direct_copy_bytes: settings.direct_copy_bytes,
        durable: (!settings.durable).into(),
        sync_interval_ms: settings.sync_interval_ms,
        chunk_bytes: settings.chunk_bytes,
        origin_timeout_ms: settings.origin_timeout_ms,
        device_timeout_ms: settings.device_timeout_ms,
        close_timeout_ms: settings.close_timeout_ms,
        async_limit: settings.async_limit,
        copy_method: settings.copy_method,
        direct_io: (DIRECT || settings.direct).into(),
        log: settings.log.map(Log::dispatch),
        ..Config::default()
    }
}

impl<const DIRECT: bool> SimDoor<DIRECT> {
    /// On this host, which the test knows.
    pub(crate) fn on(dir: &Path, settings: &Settings, host: &Simulation) -> Result<Self, i32> {
        let cache = Cache::open_simulated(dir, &config::<DIRECT>(settings), host);
        let cache = cache.map_err(errno)?;
        Ok(Self { cache, _seed: None })
    }

    /// What it runs on.
    pub(crate) fn report(&self) -> Report {
        self.cache.report()
    }

    /// An origin of the test's own.
    pub(crate) fn origin(&self, name: &str, code: Arc<dyn CustomOrigin>) -> Origin {
        self.cache
            .open_origin(name.as_bytes(), code, &OriginOptions::default())
            .unwrap()
    }
}

impl<const DIRECT: bool, const SIMULATED: bool> Door for CoreDoor<DIRECT, SIMULATED> {
    type Origin = Origin;
    type File = File;
    type Queue = Queue;
    type Lease = Lease;

    fn open(dir: &Path, settings: &Settings) -> Result<Self, i32> {
        let config = config::<DIRECT>(settings);
        let (cache, seed) = if SIMULATED {
            let (host, seed) = simulation();
            (Cache::open_simulated(dir, &config, &host), Some(seed))
        } else {
            (Cache::open(dir, &config), None)
        };
        let cache = cache.map_err(errno)?;
        Ok(Self { cache, _seed: seed })
    }

    fn is_normal(&self) -> bool {
        self.cache.report().state == State::Normal
    }

    fn engine(&self) -> (EngineChoice, String) {
        let report = self.cache.report();
        let engine = match report.engine {
            EngineKind::Psync => EngineChoice::Psync,
            EngineKind::Uring => EngineChoice::Uring,
        };
        (engine, report.engine_reason)
    }

    fn stats(&self) -> Stats {
        self.cache.stats()
    }

    fn directory_with(&self, root: &Path, options: &OriginOptions) -> Result<Origin, i32> {
        self.cache.open_directory(root, options).map_err(errno)
    }

    fn custom_with(&self, name: &str, code: Arc<TestOrigin>, options: &OriginOptions) -> Origin {
        let opened = self.cache.open_origin(name.as_bytes(), code, options);
        opened.unwrap()
    }

    fn invalidate(&self, origin: &Origin, path: &[u8], below: bool) {
        let done = if below {
            origin.invalidate_below(path)
        } else {
            origin.invalidate(path)
        };
        done.unwrap();
    }

    fn file(&self, origin: &Origin, path: &[u8]) -> Result<File, i32> {
        origin.open(path).map_err(errno)
    }

    fn read(&self, file: &File, buffer: &mut [u8], offset: u64) -> Result<u64, i32> {
        file.read_at(buffer, offset).map_err(errno)
    }

    fn read_async(&self, file: &File, length: usize, offset: u64) -> Result<Pending, i32> {
        let (sender, receiver) = mpsc::channel();
        let mut buffer = vec![0xAA; length];
        // SAFETY: the callback owns the buffer, so it lives until the completion.
        let lent = unsafe { Lent::new(buffer.as_mut_ptr(), length) };
        let mut id = 0;
        file.read_async(
            lent,
            offset,
            |given| id = given,
            move |completion| {
                // A test that has failed already does not listen.
                let _ = sender.send((buffer, done(&completion)));
            },
        )
        .map_err(errno)?;
        Ok(Pending { id, done: receiver })
    }

    fn cancel(&self, id: u64) {
        self.cache.cancel(id);
    }

    fn lease(&self, file: &File, length: u64, offset: u64) -> Result<Lease, i32> {
        file.lease(offset, length).map_err(errno)
    }

    fn fill(&self, file: &File, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, i32> {
        file.fill(0, u64::MAX, watch).map_err(errno)
    }

    fn verify(&self) -> Result<Verification, i32> {
        self.cache.verify(|_| true).map_err(errno)
    }

    fn residency(&self, file: &File) -> Residency {
        file.residency()
    }

    fn descriptor(&self, file: &File) -> Result<OwnedFd, i32> {
        file.descriptor().map_err(errno)
    }

    fn queue(&self, depth: u32) -> Queue {
        self.cache
            .open_queue(QueueOptions {
                depth,
                movable: false,
            })
            .unwrap()
    }

    fn allocate(&self, length: usize) -> *mut u8 {
        self.cache.allocate(length).unwrap()
    }

    fn free(&self, memory: *mut u8) {
        // SAFETY: the scenarios free what no request uses any more.
        unsafe { self.cache.free(memory) }.unwrap();
    }

    fn close(&self) {
        self.cache.close().unwrap();
    }
}

impl LeaseDoor for Lease {
    fn bytes(&self) -> &[u8] {
        Lease::bytes(self)
    }
}

impl<const DIRECT: bool, const SIMULATED: bool> QueueDoor<CoreDoor<DIRECT, SIMULATED>> for Queue {
    fn read(&mut self, file: &File, buffer: &mut [u8], offset: u64, tag: u64) -> Result<(), i32> {
        // SAFETY: the scenarios keep the buffer until the completion.
        let lent = unsafe { Lent::new(buffer.as_mut_ptr(), buffer.len()) };
        Queue::read(self, file, lent, offset, tag).map_err(errno)
    }

    fn fill(&mut self, file: &File, tag: u64) -> Result<(), i32> {
        Queue::fill(self, file, 0, u64::MAX, tag).map_err(errno)
    }

    fn submit(&mut self) {
        Queue::submit(self).unwrap();
    }

    fn wait(&mut self, min: usize, max: usize, timeout: Option<Duration>) -> Vec<Done> {
        let mut all = Vec::new();
        let count = Queue::wait(self, (min, max), timeout, |completion| {
            all.push(done(&completion));
        });
        assert_eq!(count.unwrap(), all.len());
        all
    }

    fn cancel(&mut self, tag: u64) -> usize {
        Queue::cancel(self, tag).unwrap()
    }

    fn space(&mut self) -> usize {
        Queue::space(self).unwrap()
    }

    fn descriptor(&mut self) -> RawFd {
        self.event().unwrap().as_raw_fd()
    }
}
