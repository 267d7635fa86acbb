//! Looks whether what is cached is what was written, past the page cache: what that
//! holds says nothing of the device.
//!
//! A chunk whose bytes do not have its checksum is taken back, and fetched again when
//! it is next read. A chunk without one gets it now, so that a later look finds what
//! has changed since. Damaged metadata cost their object. Who reads meanwhile is not
//! waited for.

use super::direct::Direct;
use super::list::{buckets, data_in, key_in, names, open_bucket};
use super::sync::DurableLock;
use super::{Found, Lock, Look, Object, Store, checksum, read_header};
use crate::buf::{Mapping, Pages};
use crate::error::{Context, Errno, Result};
use crate::ids::Key;
use crate::limits::VERIFY_PAUSE_MS;
use crate::sys;
use crate::upkeep::Chore;
use rustix::fs::{Advice, OFlags};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a verification has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Objects that were looked at.
    pub objects: u64,
    /// Objects whose metadata were damaged: they are gone.
    pub objects_dropped: u64,
    /// Chunks whose bytes have their checksum.
    pub chunks_verified: u64,
    /// Chunks that had no checksum, and have the one of their bytes now.
    pub chunks_summed: u64,
    /// Chunks that could not be read, or whose bytes did not have their checksum: they
    /// are fetched again when they are next read.
    pub chunks_dropped: u64,
    /// Objects and damaged chunks that others had in their hands: nothing is known of
    /// the former, and the latter are still there.
    pub busy: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// The way through all objects, or one.
pub(crate) struct Walk {
    buckets: Vec<String>,
    keys: Vec<Key>,
    /// The next chunk of an object.
    at: Option<(Key, u64)>,
    object: Option<Object>,
    reader: Reader,
    pub(crate) found: Verification,
}

/// What became of looking for an object.
enum Looked {
    Found(Box<Object>),
    Gone,
    /// Somebody has it who may take it away, or it belongs to another file.
    Busy,
    /// It was damaged, and is gone.
    Dropped,
}

impl Walk {
    /// Through all objects of a store.
    pub(crate) fn all(store: &Store) -> Result<Self> {
        let buckets = buckets(&store.directory.objects)?;
        Self::new(store, buckets, Vec::new())
    }

    /// Through one object.
    pub(crate) fn of(store: &Store, object: &Object) -> Result<Self> {
        Self::new(store, Vec::new(), vec![object.key])
    }

    fn new(store: &Store, buckets: Vec<String>, keys: Vec<Key>) -> Result<Self> {
        Ok(Self {
            buckets,
            keys,
            at: None,
            object: None,
            reader: Reader {
                buffer: Mapping::new(store.chunk_bytes() as usize, Pages::Transparent)?,
                direct: None,
            },
            found: Verification::default(),
        })
    }

    /// Looks at the next chunk. Gives the bytes that were read, or None at the end.
    /// Blocks.
    pub(crate) fn step(&mut self, store: &Arc<Store>) -> Result<Option<u64>> {
        let before = self.found.bytes;
        loop {
            if let Some((key, chunk)) = self.at {
                if !self.open(store, key)? {
                    continue;
                }
                let object = self.object.take().expect("it was opened");
                if chunk == object.geometry().chunks() {
                    self.at = None;
                    continue;
                }
                self.at = Some((key, chunk + 1));
                let looked = self.look(store, &object, chunk);
                self.object = Some(object);
                if looked? {
                    return Ok(Some(self.found.bytes - before));
                }
            } else if let Some(key) = self.keys.pop() {
                self.at = Some((key, 0));
            } else if let Some(bucket) = self.buckets.pop() {
                let directory = open_bucket(store, &bucket)?;
                let names = names(&directory).context(|| format!("list {bucket}"))?;
                let keys = names.iter().filter_map(|name| name.strip_suffix(".meta"));
                self.keys.extend(keys.filter_map(key_in));
            } else {
                return Ok(None);
            }
        }
    }

    /// Keeps no object open until the next step.
    pub(super) fn rest(&mut self) {
        self.object = None;
    }

    /// Whether the object of a key is open now; else it is not looked at further.
    fn open(&mut self, store: &Arc<Store>, key: Key) -> Result<bool> {
        if self.object.is_some() {
            return Ok(true);
        }
        let is_first = self.at == Some((key, 0));
        match store.look_up(key)? {
            Looked::Found(object) => {
                self.reader.direct = Direct::reopen(object.data().as_fd()).ok();
                self.object = Some(*object);
                self.found.objects += u64::from(is_first);
                return Ok(true);
            }
            Looked::Gone => {}
            Looked::Busy => self.found.busy += 1,
            Looked::Dropped => self.found.objects_dropped += 1,
        }
        self.at = None;
        Ok(false)
    }

    /// Looks at a chunk. False: there was nothing to be read.
    fn look(&mut self, store: &Arc<Store>, object: &Object, chunk: u64) -> Result<bool> {
        let (is_present, sum) = (object.bitmap.has(chunk), object.bitmap.sum(chunk));
        let is_doubted = object.bitmap.doubts(chunk) && sum.is_some();
        if !is_present && !is_doubted {
            return Ok(false);
        }
        if sum.is_none() && is_hole(object, chunk) {
            return Ok(false);
        }
        self.found.bytes += object.geometry().extent(chunk).1;
        let read = self.reader.read(object, chunk).map(checksum);
        match (read, sum) {
            (Ok(read), Some(sum)) if read == sum => {
                if !is_present {
                    object.confirm(chunk);
                }
                store.counters.chunks_verified.add(1);
                self.found.chunks_verified += 1;
            }
            (Ok(read), None) => {
                self.found.chunks_summed += u64::from(object.add_sum(chunk, read));
            }
            (read, _) => self.damaged(store, object, (chunk, is_present), read.err())?,
        }
        Ok(true)
    }

    /// A chunk is not what was written, it seems.
    fn damaged(
        &mut self,
        store: &Arc<Store>,
        object: &Object,
        (chunk, is_present): (u64, bool),
        error: Option<Errno>,
    ) -> Result<()> {
        let path = String::from_utf8_lossy(&object.header.path).into_owned();
        let why = match error {
            Some(errno) => {
                store.health.read_failed(errno);
                format!("cannot be read: {errno}")
            }
            None => "is not what was written".to_owned(),
        };
        if object.condemn(chunk, is_present)? {
            tracing::warn!("chunk {chunk} of {path} {why}: dropped");
            store.counters.chunks_dropped.add(1);
            self.found.chunks_dropped += 1;
        } else {
            tracing::warn!("chunk {chunk} of {path} {why}; it is in use just now");
            self.found.busy += 1;
        }
        Ok(())
    }
}

/// Whether nothing of a chunk is on the device.
fn is_hole(object: &Object, chunk: u64) -> bool {
    let (start, length) = object.geometry().extent(chunk);
    match sys::data_from(object.data().as_fd(), start) {
        Ok(None) => true,
        Ok(Some((begin, _))) => begin >= start + length,
        Err(_) => false,
    }
}

/// Reads chunks past the page cache, where that can be.
struct Reader {
    buffer: Mapping,
    direct: Option<Direct>,
}

impl Reader {
    fn read(&mut self, object: &Object, chunk: u64) -> std::result::Result<&[u8], Errno> {
        let (start, length) = object.geometry().extent(chunk);
        let length = length as usize;
        let (file, span) = match &self.direct {
            // The buffer begins with a page and ends with one.
            Some(direct) => {
                let block = direct.block().get() as usize;
                (direct.file(), length.next_multiple_of(block))
            }
            None => {
                // Pages that were written already are read again. What is locked in
                // memory, or is not written, stays.
                let whole = NonZeroU64::new(length as u64);
                rustix::fs::fadvise(object.data(), start, whole, Advice::DontNeed).ok();
                (object.data(), length)
            }
        };
        let mut done = 0;
        while done < length {
            let target = self.buffer.as_ptr().wrapping_add(done);
            let offset = start + done as u64;
            // SAFETY: a chunk in whole blocks fits the buffer, which is ours alone.
            match unsafe { sys::pread(file.as_fd(), target, span - done, offset) } {
                Ok(0) => return Err(Errno::NODATA),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // SAFETY: so many bytes of it were written above.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer.as_ptr(), length) })
    }
}

impl Object {
    /// A doubted chunk is what was written.
    pub(crate) fn confirm(&self, chunk: u64) {
        self.bitmap.confirm(chunk);
        self.bitmap.settle();
        self.changed();
        self.seal();
    }

    /// Gives a present chunk the checksum that it does not have; whether it did.
    fn add_sum(&self, chunk: u64, sum: u32) -> bool {
        let Ok(_lock) = DurableLock::take(self.stored.metadata.as_fd()) else {
            return false;
        };
        let is_without = self.bitmap.has(chunk) && self.bitmap.sum(chunk).is_none();
        if is_without {
            self.bitmap.publish(chunk, Some(sum));
            self.changed();
        }
        is_without
    }

    /// Takes back a chunk. False: somebody else is at the durable bits of the object.
    fn condemn(&self, chunk: u64, is_present: bool) -> Result<bool> {
        if !is_present {
            // It is not durable, or it would be present.
            self.bitmap.condemn(chunk);
            return Ok(true);
        }
        let take_back = || self.stored.condemn(&self.store.disk, chunk);
        let condemned = self.store.unsealed(self.key, self.header.nonce, take_back);
        if let Err(error) = &condemned {
            self.store.health.failed(error);
            self.store.discard(self.key, self.header.nonce);
        }
        condemned
    }
}

impl Store {
    /// An object for oneself: nobody else in this process has its descriptors.
    fn look_up(self: &Arc<Self>, key: Key) -> Result<Looked> {
        let name = key.metadata_name();
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let metadata = match self.openat(&name, flags) {
            Ok(metadata) => metadata,
            Err(Errno::NOENT) => return Ok(Looked::Gone),
            Err(errno) => return Err(errno).context(|| format!("open {name}")),
        };
        let header = read_header(&metadata).context(|| format!("read {name}"))?;
        let stat = || rustix::fs::fstat(&metadata).context(|| format!("stat {name}"));
        let length = stat()?.st_size as u64;
        let _bucket = match self.lock_bucket(key) {
            Err(error) if error.errno() == Errno::BUSY => return Ok(Looked::Busy),
            other => other?,
        };
        let Some(header) = header.filter(|header| header.file_bytes() == length) else {
            // Another one has its name now, or it is still in use.
            let is_ours = sys::try_lock(metadata.as_fd(), Lock::Exclusive).is_ok();
            if !is_ours || stat()?.st_nlink == 0 {
                return Ok(Looked::Busy);
            }
            tracing::warn!("the metadata {name} are damaged: the object is removed");
            self.remove_files(key)?;
            return Ok(Looked::Dropped);
        };
        drop(metadata);
        Ok(
            match self.find(key, (&header.identity, &header.token), Look::Locked)? {
                Found::Object(object) => Looked::Found(object),
                Found::Nothing => Looked::Gone,
                _ => Looked::Busy,
            },
        )
    }

    /// Removes all files of a key. Under the lock of its bucket.
    fn remove_files(&self, key: Key) -> Result<()> {
        let bucket = key.bucket();
        let directory = open_bucket(self, &bucket)?;
        let names = names(&directory).context(|| format!("list {bucket}"))?;
        self.unlink(&key.metadata_name());
        let data = names.iter().filter_map(|name| data_in(name));
        for (_, nonce) in data.filter(|(other, _)| *other == key) {
            self.unlink(&key.data_name(nonce));
            self.accounts.forget(key, nonce);
        }
        Ok(())
    }
}

/// The pass through all objects beside serving.
pub(super) struct Pass {
    store: Weak<Store>,
    bytes_per_second: u64,
    walk: Option<Walk>,
}

impl Pass {
    pub(super) fn new(store: &Arc<Store>, bytes_per_second: u64) -> Self {
        Self {
            store: Arc::downgrade(store),
            bytes_per_second,
            walk: None,
        }
    }
}

impl Chore for Pass {
    fn work(&mut self, _: &AtomicBool) -> Option<Instant> {
        let store = self.store.upgrade()?;
        let walk = match self.walk.take() {
            Some(walk) => Ok(walk),
            None => Walk::all(&store),
        };
        let stepped = walk.and_then(|mut walk| {
            let bytes = walk.step(&store)?;
            walk.rest();
            self.walk = bytes.is_some().then_some(walk);
            Ok(bytes)
        });
        let pause = match stepped {
            Ok(Some(bytes)) => {
                let seconds = bytes as f64 / self.bytes_per_second as f64;
                Duration::from_secs_f64(seconds)
            }
            Ok(None) => {
                store.counters.verify_passes.add(1);
                Duration::from_millis(VERIFY_PAUSE_MS)
            }
            Err(error) => {
                tracing::warn!("a pass of verification ends: {error}");
                Duration::from_millis(VERIFY_PAUSE_MS)
            }
        };
        Some(Instant::now() + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Config, OriginOptions};
    use std::sync::atomic::Ordering;

    const SIZE: u64 = 4 << 20;

    /// Bytes that this thread has had from devices, if the kernel says so.
    fn from_devices() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/io").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("read_bytes: "));
        line?.parse().ok()
    }

    /// What `body` has from devices.
    fn read_by(body: impl FnOnce()) -> u64 {
        let before = from_devices();
        body();
        from_devices().unwrap_or(0) - before.unwrap_or(0)
    }

    /// Bytes that come from the device when an object is verified all of whose pages are
    /// in the page cache. None: this file system is in memory, or nobody counts.
    fn verified(direct: bool) -> Option<u64> {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("origin");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("file"), vec![7; SIZE as usize]).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let cache = Cache::open(&place.path().join("cache"), &Config::default()).unwrap();
        let origin = cache.open_directory(&root, &OriginOptions::default());
        let file = origin.unwrap().open(b"file").unwrap();
        file.fill(0, u64::MAX, |_, _| true).unwrap();
        let data = std::fs::File::from(file.descriptor().unwrap());
        data.sync_all().unwrap();
        let cached = || {
            let copied = std::io::copy(&mut &data, &mut std::io::sink());
            assert_eq!(copied.unwrap(), SIZE);
        };
        rustix::fs::fadvise(&data, 0, None, Advice::DontNeed).unwrap();
        if read_by(cached) < SIZE {
            return None;
        }
        let store = file.0.origin.cache.store.as_ref().ok().unwrap();
        let object = file.0.version().object.clone().unwrap();
        let mut walk = Walk::of(store, &object).unwrap();
        let key = walk.keys[0];
        assert!(walk.open(store, key).unwrap());
        // Pages that somebody has mapped stay: only past the page cache is there more.
        let mapped = sys::Mapped::map(object.data().as_fd(), SIZE, false).unwrap();
        if direct {
            for offset in (0..SIZE).step_by(4096) {
                mapped.word(offset).load(Ordering::Relaxed);
            }
        } else {
            walk.reader.direct = None;
        }
        let read = read_by(|| while walk.step(store).unwrap().is_some() {});
        assert_eq!(walk.found.bytes, SIZE);
        Some(read)
    }

    #[test]
    fn what_is_verified_is_read_from_the_device() {
        assert!(verified(true).is_none_or(|read| read >= SIZE));
    }

    #[test]
    fn what_is_verified_without_direct_io_is_read_from_the_device() {
        // The kernel may keep a page that is in its hands at that moment.
        assert!(verified(false).is_none_or(|read| read >= SIZE / 2));
    }
}
