//! `cachefs run` and `cachefs agent`.

mod common;

use common::{Ran, Scene, eventually, run};
use rustix::fs::XattrFlags;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SIZE: usize = 200_000;
/// Somebody who is not root.
const NOBODY: u32 = 65534;

/// The library, which the tool's tests do not build by themselves.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "cachefs-preload"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.unwrap().success());
        let tool = Path::new(env!("CARGO_BIN_EXE_cachefs"));
        tool.with_file_name("libcachefs_preload.so")
    })
}

/// An origin with a file that is old enough to be cached.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.file("file", &vec![b'x'; SIZE]);
    std::thread::sleep(std::time::Duration::from_millis(150));
    scene
}

fn tool(scene: &Scene, words: &[&str]) -> Command {
    let mut command = scene.tool();
    command.env("CACHEFS_PRELOAD", library()).args(words);
    command
}

/// `cat file` by `cachefs run`, with a report.
fn cat(scene: &Scene, options: &[&str]) -> Ran {
    let mut command = tool(scene, &["run", "--report"]);
    let ran = run(command.args(options).args(["--", "cat", "file"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.len(), SIZE);
    ran
}

/// The agent of a scene, by what it says of itself.
fn agent(scene: &Scene) -> Option<u32> {
    let ran = run(tool(scene, &["stat"]).env_remove("CACHEFS_ORIGIN"));
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("cachefs agent"))?;
    let number = line.split("process ").nth(1)?.split(',').next()?;
    number.parse().ok()
}

fn end_agent(scene: &Scene) {
    if let Some(pid) = agent(scene) {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        eventually("the agent ends", || agent(scene).is_none());
    }
}

#[test]
fn what_was_missed_is_in_the_cache_the_next_time() {
    let scene = scene();
    let first = cat(&scene, &[]);
    assert!(first.stderr.contains("copies asked for: 1"), "{first:?}");
    eventually("it is copied", || {
        cat(&scene, &[]).stderr.contains("opened in the cache: 1")
    });
    end_agent(&scene);
}

#[test]
fn who_waits_reads_from_the_cache_the_first_time() {
    let scene = scene();
    let first = cat(&scene, &["--mode", "wait"]);
    assert!(first.stderr.contains("opened in the cache: 1"), "{first:?}");
    end_agent(&scene);
}

#[test]
fn without_an_agent_nothing_is_copied() {
    let scene = scene();
    let ran = cat(&scene, &["--no-agent"]);
    assert!(ran.stderr.contains("missed"), "{ran:?}");
    assert!(!scene.cache().exists());
}

#[test]
fn the_status_and_the_arguments_are_the_programs() {
    let scene = scene();
    let script = "echo \"$1 $2\"; exit 7";
    let mut command = tool(
        &scene,
        &["run", "--no-agent", "sh", "-c", script, "x", "-o", "--json"],
    );
    let ran = run(&mut command);
    assert_eq!(
        (ran.status, &ran.stdout[..]),
        (Some(7), &b"-o --json\n"[..]),
        "{ran:?}"
    );
    let ran = run(&mut tool(&scene, &["run", "--no-agent", "no-such-program"]));
    assert_eq!(ran.status, Some(127), "{ran:?}");
    let ran = run(&mut tool(&scene, &["run", "--no-agent", "/"]));
    assert_eq!(ran.status, Some(126), "{ran:?}");
}

#[test]
fn an_agent_stays_as_long_as_somebody_may_ask_and_then_ends() {
    let scene = scene();
    let mut command = tool(&scene, &["agent", "--idle", "1"]);
    let mut agent_process = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("the agent answers", || agent(&scene).is_some());
    let mut sleeper = tool(&scene, &["run", "--", "sleep", "4"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(agent_process.try_wait().unwrap().is_none());
    assert!(sleeper.wait().unwrap().success());
    let ended = || agent_process.try_wait().unwrap().is_some();
    eventually("the agent ends", ended);
}

#[test]
fn an_agent_does_what_it_is_commanded() {
    let scene = scene();
    scene.succeed(&["agent", "--background", "--idle", "60"]);
    assert!(agent(&scene).is_some());
    for command in ["warm", "verify", "why", "pin", "unpin", "invalidate"] {
        scene.succeed(&[command, "file"]);
    }
    assert_eq!(scene.json(&["stat", "file"])[0]["complete"], true);
    let listed = scene.succeed(&["ls"]);
    assert!(listed.text().contains("/origin/file"), "{listed:?}");
    scene.succeed(&["evict", "file"]);
    assert_eq!(scene.json(&["stat", "file"])[0]["bytes_present"], 0);
    // Those of a mount it refuses by name.
    for command in ["reload", "top"] {
        let refused = scene.run(&[command]);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        refused.says(&["an agent has no mount"]);
    }
    end_agent(&scene);
}

/// Runs a program that a library cannot reach; what the tool says of it.
fn refused(scene: &Scene, program: &Path) -> String {
    let ran = run(tool(scene, &["run", "--no-agent", "--"]).arg(program));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran.stderr
}

/// Compiles a source to what has this name beside it.
fn compile(scene: &Scene, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let target = scene.outside().join(name);
    let mut command = Command::new("cc");
    command.arg("-o").args([&target, source]).args(flags);
    assert!(command.status().unwrap().success(), "{name}");
    target
}

/// They run with the library all the same: what they open otherwise is in the cache.
#[test]
fn programs_that_open_by_io_uring_are_named_before_they_start() {
    let scene = scene();
    let source = scene.outside().join("program.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let name = "liburing.so.2";
    let library = compile(
        &scene,
        &source,
        name,
        &["-shared", "-fPIC", "-Wl,-soname,liburing.so.2"],
    );
    let there = format!("-Wl,-rpath,{}", scene.outside().display());
    let flags = ["-Wl,--no-as-needed", library.to_str().unwrap(), &there];
    let ring = compile(&scene, &source, "ring", &flags);
    let said = refused(&scene, &ring);
    assert!(said.contains("uses io_uring"), "{said}");
    assert!(!said.contains("without the cache"), "{said}");
}

#[test]
fn programs_that_cannot_be_reached_are_named_before_they_start() {
    let scene = scene();
    let source = scene.outside().join("program.c");
    let marked = "__attribute__((section(\".go.buildinfo\"), used)) static int mark = 1;\n";
    std::fs::write(
        &source,
        format!("#ifdef GO\n{marked}#endif\nint main(void) {{ return 0; }}\n"),
    )
    .unwrap();
    let compile = |name: &str, flags: &[&str]| compile(&scene, &source, name, flags);
    let plain = compile("plain", &[]);
    assert_eq!(refused(&scene, &plain), "");
    let fixed = compile("static", &["-static"]);
    assert!(refused(&scene, &fixed).contains("is linked statically"));
    let go = compile("go", &["-DGO"]);
    assert!(refused(&scene, &go).contains("is a program of Go"));
    let script = scene.outside().join("script");
    std::fs::write(&script, format!("#!{}\n", fixed.display())).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    assert!(refused(&scene, &script).contains("is linked statically"));
    let linker = format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH);
    let musl = compile("musl", &[&format!("-Wl,--dynamic-linker={linker}")]);
    let mut command = tool(&scene, &["run", "--no-agent", "--"]);
    let ran = run(command.arg(&musl));
    // Whether it starts depends on what is installed.
    ran.says(&[&format!("has another C library ({linker})")]);
}

/// What the kernel tells a program's dynamic linker, by whoever runs it.
const SECURE: &str = "#include <sys/auxv.h>\n#include <stdio.h>\n\
    int main(void) { printf(\"%lu\", getauxval(AT_SECURE)); return 0; }\n";

/// Runs a program by the tool, as a user; whether the tool says that it gets privileges,
/// and whether it does.
fn privileged(scene: &Scene, program: &Path, user: u32) -> (bool, bool) {
    let mut command = Command::new(scene.outside().join("tool"));
    command
        .env("CACHEFS_PRELOAD", scene.outside().join("library.so"))
        .args(["run", "--no-agent", "--cache"])
        .arg(scene.cache())
        .arg("--origin")
        .arg(scene.origin())
        .arg("--")
        .arg(program)
        .uid(user)
        .gid(user);
    let ran = run(&mut command);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    (ran.stderr.contains("gets privileges"), ran.stdout == b"1")
}

#[test]
fn programs_with_privileges_are_named_before_they_start_and_no_others() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: to give a program privileges takes root");
    }
    let scene = scene();
    for (from, to) in [
        (Path::new(env!("CARGO_BIN_EXE_cachefs")), "tool"),
        (library(), "library.so"),
    ] {
        std::fs::copy(from, scene.outside().join(to)).unwrap();
    }
    let (source, program) = (
        scene.outside().join("secure.c"),
        scene.outside().join("secure"),
    );
    std::fs::write(&source, SECURE).unwrap();
    let made = Command::new("cc")
        .arg("-o")
        .args([&program, &source])
        .status();
    assert!(made.unwrap().success());
    // To change the owner takes both away.
    let give = |owner: u32, mode: u32, capabilities: Option<[u32; 3]>| {
        chown(&program, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
        let Some([version, permitted, inheritable]) = capabilities else {
            return;
        };
        let words = [version, permitted, inheritable, 0, 0];
        let bytes = words.map(u32::to_le_bytes).concat();
        let (name, flags) = ("security.capability", XattrFlags::empty());
        rustix::fs::setxattr(&program, name, &bytes, flags).unwrap();
    };
    const VERSION: u32 = 0x0200_0000;
    const EFFECTIVE: u32 = 1;
    /// CAP_NET_BIND_SERVICE, which containers have as well.
    const BIND: u32 = 1 << 10;
    let cases = [
        (0, 0o755, None),
        (0, 0o4755, None),
        (NOBODY, 0o4755, None),
        (NOBODY, 0o2755, None),
        (NOBODY, 0o2745, None),
        (0, 0o755, Some([VERSION | EFFECTIVE, BIND, 0])),
        (0, 0o755, Some([VERSION, BIND, 0])),
        (0, 0o755, Some([VERSION, 0, BIND])),
    ];
    let mut seen = Vec::new();
    for case in cases {
        give(case.0, case.1, case.2);
        for user in [0, NOBODY] {
            let (said, is_so) = privileged(&scene, &program, user);
            assert_eq!(said, is_so, "{case:?} by user {user}");
            seen.push(is_so);
        }
    }
    // Where the file system gives none (nosuid), there is none to be told of.
    if !seen.contains(&true) {
        eprintln!("skipped: no program gets privileges here");
    }
}

#[test]
fn the_library_can_be_measured() {
    let scene = scene();
    let directory = scene.outside().join("scratch");
    std::fs::create_dir(&directory).unwrap();
    let words = [
        "bench", "preload", "--pairs", "1", "--size", "1M", "--json", "--dir",
    ];
    let mut command = tool(&scene, &words);
    command.arg(&directory);
    let rows = ["verify", "trust", "outside", "start"];
    for row in rows {
        command.args(["--row", row]);
    }
    let ran = run(&mut command);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let measured = report["rows"].as_array().unwrap();
    assert_eq!(measured.len(), rows.len());
    for row in measured {
        assert_eq!(row["outcome"], "measured", "{row}");
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}
