//! Copies one file after the other.

use super::walk::OUTSIDE;
use super::{Item, Job};
use crate::access::Access;
use crate::show;
use cachefs_control::Refusal;
use cachefs_core::Errno;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

/// Copies until there is nothing more, or nothing more is wanted.
pub fn serve(job: &Job, access: &Access, source: &Mutex<Receiver<Item>>) {
    while !job.stop.is_asked() {
        let item = source.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match item {
            Ok(item) => copy(job, access, &item),
            Err(_) => return,
        }
    }
}

fn copy(job: &Job, access: &Access, item: &Item) {
    match access.stat_file(&item.path) {
        Ok(of) => fill(job, access, item, (of.bytes_present, of.size)),
        Err(refusal) => {
            job.progress.correct(item.expected, 0);
            refused(job, item, &refusal);
        }
    }
}

fn fill(job: &Job, access: &Access, item: &Item, (present, size): (u64, u64)) {
    let missing = size.saturating_sub(present);
    job.progress.correct(item.expected, missing);
    // What was there counts as done; a rate must not have it.
    let mut copied = 0;
    let mut seen = |done: u64| {
        let now = done.saturating_sub(present);
        job.progress.moved(copied, now);
        copied = now;
    };
    let filled = access.warm(&item.path, |done, _| {
        seen(done);
        !job.stop.is_asked()
    });
    match filled {
        Ok(filled) => {
            seen(filled.bytes);
            job.progress.correct(missing, copied);
            job.tally.count_file();
            job.tally.count_bytes(copied, present.min(filled.bytes));
        }
        Err(refusal) => {
            let now = access.stat_file(&item.path);
            let now = now.map_or(present, |of| of.bytes_present);
            job.progress.correct(missing, copied);
            job.tally.count_bytes(now.saturating_sub(present), present);
            let errno = Errno::from_raw_os_error(refusal.errno);
            if errno != Errno::CANCELED || !job.stop.is_asked() {
                job.failed(explain(&refusal));
            }
        }
    }
}

/// A file that the origin does not open.
fn refused(job: &Job, item: &Item, refusal: &Refusal) {
    let path = show::path(job.roots().full(&item.path));
    match Errno::from_raw_os_error(refusal.errno) {
        Errno::NOENT if !item.named => job.skipped(format!("{path}: it is gone by now")),
        Errno::INVAL => job.left_out(item.named, format!("{path}: not a regular file")),
        Errno::XDEV => job.left_out(item.named, format!("{path}: {OUTSIDE}")),
        errno => job.failed(format!("{path}: {}", show::errno(errno))),
    }
}

fn explain(refusal: &Refusal) -> String {
    let message = show::text(&refusal.message);
    match Errno::from_raw_os_error(refusal.errno) {
        Errno::NOSPC => format!("{message} (see capacity_bytes, and df)"),
        Errno::STALE => format!("{message} (it kept changing while it was copied)"),
        _ => message,
    }
}
