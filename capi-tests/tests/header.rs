//! The committed header is the one that the source gives.
//!
//! `UPDATE_HEADER=1` writes it instead (`make header`).

use std::env;
use std::fs;

use capi_tests::{header, paths};

#[test]
fn committed_header_is_the_generated_one() {
    let generated = header::generate();
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(paths::repository().join(header::PATH), &generated).expect("it can be written");
    }
    let committed = paths::read(header::PATH);
    if let Some(difference) = first_difference(&committed, &generated) {
        panic!(
            "{} is not what src/capi gives; run `make header`\n{difference}",
            header::PATH
        );
    }
}

#[test]
fn a_difference_is_seen() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    let changed = first_difference("a\nb\n", "a\nc\n").expect("line 2 differs");
    assert_eq!(changed, "line 2\n  committed: b\n  generated: c");
    let longer = first_difference("a\n", "a\nb\n").expect("line 2 was added");
    assert_eq!(longer, "line 2\n  committed: (end)\n  generated: b");
}

#[test]
fn version_macros_are_the_packages_version() {
    let version = ["MAJOR", "MINOR", "PATCH"].map(macro_value).join(".");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}

fn macro_value(part: &str) -> String {
    let text = header::generate();
    let definition = format!("#define CACHEFS_VERSION_{part} ");
    let values: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&definition))
        .collect();
    assert_eq!(values.len(), 1, "definitions of CACHEFS_VERSION_{part}");
    values[0].to_owned()
}

/// The first line in which two texts differ, told for a reader.
fn first_difference(committed: &str, generated: &str) -> Option<String> {
    if committed == generated {
        return None;
    }
    let (mut old, mut new) = (committed.lines(), generated.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (old.next(), new.next()) {
            (None, None) => return Some("only the ends of lines differ".to_owned()),
            (old, new) if old == new => {}
            (old, new) => {
                let (old, new) = (old.unwrap_or("(end)"), new.unwrap_or("(end)"));
                return Some(format!(
                    "line {number}\n  committed: {old}\n  generated: {new}"
                ));
            }
        }
    }
}
