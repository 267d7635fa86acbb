//! An origin that is code, and slow: each request takes a while, or all together have a
//! rate. What it gives is noise, so that nothing can be stored shorter.

use super::scratch::Noise;
use cachefs_core::{CustomOrigin, Errno, OriginRead, TAG_BYTES_MAX, VersionToken};
use std::ffi::CStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the noise that is given again and again.
const NOISE_BYTES: usize = 1 << 20;
/// Requests that it works on at once.
const THREADS: u32 = 64;

/// The origin.
pub struct SlowOrigin {
    size: u64,
    latency: Duration,
    /// Bytes a second, of all requests; 0: no limit.
    rate: u64,
    /// When all that was asked for has been given.
    free: Mutex<Instant>,
    noise: Vec<u8>,
    given: AtomicU64,
}

impl SlowOrigin {
    /// Of files of `size` bytes.
    pub fn new(size: u64, latency: Duration, rate: u64) -> Self {
        let mut numbers = Noise::default();
        let words = (0..NOISE_BYTES / 8).flat_map(|_| numbers.next().to_le_bytes());
        Self {
            size,
            latency,
            rate,
            free: Mutex::new(Instant::now()),
            noise: words.collect(),
            given: AtomicU64::new(0),
        }
    }

    /// Bytes that it has given.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// One request.
    pub fn give(&self, buffer: &mut [u8], offset: u64) -> usize {
        let length = (buffer.len() as u64).min(self.size.saturating_sub(offset)) as usize;
        self.wait(length as u64);
        let mut done = 0;
        while done < length {
            let from = (offset as usize + done) % NOISE_BYTES;
            let count = (NOISE_BYTES - from).min(length - done);
            buffer[done..done + count].copy_from_slice(&self.noise[from..from + count]);
            done += count;
        }
        self.given.fetch_add(length as u64, Ordering::Relaxed);
        length
    }

    fn wait(&self, bytes: u64) {
        let now = Instant::now();
        let mut until = now + self.latency;
        if let Some(cost) = (bytes * 1_000_000_000).checked_div(self.rate) {
            let cost = Duration::from_nanos(cost);
            let mut free = self.free.lock().expect("nobody panics with it");
            *free = (*free).max(now) + cost;
            until = until.max(*free);
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

impl CustomOrigin for SlowOrigin {
    fn stat(&self, _path: &CStr) -> Result<VersionToken, Errno> {
        Ok(VersionToken {
            size: self.size,
            mtime_ns: 1,
            ctime_ns: 0,
            inode: 0,
            tag_length: 0,
            tag: [0; TAG_BYTES_MAX],
        })
    }

    fn read(&self, mut read: OriginRead) {
        let offset = read.offset();
        let count = self.give(read.buffer(), offset);
        read.complete(Ok(count));
    }

    fn checks_version(&self) -> bool {
        true
    }

    fn threads(&self) -> u32 {
        THREADS
    }
}
