//! `cachefs cat`, `stat`, `ls`.

mod common;

use common::{Scene, noise, run};
use std::fs::OpenOptions;
use std::io::Read;
use std::process::Stdio;

#[test]
fn cat_reads_what_is_not_cached_and_keeps_it() {
    let scene = Scene::new();
    let content = noise((2 << 20) + 1);
    scene.file("a", &content);
    scene.file("b", b"end");
    // A file this young is read but not stored.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let ran = scene.succeed(&["cat", "a", "b"]);
    assert!(ran.stdout == [content.as_slice(), b"end"].concat());
    let again = scene.succeed(&["cat", "-v", "a", "b"]);
    assert!(again.stdout == ran.stdout);
    again.says(&["0 B read from the origin"]);
}

#[test]
fn cat_of_a_missing_file_goes_on_and_fails() {
    let scene = Scene::new();
    scene.file("here", b"here");
    let ran = scene.run(&["cat", "missing", "here"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.text(), "here");
    ran.says(&["cachefs: ", "missing", "No such file"]);
}

#[test]
fn cat_ends_quietly_when_nobody_reads() {
    let scene = Scene::new();
    scene.file("large", &noise(8 << 20));
    let mut command = scene.tool();
    command.args(["cat", "large"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut begin = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut begin).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let scene = Scene::new();
    scene.file("file", b"x");
    for words in [["cat", "file"], ["stat", "file"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        scene.succeed(&["warm", "file"]);
        let mut child = scene.tool();
        child.args(words).stdout(full).stderr(Stdio::piped());
        let output = child.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            stderr,
            "cachefs: write to stdout: No space left on device\n"
        );
    }
}

#[test]
fn stat_tells_of_files() {
    let scene = Scene::new();
    scene.file("whole", &noise(1000));
    scene.file("none", &noise(2000));
    scene.succeed(&["warm", "whole"]);
    let ran = scene.succeed(&["stat", "whole", "none"]);
    assert!(
        ran.text().contains("present   complete: 1000 B, 100%"),
        "{ran:?}"
    );
    assert!(
        ran.text().contains("present   not cached: 0 B, 0%"),
        "{ran:?}"
    );
    let json = scene.json(&["stat", "whole", "none"]);
    assert_eq!(json[0]["complete"], true);
    assert_eq!(json[0]["size"], 1000);
    assert_eq!(json[0]["chunks_total"], 1);
    assert_eq!(json[1]["complete"], false);
    assert_eq!(json[1]["bytes_present"], 0);
    assert_ne!(json[0]["version"], json[1]["version"]);
}

#[test]
fn stat_tells_of_the_cache() {
    let scene = Scene::new();
    scene.file("file", &noise(1 << 20));
    scene.succeed(&["warm", "file", "-o", "capacity_bytes=1T"]);
    let json = scene.json(&["stat", "-o", "engine=psync"]);
    assert_eq!(json["state"], "normal");
    assert_eq!(json["engine"], "psync");
    assert_eq!(json["capacity_bytes"], 1_u64 << 40);
    assert_eq!(json["cached_objects"], 1);
    assert!(json["cached_bytes"].as_u64().unwrap() >= 1 << 20);
    let origin = scene.origin().canonicalize().unwrap();
    assert_eq!(json["origins"][0]["origin"], origin.to_str().unwrap());
    assert_eq!(json["origins"][0]["bytes_present"], 1 << 20);
    let ran = scene.succeed(&["stat"]);
    assert!(ran.text().contains("state     normal\n"), "{ran:?}");
}

#[test]
fn ls_lists_and_chooses() {
    let scene = Scene::new();
    scene.file("d/a.bin", &noise(10));
    scene.file("b.txt", &noise(20));
    scene.succeed(&["warm", "."]);
    let root = scene.origin().canonicalize().unwrap();
    let root = root.to_str().unwrap();
    assert_eq!(
        scene.succeed(&["ls"]).text(),
        format!("{root}/b.txt\n{root}/d/a.bin\n")
    );
    assert_eq!(
        scene.succeed(&["ls", "*.bin"]).text(),
        format!("{root}/d/a.bin\n")
    );
    assert_eq!(
        scene.succeed(&["ls", "/b*"]).text(),
        format!("{root}/b.txt\n")
    );
    assert_eq!(scene.succeed(&["ls", "nothing"]).text(), "");
    let long = scene.succeed(&["ls", "-l", "b.txt"]);
    assert_eq!(long.text(), format!("100%        20 B  {root}/b.txt\n"));
    let json = scene.json(&["ls", "d/*"]);
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["path"], "d/a.bin");
    assert_eq!(json[0]["percent_present"], 100);
}

#[test]
fn ls_knows_origins_apart() {
    let scene = Scene::new();
    scene.file("d/file", b"x");
    scene.succeed(&["warm", "d/file"]);
    let inner = scene.origin().join("d");
    let inner = inner.to_str().unwrap();
    scene.succeed(&["--origin", inner, "warm", "file"]);
    assert_eq!(scene.json(&["--origin", inner, "ls"])[0]["path"], "file");
    let mut command = scene.tool();
    let all = run(command.env_remove("CACHEFS_ORIGIN").arg("ls"));
    assert_eq!(all.text().lines().count(), 2);
}

#[test]
fn looking_makes_no_cache() {
    let scene = Scene::new();
    scene.file("file", b"x");
    for words in [&["ls"][..], &["stat"], &["stat", "file"]] {
        let ran = scene.run(words);
        assert_eq!(ran.status, Some(1));
        ran.says(&["cachefs: the cache ", "No such file"]);
    }
    assert!(!scene.cache().exists());
    std::fs::create_dir(scene.cache()).unwrap();
    scene.run(&["ls"]).says(&["is not a cache"]);
    assert_eq!(scene.cache().read_dir().unwrap().count(), 0);
}

#[test]
fn why_tells_what_is_missing_and_why() {
    let scene = Scene::new();
    scene.file("whole", &noise(1000));
    scene.file("none", &noise(2000));
    std::thread::sleep(std::time::Duration::from_millis(50));
    scene.succeed(&["warm", "whole"]);
    let ran = scene.succeed(&["why", "whole", "none"]);
    assert!(ran.text().starts_with("whole: complete\n"), "{ran:?}");
    assert!(
        ran.text().contains("All of it is in the cache: 1 chunk"),
        "{ran:?}"
    );
    assert!(
        ran.text().contains("none: not cached\n  Nothing of it"),
        "{ran:?}"
    );
    // A look makes nothing.
    assert_eq!(scene.json(&["stat"])["cached_objects"], 1);
    scene.file("whole", &noise(1001));
    let json = scene.json(&["why", "whole"]);
    assert_eq!(json[0]["state"], "other version");
    let why = json[0]["why"][0].as_str().unwrap();
    assert!(why.contains("has changed at its origin"), "{why}");
    let ran = scene.run(&["why", "missing"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&["missing", "No such file"]);
}
