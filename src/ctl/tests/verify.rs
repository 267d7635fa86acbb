//! `cachefs verify`.

mod common;

use common::{Scene, noise};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of the file, and of its chunks.
const SIZE: usize = 4 * CHUNK;
const CHUNK: usize = 64 << 10;

/// What the tool ends with if something was damaged.
const DAMAGED: i32 = 3;

/// A scene with one file that is cached.
fn filled() -> Scene {
    let scene = Scene::new();
    scene.file("file", &noise(SIZE));
    let chunk_bytes = format!("chunk_bytes={CHUNK}");
    scene.succeed(&["warm", "-o", &chunk_bytes, "file"]);
    scene
}

/// The only file below a directory with this ending.
fn only(directory: &Path, ending: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("list a directory") {
            let path = entry.expect("list a directory").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Turns one bit of a file round.
fn damage(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path);
    let file = file.expect("open what is to be damaged");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read a byte");
    file.write_all_at(&[byte[0] ^ 1], offset)
        .expect("write a byte");
}

#[test]
fn a_sound_cache_is_found_to_be_sound() {
    let scene = filled();
    let report = scene.json(&["verify"]);
    assert_eq!(report["objects"], 1);
    assert_eq!(report["bytes"], SIZE);
    assert_eq!(report["chunks_dropped"], 0);
}

#[test]
fn a_damaged_chunk_is_dropped_told_and_fetched_again() {
    let scene = filled();
    // The sums that the kernel's copies did not make.
    scene.succeed(&["verify"]);
    damage(&only(&scene.cache(), ".data"), 2 * CHUNK as u64 + 1);
    let ran = scene.run(&["verify", "file"]);
    assert_eq!(ran.status, Some(DAMAGED), "{ran:?}");
    assert!(
        ran.text()
            .contains("dropped   1 chunk, to be fetched again"),
        "{ran:?}"
    );
    let read = scene.succeed(&["cat", "file"]);
    assert!(read.stdout == noise(SIZE));
    scene.succeed(&["verify"]);
}

#[test]
fn damaged_metadata_cost_their_object_and_nothing_else() {
    let scene = filled();
    damage(&only(&scene.cache(), ".meta"), 20);
    let ran = scene.run(&["verify"]);
    assert_eq!(ran.status, Some(DAMAGED), "{ran:?}");
    assert!(ran.text().contains("with damaged metadata"), "{ran:?}");
    scene.succeed(&["verify"]);
    let read = scene.succeed(&["cat", "file"]);
    assert!(read.stdout == noise(SIZE));
}

#[test]
fn a_file_that_is_not_there_is_told_and_the_rest_is_verified() {
    let scene = filled();
    let ran = scene.run(&["verify", "missing", "file"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["missing", "No such file"]);
    assert!(ran.text().contains("of 1 object"), "{ran:?}");
}
