//! The core's own API as a door.

use super::door::{Done, Door, Pending, QueueDoor, Settings};
use super::log::Log;
use super::origin::TestOrigin;
use crate::capi::read::convert;
use cachefs_core::{
    Cache, Completion, Config, EngineChoice, EngineKind, Error, File, Lent, Origin, Queue,
    QueueOptions, Residency, State, Stats,
};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// New objects are direct if the parameter says so.
pub(crate) struct CoreDoor<const DIRECT: bool>(Cache);

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

impl<const DIRECT: bool> Door for CoreDoor<DIRECT> {
    type Origin = Origin;
    type File = File;
    type Queue = Queue;

    fn open(dir: &Path, settings: &Settings) -> Result<Self, i32> {
        let config = Config {
            engine: settings.engine,
            capacity_bytes: settings.capacity_bytes,
            chunk_bytes: settings.chunk_bytes,
            origin_timeout_ms: settings.origin_timeout_ms,
            close_timeout_ms: settings.close_timeout_ms,
            async_limit: settings.async_limit,
            copy_method: settings.copy_method,
            direct_io: (DIRECT || settings.direct).into(),
            log: settings.log.map(Log::dispatch),
            ..Config::default()
        };
        Cache::open(dir, &config).map(Self).map_err(errno)
    }

    fn is_normal(&self) -> bool {
        self.0.report().state == State::Normal
    }

    fn engine(&self) -> (EngineChoice, String) {
        let report = self.0.report();
        let engine = match report.engine {
            EngineKind::Psync => EngineChoice::Psync,
            EngineKind::Uring => EngineChoice::Uring,
        };
        (engine, report.engine_reason)
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn directory(&self, root: &Path) -> Result<Origin, i32> {
        self.0.open_directory(root).map_err(errno)
    }

    fn custom(&self, name: &str, code: Arc<TestOrigin>) -> Origin {
        self.0.open_origin(name.as_bytes(), code).unwrap()
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
        self.0.cancel(id);
    }

    fn fill(&self, file: &File, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, i32> {
        file.fill(0, u64::MAX, watch).map_err(errno)
    }

    fn residency(&self, file: &File) -> Residency {
        file.residency()
    }

    fn descriptor(&self, file: &File) -> Result<OwnedFd, i32> {
        file.descriptor().map_err(errno)
    }

    fn queue(&self, depth: u32) -> Queue {
        self.0
            .open_queue(QueueOptions {
                depth,
                movable: false,
            })
            .unwrap()
    }

    fn allocate(&self, length: usize) -> *mut u8 {
        self.0.allocate(length).unwrap()
    }

    fn free(&self, memory: *mut u8) {
        // SAFETY: the scenarios free what no request uses any more.
        unsafe { self.0.free(memory) }.unwrap();
    }

    fn close(&self) {
        self.0.close().unwrap();
    }
}

impl<const DIRECT: bool> QueueDoor<CoreDoor<DIRECT>> for Queue {
    fn read(&mut self, file: &File, buffer: &mut [u8], offset: u64, tag: u64) -> Result<(), i32> {
        // SAFETY: the scenarios keep the buffer until the completion.
        let lent = unsafe { Lent::new(buffer.as_mut_ptr(), buffer.len()) };
        Queue::read(self, file, lent, offset, tag).map_err(errno)
    }

    fn fill(&mut self, file: &File, tag: u64) -> Result<(), i32> {
        Queue::fill(self, file, 0, u64::MAX, tag).map_err(errno)
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
