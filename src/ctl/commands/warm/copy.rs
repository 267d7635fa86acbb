//! Copies one file after the other.

use super::walk::OUTSIDE;
use super::{Item, Job};
use crate::show;
use cachefs_core::{Errno, Error, File};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

/// Copies until there is nothing more, or nothing more is wanted.
pub fn serve(job: &Job, source: &Mutex<Receiver<Item>>) {
    while !job.stop.is_asked() {
        let item = source.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match item {
            Ok(item) => copy(job, &item),
            Err(_) => return,
        }
    }
}

fn copy(job: &Job, item: &Item) {
    match job.place.open(&item.path) {
        Ok(file) => fill(job, item, &file),
        Err(error) => {
            job.progress.correct(item.expected, 0);
            refused(job, item, &error);
        }
    }
}

fn fill(job: &Job, item: &Item, file: &File) {
    let present = file.residency().bytes_present;
    let missing = file.info().token.size.saturating_sub(present);
    job.progress.correct(item.expected, missing);
    // The core counts what was there as done; a rate must not.
    let mut copied = 0;
    let mut seen = |done: u64| {
        let now = done.saturating_sub(present);
        job.progress.moved(copied, now);
        copied = now;
    };
    let filled = file.fill(0, u64::MAX, |done, _| {
        seen(done);
        !job.stop.is_asked()
    });
    match filled {
        Ok(bytes) => {
            seen(bytes);
            job.progress.correct(missing, copied);
            job.tally.count_file();
            job.tally.count_bytes(copied, present.min(bytes));
        }
        Err(error) => {
            let copied_of_part = file.residency().bytes_present.saturating_sub(present);
            job.progress.correct(missing, copied);
            job.tally.count_bytes(copied_of_part, present);
            if error.errno() != Errno::CANCELED || !job.stop.is_asked() {
                job.failed(explain(&error));
            }
        }
    }
}

/// A file that the origin does not open.
fn refused(job: &Job, item: &Item, error: &Error) {
    let path = show::path(job.place.full(&item.path));
    match error.errno() {
        Errno::NOENT if !item.named => job.skipped(format!("{path}: it is gone by now")),
        Errno::INVAL => job.left_out(item.named, format!("{path}: not a regular file")),
        Errno::XDEV => job.left_out(item.named, format!("{path}: {OUTSIDE}")),
        errno => job.failed(format!("{path}: {}", show::errno(errno))),
    }
}

fn explain(error: &Error) -> String {
    let message = show::text(error.message());
    match error.errno() {
        Errno::NOSPC => format!("{message} (see capacity_bytes, and df)"),
        Errno::STALE => format!("{message} (it kept changing while it was copied)"),
        _ => message,
    }
}
