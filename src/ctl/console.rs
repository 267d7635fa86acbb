//! Lines on stderr, which may have to share it with a progress bar.

use indicatif::ProgressBar;
use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writes whole lines to stderr, each as `cachefs: …`. Clones are the same console.
#[derive(Clone, Default)]
pub struct Console(Arc<Mutex<Option<ProgressBar>>>);

impl Console {
    /// Writes one line, above the progress bar if there is one.
    pub fn say(&self, text: impl Display) {
        let line = format!("cachefs: {text}\n");
        // One write, so that lines of several processes do not mix. There is
        // nobody to tell that stderr cannot be written to.
        let write = || drop(std::io::stderr().write_all(line.as_bytes()));
        match &*self.bar() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// From now on there is a progress bar on stderr, or none any more.
    pub fn share(&self, bar: Option<ProgressBar>) {
        *self.bar() = bar;
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        // A thread that panicked while it wrote a line has broken nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
