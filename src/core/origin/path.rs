//! One name for a path that can be written in several ways.

use std::borrow::Cow;

/// A path of a directory without what means nothing there: slashes before and beside
/// others, and `.`. What stands last stays, since behind a file it is an error; links and
/// `..` stay, since only the file system knows what they mean.
pub(super) fn plain(path: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(path) {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = parts.pop().unwrap_or_default();
    parts.retain(|part| !means_nothing(part));
    parts.push(last);
    Cow::Owned(parts.join(&b'/'))
}

/// Whether [`plain`] leaves a path as it is. Allocates nothing.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let mut parts = path.rsplit(|byte| *byte == b'/').skip(1);
    !parts.any(means_nothing)
}

fn means_nothing(part: &[u8]) -> bool {
    part.is_empty() || part == b"."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_write_a_path_have_one_name() {
        for path in ["a/b", "/a/b", "//a//b", "./a/b", "a/./b", "/./a/././b"] {
            assert_eq!(*plain(path.as_bytes()), *b"a/b", "{path}");
        }
    }

    #[test]
    fn other_paths_keep_their_names() {
        for path in ["a", "", "a/../b", "..", ".a/b.", "a/.b", "a/b/", "a/b/."] {
            assert!(matches!(plain(path.as_bytes()), Cow::Borrowed(_)), "{path}");
        }
    }
}
