//! A C compiler sees the same types and constants in `cachefs.h` as Rust does
//! in `src/capi/types.rs`.
//!
//! build.rs reads the header back with bindgen and lists what to compare.

#[expect(non_camel_case_types, reason = "C names")]
#[expect(dead_code, reason = "only layouts matter")]
mod header {
    include!(concat!(env!("OUT_DIR"), "/header.rs"));
}

#[expect(dead_code, reason = "only layouts matter")]
#[path = "../../src/capi/types.rs"]
mod types;

include!(concat!(env!("OUT_DIR"), "/comparisons.rs"));

/// One thing that both sides must agree on.
struct Comparison {
    what: &'static str,
    header: String,
    types: String,
}

impl Comparison {
    fn new(what: &'static str, header: impl ToString, types: impl ToString) -> Comparison {
        Comparison {
            what,
            header: header.to_string(),
            types: types.to_string(),
        }
    }
}

/// The size of the field that `field` points at.
fn size_of_field<S, F>(_field: fn(&S) -> *const F) -> usize {
    size_of::<F>()
}

fn differences(comparisons: &[Comparison]) -> Vec<String> {
    comparisons
        .iter()
        .filter(|comparison| comparison.header != comparison.types)
        .map(|c| format!("{}\n  header: {}\n  types:  {}", c.what, c.header, c.types))
        .collect()
}

#[test]
fn header_and_types_agree() {
    let comparisons = comparisons();
    assert!(
        comparisons.len() > 200,
        "only {} comparisons were made",
        comparisons.len()
    );
    let differences = differences(&comparisons);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_difference_is_seen() {
    let comparisons = [
        Comparison::new("same", 8, 8),
        Comparison::new("size", 64, 72),
    ];
    assert_eq!(
        differences(&comparisons),
        ["size\n  header: 64\n  types:  72"]
    );
}
