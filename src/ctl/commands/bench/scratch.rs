//! A directory for the files of a benchmark, which goes with it.

use super::child::Child;
use super::trouble::Trouble;
use crate::commands::stop::Stop;
use crate::show;
use indicatif::BinaryBytes;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Room that is left to others.
const SPARE_BYTES: u64 = 64 << 20;
/// Bytes written at once when a file is made.
const PART_BYTES: usize = 1 << 20;

/// The directory, and whether to go on.
pub struct Scratch {
    directory: TempDir,
    stop: Stop,
}

impl Scratch {
    /// Makes it below `parent`, which must have room for `needed` bytes.
    pub fn new(parent: &Path, needed: u64, stop: Stop) -> Result<Self, Trouble> {
        let shown = show::path(parent);
        let free = rustix::fs::statvfs(parent)
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
            .map_err(|errno| Trouble::Failed(format!("{shown}: {}", show::errno(errno))))?;
        let needed = needed.saturating_add(SPARE_BYTES);
        if free < needed {
            let (free, needed) = (BinaryBytes(free), BinaryBytes(needed));
            return Err(Trouble::Failed(format!(
                "{shown} has {free} free, and {needed} are needed: \
                 name another directory (--dir), or take a smaller --size"
            )));
        }
        let directory = tempfile::Builder::new()
            .prefix("cachefs-bench-")
            .tempdir_in(parent)
            .map_err(Trouble::io(format_args!("make a directory in {shown}")))?;
        Ok(Self { directory, stop })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether the user wants the end.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// Ends a row when the user wants the end.
    pub fn go_on(&self) -> Result<(), Trouble> {
        match self.stop.signal() {
            Some(signal) => Err(Trouble::Interrupted(signal)),
            None => Ok(()),
        }
    }

    /// Makes a file of `size` bytes that no file system stores shorter than it
    /// is, below the directory `name`; returns that directory.
    pub fn origin(&self, name: &str, size: u64) -> Result<PathBuf, Trouble> {
        let directory = self.path().join(name);
        let write = || {
            std::fs::create_dir(&directory)?;
            let mut file = File::create(directory.join(DATA))?;
            let mut part = vec![0; PART_BYTES];
            let mut noise = Noise::default();
            let mut left = size;
            while left > 0 && !self.is_stopped() {
                let length = left.min(PART_BYTES as u64) as usize;
                for word in part.chunks_exact_mut(8) {
                    word.copy_from_slice(&noise.next().to_le_bytes());
                }
                file.write_all(&part[..length])?;
                left -= length as u64;
            }
            Ok(())
        };
        let shown = show::path(&directory);
        write().map_err(Trouble::io(format_args!("make {shown}")))?;
        self.go_on()?;
        Ok(directory)
    }

    /// Removes a directory and all that is below it, if it is there.
    pub fn remove(&self, directory: &Path) -> Result<(), Trouble> {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let shown = show::path(directory);
                Err(Trouble::io(format_args!("remove {shown}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Starts another program in this directory, and waits for its end.
    pub fn run(&self, command: &mut Command) -> Result<Child, Trouble> {
        Child::run(command, self)
    }
}

/// The name of the file in an origin's directory.
pub const DATA: &str = "data";

/// Forgets what memory holds of a file, once everything is on its device. Needs
/// no privileges, and takes nothing from others (posix_fadvise(2)).
pub fn make_cold(path: &Path) -> Result<(), Trouble> {
    let forget = || {
        let file = File::open(path)?;
        rustix::fs::sync();
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    };
    let shown = show::path(path);
    forget().map_err(Trouble::io(format_args!("drop {shown} from memory")))
}

/// Numbers in no order (xorshift), the same in each run.
pub struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Noise {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
