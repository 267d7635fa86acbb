//! The daemon's log: lines on stderr, or in a file once it is in the background.

use crate::failure::Failure;
use crate::settings::Settings;
use cachefs_control::{LOG_VARIABLE, log_directives};
use std::sync::Arc;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// Which messages are shown, to be changed.
#[derive(Clone)]
pub struct Level(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

/// Makes the log, which shows what `CACHEFS_LOG` says, or else messages up to the level
/// of the option `log_level`.
pub fn start(settings: &Settings) -> Result<(Dispatch, Level), Failure> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings.config.log_level)?)
        .with_target(false)
        .with_ansi(false)
        // Whoever collects the lines knows when they came.
        .without_time()
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let level = level(builder.reload_handle());
    let dispatch = Dispatch::new(builder.finish());
    tracing::dispatcher::set_global_default(dispatch.clone())
        .map_err(|error| Failure::new(format!("start the log: {error}")))?;
    Ok((dispatch, level))
}

fn level<S: 'static>(handle: Handle<EnvFilter, S>) -> Level {
    Level(Arc::new(move |filter| {
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

impl Level {
    /// From now on, messages up to the level are shown, unless `CACHEFS_LOG` says which.
    pub fn set(&self, level: u64) -> Result<(), Failure> {
        (self.0)(filter(level)?).map_err(|error| Failure::new(format!("change the log: {error}")))
    }
}

fn filter(level: u64) -> Result<EnvFilter, Failure> {
    // A daemon says what it runs on; a library does not by default.
    let directives = log_directives(level, "info");
    EnvFilter::try_new(&directives)
        .map_err(|error| Failure::usage(format!("{LOG_VARIABLE} is \"{directives}\": {error}")))
}
