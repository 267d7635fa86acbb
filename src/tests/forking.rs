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
const TEST: &str = "tests::forking::what_a_child_has_open_for_a_moment_is_found_all_the_same";
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

fn look_while_forking(root: &Path) -> ! {
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
    std::process::exit(0)
}

#[test]
fn what_a_child_has_open_for_a_moment_is_found_all_the_same() {
    if let Some(root) = std::env::var_os(PLACE) {
        look_while_forking(&PathBuf::from(root));
    }
    let place = Place::new();
    for number in 0..FILES {
        let path = place.origin().join(number.to_string());
        std::fs::write(path, content(number, 0, SIZE)).unwrap();
    }
    grow_old();
    Child::start(TEST, &[(PLACE, place.root().as_os_str())]).ends_well(LIMIT);
}

const FULL_PLACE: &str = "CACHEFS_TEST_FORKS_FULL";
const FULL_TEST: &str = "tests::forking::what_a_child_has_open_for_a_moment_makes_room_soon";

fn fill_while_a_child_has_all(root: &Path) -> ! {
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
    std::process::exit(0)
}

#[test]
fn what_a_child_has_open_for_a_moment_makes_room_soon() {
    if let Some(root) = std::env::var_os(FULL_PLACE) {
        fill_while_a_child_has_all(&PathBuf::from(root));
    }
    let place = Place::new();
    Child::start(FULL_TEST, &[(FULL_PLACE, place.root().as_os_str())]).ends_well(LIMIT);
}
