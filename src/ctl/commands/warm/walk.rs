//! Finds the files.

use super::{Item, Job};
use crate::failure::describe;
use crate::show;
use cachefs_core::Errno;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::collections::HashSet;
use std::fs::{DirEntry, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

/// Why the origin answers EXDEV.
pub const OUTSIDE: &str = "a link leads out of the origin, or is absolute";

/// Hands on every file that was named, or is below a directory that was.
pub fn walk(job: &Job, named: Vec<PathBuf>, items: SyncSender<Item>) {
    let mut walk = Walk {
        job,
        items,
        seen: HashSet::new(),
        pending: Vec::new(),
        links: Vec::new(),
    };
    for path in named {
        walk.begin(path);
        walk.drain();
    }
    // Last, so that what is reached in both ways goes by its own name.
    while let Some(link) = walk.links.pop() {
        walk.pending.push(link);
        walk.drain();
    }
    job.progress.listed();
}

struct Walk<'a> {
    job: &'a Job,
    items: SyncSender<Item>,
    /// Mount and inode of every directory that was walked.
    seen: HashSet<(u64, u64)>,
    /// Directories to walk.
    pending: Vec<PathBuf>,
    /// Links to directories that were found on the way, to walk at the end.
    links: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Takes in a path that was named.
    fn begin(&mut self, path: PathBuf) {
        let full = self.job.roots().full(&path);
        match full.symlink_metadata() {
            Err(error) => self.job.failed(problem(&full, &error)),
            // Links on the way to it are the origin's matter as well.
            Ok(metadata) if metadata.is_dir() => self.link(path, true),
            Ok(metadata) => {
                let size = metadata.len();
                self.found(path, metadata.file_type(), true, || size);
            }
        }
    }

    /// Walks every pending directory and those below.
    fn drain(&mut self) {
        while let Some(directory) = self.pending.pop() {
            if self.job.stop.is_asked() {
                return;
            }
            if let Err(error) = self.directory(&directory) {
                let full = self.job.roots().full(&directory);
                self.job.failed(problem(&full, &error));
            }
        }
    }

    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let full = self.job.roots().full(path);
        if full == self.job.cache_directory {
            let shown = show::path(&full);
            self.job.skipped(format!("{shown}: it is the cache"));
            return Ok(());
        }
        if !self.seen.insert(place_of(&full)?) {
            return Ok(());
        }
        for entry in full.read_dir()? {
            if self.job.stop.is_asked() {
                break;
            }
            let entry = entry?;
            let path = path.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) => self.found(path, kind, false, || size(&entry)),
                Err(error) => self.job.failed(problem(&entry.path(), &error)),
            }
        }
        Ok(())
    }

    /// Something below the root, of whatever kind.
    fn found(&mut self, path: PathBuf, kind: FileType, named: bool, size: impl Fn() -> u64) {
        if kind.is_dir() {
            self.pending.push(path);
        } else if kind.is_symlink() {
            self.link(path, named);
        } else if kind.is_file() {
            let expected = if self.job.progress.wants_sizes() {
                size()
            } else {
                0
            };
            self.file(path, named, expected);
        } else {
            let full = show::path(self.job.roots().full(&path));
            let kind = special(kind);
            self.job.left_out(named, format!("{full}: {kind}"));
        }
    }

    fn file(&self, path: PathBuf, named: bool, expected: u64) {
        self.job.progress.correct(0, expected);
        let item = Item {
            path,
            named,
            expected,
        };
        // Refused only when the copies have stopped, and so does this walk.
        drop(self.items.send(item));
    }

    /// What a link leads to is for the origin to say: its rule is the one that
    /// every reader of the cache is under.
    fn link(&mut self, path: PathBuf, named: bool) {
        let errno = match self.job.access.stat_file(&path) {
            Ok(_) => return self.file(path, named, 0),
            Err(refusal) => Errno::from_raw_os_error(refusal.errno),
        };
        let reason = match errno {
            Errno::ISDIR if named => return self.pending.push(path),
            Errno::ISDIR => return self.links.push(path),
            Errno::XDEV => OUTSIDE,
            Errno::NOENT => "a link leads nowhere",
            Errno::LOOP => "a link leads into a circle, or into the cache",
            Errno::INVAL => "a link leads to what is not a regular file",
            // Let the open that copies fail, and say why.
            _ => return self.file(path, named, 0),
        };
        let full = show::path(self.job.roots().full(&path));
        self.job.left_out(named, format!("{full}: {reason}"));
    }
}

/// Mount and inode: the same directory mounted in two places has files of its
/// own in each for the cache.
fn place_of(directory: &Path) -> io::Result<(u64, u64)> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(CWD, directory, AtFlags::empty(), wanted)?;
    Ok((stat.stx_mnt_id, stat.stx_ino))
}

/// 0 if it is not known: it is only for the progress bar.
fn size(entry: &DirEntry) -> u64 {
    entry.metadata().map_or(0, |metadata| metadata.len())
}

fn special(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "not a regular file"
    }
}

fn problem(full: &Path, error: &io::Error) -> String {
    format!("{}: {}", show::path(full), describe(error))
}
