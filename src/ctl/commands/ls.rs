//! `cachefs ls`: what is in the cache.

use super::{stdout, write_json};
use crate::args::Ls;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use crate::show;
use cachefs_control::reports::{Entry as Listed, exact, percent};
use indicatif::BinaryBytes;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// One object in JSON.
#[derive(Serialize)]
struct Entry {
    /// Root or name of its origin.
    origin: String,
    /// Its exact bytes, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_bytes: Option<Vec<u8>>,
    /// Below the root, when it was cached.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<Vec<u8>>,
    size: u64,
    bytes_present: u64,
    chunks_present: u64,
    chunks_total: u64,
    percent_present: u64,
    complete: bool,
}

impl From<&Listed> for Entry {
    fn from(object: &Listed) -> Self {
        let (origin, path) = (&object.origin.0, &object.path.0);
        Self {
            origin: String::from_utf8_lossy(origin).into_owned(),
            origin_bytes: exact(origin),
            path: String::from_utf8_lossy(path).into_owned(),
            path_bytes: exact(path),
            size: object.size,
            bytes_present: object.bytes_present,
            chunks_present: object.chunks_present,
            chunks_total: object.chunks_total,
            percent_present: percent(object.bytes_present, object.size),
            complete: object.chunks_present == object.chunks_total,
        }
    }
}

/// Lists objects, by origin and path.
pub fn run(context: &Context, args: &Ls) -> Outcome {
    let access = context.access()?;
    let root = match context.origin_root() {
        None => None,
        Some(root) => Some(root.canonicalize().map_err(|error| {
            let shown = show::path(root);
            Failure::new(format!("the origin {shown}: {}", describe(&error)))
        })?),
    };
    let mut objects = Vec::new();
    access.list(|object| {
        let is_wanted = |root: &PathBuf| object.origin.path() == root;
        let matches_pattern = |pattern: &String| matches(pattern, &object.path.0);
        if root.as_ref().is_none_or(is_wanted) && args.pattern.as_ref().is_none_or(matches_pattern)
        {
            objects.push(object);
        }
    })?;
    if args.json {
        return write_json(&objects.iter().map(Entry::from).collect::<Vec<_>>());
    }
    let mut out = stdout();
    for object in &objects {
        let place = show::place(&object.origin.0, &object.path.0);
        if args.long {
            let percent = percent(object.bytes_present, object.size);
            let size = BinaryBytes(object.size).to_string();
            writeln!(out, "{percent:>3}% {size:>11}  {place}")?;
        } else {
            writeln!(out, "{place}")?;
        }
    }
    Ok(out.flush()?)
}

/// As the help of the argument says.
fn matches(pattern: &str, path: &[u8]) -> bool {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let subject = if pattern.contains('/') {
        path
    } else {
        path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
    };
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    fast_glob::glob_match(pattern, subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_slash_is_about_the_name() {
        assert!(matches("*.bin", b"a/b/c.bin"));
        assert!(!matches("a", b"a/b"));
        assert!(matches("b", b"a/b"));
    }

    #[test]
    fn a_pattern_with_a_slash_is_about_the_path() {
        assert!(matches("a/*", b"a/b"));
        assert!(!matches("a/*", b"a/b/c"));
        assert!(matches("a/**", b"a/b/c"));
        assert!(matches("/b", b"b"));
        assert!(!matches("/b", b"a/b"));
    }

    #[test]
    fn names_need_not_be_utf8() {
        assert!(matches("caf*", b"caf\xe9"));
    }
}
