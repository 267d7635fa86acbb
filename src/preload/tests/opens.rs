//! How files are opened, and what is true of descriptors then.

mod common;

use common::{Scene, compile, noise, probe, say, settle, succeed};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// An origin with a file of two chunks, cached.
fn scene() -> Scene {
    let scene = Scene::new();
    let file = scene.file("d/file", &noise(1_500_000, 1));
    fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    scene.warm_all();
    scene
}

/// Whatever a function is told to do, it does the same, from the cache.
fn is_same_from_cache(scene: &Scene, what: &str) {
    let path = scene.origin().join("d/file");
    let (with, without) = scene.both(&[what, path.to_str().unwrap()]);
    assert!(with.contains("where cache"), "{what}: {with}");
    assert_eq!(
        with.replace("where cache", "where origin"),
        without,
        "{what}"
    );
}

fn is_left_to_origin(scene: &Scene, what: &str) {
    let path = scene.origin().join("d/file");
    let (with, without) = scene.both(&[what, path.to_str().unwrap()]);
    assert_eq!(with, without, "{what}");
}

#[test]
fn every_function_that_opens_gives_the_cached_file() {
    let scene = scene();
    for what in [
        "open",
        "open64",
        "__open",
        "__open64",
        "__open_2",
        "__open64_2",
        "openat",
        "openat64",
        "__openat_2",
        "__openat64_2",
        "openat2",
        "fopen",
        "fopen64",
        "freopen",
        "freopen64",
        "append",
        "cloexec",
    ] {
        if what == "openat2" {
            // Where libc does not have it, nothing can be compared with.
            let path = scene.origin().join("d/file");
            let with = say(scene.command(probe()).arg(what).arg(&path));
            assert!(with.contains("where cache"), "{with}");
            continue;
        }
        is_same_from_cache(&scene, what);
    }
}

#[test]
fn a_descriptor_stays_the_origins_file_over_exec_and_sockets() {
    let scene = scene();
    is_same_from_cache(&scene, "exec");
    is_same_from_cache(&scene, "send");
}

#[test]
fn mappings_are_of_the_cached_file() {
    is_same_from_cache(&scene(), "mmap");
}

#[test]
fn the_lowest_number_is_given() {
    is_same_from_cache(&scene(), "lowest");
}

#[test]
fn errno_is_left_as_it_was() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    let (with, without) = scene.both(&["errno", path.to_str().unwrap()]);
    assert_eq!(with, without);
}

#[test]
fn flags_that_only_the_origin_can_have_lead_there() {
    let scene = scene();
    for what in ["direct", "rdwr", "create", "path"] {
        is_left_to_origin(&scene, what);
    }
}

#[test]
fn opens_take_no_memory_and_start_no_thread() {
    let (scene, path) = Scene::with_file(10_000);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counting.c");
    let program = scene.outside().join("counting");
    compile(&[], &source, &program);
    for mode in ["verify", "trust:60000", "wait"] {
        let mut command = scene.command(&program);
        let said = say(command
            .env("CACHEFS_MODE", mode)
            .args([path.as_path(), &scene.cache()]));
        assert_eq!(said, "0 allocations, 1 thread, cached\n", "{mode}");
    }
}

/// glibc ends such a thread by unwinding it, through this library (pthread_cancel(3)).
#[test]
fn threads_that_are_cancelled_while_they_wait_end() {
    let (scene, file) = Scene::with_file(10_000);
    let fifo = scene.origin().join("fifo");
    succeed(Command::new("mkfifo").arg(&fifo));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cancelled.c");
    let program = scene.outside().join("cancelled");
    compile(&[], &source, &program);
    let opens = [
        "open", "open64", "openat", "openat64", "creat", "fopen", "fopen64", "freopen",
    ];
    for what in opens {
        let said = say(scene.command(&program).arg(&fifo).arg(what));
        assert_eq!(said, "cancelled 1\n", "{what}");
    }
    for what in ["fcntl", "lockf"] {
        let said = say(scene.command(&program).arg(&file).arg(what));
        assert_eq!(said, "cancelled 1\n", "{what}");
    }
}

/// Of all descriptors of a file, the first one that is closed drops the locks that a process
/// has of it (fcntl(2)): so none may be that the program knows nothing of.
#[test]
fn a_lock_stays_until_the_program_closes_the_file() {
    let (scene, path) = Scene::with_file(10_000);
    let (with, without) = scene.both(&["locks", path.to_str().unwrap()]);
    assert_eq!(with.replace("where cache", "where origin"), without);
    assert!(
        without.contains("locked once more: others are kept out"),
        "{without}"
    );
}

#[test]
fn locks_are_of_the_origins_file() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    for what in ["flock", "fcntl"] {
        let (with, without) = scene.both(&[what, path.to_str().unwrap()]);
        assert!(without.contains("others are kept out"), "{without}");
        let given_back = with.replacen("where cache", "where origin", 1);
        assert!(with.starts_with("where cache"), "{with}");
        assert_eq!(given_back, without);
    }
}

#[test]
fn metadata_are_changed_at_the_origin() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    let with = say(scene.command(probe()).arg("fchmod").arg(&path));
    assert!(with.contains("where origin"), "{with}");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
    let scene = self::scene();
    let path = scene.origin().join("d/file");
    let with = say(scene.command(probe()).arg("futimens").arg(&path));
    assert_eq!(with, "mtime 3.000000004\nwhere origin\n");
}

#[test]
fn attributes_are_those_of_the_origins_file() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(errno) = rustix::fs::setxattr(&path, c"user.test", b"value", flags) {
        return eprintln!("skipped: no user attributes here: {errno}");
    }
    scene.warm_all();
    is_same_from_cache(&scene, "xattr");
}

#[test]
fn without_room_for_a_second_descriptor_the_origin_is_read() {
    is_left_to_origin(&scene(), "nofile");
}

#[test]
fn in_another_root_directory_the_origin_is_read() {
    let scene = scene();
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: chroot takes root");
    }
    let root = scene.origin();
    let words = ["chroot", root.to_str().unwrap(), "/d/file"];
    let (with, without) = scene.both(&words);
    assert_eq!(with, without);
}

/// Whatever a program is not allowed any more, it sees what it would see without the library:
/// opened before the sandbox and in it, by a process that has opened something before and not.
#[test]
fn in_a_sandbox_the_program_sees_what_it_would_without_the_library() {
    let scene = scene();
    let file = scene.origin().join("d/file");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandboxed.c");
    let program = scene.outside().join("sandboxed");
    compile(&[], &source, &program);
    let kinds = [
        "landlock",
        "mounts",
        "clock_gettime",
        "connect",
        "dup3",
        "fcntl",
        "fgetxattr",
        "fsetxattr",
        "getpid",
        "mmap",
        "munmap",
        "openat",
        "readlinkat",
        "sendto",
        "socket",
        "statx",
        "utimensat",
    ];
    let report = scene.outside().join("report");
    for kind in kinds {
        let words = [Path::new(kind), &file, &scene.cache()];
        let without = say(Command::new(&program).args(words));
        if without.contains("no landlock") {
            eprintln!("skipped: this kernel has no Landlock");
            continue;
        }
        let mut command = scene.command(&program);
        let with = say(command.env("CACHEFS_REPORT", &report).args(words));
        assert_eq!(with, without, "{kind}");
    }
    let told = fs::read_to_string(report).unwrap();
    assert!(told.contains("opened in the cache: 2"), "{told}");
}

#[test]
fn a_report_tells_of_opens_and_misses_and_why_and_of_bytes() {
    let (scene, path) = Scene::with_file(10_000);
    let missing = scene.file("d/missing", b"missing");
    let mut command = scene.command("cat");
    let ran = command
        .env("CACHEFS_REPORT", "1")
        .args([&path, &path, &missing])
        .output()
        .unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    let lines: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("cachefs: ")?.split_once(": "))
        .map(|(_process, line)| line)
        .collect();
    let expected = [
        "opened in the cache: 2",
        "missed: not cached: 1",
        "copies not asked for: no filler: 1",
        "bytes of the files opened in the cache: 20000",
    ];
    assert_eq!(lines, expected, "{told}");
}

#[test]
fn threads_that_open_at_once_do_not_disturb_each_other() {
    is_same_from_cache(&scene(), "threads");
}

#[test]
fn children_of_fork_and_vfork_open_as_their_parents_do() {
    is_same_from_cache(&scene(), "forks");
}

#[test]
fn who_closes_all_descriptors_goes_on() {
    is_same_from_cache(&scene(), "closefrom");
}

#[test]
fn a_thread_with_a_small_stack_can_open() {
    is_same_from_cache(&scene(), "stack");
}

#[test]
fn who_clears_its_environment_goes_on() {
    is_same_from_cache(&scene(), "empty-environment");
}

#[test]
fn relative_names_lead_to_the_cache() {
    let scene = scene();
    let origin = scene.origin();
    for (place, name) in [
        (origin.join("d"), "file"),
        (origin.clone(), "./d/file"),
        (origin.join("d"), "../d/file"),
        (scene.outside(), "./origin/../origin/d/file"),
        (scene.outside(), "../"),
        ("/".into(), "/"),
    ] {
        let name = match name {
            "../" => {
                let above = scene.outside().file_name().unwrap().to_owned();
                format!("../{}/origin/d/file", above.to_str().unwrap())
            }
            "/" => {
                let path = origin.join("d/file");
                path.to_str().unwrap().trim_start_matches('/').to_owned()
            }
            name => name.to_owned(),
        };
        let with = say(scene
            .command(probe())
            .args(["open", &name])
            .current_dir(&place));
        let without = say(Command::new(probe())
            .args(["open", &name])
            .current_dir(&place));
        assert!(with.contains("where cache"), "{name}: {with}");
        assert_eq!(
            with.replace("where cache", "where origin"),
            without,
            "{name}"
        );
    }
}

#[test]
fn another_version_is_read_at_the_origin() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    fs::write(&path, noise(1_500_000, 2)).unwrap();
    is_left_to_origin(&scene, "open");
    scene.warm_all();
    is_same_from_cache(&scene, "open");
    // Only its ctime changes.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    is_left_to_origin(&scene, "open");
}

#[test]
fn a_file_that_is_not_whole_is_read_at_the_origin() {
    let scene = Scene::new();
    scene.file("d/file", &noise(3 << 20, 1));
    settle();
    let cache = cachefs_core::Cache::open(&scene.cache(), &common::config()).unwrap();
    let options = cachefs_core::OriginOptions::default();
    let origin = cache.open_directory(&scene.origin(), &options).unwrap();
    let file = origin.open(b"d/file").unwrap();
    file.fill(0, 1 << 20, |_, _| true).unwrap();
    is_left_to_origin(&scene, "open");
    file.fill(0, u64::MAX, |_, _| true).unwrap();
    is_same_from_cache(&scene, "open");
    drop((file, origin));
    cache.close().unwrap();
    is_same_from_cache(&scene, "open");
}

#[test]
fn an_evicted_file_is_read_at_the_origin() {
    let scene = scene();
    is_same_from_cache(&scene, "open");
    let objects = scene.cache().join("objects");
    for bucket in fs::read_dir(objects).unwrap() {
        for file in fs::read_dir(bucket.unwrap().path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    is_left_to_origin(&scene, "open");
}

#[test]
fn without_a_cache_all_is_as_ever() {
    let scene = scene();
    fs::remove_dir_all(scene.cache()).unwrap();
    is_left_to_origin(&scene, "open");
    fs::create_dir(scene.cache()).unwrap();
    fs::write(scene.cache().join("slots"), b"something else").unwrap();
    is_left_to_origin(&scene, "open");
}

#[test]
fn settings_that_cannot_be_understood_switch_it_off() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    for (name, value) in [
        ("CACHEFS_MODE", "sometimes"),
        ("CACHEFS_DIR", "cache"),
        ("CACHEFS_ORIGINS", ""),
    ] {
        let said = say(scene
            .command(probe())
            .env(name, value)
            .arg("open")
            .arg(&path));
        assert!(said.contains("where origin"), "{name}={value}: {said}");
    }
}

#[test]
fn empty_files_are_files() {
    let scene = Scene::new();
    scene.file("d/file", b"");
    scene.warm_all();
    is_same_from_cache(&scene, "open");
}

#[test]
fn who_may_not_enter_the_cache_reads_the_origin() {
    let scene = scene();
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: to be another user takes root");
    }
    let file = scene.origin().join("d/file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    scene.warm_all();
    is_same_from_cache(&scene, "open");
    let library = scene.outside().join("library.so");
    fs::copy(common::library(), &library).unwrap();
    let program = scene.outside().join("probe");
    fs::copy(probe(), &program).unwrap();
    let words = ["65534", "open", file.to_str().unwrap()];
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--clear-groups", "env"])
        .arg(format!("LD_PRELOAD={}", library.display()))
        .arg(format!("CACHEFS_ORIGINS={}", scene.origin().display()))
        .arg(format!("CACHEFS_DIR={}", scene.cache().display()))
        .arg(&program)
        .args(&words[1..]);
    let said = say(&mut command);
    assert!(said.contains("where origin"), "{said}");
}

#[test]
fn a_program_with_a_checker_of_addresses_runs() {
    let scene = scene();
    let path = scene.origin().join("d/file");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe.c");
    let program = scene.outside().join("checked");
    compile(&["-fsanitize=address"], &source, &program);
    let said = |command: &mut Command| {
        let command = command.env("ASAN_OPTIONS", "verify_asan_link_order=0");
        say(command.arg("open").arg(&path))
    };
    let with = said(&mut scene.command(&program));
    let without = said(&mut Command::new(&program));
    assert!(with.contains("where cache"), "{with}");
    assert_eq!(with.replace("where cache", "where origin"), without);
}
