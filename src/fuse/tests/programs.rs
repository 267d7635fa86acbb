//! Real programs on the mount, each compared with itself on the origin.

mod common;

use common::{Mounted, Scene, eventually, noise, scene, settle, succeed};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A tree of all kinds of files.
fn plant(scene: &Scene) {
    for index in 0..60 {
        let size = [0, 1, 4095, 4096, 70_000, 300_000, 1_500_000][index % 7];
        let path = format!("d{}/e{}/file {index}", index % 3, index % 5);
        scene.file(path, &noise(size, index as u64));
    }
    std::os::unix::fs::symlink("../d0", scene.origin().join("d1/link")).unwrap();
    fs::hard_link(
        scene.origin().join("d0/e0/file 0"),
        scene.origin().join("hard"),
    )
    .unwrap();
    settle();
}

fn is_missing(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = &found {
        eprintln!("skipped: {program}: {error}");
    }
    found.is_err()
}

/// Runs a program in a directory on the origin and on the mount; twice there, since the
/// second time comes from the cache.
fn compare(mounted: &Mounted<'_>, scene: &Scene, place: &str, words: &[&str]) {
    let run = |root: PathBuf| {
        let mut command = Command::new(words[0]);
        succeed(
            command
                .args(&words[1..])
                .current_dir(root.join(place))
                .env("LC_ALL", "C"),
        )
    };
    let wanted = run(scene.origin());
    for pass in 1..=2 {
        let found = run(mounted.path(""));
        assert!(found == wanted, "{words:?} differs in pass {pass}");
    }
}

#[test]
fn tar_find_grep_and_checksums() {
    let Some(scene) = scene() else { return };
    plant(&scene);
    let mounted = scene.mount("");
    for words in [
        &["tar", "-c", "--sort=name", "."][..],
        &[
            "sh",
            "-c",
            "find . -printf '%p %y %s %m %n %i %T@ %l\\n' | sort",
        ],
        &[
            "sh",
            "-c",
            "find . -type f -print0 | sort -z | xargs -0 sha256sum",
        ],
        &["sh", "-c", "grep -r --binary-files=text -c ab . | sort"],
        &["du", "-s", "--apparent-size", "."],
        &["ls", "-laR"],
        &["cat", "hard"],
        &["diff", "-r", "d0", "d1/link"],
    ] {
        compare(&mounted, &scene, "", words);
    }
    succeed(
        Command::new("diff")
            .arg("-r")
            .arg(scene.origin())
            .arg(scene.mnt()),
    );
    assert!(mounted.unmount().success());
}

#[test]
fn rsync_finds_nothing_to_do() {
    if is_missing("rsync") {
        return;
    }
    let Some(scene) = scene() else { return };
    plant(&scene);
    let mounted = scene.mount("");
    let copy = scene.outside().join("copy");
    let words = ["-aH", "--checksum", "--itemize-changes"];
    let from = format!("{}/", mounted.path("").display());
    succeed(Command::new("rsync").args(words).arg(&from).arg(&copy));
    let mut again = Command::new("rsync");
    let changes = succeed(again.args(words).arg(&from).arg(&copy));
    assert_eq!(String::from_utf8_lossy(&changes), "");
    let mut origin = Command::new("rsync");
    let from = format!("{}/", scene.origin().display());
    let changes = succeed(origin.args(words).arg(&from).arg(&copy));
    assert_eq!(String::from_utf8_lossy(&changes), "");
}

#[test]
fn git_finds_its_repository_whole_and_clean() {
    if is_missing("git") {
        return;
    }
    let Some(scene) = scene() else { return };
    plant(&scene);
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        // What the user of the machine has configured is not wanted.
        command
            .env("HOME", scene.outside())
            .env("GIT_CONFIG_NOSYSTEM", "1");
        succeed(command.arg("-C").arg(scene.origin()).args(words));
    };
    git(&["init", "-q", "."]);
    git(&["add", "."]);
    let who = ["-c", "user.name=n", "-c", "user.email=e@example.org"];
    git(&[&who[..], &["commit", "-q", "-m", "all"]].concat());
    git(&["gc", "-q"]);
    settle();
    let mounted = scene.mount("");
    let optional = "GIT_OPTIONAL_LOCKS=0";
    let safe = format!("safe.directory={}", scene.mnt().display());
    for words in [
        &["fsck", "--full", "--strict"][..],
        &["status", "--porcelain"],
        &["log", "--stat"],
        &["archive", "HEAD"],
    ] {
        let mut all = vec!["env", optional, "git", "-c", &safe];
        all.extend_from_slice(words);
        compare(&mounted, &scene, "", &all);
    }
}

#[test]
fn sqlite_finds_its_database_whole() {
    if is_missing("sqlite3") {
        return;
    }
    let Some(scene) = scene() else { return };
    let database = scene.origin().join("data.db");
    let sql = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b); \
               WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 20000) \
               INSERT INTO t SELECT x, hex(randomblob(40)) FROM n;";
    succeed(Command::new("sqlite3").arg(database).arg(sql));
    settle();
    let mounted = scene.mount("");
    for sql in [
        "PRAGMA integrity_check;",
        "SELECT count(*), sum(length(b)), max(b) FROM t;",
        "PRAGMA mmap_size=100000000; SELECT max(b), min(b) FROM t;",
    ] {
        compare(
            &mounted,
            &scene,
            "",
            &["sqlite3", "-readonly", "data.db", sql],
        );
    }
}

#[test]
fn python_compiles_and_imports_its_own_library() {
    let library = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let Ok(found) = Command::new("python3").args(["-c", library]).output() else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let Some(scene) = scene() else { return };
    let library = String::from_utf8(found.stdout).unwrap();
    let library = Path::new(library.trim());
    for package in ["json", "email", "html", "asyncio", "unittest"] {
        let mut command = Command::new("cp");
        succeed(
            command
                .arg("-r")
                .arg(library.join(package))
                .arg(scene.origin()),
        );
    }
    settle();
    let mounted = scene.mount("");
    // The results go elsewhere, since the mount takes none.
    let results = scene.outside().join("results");
    let prefix = format!("PYTHONPYCACHEPREFIX={}", results.display());
    let compile = [
        "env",
        &prefix,
        "python3",
        "-m",
        "compileall",
        "-q",
        "-f",
        ".",
    ];
    compare(&mounted, &scene, "", &compile);
    let import = "import os, sys; sys.path.insert(0, '.'); sys.dont_write_bytecode = True; \
                  import json, email.message, html, asyncio, unittest; \
                  assert os.path.abspath(json.__file__).startswith(os.getcwd()); \
                  print(json.dumps([1, html.escape('<')]))";
    compare(&mounted, &scene, "", &["python3", "-S", "-c", import]);
}

#[test]
fn gcc_compiles_from_headers_on_the_mount() {
    if is_missing("gcc") {
        return;
    }
    let Some(scene) = scene() else { return };
    let mut copy = Command::new("cp");
    succeed(
        copy.arg("-rL")
            .arg("/usr/include/linux")
            .arg(scene.origin()),
    );
    let source = b"#include <linux/fuse.h>\n#include <linux/fs.h>\n\
                   unsigned f(void) { return sizeof(struct fuse_attr) + FUSE_OPEN; }\n";
    scene.file("program.c", source);
    settle();
    let mounted = scene.mount("negative_timeout=1");
    for words in [
        &["gcc", "-I.", "-O2", "-S", "-o", "-", "program.c"][..],
        &["gcc", "-I.", "-E", "-M", "program.c"],
    ] {
        compare(&mounted, &scene, "", words);
    }
}

#[test]
fn thirty_two_processes_at_once() {
    let Some(scene) = scene() else { return };
    plant(&scene);
    let mounted = scene.mount("");
    let words = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
    let run = |root: PathBuf| succeed(Command::new("sh").args(["-c", words]).current_dir(root));
    let wanted = run(scene.origin());
    thread::scope(|scope| {
        let all: Vec<_> = (0..32).map(|_| scope.spawn(|| run(scene.mnt()))).collect();
        for one in all {
            assert!(one.join().unwrap() == wanted);
        }
    });
    assert!(mounted.unmount().success());
}

#[test]
fn fio_verifies_what_it_wrote_at_the_origin() {
    if is_missing("fio") {
        return;
    }
    let Some(scene) = scene() else { return };
    let run = |root: PathBuf, more: &[&str]| {
        let mut command = Command::new("fio");
        let words = [
            "--name=v",
            "--filename=data",
            "--size=24m",
            "--bs=4k",
            "--verify=crc32c",
        ];
        command.args(words).args(more).current_dir(root);
        succeed(&mut command);
    };
    run(scene.origin(), &["--rw=write", "--do_verify=0"]);
    settle();
    let mounted = scene.mount("");
    for engine in ["psync", "mmap", "libaio", "splice"] {
        for direct in ["0", "1"] {
            let engine = format!("--ioengine={engine}");
            let direct = format!("--direct={direct}");
            let only = ["--verify_only", "--rw=read", "--readonly", &engine, &direct];
            if direct == "--direct=1" && engine != "--ioengine=psync" && !engine.contains("aio") {
                continue;
            }
            run(mounted.path(""), &only);
        }
    }
}

#[test]
fn sendfile_and_splices_carry_the_files_bytes() {
    let Some(scene) = scene() else { return };
    let content = noise(2 << 20, 9);
    scene.file("file", &content);
    settle();
    let mounted = scene.mount("");
    let target = scene.outside().join("copy");
    for _ in 0..3 {
        let from = fs::File::open(mounted.path("file")).unwrap();
        let to = fs::File::create(&target).unwrap();
        let mut sent = 0;
        while sent < content.len() {
            let now = rustix::fs::sendfile(&to, &from, None, content.len() - sent).unwrap();
            assert!(now > 0);
            sent += now;
        }
        assert!(fs::read(&target).unwrap() == content);
        // The standard library tries copy_file_range(2) first.
        fs::copy(mounted.path("file"), &target).unwrap();
        assert!(fs::read(&target).unwrap() == content);
    }
}

/// nginx that serves a directory by sendfile(2), on a socket beside it. It ends with this.
struct Nginx {
    child: Child,
    socket: PathBuf,
}

impl Nginx {
    fn serving(root: &Path, place: &Path) -> Self {
        let socket = place.join("nginx.sock");
        let text = format!(
            "daemon off; master_process off; pid {0}/nginx.pid; error_log stderr;\n\
             events {{}}\n\
             http {{\n\
             access_log off; sendfile on; sendfile_max_chunk 0; open_file_cache off;\n\
             client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n\
             fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
             server {{ listen unix:{1}; root {2}; }}\n\
             }}\n",
            place.display(),
            socket.display(),
            root.display()
        );
        let configuration = place.join("nginx.conf");
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new(NGINX);
        command.arg("-p").arg(place).arg("-c").arg(&configuration);
        let child = command.spawn().unwrap();
        eventually("nginx listens", || UnixStream::connect(&socket).is_ok());
        Self { child, socket }
    }

    /// The body of the answer to a request for a part of a file, or all of it.
    fn get(&self, path: &str, part: Option<(usize, usize)>) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let range = part.map_or(String::new(), |(first, end)| {
            format!("Range: bytes={first}-{}\r\n", end - 1)
        });
        let request = format!("GET /{path} HTTP/1.0\r\n{range}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let (head, body) = answer.split_at(end.expect("the head ends") + 4);
        let status = if part.is_some() { "206" } else { "200" };
        let head = String::from_utf8_lossy(head).into_owned();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {head}"
        );
        body.to_vec()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where Debian has it, which is not in everybody's $PATH.
const NGINX: &str = "/usr/sbin/nginx";

#[test]
fn nginx_serves_files_of_the_mount_by_sendfile() {
    if is_missing(NGINX) {
        return;
    }
    let Some(scene) = scene() else { return };
    let files: Vec<(String, Vec<u8>)> = [0, 1, 4096, 70_000, 300_000, 5_000_000]
        .into_iter()
        .enumerate()
        .map(|(index, size)| (format!("d/file{index}"), noise(size, index as u64)))
        .collect();
    for (path, content) in &files {
        scene.file(path, content);
    }
    settle();
    let mounted = scene.mount("");
    let nginx = Nginx::serving(&mounted.path(""), scene.outside());
    // From the origin, while it is being copied, and from the cache.
    for _ in 0..3 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for (path, content) in &files {
                        assert!(nginx.get(path, None) == *content, "{path}");
                        if content.len() > 100 {
                            let part = (content.len() / 3, content.len() / 3 * 2);
                            let wanted = &content[part.0..part.1];
                            assert!(nginx.get(path, Some(part)) == wanted, "{path}");
                        }
                    }
                });
            }
        });
    }
    drop(nginx);
    assert!(mounted.unmount().success());
}
