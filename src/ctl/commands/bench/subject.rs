//! What is measured: a cache, and a file that is wholly in it.

use super::scratch::{DATA, Scratch};
use super::trouble::Trouble;
use cachefs_core::{Cache, Config, File, Origin, OriginOptions, State};
use rustix::fs::{CWD, Mode, OFlags};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Room in the cache beside the file: a chunk more would do.
const ROOM_BYTES: u64 = 64 << 20;

/// A cache of its own in the scratch directory. It goes with this.
pub struct Subject<'a> {
    // In this order: a cache is closed last.
    /// The file.
    pub file: File,
    _origin: Origin,
    /// The cache.
    pub cache: Cache,
    /// The cached copy, opened once more.
    pub copy: fs::File,
    /// Bytes of the file.
    pub size: u64,
    directory: PathBuf,
    scratch: &'a Scratch,
}

impl<'a> Subject<'a> {
    /// Opens a new cache with the file of the origin at `root` in it, `size` bytes, and
    /// with `room` for other files.
    pub fn new(
        scratch: &'a Scratch,
        config: &Config,
        root: &Path,
        (size, room): (u64, u64),
    ) -> Result<Self, Trouble> {
        let directory = scratch.path().join("cache");
        scratch.remove(&directory)?;
        // A cache of its own for the copy: what that leaves behind, as idle
        // kernel threads, does not belong to what is measured.
        let (origin, file, cache) = open(&directory, config, root, size + room)?;
        fill(&file, size, scratch)?;
        drop((file, origin, cache));
        let (origin, file, cache) = open(&directory, config, root, size + room)?;
        Ok(Self {
            copy: fs::File::from(file.descriptor()?),
            file,
            _origin: origin,
            cache,
            size,
            directory,
            scratch,
        })
    }

    /// Where the cached copy is.
    pub fn path(&self) -> Result<PathBuf, Trouble> {
        let link = format!("/proc/self/fd/{}", self.copy.as_raw_fd());
        fs::read_link(link).map_err(Trouble::io("find the cached copy"))
    }

    /// Writes back what was written, and forgets what memory holds of the copy.
    pub fn make_cold(&self) -> Result<(), Trouble> {
        super::scratch::make_cold(&self.path()?)
    }

    /// Whether the file system of the cache lets files be read past the page cache.
    pub fn takes_direct_reads(&self) -> Result<bool, Trouble> {
        let opened: Result<OwnedFd, _> = rustix::fs::openat(
            CWD,
            self.path()?,
            OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC,
            Mode::empty(),
        );
        Ok(opened.is_ok())
    }
}

impl Drop for Subject<'_> {
    fn drop(&mut self) {
        // What is still in use goes when it is closed; what cannot be removed
        // here, the scratch directory's end meets again.
        drop(self.scratch.remove(&self.directory));
    }
}

/// A cache, its origin, and the file of the origin.
fn open(
    directory: &Path,
    config: &Config,
    root: &Path,
    size: u64,
) -> Result<(Origin, File, Cache), Trouble> {
    let cache = open_cache(directory, config, size)?;
    let origin = cache.open_directory(root, &OriginOptions::default())?;
    let file = origin.open(DATA.as_bytes())?;
    Ok((origin, file, cache))
}

/// A cache that has room for `size` bytes, and stores.
pub fn open_cache(directory: &Path, config: &Config, size: u64) -> Result<Cache, Trouble> {
    let config = Config {
        capacity_bytes: size.saturating_add(ROOM_BYTES),
        ..config.clone()
    };
    let cache = Cache::open(directory, &config)?;
    match cache.report().state {
        State::Normal => Ok(cache),
        other => {
            let reason = other.reason().unwrap_or("");
            Err(Trouble::Failed(format!("nothing can be stored: {reason}")))
        }
    }
}

/// Copies a whole file into its cache.
pub fn fill(file: &File, size: u64, scratch: &Scratch) -> Result<(), Trouble> {
    let filled = file.fill(0, u64::MAX, |_, _| !scratch.is_stopped());
    scratch.go_on()?;
    let filled = filled?;
    if filled != size {
        let text = format!("{filled} of {size} bytes were copied into the cache");
        return Err(Trouble::Failed(text));
    }
    Ok(())
}
