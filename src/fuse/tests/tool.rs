//! The tool `cachefs` with a mount: it finds the daemon, and asks it.

mod common;

use common::{Scene, noise, scene, settle};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The tool, built as the daemon was: it belongs to another package, of which cargo tells
/// these tests nothing.
fn tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_cachefsd"));
        let directory = beside.parent().expect("it is in a directory");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "cachefs-ctl"]);
        if directory.ends_with("release") {
            build.arg("--release");
        }
        build
            .arg("--target-dir")
            .arg(directory.parent().expect("of the target"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        let built = build.status().expect("run cargo");
        assert!(built.success(), "build the tool: {built}");
        directory.join("cachefs")
    })
}

/// Runs the tool on the scene's cache, without an origin named.
fn run(scene: &Scene, words: &[&str]) -> Output {
    command(scene, words).output().expect("run the tool")
}

fn command(scene: &Scene, words: &[&str]) -> Command {
    let mut command = Command::new(tool());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"CACHEFS_") {
            command.env_remove(name);
        }
    }
    command
        .args(words)
        .env("CACHEFS_DIR", scene.cache())
        .current_dir(scene.outside());
    command
}

/// The same, which must succeed; what it wrote.
#[track_caller]
fn told(scene: &Scene, words: &[&str]) -> String {
    let output = run(scene, words);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it is text")
}

#[track_caller]
fn json(scene: &Scene, words: &[&str]) -> Value {
    serde_json::from_str(&told(scene, words)).expect("it is JSON")
}

/// The same, which must fail; what it said.
#[track_caller]
fn refused(scene: &Scene, words: &[&str]) -> String {
    let output = run(scene, words);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8(output.stderr).expect("it is text")
}

#[test]
fn every_command_about_files_is_done_by_the_daemon() {
    let Some(scene) = scene() else { return };
    for file in ["d/a", "d/b"] {
        scene.file(file, &noise(3 << 20, 1));
    }
    settle();
    let mounted = scene.mount("");
    told(&scene, &["warm", "d"]);
    let whole = json(&scene, &["stat", "--json"]);
    // What it copied is on the daemon's account.
    let counters = &whole["server"]["counters"];
    assert_eq!(counters["bytes_from_origin"], 6 << 20, "{whole}");
    assert_eq!(whole["server"]["pid"], mounted.pid().as_raw_nonzero().get());
    assert_eq!(whole["origins"][0]["complete_objects"], 2);
    assert!(told(&scene, &["stat"]).contains("daemon    cachefsd, process"));
    assert_eq!(
        json(&scene, &["stat", "--json", "d/a"])[0]["complete"],
        true
    );
    assert_eq!(
        json(&scene, &["why", "--json", "d/a"])[0]["state"],
        "complete"
    );
    let entries = json(&scene, &["ls", "--json"]);
    assert_eq!(entries.as_array().map(Vec::len), Some(2), "{entries}");
    assert_eq!(json(&scene, &["verify", "--json", "d/a"])["objects"], 1);
    assert_eq!(json(&scene, &["verify", "--json"])["objects"], 2);
    told(&scene, &["pin", "d/a", "d/b"]);
    assert!(refused(&scene, &["evict", "d/a"]).contains("is pinned"));
    told(&scene, &["unpin", "d/a"]);
    told(&scene, &["evict", "d/a"]);
    assert_eq!(
        json(&scene, &["why", "--json", "d/a"])[0]["state"],
        "not cached"
    );
}

#[test]
fn names_are_those_of_the_mount_the_origin_or_the_current_directory() {
    let Some(scene) = scene() else { return };
    scene.file("d/a", b"content");
    settle();
    let mounted = scene.mount("");
    let mountpoint = scene.mnt();
    let by_mount = ["--mount", mountpoint.to_str().unwrap(), "stat", "--json"];
    for name in [
        mounted.path("d/a"),
        scene.origin().join("d/a"),
        "d/a".into(),
    ] {
        let words = [&by_mount[..], &[name.to_str().unwrap()]].concat();
        assert_eq!(json(&scene, &words)[0]["size"], 7, "{name:?}");
    }
    let mut inside = command(&scene, &["stat", "a"]);
    // The directory is found by the mountpoint.
    inside
        .env_remove("CACHEFS_DIR")
        .env("CACHEFS_MOUNT", scene.mnt());
    let output = inside.current_dir(mounted.path("d")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let outside = scene.outside().join("elsewhere");
    fs::write(&outside, b"").unwrap();
    let said = refused(&scene, &["stat", outside.to_str().unwrap()]);
    assert!(said.contains("not below the origin"), "{said}");
}

#[test]
fn a_change_is_seen_at_once_after_the_command() {
    let Some(scene) = scene() else { return };
    scene.file("d/a", b"content");
    scene.file("d/gone", b"");
    settle();
    let mounted = scene.mount("attr_timeout=3600,entry_timeout=3600");
    let (path, gone) = (mounted.path("d/a"), mounted.path("d/gone"));
    assert!(fs::read(&path).unwrap() == b"content" && gone.exists());
    scene.file("d/a", b"other content");
    fs::remove_file(scene.origin().join("d/gone")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 7);
    told(&scene, &["invalidate", "d/a"]);
    assert!(fs::read(&path).unwrap() == b"other content" && gone.exists());
    told(&scene, &["invalidate", "d"]);
    assert!(!gone.exists());
    // By a directory that is gone at the origin.
    assert!(path.exists());
    fs::remove_dir_all(scene.origin().join("d")).unwrap();
    assert!(path.exists());
    told(&scene, &["invalidate", "d"]);
    assert!(!path.exists() && !mounted.path("d").exists());
}

#[test]
fn top_looks_again_and_again() {
    let Some(scene) = scene() else { return };
    scene.file("a", &noise(100_000, 1));
    settle();
    let mounted = scene.mount("");
    let _open = fs::File::open(mounted.path("a")).unwrap();
    fs::read(mounted.path("a")).unwrap();
    let lines = told(&scene, &["top", "-n", "2", "-i", "0.05", "--json"]);
    let looks: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(looks.len(), 2);
    assert_eq!(looks[0]["files"][0]["path"], "a");
    assert!(looks[1]["per_second"]["hits"].is_number(), "{}", looks[1]);
    let text = told(&scene, &["top", "-n", "1"]);
    assert!(
        text.contains("OPENS") && text.contains("daemon  a"),
        "{text}"
    );
}

#[test]
fn reload_says_what_is_in_force_and_what_is_not() {
    let Some(scene) = scene() else { return };
    let file = scene.outside().join("mount.toml");
    fs::write(&file, "attr_timeout = 2\n").unwrap();
    let _mounted = scene.mount(&format!("config={}", file.display()));
    assert!(told(&scene, &["reload"]).contains("nothing has changed"));
    fs::write(&file, "attr_timeout = 3\npassthrough = false\n").unwrap();
    let said = told(&scene, &["reload"]);
    assert!(said.contains("attr_timeout=3 from now on"), "{said}");
    assert!(
        said.contains("passthrough has changed, and takes a new mount"),
        "{said}"
    );
}

#[test]
fn without_a_daemon_the_directory_is_asked() {
    let Some(scene) = scene() else { return };
    scene.file("a", b"content");
    settle();
    let origin = scene.origin();
    let origin = origin.to_str().unwrap();
    told(&scene, &["--origin", origin, "warm", "a"]);
    told(&scene, &["--origin", origin, "invalidate", "a"]);
    told(&scene, &["--origin", origin, "pin", "a"]);
    assert!(json(&scene, &["stat", "--json"])["server"].is_null());
    assert!(refused(&scene, &["stat", "a"]).contains("which origin?"));
    for command in ["top", "reload"] {
        assert!(
            refused(&scene, &[command]).contains("no daemon"),
            "{command}"
        );
    }
    let said = refused(&scene, &["--mount", origin, "stat"]);
    assert!(said.contains("not the mountpoint of a cachefsd"), "{said}");
    // With options of its own, a command is for the directory although there is a daemon.
    let mounted = scene.mount("");
    let whole = json(&scene, &["stat", "--json", "-o", "capacity_bytes=1GiB"]);
    assert!(whole["server"].is_null());
    let mountpoint = mounted.path("");
    let words = [
        "--mount",
        mountpoint.to_str().unwrap(),
        "stat",
        "-o",
        "threads=1",
    ];
    assert!(refused(&scene, &words).contains("-o and --mount"));
}

#[test]
fn of_several_origins_one_has_to_be_named() {
    let Some(scene) = scene() else { return };
    scene.file("a", b"content");
    let (second, other) = (scene.outside().join("mnt2"), scene.outside().join("other"));
    fs::create_dir(&second).unwrap();
    fs::create_dir(&other).unwrap();
    let mounted = scene.mount("");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_cachefsd"));
    let cache = format!("cache_dir={}", scene.cache().display());
    daemon.arg(&other).arg(&second).args(["-o", &cache]);
    assert!(daemon.output().unwrap().status.success());
    let said = refused(&scene, &["stat", "a"]);
    assert!(said.contains("name one with --origin or --mount"), "{said}");
    told(
        &scene,
        &["--origin", scene.origin().to_str().unwrap(), "stat", "a"],
    );
    told(
        &scene,
        &["--mount", mounted.path("").to_str().unwrap(), "stat", "a"],
    );
    rustix::mount::unmount(&second, rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn rows_of_a_mount_have_figures_and_leave_nothing_behind() {
    if Command::new("fio").arg("--version").output().is_err() {
        eprintln!("skipped: there is no fio");
        return;
    }
    let Some(scene) = scene() else { return };
    let rows = [
        "direct-4k-32",
        "small-files",
        "stat",
        "partly-4k",
        "daemon-time",
        "calls-partly",
    ];
    let directory = scene.outside().join("bench");
    fs::create_dir(&directory).unwrap();
    let mut words = vec!["bench", "mount", "--size", "16M", "--pairs", "1", "--json"];
    words.extend(["--dir", directory.to_str().unwrap()]);
    words.extend(["--daemon", env!("CARGO_BIN_EXE_cachefsd")]);
    words.extend(rows.iter().flat_map(|row| ["--row", *row]));
    let report = json(&scene, &words);
    let found = report["rows"].as_array().unwrap();
    let names: Vec<_> = found
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, rows);
    for row in found {
        // There may be no passthrough here.
        let outcome = &row["outcome"];
        let is_left_out = row["name"] == "daemon-time" && outcome == "not_run";
        assert!(outcome == "measured" || is_left_out, "{row}");
        if outcome == "measured" {
            assert!(row["checks"][0]["median"].is_number(), "{row}");
        }
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    assert!(
        !fs::read_to_string("/proc/mounts")
            .unwrap()
            .contains(words[8])
    );
}
