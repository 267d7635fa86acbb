//! An origin that is somebody's code.

use super::Source;
use super::asking::Asking;
use crate::buf::PoolBuf;
use crate::error::{Errno, Error, Result};
use crate::exec::{FetchId, Message, Port};
use crate::file::FileInner;
use crate::readahead::Places;
use crate::token::VersionToken;
use crate::workers::{Job, Workers};
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// The code of an origin.
pub trait CustomOrigin: Send + Sync + 'static {
    /// The version of a file now. Called on the thread that opens a file, and
    /// after reads.
    fn stat(&self, path: &CStr) -> std::result::Result<VersionToken, Errno>;

    /// Starts a read; [`OriginRead::complete`] ends it, here or on any thread.
    /// Dropping it instead fails the read with EIO.
    fn read(&self, read: OriginRead);

    /// Whether `read` itself fails with ESTALE when the version is another one,
    /// so that no `stat` follows it.
    fn checks_version(&self) -> bool {
        false
    }

    /// Threads that call `read`, and `stat` after reads, so that both may
    /// block. 0 promises that they never block: the I/O threads call them.
    fn threads(&self) -> u32 {
        4
    }
}

/// One read that an origin was asked for.
pub struct OriginRead {
    path: Arc<CString>,
    version: VersionToken,
    offset: u64,
    length: usize,
    /// None once the read is complete.
    buffer: Option<PoolBuf>,
    reply: ReadReply,
}

impl OriginRead {
    pub(crate) fn new(
        path: Arc<CString>,
        version: VersionToken,
        (offset, length): (u64, usize),
        buffer: PoolBuf,
        reply: ReadReply,
    ) -> Self {
        Self {
            path,
            version,
            offset,
            length,
            buffer: Some(buffer),
            reply,
        }
    }

    /// The file.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// The version that the bytes must be of.
    pub fn version(&self) -> &VersionToken {
        &self.version
    }

    /// Where in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the bytes go; its length is how many are wanted.
    pub fn buffer(&mut self) -> &mut [u8] {
        let buffer = self.buffer.as_mut().expect("only `finish` takes it");
        buffer.bytes_mut(self.length)
    }

    /// Ends the read: the bytes that are in the buffer, from its start, or an
    /// errno. More than were wanted is EIO.
    pub fn complete(mut self, result: std::result::Result<usize, Errno>) {
        self.finish(result.and_then(|count| {
            if count <= self.length {
                Ok(count)
            } else {
                Err(Errno::IO)
            }
        }));
    }

    fn finish(&mut self, result: std::result::Result<usize, Errno>) {
        if let Some(buffer) = self.buffer.take() {
            self.reply.send(result, buffer);
        }
    }
}

impl Drop for OriginRead {
    fn drop(&mut self) {
        self.finish(Err(Errno::IO));
    }
}

/// Where the result of a read goes.
pub(crate) struct ReadReply {
    pub(crate) port: Arc<Port>,
    pub(crate) fetch: FetchId,
}

impl ReadReply {
    fn send(&self, result: std::result::Result<usize, Errno>, buffer: PoolBuf) {
        // A port that is closed drops the message, and with it the buffer.
        let fetch = self.fetch;
        drop(self.port.post(Message::OriginRead {
            fetch,
            result,
            buffer,
        }));
    }
}

/// Where the result of a `stat` goes.
pub(crate) struct StatReply {
    pub(crate) port: Arc<Port>,
    pub(crate) fetch: FetchId,
}

/// A custom origin with its threads.
pub(crate) struct Custom {
    code: Arc<dyn CustomOrigin>,
    /// None if the code never blocks.
    workers: Option<Arc<Workers<OriginJob>>>,
    /// Reads ahead leave a thread to readers, if there is more than one.
    prefetch_places: Option<Arc<Places>>,
}

/// Where an opened file goes.
pub(crate) struct OpenReply {
    pub(crate) port: Arc<Port>,
    pub(crate) file: Arc<FileInner>,
}

/// A call that may block.
pub(crate) enum OriginJob {
    /// Of the code, or of a file system.
    Open(OpenReply),
    /// The same for a thread that waits.
    Ask(Arc<Asking>),
    Read(Arc<dyn CustomOrigin>, OriginRead),
    Stat(Arc<dyn CustomOrigin>, Arc<CString>, StatReply),
}

impl Job for OriginJob {
    fn run(self) {
        match self {
            OriginJob::Open(OpenReply { port, file }) => {
                let opened = Box::new(file.origin.ask_once(&file.path, file.spot));
                drop(port.post(Message::Opened(file, opened)));
            }
            OriginJob::Ask(asking) => asking.ask(),
            OriginJob::Read(code, read) => code.read(read),
            OriginJob::Stat(code, path, reply) => {
                let result = code.stat(&path);
                let fetch = reply.fetch;
                drop(reply.port.post(Message::OriginStat { fetch, result }));
            }
        }
    }
}

impl Custom {
    pub(crate) fn new(code: Arc<dyn CustomOrigin>) -> Self {
        let threads = code.threads();
        let workers = (threads > 0).then(|| Arc::new(Workers::new("cachefs-origin", threads)));
        let prefetch_places = (threads > 0).then(|| Places::new((threads - 1).max(1)));
        Self {
            code,
            workers,
            prefetch_places,
        }
    }

    /// For reads ahead of readers; None: they take nothing that readers need.
    pub(crate) fn prefetch_places(&self) -> Option<&Arc<Places>> {
        self.prefetch_places.as_ref()
    }

    pub(crate) fn workers(&self) -> Option<&Arc<Workers<OriginJob>>> {
        self.workers.as_ref()
    }

    pub(super) fn open(&self, path: CString) -> Result<(Source, Vec<u8>, VersionToken)> {
        let token = self.code.stat(&path).map_err(|errno| {
            let (path, text) = (path.to_string_lossy(), crate::error::describe(errno));
            Error::new(errno, format!("stat {path}: {text}"))
        })?;
        let identity = path.to_bytes().to_vec();
        Ok((Source::Path(Arc::new(path)), identity, token))
    }

    pub(crate) fn checks_version(&self) -> bool {
        self.code.checks_version()
    }

    pub(crate) fn read(&self, read: OriginRead) {
        self.call(OriginJob::Read(Arc::clone(&self.code), read));
    }

    pub(crate) fn stat(&self, path: Arc<CString>, reply: StatReply) {
        self.call(OriginJob::Stat(Arc::clone(&self.code), path, reply));
    }

    fn call(&self, job: OriginJob) {
        match &self.workers {
            None => job.run(),
            Some(workers) => {
                if let Err(OriginJob::Stat(_, _, reply)) = workers.submit(job) {
                    let (fetch, result) = (reply.fetch, Err(Errno::AGAIN));
                    drop(reply.port.post(Message::OriginStat { fetch, result }));
                }
                // A read that comes back is dropped, which fails it.
            }
        }
    }
}

impl Drop for Custom {
    fn drop(&mut self) {
        if let Some(workers) = &self.workers {
            workers.end();
        }
    }
}
