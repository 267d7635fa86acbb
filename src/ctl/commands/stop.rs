//! Ctrl-C and its relatives.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long the threads have to end what they are at; what they do cannot be
/// interrupted where the origin hangs.
const GRACE: Duration = Duration::from_millis(500);

/// Whether the user wants it to end.
pub struct Stop {
    signal: Arc<AtomicUsize>,
    noticed: OnceLock<Instant>,
}

impl Stop {
    /// From now on the first signal only asks; a second one ends the process.
    pub fn on_signals() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first must find the flag as the signal before left it.
            flag::register_conditional_shutdown(number, status(number), Arc::clone(&asked))?;
            flag::register(number, Arc::clone(&asked))?;
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        Ok(Self {
            signal,
            noticed: OnceLock::new(),
        })
    }

    /// The signal that asked.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as i32),
        }
    }

    /// Whether to stop.
    pub fn is_asked(&self) -> bool {
        self.signal().is_some()
    }

    /// Whether the threads have had their time.
    pub fn is_overdue(&self) -> bool {
        self.is_asked() && self.noticed.get_or_init(Instant::now).elapsed() > GRACE
    }
}

/// The exit status of a command that a signal ended, as shells tell it.
pub fn status(signal: i32) -> i32 {
    128 + signal
}
