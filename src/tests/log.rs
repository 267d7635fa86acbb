//! What a cache says to its log, kept for tests to look at.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Every message, one an entry.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    /// Lives until the end of the process, since a thread that could not be
    /// ended may have something to say long after its test.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// All of it.
    pub(crate) fn lines(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// For the core's API.
    pub(crate) fn dispatch(&'static self) -> Dispatch {
        Dispatch::new(Collector(self))
    }

    /// For the C API, as `log_user`.
    pub(crate) fn user(&'static self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// The C API's `log`.
pub(crate) unsafe extern "C" fn log_callback(user: *mut c_void, _: u32, text: *const c_char) {
    // SAFETY: `Log::user` made it from a reference that is valid for ever, and
    // the text is a C string during the call.
    let (log, text) = unsafe { (&*user.cast::<Log>(), CStr::from_ptr(text)) };
    log.add(text.to_string_lossy().into_owned());
}

struct Collector(&'static Log);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.add(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
