//! Calls that may block for long, for worker threads.

use super::Failure;
use super::survey::Survey;
use super::way::Way;
use crate::error::Errno;
use crate::exec::{Message, Port};
use crate::limits::COPY_CALL_BYTES_MAX;
use crate::store::Claim;
use crate::sys::{self, Files};
use crate::workers::Job;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One of them, and who is told.
pub(crate) struct CopyJob {
    pub(super) port: Arc<Port>,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Look at a file, from and to a byte.
    Survey {
        serial: u64,
        file: Arc<OwnedFd>,
        start: u64,
        end: u64,
    },
    /// Copy all of what is claimed, by one of the ways that block.
    Copy {
        slot: usize,
        way: Way,
        source: Arc<OwnedFd>,
        claim: Arc<Claim>,
        stop: Arc<AtomicBool>,
    },
}

impl Job for CopyJob {
    fn run(self) {
        let message = match self.work {
            Work::Survey {
                serial,
                file,
                start,
                end,
            } => Message::Surveyed(serial, Survey::of(&file, start, end)),
            Work::Copy {
                slot,
                way,
                source,
                claim,
                stop,
            } => {
                let files = Files {
                    source: source.as_fd(),
                    target: claim.object().data().as_fd(),
                };
                let result = copy(way, files, claim.range(), &stop);
                Message::Copied(slot, result)
            }
        };
        // A closed port has told everybody already.
        drop(self.port.post(message));
    }
}

/// Copies all of a range, in calls between which it can be stopped.
fn copy(
    way: Way,
    files: Files<'_>,
    (offset, length): (u64, u64),
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let end = offset + length;
    let mut done = offset;
    while done < end {
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let result = match way {
            Way::Hole => make_hole(files.target, done, end - done).map(|()| end - done),
            Way::Reflink => sys::reflink(files, done, end - done).map(|()| end - done),
            Way::CopyFileRange => {
                let call = (end - done).min(COPY_CALL_BYTES_MAX) as usize;
                sys::copy_range(files, done, call).map(|copied| copied as u64)
            }
            Way::Ring | Way::Splice => unreachable!("the engine's"),
        };
        match result {
            Ok(0) => return Err(ended(files.source, done)),
            Ok(copied) => done += copied,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failure(files.source, end, errno)),
        }
    }
    Ok(())
}

/// Nothing more is to be had of a source at `offset`.
fn ended(source: BorrowedFd<'_>, offset: u64) -> Failure {
    match sys::attributes(source) {
        Ok(attributes) if attributes.size <= offset => Failure::Origin(Errno::IO),
        // Files that are made as they are read have no end that this call sees.
        Ok(_) => Failure::Refused,
        Err(errno) => Failure::Origin(errno),
    }
}

/// Whose failure an errno is. One that may be either's is found out by a way
/// that has a call for each.
fn failure(source: BorrowedFd<'_>, end: u64, errno: Errno) -> Failure {
    match errno {
        // Also what a file that has become shorter gets.
        Errno::INVAL if sys::attributes(source).is_ok_and(|source| source.size < end) => {
            Failure::Unclear
        }
        Errno::INVAL
        | Errno::XDEV
        | Errno::OPNOTSUPP
        | Errno::NOSYS
        | Errno::NOTTY
        | Errno::PERM
        | Errno::TXTBSY => Failure::Refused,
        Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::FBIG => Failure::Cache(errno),
        _ => Failure::Unclear,
    }
}

/// Makes sure that there is a hole: a fetch that failed may have left bytes.
fn make_hole(target: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    match sys::data_from(target, offset) {
        Ok(None) => Ok(()),
        Ok(Some((begin, _))) if begin >= offset + length => Ok(()),
        // Some, or it cannot be told.
        Ok(_) | Err(_) => sys::punch(target, offset, length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};

    fn run(way: Way, source: &File, target: &File, range: (u64, u64)) -> Result<(), Failure> {
        let files = Files {
            source: source.as_fd(),
            target: target.as_fd(),
        };
        copy(way, files, range, &AtomicBool::new(false))
    }

    #[test]
    fn a_hole_is_made_where_bytes_were_left() {
        let target = tempfile::tempfile().unwrap();
        target.write_all_at(&[7; 128 << 10], 0).unwrap();
        let source = tempfile::tempfile().unwrap();
        let hole = (64 << 10, 64 << 10);
        assert_eq!(run(Way::Hole, &source, &target, hole), Ok(()));
        let mut bytes = vec![1; 128 << 10];
        target.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..64 << 10].iter().all(|byte| *byte == 7));
        assert!(bytes[64 << 10..].iter().all(|byte| *byte == 0));
        assert!(target.metadata().unwrap().blocks() * 512 < 128 << 10);
    }

    #[test]
    fn a_source_that_ends_early_is_not_a_refusal() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(b"short", 0).unwrap();
        let target = tempfile::tempfile().unwrap();
        let result = run(Way::CopyFileRange, &source, &target, (0, 10));
        assert_eq!(result, Err(Failure::Origin(Errno::IO)));
    }

    #[test]
    fn a_source_that_is_made_as_it_is_read_is_refused() {
        let source = File::open("/proc/self/mountinfo").unwrap();
        let target = tempfile::tempfile().unwrap();
        let result = run(Way::CopyFileRange, &source, &target, (0, 10));
        assert!(result.is_err(), "{result:?}");
        assert_ne!(result, Err(Failure::Cache(Errno::IO)));
    }

    #[test]
    fn a_file_system_that_shares_no_blocks_refuses() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(&[1; 4096], 0).unwrap();
        let target = File::options().write(true).open("/dev/null").unwrap();
        let result = run(Way::Reflink, &source, &target, (0, 4096));
        assert_eq!(result, Err(Failure::Refused));
    }

    #[test]
    fn a_stopped_copy_copies_nothing_more() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(&[1; 4096], 0).unwrap();
        let target = tempfile::tempfile().unwrap();
        let files = Files {
            source: source.as_fd(),
            target: target.as_fd(),
        };
        let stopped = copy(Way::CopyFileRange, files, (0, 4096), &AtomicBool::new(true));
        assert_eq!(stopped, Err(Failure::Stopped));
        assert_eq!(target.metadata().unwrap().len(), 0);
    }
}
