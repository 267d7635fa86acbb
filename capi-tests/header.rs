//! `include/cachefs.h` as cbindgen makes it from `src/capi`.

use crate::{exports, paths};

/// Where the committed header is, seen from the top of the repository.
pub const PATH: &str = "include/cachefs.h";

/// Makes the header from the source.
///
/// # Panics
///
/// If the configuration or the source cannot be read.
pub fn generate() -> String {
    let config = paths::repository().join("include/cbindgen.toml");
    let config = cbindgen::Config::from_file(&config)
        .unwrap_or_else(|error| panic!("{}: {error}", config.display()));
    // One file at a time, in the order of the modules, since cbindgen's own way
    // through a crate asks `cargo metadata` and orders by what it finds there.
    let builder = exports::modules().iter().fold(
        cbindgen::Builder::new().with_config(config),
        |builder, file| builder.with_src(file),
    );
    let bindings = builder.generate().expect("src/capi can be expressed in C");
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("sources are UTF-8");
    // A heading for rustdoc and clippy; comments of C have none.
    text.replace(" * # Safety\n * ", " * Safety: ")
}
