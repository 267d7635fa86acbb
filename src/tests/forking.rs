//! Programs that fork while we have files open: until it executes something else, a child
//! has all that was open then, with the locks.

use super::child::Child;
use super::core_door::CoreDoor;
use super::door::{Door, LIMIT, Place, Settings};
use super::origin::{TestOrigin, content, grow_old};
use super::scenarios::reboots::reboot;
use cachefs_core::EngineChoice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Cache = CoreDoor<false>;

const PLACE: &str = "CACHEFS_TEST_FORKS";
/// Looked for while it forks: with a lock that a child keeps, several are not found.
const FILES: u64 = 100;
const SIZE: usize = 4 << 10;
/// How long a child has everything open.
const HOLD_MS: i32 = 20;

/// Forks a child that does nothing for so long. In a process of its own: it also has what
/// other tests have open.
fn fork(hold_ms: i32) {
    // SAFETY: ignoring a signal runs no code; children are then nobody's to wait for. The
    // child of many threads calls poll(2) and _exit(2), which are safe then
    // (signal-safety(7)), and never returns.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        if libc::fork() == 0 {
            libc::poll(std::ptr::null_mut(), 0, hold_ms);
            libc::_exit(0);
        }
    }
}

/// Forks children until told to end.
fn fork_until(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        fork(HOLD_MS);
    }
}

fn write_files(place: &Place) {
    for number in 0..FILES {
        let path = place.origin().join(number.to_string());
        std::fs::write(path, content(number, 0, SIZE)).unwrap();
    }
    grow_old();
}

fn open(root: &Path) -> Cache {
    Cache::open(&root.join("cache"), &Settings::new(EngineChoice::Auto)).unwrap()
}

fn read_all(cache: &Cache, root: &Path) {
    let origin = cache.directory(&root.join("origin")).unwrap();
    for number in 0..FILES {
        let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
        let mut bytes = vec![0xAA; SIZE];
        assert_eq!(cache.read(&file, &mut bytes, 0), Ok(SIZE as u64));
        assert!(bytes == content(number, 0, SIZE), "file {number}");
    }
}

fn look_while_forking(root: &Path) {
    let cache = open(root);
    read_all(&cache, root);
    while cache.stats().chunks_stored < FILES {
        std::thread::yield_now();
    }
    cache.close();
    drop(cache);
    reboot(&root.join("cache"));
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| fork_until(&end));
        let cache = open(root);
        read_all(&cache, root);
        end.store(true, Ordering::Relaxed);
        assert_eq!(cache.stats().chunks_verified, FILES, "found and verified");
    });
}

fn fill_while_a_child_has_all(root: &Path) {
    const MIB: u64 = 1 << 20;
    let mut settings = Settings::new(EngineChoice::Auto);
    settings.capacity_bytes = 7 * MIB / 2;
    let cache = Cache::open(&root.join("cache"), &settings).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(MIB)));
    for number in 0..4 {
        if number == 3 {
            fork(15 * HOLD_MS);
        }
        let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
        let filled = cache.fill(&file, &mut |_, _| true);
        assert_eq!(filled, Ok(MIB), "file {number}");
    }
}

/// Runs something in a process of its own, on a place that is prepared for it. `test` is the
/// calling one, which the child runs as well.
fn run_alone(test: &str, prepare: impl FnOnce(&Place), run: impl FnOnce(&Path)) {
    if let Some(root) = std::env::var_os(PLACE) {
        run(&PathBuf::from(root));
        std::process::exit(0);
    }
    let place = Place::new();
    prepare(&place);
    let test = format!("tests::forking::{test}");
    Child::start(&test, &[(PLACE, place.root().as_os_str())]).ends_well(LIMIT);
}

#[test]
fn what_a_child_has_open_for_a_moment_is_found_all_the_same() {
    let test = "what_a_child_has_open_for_a_moment_is_found_all_the_same";
    run_alone(test, write_files, look_while_forking);
}

#[test]
fn what_a_child_has_open_for_a_moment_makes_room_soon() {
    let test = "what_a_child_has_open_for_a_moment_makes_room_soon";
    run_alone(test, |_| {}, fill_while_a_child_has_all);
}
