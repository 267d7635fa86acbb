//! Who serves the reads of a file: the kernel or the daemon, and how it changes.

mod common;

use common::{Mounted, Scene, eventually, noise, open_direct, read_in_pieces, scene, settle};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SIZE: usize = 5 << 20;

/// A file of the origin that is old enough to be kept.
fn with_file(scene: &Scene) -> Vec<u8> {
    let content = noise(SIZE, 3);
    scene.file("file", &content);
    settle();
    content
}

/// Reads it through, and waits until it is wholly in the cache.
fn fill(mounted: &Mounted<'_>, content: &[u8]) {
    assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    eventually("the next open is the kernel's", || {
        mounted.is_the_kernels("file")
    });
}

#[test]
fn a_complete_file_is_read_without_the_daemon() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("");
    if !mounted.passes_through() {
        return;
    }
    fill(&mounted, &content);
    let file = File::open(mounted.path("file")).unwrap();
    let before = mounted.calls_at_rest();
    let mut all = vec![0; SIZE];
    file.read_exact_at(&mut all, 0).unwrap();
    assert!(all == content);
    assert_eq!(mounted.calls(), before);
    drop(file);
    assert!(mounted.unmount().success());
}

#[test]
fn a_file_that_becomes_complete_while_it_is_open_is_the_kernels_when_opened_next() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("entry_timeout=60,attr_timeout=60");
    if !mounted.passes_through() {
        return;
    }
    let before = File::open(mounted.path("file")).unwrap();
    let mut bytes = [0; 4096];
    before.read_exact_at(&mut bytes, 0).unwrap();
    fill(&mounted, &content);
    // Both ways at once, as long as they like, and one more of each.
    let after = File::open(mounted.path("file")).unwrap();
    let link = format!("/proc/self/fd/{}", before.as_raw_fd());
    let again = File::open(link).unwrap();
    for file in [&before, &after, &again] {
        let mut all = vec![0; SIZE];
        file.read_exact_at(&mut all, 0).unwrap();
        assert!(all == content);
    }
    assert!(mounted.is_the_kernels("file"));
}

#[test]
fn a_file_that_is_replaced_is_served_in_both_versions() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("entry_timeout=0.05,attr_timeout=0.05");
    fill_anyhow(&mounted, &content);
    let before = File::open(mounted.path("file")).unwrap();
    let changed = noise(SIZE + 5000, 4);
    scene.file("new", &changed);
    fs::rename(scene.origin().join("new"), scene.origin().join("file")).unwrap();
    eventually("the new file", || {
        fs::metadata(mounted.path("file")).unwrap().len() == changed.len() as u64
    });
    assert!(fs::read(mounted.path("file")).unwrap() == changed);
    let mut all = vec![0; SIZE];
    before.read_exact_at(&mut all, 0).unwrap();
    assert!(all == content);
    assert_eq!(before.metadata().unwrap().len(), SIZE as u64);
}

#[test]
fn a_file_that_is_rewritten_is_served_in_its_new_version_when_opened_next() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("entry_timeout=60,attr_timeout=60");
    fill_anyhow(&mounted, &content);
    let before = File::open(mounted.path("file")).unwrap();
    let changed = noise(SIZE - 5000, 4);
    scene.file("file", &changed);
    // The open asks the origin, however long the kernel believes what it was told.
    assert!(fs::read(mounted.path("file")).unwrap() == changed);
    let mut bytes = vec![0; 4096];
    before.read_exact_at(&mut bytes, 0).unwrap();
}

fn fill_anyhow(mounted: &Mounted<'_>, content: &[u8]) {
    if mounted.passes_through() {
        fill(mounted, content);
    } else {
        assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    }
}

#[test]
fn without_passthrough_the_daemon_says_so_and_serves() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("passthrough=false");
    assert!(mounted.has_said("no passthrough: it is turned off"));
    for piece in [4096, 100_000, 1 << 20] {
        assert!(read_in_pieces(&mounted.path("file"), piece) == content);
    }
    assert!(!mounted.is_the_kernels("file"));
}

#[test]
fn a_read_that_the_daemon_serves_from_the_cache_takes_two_system_calls() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("passthrough=false,attr_timeout=60,entry_timeout=60");
    assert!(read_in_pieces(&mounted.path("file"), 1 << 20) == content);
    let file = open_direct(&mounted.path("file"));
    let mut memory = vec![0; 64 << 10];
    let at = memory.as_ptr().align_offset(4096);
    let mut read = |count: u64| {
        for index in 0..count {
            file.read_at(&mut memory[at..at + 4096], index * 4096)
                .unwrap();
        }
    };
    // The fill may still be on its way, and the file is mapped once.
    eventually("two calls for a read", || {
        read(1);
        let before = mounted.calls();
        read(100);
        mounted.calls() - before <= 200
    });
}

#[test]
fn a_read_of_what_is_cached_of_an_incomplete_file_takes_two_system_calls() {
    let Some(scene) = scene() else { return };
    let content = noise(32 << 20, 3);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount("readahead=false,attr_timeout=60,entry_timeout=60");
    let file = open_direct(&mounted.path("file"));
    let mut memory = vec![0; 64 << 10];
    let at = memory.as_ptr().align_offset(4096);
    let mut read = |count: usize| {
        for offset in (0..count).map(|index| index * 8192 % (1 << 20)) {
            file.read_at(&mut memory[at..at + 4096], offset as u64)
                .unwrap();
            assert!(memory[at..at + 4096] == content[offset..offset + 4096]);
        }
    };
    // What was read is written to the cache in a moment, and the file is mapped once.
    eventually("two calls for a read", || {
        read(1);
        let before = mounted.calls();
        read(100);
        mounted.calls() - before <= 200
    });
    assert!(!mounted.is_the_kernels("file"));
}

#[test]
fn small_files_stay_in_the_kernels_page_cache() {
    let Some(scene) = scene() else { return };
    scene.file("small", &noise(4096, 5));
    settle();
    let mounted = scene.mount("attr_timeout=60,entry_timeout=60");
    let read = || fs::read(mounted.path("small")).unwrap();
    let first = read();
    let before = mounted.calls_at_rest();
    assert_eq!(read(), first);
    // OPEN and RELEASE, each read and answered, but no READ; a release may be late.
    let taken = mounted.calls() - before;
    assert!(taken <= 6, "{taken}");
}

#[test]
fn an_empty_file_is_read() {
    let Some(scene) = scene() else { return };
    scene.file("empty", b"");
    let mounted = scene.mount("passthrough_min=0");
    for _ in 0..3 {
        assert_eq!(fs::read(mounted.path("empty")).unwrap(), b"");
    }
}

#[test]
fn maps_show_the_files_content_in_every_way() {
    let Some(scene) = scene() else { return };
    let content = with_file(&scene);
    let mounted = scene.mount("");
    let map = |path: &Path| {
        let file = File::open(path).unwrap();
        // SAFETY: nobody changes the file as long as it is mapped.
        unsafe { memmap2::Mmap::map(&file) }.unwrap()
    };
    let first = map(&mounted.path("file"));
    assert!(first[..] == content);
    fill_anyhow(&mounted, &content);
    let second = map(&mounted.path("file"));
    assert!(second[..] == content && first[..] == content);
}

/// A mount whose kernel and whose origin's options both believe for ever, and a file on it
/// that was read.
fn believed<'a>(scene: &'a Scene, options: &str) -> (Mounted<'a>, Vec<u8>) {
    let content = noise(100_000, 3);
    scene.file("file", &content);
    settle();
    let believe = "attr_timeout=3600,entry_timeout=3600";
    let mounted = scene.mount(&format!("{believe},{options}"));
    assert!(fs::read(mounted.path("file")).unwrap() == content);
    (mounted, content)
}

#[test]
fn opens_ask_the_origin_as_its_validation_says() {
    for (validation, believes) in [("always", false), ("ttl", true), ("never", true)] {
        let Some(scene) = scene() else { return };
        let (mounted, content) = believed(&scene, &format!("validation={validation}"));
        let changed = noise(90_000, 4);
        scene.file("file", &changed);
        let found = fs::read(mounted.path("file")).unwrap();
        assert!(
            found == if believes { &*content } else { &*changed },
            "{validation}"
        );
    }
}

#[test]
fn what_is_believed_is_asked_for_again_when_its_time_is_over() {
    let Some(scene) = scene() else { return };
    let (mounted, content) = believed(&scene, "validation=ttl,validate_ttl_ms=500");
    let changed = noise(90_000, 4);
    scene.file("file", &changed);
    eventually("the new version", || {
        let found = fs::read(mounted.path("file")).unwrap();
        assert!(found == content || found == changed);
        found == changed
    });
}

#[test]
fn a_change_that_the_kernel_was_told_of_is_believed_at_once() {
    let Some(scene) = scene() else { return };
    let content = noise(100_000, 3);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount("attr_timeout=0,entry_timeout=0,validation=never");
    let read = || fs::read(mounted.path("file")).unwrap();
    assert!(read() == content);
    let open = File::open(mounted.path("file")).unwrap();
    let changed = noise(90_000, 4);
    scene.file("file", &changed);
    assert_eq!(open.metadata().unwrap().len(), 90_000);
    assert!(read() == changed);
    let mut bytes = vec![0; 4096];
    eventually("the open file as well", || {
        open.read_exact_at(&mut bytes, 0).unwrap();
        bytes == changed[..4096]
    });
}
