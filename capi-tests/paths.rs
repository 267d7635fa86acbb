//! Where the repository, its sources, and the staged install are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("capi-tests lies in the repository")
        .to_path_buf()
}

/// Cargo's target directory: what `CARGO_TARGET_DIR` says, else `target`.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), |dir| repository().join(dir))
}

/// The tree that `make stage` installed: what `CACHEFS_STAGE` says, else
/// `stage` in the target directory.
///
/// # Panics
///
/// If nothing is installed there: these tests are of the installed library, so
/// without one they have failed.
pub fn stage() -> PathBuf {
    let stage = env::var_os("CACHEFS_STAGE").map_or_else(|| target().join("stage"), PathBuf::from);
    assert!(
        stage.join("lib/pkgconfig/cachefs.pc").is_file(),
        "no library is staged in {}: run `make stage` first",
        stage.display()
    );
    stage
}

/// The text of one file of the repository.
///
/// # Panics
///
/// If it cannot be read.
pub fn read(relative: &str) -> String {
    let path = repository().join(relative);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `directory` whose name ends in `.suffix`, sorted.
///
/// # Panics
///
/// If a directory cannot be read.
pub fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let path = entry.expect("a directory entry can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == suffix)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `path` as seen from the top of the repository, for messages.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(repository())
        .unwrap_or(path)
        .display()
        .to_string()
}
