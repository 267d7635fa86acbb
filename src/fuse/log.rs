//! The daemon's log: lines on stderr, or in a file once it is in the background.

use crate::failure::Failure;
use crate::settings::Settings;
use cachefs_core::OPTIONS;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;

/// The variable that says which messages are shown.
pub const VARIABLE: &str = "CACHEFS_LOG";

/// Makes the log, which shows what `CACHEFS_LOG` says, or else messages up to the level
/// of the option `log_level`.
pub fn start(settings: &Settings) -> Result<Dispatch, Failure> {
    let directives = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text,
        _ => level_name(settings.config.log_level),
    };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| Failure::usage(format!("{VARIABLE} is \"{directives}\": {error}")))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        // Whoever collects the lines knows when they came.
        .without_time()
        .with_writer(std::io::stderr)
        .finish();
    let dispatch = Dispatch::new(subscriber);
    tracing::dispatcher::set_global_default(dispatch.clone())
        .map_err(|error| Failure::new(format!("start the log: {error}")))?;
    Ok(dispatch)
}

/// A daemon says what it runs on; a library does not by default.
fn level_name(level: u64) -> String {
    let option = OPTIONS.iter().find(|option| option.key == "log_level");
    let option = option.expect("it is in the table");
    match level {
        0 => "info".to_owned(),
        level => option.text(level),
    }
}
