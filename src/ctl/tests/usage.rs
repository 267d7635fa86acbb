//! The command line, and `cachefs doctor` and `options`.

mod common;

use common::{Scene, bare_tool, run};

#[test]
fn an_unknown_option_names_the_nearest() {
    let scene = Scene::new();
    let ran = scene.run(&["ls", "-o", "capacity=1G"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[
        "cachefs: ",
        "\"capacity\"",
        "did you mean \"capacity_bytes\"?",
    ]);
}

#[test]
fn an_option_is_checked_wherever_it_comes_from() {
    let scene = Scene::new();
    for (value, word) in [("threads=0", "outside 1..64"), ("threads", "KEY=VALUE")] {
        let ran = scene.run(&["-o", value, "ls"]);
        assert_eq!(ran.status, Some(2));
        ran.says(&[value, word]);
        let ran = run(scene.tool().env("CACHEFS_OPTIONS", value).arg("ls"));
        assert_eq!(ran.status, Some(2));
        ran.says(&[value, word]);
    }
}

#[test]
fn options_of_the_environment_are_overruled() {
    let scene = Scene::new();
    scene.file("file", b"x");
    let mut command = scene.tool();
    command.env("CACHEFS_OPTIONS", "capacity_bytes=2G,engine=psync");
    let ran = run(command.args(["-o", "capacity_bytes=3G", "warm", "file"]));
    assert_eq!(ran.status, Some(0));
    let json = scene.json(&["stat"]);
    assert_eq!(json["capacity_bytes"], 3_u64 << 30);
}

#[test]
fn mistakes_of_usage_are_told_apart() {
    let scene = Scene::new();
    for words in [&[][..], &["boil"], &["warm"], &["cat"], &["ls", "--colour"]] {
        let ran = scene.run(words);
        assert_eq!(ran.status, Some(2), "{words:?}");
    }
    scene
        .run(&["boil"])
        .says(&["cachefs: unrecognized subcommand 'boil'"]);
    let ran = run(scene
        .tool()
        .env_remove("CACHEFS_ORIGIN")
        .args(["cat", "file"]));
    assert_eq!(ran.status, Some(2));
    ran.says(&["cachefs: ", "--origin", "CACHEFS_ORIGIN"]);
    let ran = run(scene.tool().env("CACHEFS_LOG", "=loud=").arg("ls"));
    assert_eq!(ran.status, Some(2));
    ran.says(&["cachefs: CACHEFS_LOG"]);
}

#[test]
fn help_lists_the_options() {
    let help = run(bare_tool(env!("CARGO_BIN_EXE_cachefs")).arg("--help"));
    assert_eq!(help.status, Some(0));
    let options = run(bare_tool(env!("CARGO_BIN_EXE_cachefs")).arg("options"));
    assert!(help.text().contains(options.text()));
    assert!(options.text().contains("capacity_bytes=10GiB\n"));
}

#[test]
fn the_default_directory_is_made_with_its_parents() {
    let scene = Scene::new();
    scene.file("file", b"x");
    let (mut command, home) = scene.tool_of_nobody();
    command
        .arg("--origin")
        .arg(scene.origin())
        .env_remove("XDG_CACHE_HOME");
    let ran = run(command.env("HOME", &home).args(["warm", "file"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(home.join(".cache/cachefs/cachefs.format").exists());

    command.env("XDG_CACHE_HOME", home.join("xdg"));
    let ran = run(&mut command);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(home.join("xdg/cachefs/cachefs.format").exists());

    command.env_remove("XDG_CACHE_HOME").env_remove("HOME");
    let ran = run(&mut command);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["which cache?", "--cache"]);
}

#[test]
fn the_log_is_shown_as_asked() {
    let scene = Scene::new();
    scene.file("file", b"x");
    let ran = run(scene
        .tool()
        .env("CACHEFS_LOG", "info")
        .args(["warm", "-q", "file"]));
    ran.says(&["cachefs: info: engine: "]);
    assert_eq!(scene.succeed(&["warm", "-q", "file"]).stderr, "");
}

#[test]
fn doctor_ends_with_a_verdict() {
    let scene = Scene::new();
    let ran = scene.succeed(&["doctor", "-o", "engine=psync"]);
    let last = ran.text().lines().last().unwrap();
    assert_eq!(
        last,
        "The cache can run, with the engine psync, as was asked for."
    );
    let lines: Vec<&str> = ran.text().lines().collect();
    for line in &lines[..lines.len() - 1] {
        assert!(
            line.starts_with("ok  ") || line.starts_with("no  "),
            "{line}"
        );
    }
    for part in [
        "kernel ",
        "io_uring_disabled",
        "RLIMIT_MEMLOCK",
        "free space",
        "file system",
    ] {
        assert!(ran.text().contains(part), "{part}: {ran:?}");
    }
    assert!(!scene.cache().exists(), "it only looks");
    scene.file("file", b"x");
    scene.succeed(&["warm", "file"]);
    assert!(scene.succeed(&["doctor"]).text().contains("it stores"));
}

#[test]
fn doctor_fails_where_no_cache_can_be() {
    let scene = Scene::new();
    std::fs::create_dir(scene.cache()).unwrap();
    std::fs::write(scene.cache().join("thesis.tex"), b"x").unwrap();
    let ran = scene.run(&["doctor"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.text().contains("it has thesis.tex"), "{ran:?}");
    assert!(
        ran.text()
            .lines()
            .last()
            .unwrap()
            .starts_with("The cache cannot run: ")
    );
}
