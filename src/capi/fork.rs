//! Knows whether this process is the child of one that used the library. Its
//! threads, rings and locks are not here: every call would hang or do harm.

use once_cell::sync::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};

static IN_CHILD: AtomicBool = AtomicBool::new(false);
static REGISTERED: OnceCell<()> = OnceCell::new();

extern "C" fn forked() {
    IN_CHILD.store(true, Ordering::Relaxed);
}

/// Registers the handler, once: at the first cache, not at load time.
pub(super) fn watch() -> cachefs_core::Result<()> {
    REGISTERED
        .get_or_try_init(|| {
            // SAFETY: the handler only stores to an atomic, which is safe in the
            // child of a threaded process (pthread_atfork(3)).
            match unsafe { libc::pthread_atfork(None, None, Some(forked)) } {
                0 => Ok(()),
                errno => Err(cachefs_core::Error::new(
                    cachefs_core::Errno::from_raw_os_error(errno),
                    "pthread_atfork",
                )),
            }
        })
        .map(drop)
}

pub(super) fn in_child() -> bool {
    IN_CHILD.load(Ordering::Relaxed)
}
