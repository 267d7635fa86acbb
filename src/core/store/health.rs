//! Whether anything is stored now.

use crate::error::{Errno, Error};
use crate::limits::STORE_PAUSE_MS;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// After an error of the cache device nothing is stored for a while, so that
/// reads do not pay for a device that is full or gone; then it is tried again.
#[derive(Default)]
pub(crate) struct Health(Mutex<Option<Pause>>);

struct Pause {
    until: Instant,
    reason: Error,
}

impl Health {
    /// The cache device refused something.
    pub(crate) fn failed(&self, error: &Error) {
        let mut pause = self.0.lock();
        if pause.is_none() {
            tracing::warn!("nothing is stored for {STORE_PAUSE_MS} ms: {error}");
        }
        *pause = Some(Pause {
            until: Instant::now() + Duration::from_millis(STORE_PAUSE_MS),
            reason: error.clone(),
        });
    }

    /// The cache device took something. During a pause nothing is begun, so that
    /// what succeeds then was begun before the failure and says nothing.
    pub(crate) fn succeeded(&self) {
        let mut pause = self.0.lock();
        let over = |pause: &mut Pause| Instant::now() >= pause.until;
        if let Some(pause) = pause.take_if(over) {
            tracing::info!("the cache stores again; it had paused: {}", pause.reason);
        }
    }

    /// Whether to store now, or why not. After a pause it is tried until it
    /// succeeds or fails.
    pub(crate) fn may_store(&self) -> std::result::Result<(), Errno> {
        match &*self.0.lock() {
            Some(pause) if Instant::now() < pause.until => Err(pause.reason.errno()),
            _ => Ok(()),
        }
    }

    /// Why nothing is stored, or None.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.lock().as_ref().map(|pause| pause.reason.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_before_a_failure_does_not_end_the_pause() {
        let health = Health::default();
        health.failed(&Error::new(Errno::NOSPC, "full"));
        health.succeeded();
        assert_eq!(health.may_store(), Err(Errno::NOSPC));
        assert!(health.reason().is_some());
        let mut pause = health.0.lock();
        pause.as_mut().unwrap().until = Instant::now();
        drop(pause);
        assert_eq!(health.may_store(), Ok(()), "it is tried again");
        assert!(health.reason().is_some(), "and not forgotten before that");
        health.succeeded();
        assert!(health.reason().is_none());
    }
}
