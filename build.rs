//! Link arguments of the shared library that cargo builds: its soname, and
//! relocations that are resolved when it is loaded and read-only from then on.
//!
//! The installed library is linked by `pkgconfig/install.sh`, with the same
//! arguments and versioned symbols: GNU ld ignores a version script here, since
//! rustc passes one of its own.

use std::fs;

/// Where the ABI number is, which is raised by a break and by nothing else.
const TYPES: &str = "src/capi/types.rs";

fn main() {
    println!("cargo::rerun-if-changed={TYPES}");
    let types = fs::read_to_string(TYPES).unwrap_or_else(|error| panic!("{TYPES}: {error}"));
    let abi = abi_number(&types).unwrap_or_else(|| panic!("{TYPES} has no CACHEFS_ABI"));
    for argument in [
        &format!("-soname,libcachefs.so.{abi}"),
        "-z,now",
        "-z,relro",
    ] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
}

fn abi_number(types: &str) -> Option<u32> {
    let mut lines = types.lines();
    lines.find_map(|line| {
        line.strip_prefix("pub const CACHEFS_ABI: u32 = ")?
            .strip_suffix(';')?
            .parse()
            .ok()
    })
}
