//! Real programs with the library, each compared with itself without it: on the same
//! files, first not cached and then cached.

mod common;

use common::{Scene, is_missing, noise, succeed};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A tree of all kinds of files.
fn plant(scene: &Scene) {
    for index in 0..60 {
        let size = [0, 1, 4095, 4096, 70_000, 300_000, 1_500_000][index % 7];
        let path = format!("d{}/e{}/file {index}", index % 3, index % 5);
        scene.file(path, &noise(size, index as u64));
    }
    scene.file("text", "one line\nab and more\n".repeat(3000).as_bytes());
    let link = scene.origin().join("d1/link");
    std::os::unix::fs::symlink("../d0", &link).unwrap();
    // rsync leaves the time of a link as it is, if that is of the same second.
    let long_ago = Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 5,
    };
    let times = Timestamps {
        last_access: long_ago,
        last_modification: long_ago,
    };
    rustix::fs::utimensat(CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let (old, new) = ("d0/e0/file 0", "hard");
    let (from, to) = (scene.origin().join("d0"), scene.origin().join("same"));
    succeed(Command::new("cp").arg("-r").args([from, to]));
    fs::hard_link(scene.origin().join(old), scene.origin().join(new)).unwrap();
}

fn planted() -> Scene {
    let scene = Scene::new();
    plant(&scene);
    scene.warm_all();
    scene
}

/// Has a program tell what the library did; see [`redirected`].
fn report(scene: &Scene, command: &mut Command) {
    let file = scene.outside().join("report");
    let _none = fs::remove_file(&file);
    command.env("CACHEFS_REPORT", file);
}

/// A program with the library that does so.
fn reporting(scene: &Scene, program: &str) -> Command {
    let mut command = scene.command(program);
    report(scene, &mut command);
    command
}

/// How many opens the reports of a run tell of as opened in the cache.
fn redirected(scene: &Scene) -> u64 {
    let report = fs::read_to_string(scene.outside().join("report")).unwrap_or_default();
    let counts = report
        .lines()
        .filter_map(|line| line.split(": opened in the cache: ").nth(1));
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

/// Runs a program in a directory of the origin, with and without the library; gives how
/// often it has opened something in the cache.
fn compare(scene: &Scene, place: &Path, words: &[&str]) -> u64 {
    let run = |mut command: Command| {
        let command = command
            .args(&words[1..])
            .current_dir(place)
            .env("LC_ALL", "C");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        (
            output.stdout,
            String::from_utf8_lossy(&output.stderr).into_owned(),
            output.status,
        )
    };
    let (wanted, wanted_errors, wanted_status) = run(Command::new(words[0]));
    let mut with = scene.command(words[0]);
    report(scene, &mut with);
    let (found, errors, status) = run(with);
    assert_eq!(status, wanted_status, "{words:?}: {errors}");
    assert!(found == wanted, "{words:?} writes something else");
    assert_eq!(errors, wanted_errors, "{words:?}");
    redirected(scene)
}

fn compare_all(scene: &Scene, all: &[&[&str]]) {
    for words in all {
        let count = compare(scene, &scene.origin(), words);
        assert!(count > 0, "{words:?} has opened nothing in the cache");
    }
}

#[test]
fn small_tools() {
    let scene = planted();
    compare_all(
        &scene,
        &[
            &["cat", "text", "hard"],
            &["cmp", "d0/e0/file 0", "text"],
            &["cmp", "text", "text"],
            &["diff", "-r", "d0", "same"],
            &["grep", "-c", "ab", "text"],
            &["grep", "-r", "--binary-files=text", "-c", "ab", "."],
            &["dd", "if=text", "bs=7000", "skip=1", "status=none"],
            &[
                "dd",
                "if=text",
                "bs=4096",
                "count=3",
                "status=none",
                "iflag=fullblock",
            ],
            &["head", "-c", "1000", "text"],
            &["tail", "-n", "3", "text"],
            &["sort", "text"],
            &["wc", "text"],
            &["sha256sum", "text", "d0/e0/file 0"],
            &["tar", "-c", "--sort=name", "."],
            &[
                "tar",
                "-c",
                "--sort=name",
                "--xattrs",
                "--acls",
                "--pax-option=delete=atime,delete=ctime",
                ".",
            ],
            &[
                "sh",
                "-c",
                "cat text | sort | uniq -c | head -n 5; wc < text",
            ],
            &[
                "bash",
                "-c",
                "while read -r a b; do echo \"$b $a\"; done < text | sort -u",
            ],
            &[
                "bash",
                "-c",
                "exec 7< text; head -n 2 <&7 > /dev/null; cat /dev/fd/7 | wc -c",
            ],
            &["bash", "-c", "mapfile -t lines < text; echo ${#lines[@]}"],
            &["find", ".", "-type", "f", "-exec", "cat", "{}", "+"],
            &[
                "perl",
                "-e",
                "open F, '<', 'text'; $n += length while <F>; print \"$n\\n\"",
            ],
            &[
                "perl",
                "-e",
                "open F, 'text'; print join ',', (stat F)[0..7, 9, 10]",
            ],
        ],
    );
}

#[test]
fn under_another_allocator() {
    let jemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
    if !Path::new(jemalloc).exists() {
        return eprintln!("skipped: {jemalloc} is missing");
    }
    let scene = planted();
    for (first, second) in [
        (common::library(), jemalloc.into()),
        (jemalloc.into(), common::library()),
    ] {
        let mut command = scene.command("sort");
        let both = [first, second]
            .map(|path: PathBuf| path.display().to_string())
            .join(":");
        report(&scene, command.env("LD_PRELOAD", both));
        let output = command
            .arg("text")
            .current_dir(scene.origin())
            .output()
            .unwrap();
        let wanted = succeed(Command::new("sort").arg("text").current_dir(scene.origin()));
        assert!(output.status.success() && output.stdout == wanted);
        assert!(redirected(&scene) > 0);
    }
}

/// What copies of a tree have in common with it. Times of directories are left out: rsync
/// sets that of the root too early now and then, with -H and on a busy machine, also
/// without the library.
fn listing(root: &Path) -> String {
    let script = "find . ! -type d -printf '%p %y %s %m %T@ %n %l\\n' | sort; \
        find . -type d -printf '%p %m\\n' | sort; \
        find . -type f -print0 | sort -z | xargs -0 sha256sum";
    common::say(Command::new("sh").args(["-c", script]).current_dir(root))
}

#[test]
fn copies_have_all_that_the_originals_have() {
    let scene = planted();
    let wanted = listing(&scene.origin());
    for (name, words) in [
        ("cp", &["cp", "-a", "origin", "copy"][..]),
        (
            "cp-preserve",
            &["cp", "-r", "-d", "--preserve=all", "origin", "copy"],
        ),
        (
            "rsync",
            &["rsync", "-aHX", "--whole-file", "origin/", "copy"],
        ),
        ("rsync-checksum", &["rsync", "-aHc", "origin/", "copy"]),
        (
            "tar",
            &[
                "sh",
                "-c",
                "mkdir copy; tar -C origin --format=posix -cf - . | tar -C copy -xf -",
            ],
        ),
    ] {
        if is_missing(words[0]) {
            continue;
        }
        let mut command = scene.command(words[0]);
        report(&scene, command.args(&words[1..]));
        let output = command.current_dir(scene.outside()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let found = listing(&scene.outside().join("copy"));
        let other = found
            .lines()
            .zip(wanted.lines())
            .find(|(found, wanted)| found != wanted);
        assert!(found == wanted, "{name}: {other:?}");
        assert!(redirected(&scene) > 0, "{name}: {errors}");
        fs::remove_dir_all(scene.outside().join("copy")).unwrap();
    }
}

fn git(place: &Path, words: &[&str]) {
    let mut command = Command::new("git");
    command
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(words)
        .current_dir(place);
    succeed(&mut command);
}

#[test]
fn git_reads_a_repository() {
    if is_missing("git") {
        return;
    }
    let scene = Scene::new();
    plant(&scene);
    let origin = scene.origin();
    git(&origin, &["init", "-q"]);
    for number in 0..5 {
        scene.file(format!("changing{}", number % 2), &noise(20_000, number));
        git(&origin, &["add", "."]);
        git(
            &origin,
            &["commit", "-q", "-m", &format!("change {number}")],
        );
    }
    git(&origin, &["gc", "-q"]);
    scene.warm_all();
    compare_all(
        &scene,
        &[
            &["git", "log", "-p", "--stat"],
            &["git", "fsck", "--full", "--strict", "--no-progress"],
            &["git", "status", "--short"],
            &["git", "grep", "-c", "ab"],
            &["git", "show", "HEAD~2"],
        ],
    );
    let clone = scene.outside().join("clone");
    let mut command = scene.command("git");
    command
        .args(["clone", "-q", "--no-hardlinks"])
        .arg(&origin)
        .arg(&clone);
    succeed(&mut command);
    let names = ["text", "hard", "changing0", "changing1"];
    for name in names {
        assert!(
            fs::read(origin.join(name)).unwrap() == fs::read(clone.join(name)).unwrap(),
            "{name}"
        );
    }
    // What writes to the origin goes on to work.
    let mut command = scene.command("git");
    command
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "one more",
        ])
        .current_dir(&origin);
    succeed(&mut command);
    succeed(
        Command::new("git")
            .args(["fsck", "--full"])
            .current_dir(&origin),
    );
}

#[test]
fn sqlite_reads_and_writes_a_database() {
    if is_missing("sqlite3") {
        return;
    }
    let scene = Scene::new();
    let database = scene.origin().join("data.db");
    let fill = "create table t(a integer primary key, b text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        insert into t select i, 'row ' || i from n;";
    succeed(Command::new("sqlite3").arg(&database).arg(fill));
    scene.warm_all();
    let ask = "select count(*), sum(length(b)), max(b) from t; pragma integrity_check;";
    for options in [
        &["data.db"][..],
        &["-readonly", "data.db"],
        &["file:data.db?mode=ro"],
        &["file:data.db?immutable=1"],
    ] {
        let words: Vec<&str> = ["sqlite3"]
            .iter()
            .chain(options)
            .copied()
            .chain([ask])
            .collect();
        compare(&scene, &scene.origin(), &words);
    }
    // A reader's lock keeps a writer out that is without the library.
    let mut reader = scene.command("sqlite3");
    reader
        .args(["-readonly", "data.db"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir(scene.origin());
    let mut reader = reader.spawn().unwrap();
    use std::io::{BufRead, BufReader, Write};
    let mut stdin = reader.stdin.take().unwrap();
    stdin
        .write_all(b"begin; select count(*) from t;\n")
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(reader.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "20000\n");
    let write = "insert into t(b) values('late');";
    let output = Command::new("sqlite3")
        .arg(&database)
        .arg(write)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("locked"), "{errors}");
    drop(stdin);
    assert!(reader.wait().unwrap().success());
    succeed(scene.command("sqlite3").arg(&database).arg(write));
    let wanted = succeed(Command::new("sqlite3").arg(&database).arg(ask));
    assert!(wanted.starts_with(b"20001|"));
}

#[test]
fn python_imports_maps_and_copies() {
    if is_missing("python3") {
        return;
    }
    let scene = Scene::new();
    scene.file(
        "package/__init__.py",
        b"from . import part\nVALUE = part.VALUE\n",
    );
    scene.file("package/part.py", b"VALUE = 42\n");
    scene.file("data", &noise(1_500_000, 3));
    scene.file("text", "line\n".repeat(10_000).as_bytes());
    scene.warm_all();
    let script = "
import hashlib, mmap, os, shutil, sys, subprocess, tempfile
sys.dont_write_bytecode = True
sys.path.insert(0, '.')
import package
print(package.VALUE)
with open('data', 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    print(hashlib.sha256(m).hexdigest(), os.fstat(f.fileno())[:7])
    print(os.path.sameopenfile(f.fileno(), os.open('data', os.O_RDONLY)))
    print(os.path.samestat(os.fstat(f.fileno()), os.stat('data')))
with tempfile.TemporaryDirectory() as d:
    shutil.copy2('data', d)
    print(hashlib.sha256(open(d + '/data', 'rb').read()).hexdigest())
    print(os.stat(d + '/data').st_mtime_ns)
print(sum(1 for _ in open('text')))
print(subprocess.run(['wc', '-c'], stdin=open('data'), capture_output=True, close_fds=True).stdout)
";
    compare_all(&scene, &[&["python3", "-B", "-c", script]]);
}

#[test]
fn compilers_read_sources_and_archives() {
    let scene = Scene::new();
    scene.file(
        "one.c",
        b"#include \"one.h\"\nint main(void) { return two(ONE) - 2; }\n",
    );
    scene.file("one.h", b"#define ONE 1\nint two(int);\n");
    scene.file("two.c", b"int two(int one) { return 2 * one; }\n");
    let origin = scene.origin();
    succeed(
        Command::new("gcc")
            .args(["-c", "two.c", "-o", "two.o"])
            .current_dir(&origin),
    );
    succeed(
        Command::new("ar")
            .args(["rcsD", "libtwo.a", "two.o"])
            .current_dir(&origin),
    );
    scene.warm_all();
    compare_all(
        &scene,
        &[
            &["gcc", "-E", "one.c"],
            &["gcc", "-S", "-O2", "-o", "-", "one.c"],
            &["ar", "p", "libtwo.a", "two.o"],
            &["ar", "tv", "libtwo.a"],
            &["nm", "libtwo.a"],
            &["objdump", "-d", "two.o"],
        ],
    );
    let program = scene.outside().join("program");
    let mut command = scene.command("gcc");
    command
        .args(["one.c", "-L.", "-ltwo", "-o"])
        .arg(&program)
        .current_dir(&origin);
    succeed(&mut command);
    succeed(&mut Command::new(&program));
    // ar writes an archive anew in the origin.
    succeed(
        scene
            .command("ar")
            .args(["rcsD", "libtwo.a", "two.o", "one.h"])
            .current_dir(&origin),
    );
    let listed = succeed(
        Command::new("ar")
            .args(["t", "libtwo.a"])
            .current_dir(&origin),
    );
    assert_eq!(listed, b"two.o\none.h\n");
}

#[test]
fn fio_verifies_what_it_reads_with_every_engine() {
    if is_missing("fio") {
        return;
    }
    let scene = Scene::new();
    let origin = scene.origin();
    let base = [
        "--name=job",
        "--filename=data",
        "--size=8M",
        "--bs=64k",
        "--verify=crc32c",
    ];
    let write = ["--rw=write", "--ioengine=psync", "--do_verify=0"];
    succeed(
        Command::new("fio")
            .args(base)
            .args(write)
            .current_dir(&origin),
    );
    scene.warm_all();
    for engine in ["psync", "pvsync2", "mmap", "libaio", "io_uring", "splice"] {
        let mut command = scene.command("fio");
        command
            .args(base)
            .args([
                "--rw=randread",
                "--readonly",
                "--thread",
                "--verify_fatal=1",
                "--verify_state_load=0",
            ])
            .arg(format!("--ioengine={engine}"))
            .current_dir(&origin);
        report(&scene, &mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if said.contains("not loadable") || errors.contains("not loadable") {
            eprintln!("skipped: this fio has no engine {engine}");
            continue;
        }
        assert!(output.status.success(), "{engine}: {said}{errors}");
        assert!(redirected(&scene) > 0, "{engine}: {errors}");
    }
}

/// Ends a server when the test does.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Server {
    /// Has it end by itself.
    fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        wait_for("it ends", || self.0.try_wait().unwrap().is_some());
    }
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nginx_sends_files() {
    if !Path::new("/usr/sbin/nginx").exists() {
        return eprintln!("skipped: nginx is not installed");
    }
    let scene = Scene::new();
    scene.file("page", &noise(1_500_000, 4));
    scene.warm_all();
    let fetch = |with: bool| {
        let socket = scene.outside().join(format!("socket-{with}"));
        let outside = scene.outside();
        let outside = outside.display();
        let settings = format!(
            "daemon off; master_process off; pid {outside}/pid-{with}; error_log stderr error;\n\
             events {{}}\n\
             http {{ access_log off; sendfile on; open_file_cache off;\n\
               client_body_temp_path {outside}/t1; proxy_temp_path {outside}/t2;\n\
               fastcgi_temp_path {outside}/t3; uwsgi_temp_path {outside}/t4;\n\
               scgi_temp_path {outside}/t5;\n\
               server {{ listen unix:{}; root {}; }} }}",
            socket.display(),
            scene.origin().display()
        );
        let file = scene.outside().join(format!("nginx-{with}.conf"));
        fs::write(&file, settings).unwrap();
        let mut command = match with {
            true => reporting(&scene, "/usr/sbin/nginx"),
            false => Command::new("/usr/sbin/nginx"),
        };
        // Its environment is cleared by itself, but for what it starts with.
        command
            .arg("-c")
            .arg(&file)
            .args(["-p"])
            .arg(scene.outside());
        let server = Server(command.stderr(Stdio::null()).spawn().unwrap());
        let connect = || std::os::unix::net::UnixStream::connect(&socket);
        wait_for("nginx listens", || connect().is_ok());
        let get = |range: &[u8]| {
            use std::io::{Read, Write};
            let mut stream = connect().unwrap();
            let head = b"GET /page HTTP/1.0\r\nHost: x\r\n";
            stream.write_all(&[head, range, b"\r\n"].concat()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let end = answer
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap();
            let text = String::from_utf8_lossy(&answer[..end]).into_owned();
            let lines = text.lines().filter(|line| !line.starts_with("Date"));
            (
                lines.map(str::to_owned).collect::<Vec<_>>(),
                answer.split_off(end),
            )
        };
        let answers = [get(b""), get(b"Range: bytes=1000-1999\r\n"), get(b"")];
        server.end();
        answers
    };
    assert!(fetch(true) == fetch(false));
    assert!(redirected(&scene) > 0);
}

#[test]
fn redis_loads_a_dump() {
    // In Debian the server, the checker of dumps and that of logs are one program.
    let program = "redis-check-rdb";
    if is_missing(program) || is_missing("redis-cli") {
        return;
    }
    let scene = Scene::new();
    let start = |mut command: Command, socket: &Path, place: &Path| {
        use std::os::unix::process::CommandExt;
        command
            .arg0("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--dbfilename",
                "dump.rdb",
                "--unixsocket",
            ])
            .arg(socket)
            .arg("--dir")
            .arg(place)
            .stdout(Stdio::null());
        let server = Server(command.spawn().unwrap());
        wait_for("redis listens", || {
            let mut ask = Command::new("redis-cli");
            let said = ask.arg("-s").arg(socket).arg("ping").output();
            said.is_ok_and(|said| said.stdout == b"PONG\n")
        });
        server
    };
    let ask = |socket: &Path, words: &[&str]| {
        let mut command = Command::new("redis-cli");
        succeed(command.arg("-s").arg(socket).args(words))
    };
    let socket = scene.outside().join("socket");
    let server = start(Command::new(program), &socket, &scene.origin());
    for number in 0..200 {
        ask(
            &socket,
            &["set", &format!("key{number}"), &"v".repeat(number * 10)],
        );
    }
    ask(&socket, &["save"]);
    let wanted = ask(&socket, &["debug", "digest"]);
    drop(server);
    scene.warm_all();
    let dump = scene.origin().join("dump.rdb");
    let before = dump.metadata().unwrap().ino();
    let server = start(reporting(&scene, program), &socket, &scene.origin());
    assert_eq!(ask(&socket, &["debug", "digest"]), wanted);
    // It saves by a fork, and renames the new dump over the old one.
    ask(&socket, &["set", "one", "more"]);
    let wanted = ask(&socket, &["debug", "digest"]);
    ask(&socket, &["save"]);
    server.end();
    assert!(redirected(&scene) > 0);
    assert_ne!(dump.metadata().unwrap().ino(), before);
    let server = start(scene.command(program), &socket, &scene.origin());
    assert_eq!(ask(&socket, &["debug", "digest"]), wanted);
    drop(server);
}

#[test]
fn a_child_with_a_cleaned_environment_reads_the_origin() {
    let scene = planted();
    let script: &OsStr = "env -i /bin/cat text; cat text | wc -c".as_ref();
    let run =
        |mut command: Command| succeed(command.arg("-c").arg(script).current_dir(scene.origin()));
    assert!(run(scene.command("sh")) == run(Command::new("sh")));
}
