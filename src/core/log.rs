//! Where an engine's messages go on a program's own thread.
//!
//! Making a log the thread's own for each call costs more than the rest of the way to
//! the ring (tracing counts who does, over all threads). So the log is only lent, and
//! made the thread's own when there is something to say, which is hardly ever.

use tracing::Dispatch;

scoped_tls::scoped_thread_local!(static LENT: Dispatch);

/// Lends a log to what `body` may have to say by [`say`]. None: what the thread has.
pub(crate) fn lend<T>(log: &Option<Dispatch>, body: impl FnOnce() -> T) -> T {
    match log {
        Some(log) => LENT.set(log, body),
        // No thread-local is touched: a thread may be ending.
        None => body(),
    }
}

/// Makes a message where it goes.
pub(crate) fn say(message: impl FnOnce()) {
    if LENT.is_set() {
        LENT.with(|log| tracing::dispatcher::with_default(log, message));
    } else {
        message();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Counts messages.
    struct Counting(Arc<AtomicU32>);

    impl Subscriber for Counting {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn what_is_said_goes_to_the_log_that_was_lent_and_else_to_the_threads() {
        let counts = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let [lent, own] = counts.each_ref().map(|count| {
            let counting = Counting(Arc::clone(count));
            Dispatch::new(counting)
        });
        let told = || counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        tracing::dispatcher::with_default(&own, || {
            lend(&Some(lent), || say(|| tracing::warn!("one")));
            assert_eq!(told(), [1, 0]);
            lend(&None, || say(|| tracing::warn!("two")));
            say(|| tracing::warn!("three"));
            assert_eq!(told(), [1, 2]);
        });
    }
}
