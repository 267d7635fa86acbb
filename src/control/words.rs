//! What daemons and the tool say in the same words.

use cachefs_core::OPTIONS;
use std::io;

/// The variable that says which messages of the log are shown.
pub const LOG_VARIABLE: &str = "CACHEFS_LOG";

/// Which messages of the log are shown: what `CACHEFS_LOG` says, or else those up to
/// `level`, the number of the option `log_level`. `unset` is the name of a level, where the
/// option was not set.
pub fn log_directives(level: u64, unset: &str) -> String {
    match std::env::var(LOG_VARIABLE) {
        Ok(text) if !text.is_empty() => text,
        _ if level == 0 => unset.to_owned(),
        _ => {
            let option = OPTIONS.iter().find(|option| option.key == "log_level");
            option.expect("it is in the table").text(level)
        }
    }
}

/// The system's words for an error, without the number that `io::Error` adds.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_words() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(describe(&error), "No such file or directory");
        assert_eq!(describe(&io::Error::other("no socket")), "no socket");
    }
}
