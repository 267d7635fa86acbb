//! `cachefs bench`, on files that are as small as can be.

mod common;

use common::{Ran, Scene, eventually, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A directory for the files of the benchmark.
fn directory(scene: &Scene) -> PathBuf {
    let directory = scene.outside().join("scratch");
    std::fs::create_dir(&directory).expect("make a directory");
    directory
}

/// A run of some rows, with the smallest file unless `more` says otherwise.
fn bench(scene: &Scene, rows: &[&str], more: &[&str]) -> (Command, PathBuf) {
    let directory = directory(scene);
    let mut command = scene.tool();
    command.args(["bench", "engine", "--pairs", "1"]).args(more);
    command.arg("--dir").arg(&directory);
    for row in rows {
        command.args(["--row", row]);
    }
    (command, directory)
}

const SMALL: [&str; 4] = ["--size", "1M", "--idle", "1"];

#[track_caller]
fn is_empty(directory: &PathBuf) {
    let left: Vec<_> = std::fs::read_dir(directory).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn rows_have_figures_and_leave_nothing_behind() {
    let scene = Scene::new();
    let rows = [
        "cached-queue",
        "cached-blocking",
        "system-calls",
        "copy",
        "idle",
    ];
    let (mut command, directory) = bench(&scene, &rows, &SMALL);
    let ran = run(command.arg("--json"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report = json(&ran);
    assert_eq!(report["setting"]["pairs"], 1);
    let rows_run = report["rows"].as_array().expect("there are rows");
    let names: Vec<_> = rows_run
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, rows);
    for row in rows_run {
        assert_eq!(row["outcome"], "measured", "{row}");
        for check in row["checks"].as_array().expect("there are checks") {
            assert!(
                check["median"].as_f64().is_some_and(f64::is_finite),
                "{row}"
            );
        }
    }
    let calls = rows_run[2]["checks"][0]["median"].as_f64().unwrap();
    assert!(
        calls < 1.0,
        "batches take less than a call for a read: {calls}"
    );
    is_empty(&directory);
    assert!(!scene.cache().exists(), "it has a cache of its own");
}

#[test]
fn rows_of_the_cache_have_figures_and_leave_nothing_behind() {
    let scene = Scene::new();
    let directory = directory(&scene);
    let mut command = scene.tool();
    command.args(["bench", "cache", "--pairs", "1", "--size", "1M", "--json"]);
    command.args(["--objects", "1500", "--seconds", "1"]);
    let ran = run(command.arg("--dir").arg(&directory));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report = json(&ran);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows[0]["name"], "lease");
    for row in rows {
        assert_eq!(row["outcome"], "measured", "{row}");
        let median = &row["checks"][0]["median"];
        assert!(median.as_f64().is_some_and(f64::is_finite), "{row}");
    }
    is_empty(&directory);
    assert!(!scene.cache().exists(), "it has a cache of its own");
}

#[test]
fn a_row_without_its_reference_says_what_to_install() {
    let scene = Scene::new();
    let (mut command, directory) = bench(&scene, &["direct-4k"], &SMALL);
    let ran = run(command.env("PATH", "/nonexistent"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let reasons = ["apt-get install fio", "O_DIRECT", "past the page cache"];
    let told = |line: &str| line.contains("not run: ") && reasons.iter().any(|r| line.contains(r));
    assert!(ran.text().lines().any(told), "{ran:?}");
    is_empty(&directory);
}

#[test]
fn a_directory_without_room_is_refused() {
    let scene = Scene::new();
    let (mut command, directory) = bench(&scene, &["copy"], &["--size", "1000T"]);
    let ran = run(&mut command);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["cachefs: ", "free", "--dir", "--size"]);
    is_empty(&directory);
}

#[test]
fn mistakes_are_named() {
    let scene = Scene::new();
    for (words, part) in [
        (["--row", "fast"], "cached-queue"),
        (["--size", "1K"], "1MiB"),
        (["--pairs", "0"], "1..=999"),
    ] {
        let ran = run(scene.tool().args(["bench", "engine"]).args(words));
        assert_eq!(ran.status, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
}

#[test]
fn a_signal_ends_it_and_nothing_stays() {
    let scene = Scene::new();
    let hour = ["--size", "1M", "--idle", "3600"];
    let (mut command, directory) = bench(&scene, &["idle"], &hour);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("start the tool");
    let begun = || {
        let made = std::fs::read_dir(&directory).expect("it is there").next();
        made.is_some_and(|entry| entry.expect("it can be read").path().join("cache").exists())
    };
    eventually("the row has begun", begun);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("it is there");
    let mut status = None;
    eventually("it has ended", || {
        status = child.try_wait().expect("it can be waited for");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(128 + 15));
    is_empty(&directory);
}
