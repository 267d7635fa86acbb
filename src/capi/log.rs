//! Messages of the library on their way to the program's log callback.

use super::pointer::Owned;
use super::types::*;
use std::ffi::CString;
use std::fmt::Write;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Hands events to a C function. Spans are not passed on.
struct CLogger {
    callback: unsafe extern "C" fn(*mut std::ffi::c_void, u32, *const std::ffi::c_char),
    user: Owned,
    level: Level,
}

/// Where the messages of one cache go; None without a callback, after which
/// the user pointer is released.
pub(super) fn dispatch(
    callback: cachefs_log_callback,
    user: Owned,
    level: u32,
) -> Option<Dispatch> {
    let level = match level {
        CACHEFS_LOG_ERROR => Level::ERROR,
        CACHEFS_LOG_WARN => Level::WARN,
        CACHEFS_LOG_INFO => Level::INFO,
        CACHEFS_LOG_DEBUG => Level::DEBUG,
        _ => Level::TRACE,
    };
    callback.map(|callback| {
        Dispatch::new(CLogger {
            callback,
            user,
            level,
        })
    })
}

impl Subscriber for CLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => CACHEFS_LOG_ERROR,
            Level::WARN => CACHEFS_LOG_WARN,
            Level::INFO => CACHEFS_LOG_INFO,
            Level::DEBUG => CACHEFS_LOG_DEBUG,
            Level::TRACE => CACHEFS_LOG_TRACE,
        };
        // One line, and no byte that would end it early.
        let text = line.0.replace(['\n', '\0'], " ");
        if let Ok(text) = CString::new(text) {
            // SAFETY: the options' contract: callable on any thread until
            // `log_free`, with a string that is valid during the call.
            unsafe { (self.callback)(self.user.user.0, level, text.as_ptr()) }
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and then the fields as `name=value`.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}
