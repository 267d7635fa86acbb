//! The log of the cache, as lines on stderr.

use crate::console::Console;
use crate::failure::Failure;
use cachefs_control::{LOG_VARIABLE, log_directives};
use cachefs_core::OPTIONS;
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry};

/// A log that shows what `CACHEFS_LOG` says, or else messages up to `level`,
/// the number of the option `log_level`.
pub fn dispatch(console: Console, level: u64) -> Result<Dispatch, Failure> {
    let option = OPTIONS.iter().find(|option| option.key == "log_level");
    let option = option.expect("it is in the table");
    let directives = log_directives(level, &option.text(option.default));
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| Failure::usage(format!("{LOG_VARIABLE} is \"{directives}\": {error}")))?;
    let registry = Registry::default().with(filter).with(Lines(console));
    Ok(Dispatch::new(registry))
}

/// One line for each event.
struct Lines(Console);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = event.metadata().level().as_str().to_lowercase();
        self.0
            .say(format_args!("{level}: {}{}", text.message, text.fields));
    }
}

/// The message, and ` name=value` for every other field.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("a string takes everything");
    }
}
