//! Options of cache and origin from text, and the table of them for people.

use crate::failure::Failure;
use cachefs_core::{Config, OPTIONS, ORIGIN_OPTIONS, OptionInfo, OriginOptions};
use std::fmt::Write;

/// The variable with options for every command, separated by commas.
pub const VARIABLE: &str = "CACHEFS_OPTIONS";

/// Sets one option from `KEY=VALUE`: no key is one of both.
pub fn apply(config: &mut Config, origin: &mut OriginOptions, text: &str) -> Result<(), Failure> {
    let Some((key, value)) = text.split_once('=') else {
        let text = format!("-o {text}: an option is written KEY=VALUE");
        return Err(Failure::usage(text));
    };
    if !keys().any(|known| known == key) {
        let nearest = nearest(key);
        let text = format!(
            "-o {text}: no option is named \"{key}\": did you mean \"{nearest}\"? \
             \"cachefs options\" lists them all"
        );
        return Err(Failure::usage(text));
    }
    let is_of_origin = ORIGIN_OPTIONS.iter().any(|option| option.key == key);
    let set = if is_of_origin {
        origin.set(key, value)
    } else {
        config.set(key, value)
    };
    set.map_err(|error| Failure::usage(format!("-o {text}: {error}")))
}

/// A number of bytes from text, as options have it; at least 1 MiB.
pub fn size(text: &str) -> Result<u64, String> {
    // An option that is a size; its name is not what the user has typed.
    let mut config = Config::default();
    match config.set("capacity_bytes", text) {
        Ok(()) => Ok(config.capacity_bytes),
        Err(_) => Err("not a size from 1MiB on, as 64M or 4GiB".to_owned()),
    }
}

/// The key that looks most like `key`. A shared beginning counts most, since
/// what people forget is the unit at the end.
fn nearest(key: &str) -> &'static str {
    let likeness = |known: &str| strsim::jaro_winkler(key, known);
    let best = keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.expect("there are options")
}

fn keys() -> impl Iterator<Item = &'static str> {
    let of_cache = OPTIONS.iter().map(|option| option.key);
    of_cache.chain(ORIGIN_OPTIONS.iter().map(|option| option.key))
}

/// A line or two for each option.
pub fn table() -> String {
    lines(OPTIONS) + &lines(ORIGIN_OPTIONS)
}

fn lines<T>(options: &[OptionInfo<T>]) -> String {
    let mut table = String::new();
    for option in options {
        let (key, default, range) = (option.key, option.text(option.default), option.range());
        let meaning = option.meaning;
        write!(table, "  {key}={default}\n      {meaning} [{range}]\n")
            .expect("a string takes everything");
    }
    table
}

/// What `--help` says about options.
pub fn help() -> String {
    format!(
        "Options of cache and origin (-o KEY=VALUE), with their defaults and ranges:\n{}",
        table()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        for (typed, meant) in [
            ("capacity", "capacity_bytes"),
            ("chunk_size", "chunk_bytes"),
            ("engin", "engine"),
            ("psync-threads", "psync_threads"),
            ("thread", "threads"),
        ] {
            assert_eq!(nearest(typed), meant);
        }
    }

    #[test]
    fn every_option_is_in_the_table() {
        let table = table();
        for option in OPTIONS {
            assert!(table.contains(option.key) && table.contains(option.meaning));
        }
        for option in ORIGIN_OPTIONS {
            assert!(table.contains(option.key) && table.contains(option.meaning));
        }
    }
}
