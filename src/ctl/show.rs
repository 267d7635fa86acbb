//! Names and numbers for people.

use cachefs_core::Errno;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// A name on one line: what is not UTF-8 or would move the cursor is replaced.
pub fn name(bytes: &[u8]) -> String {
    text(&String::from_utf8_lossy(bytes))
}

/// The same of a path.
pub fn path(path: impl AsRef<OsStr>) -> String {
    name(path.as_ref().as_bytes())
}

/// Text that may quote names, on one line and without control characters.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            write!(shown, "{}", character.escape_default()).expect("a string takes everything");
        } else {
            shown.push(character);
        }
    }
    shown
}

/// An origin and a path in it as one name: a path of the system where it is one.
pub fn place(origin: &[u8], path: &[u8]) -> String {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let separator = match origin {
        [b'/'] => "",
        [b'/', ..] => "/",
        _ => ":",
    };
    format!("{}{separator}{}", name(origin), name(path))
}

/// `1 file`, `2 files`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The system's words for an errno.
pub fn errno(errno: Errno) -> String {
    crate::failure::describe(&errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(name(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(name(b"caf\xe9"), "caf\u{fffd}");
    }

    #[test]
    fn a_directory_origin_gives_a_path_of_the_system() {
        assert_eq!(place(b"/mnt/a", b"b/c"), "/mnt/a/b/c");
        assert_eq!(place(b"/", b"b"), "/b");
        assert_eq!(place(b"http", b"/b"), "http:b");
    }
}
