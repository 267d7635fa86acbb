//! The Redis module of `examples-c`, built against the staged library, in a real
//! Redis server, on both engines.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capi_tests::redis::{self, Client, Reply, Server, wait_until};
use capi_tests::{paths, program};
use libtest_mimic::{Arguments, Completion, Trial};
use tempfile::TempDir;

/// So that a file of some megabytes has many.
const CHUNK: usize = 64 << 10;

type Test = fn(&'static str);

const TESTS: [(&str, Test); 19] = [
    ("bytes_are_the_origins", bytes_are_the_origins),
    ("a_second_pass_hits", a_second_pass_hits),
    ("answers_come_in_order", answers_come_in_order),
    ("a_kernel_thread_may_submit", a_kernel_thread_may_submit),
    ("a_read_has_a_limit", a_read_has_a_limit),
    ("long_reads_share_memory", long_reads_share_memory),
    ("bad_requests_are_refused", bad_requests_are_refused),
    ("nothing_leads_out", nothing_leads_out),
    ("transactions_do_not_wait", transactions_do_not_wait),
    ("a_fill_makes_complete", a_fill_makes_complete),
    ("a_changed_file_is_seen", a_changed_file_is_seen),
    ("few_files_stay_open", few_files_stay_open),
    ("too_many_requests_are_busy", too_many_requests_are_busy),
    ("too_many_files_are_busy", too_many_files_are_busy),
    ("clients_may_go_away", clients_may_go_away),
    (
        "a_save_in_a_child_does_no_harm",
        a_save_in_a_child_does_no_harm,
    ),
    ("unloading_leaves_nothing", unloading_leaves_nothing),
    (
        "a_shutdown_does_not_wait_for_clients",
        a_shutdown_does_not_wait_for_clients,
    ),
    (
        "a_bad_option_prevents_loading",
        a_bad_option_prevents_loading,
    ),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for engine in ["uring", "psync"] {
        for (name, test) in TESTS {
            let run = move || {
                if let Some(reason) = skipped(engine) {
                    return Ok(Completion::ignored_with(reason));
                }
                test(engine);
                Ok(Completion::Completed)
            };
            trials.push(Trial::ignorable_test(format!("{engine}::{name}"), run));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Why this cannot be tried here.
fn skipped(engine: &str) -> Option<String> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    if let Some(reason) = redis::missing() {
        return Some(reason);
    }
    let refused = REFUSED.get_or_init(|| {
        let report = Case::new("auto", "", &[]).client().say("CACHEFS.REPORT");
        (report.text("engine") != "uring").then(|| report.text("engine_reason"))
    });
    refused.clone().filter(|_| engine == "uring")
}

// --- a server with the module -------------------------------------------------------

/// The module, built once.
fn module() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let module = work_directory().join("cachefs.so");
        let mut make = Command::new("make");
        make.arg("-C").arg(paths::repository().join("examples-c"));
        make.arg("module")
            .arg(format!("MODULE={}", module.display()));
        make.env("PKG_CONFIG_PATH", paths::stage().join("lib/pkgconfig"));
        program::tool(&mut make).expect("make module");
        module
    })
}

/// In the target directory, because `/tmp` is often a tmpfs, which is not what a
/// cache is made for.
fn work_directory() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redis");
        fs::create_dir_all(&directory).expect("it can be made");
        directory
    })
}

/// A server with the module, an origin, and what its files hold.
struct Case {
    server: Server,
    work: TempDir,
    contents: Vec<Vec<u8>>,
}

impl Case {
    /// The origin's files are `0`, `1`, … of these sizes.
    fn new(engine: &str, options: &str, sizes: &[usize]) -> Case {
        let work = tempfile::tempdir_in(work_directory()).expect("it can be made");
        let origin = work.path().join("origin");
        fs::create_dir(&origin).expect("it can be made");
        let mut random = Random::new(7);
        let contents: Vec<Vec<u8>> = sizes.iter().map(|&size| random.bytes(size)).collect();
        for (number, content) in contents.iter().enumerate() {
            write_trusted(&origin.join(number.to_string()), content);
        }
        let options = format!("engine={engine} chunk_bytes={CHUNK} {options}");
        let mut server = Server::start(&load_line(work.path(), &options));
        assert!(server.is_up(), "{}", server.log());
        Case {
            server,
            work,
            contents,
        }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    fn origin(&self) -> PathBuf {
        self.work.path().join("origin")
    }

    fn statistic(&self, key: &str) -> i64 {
        self.client().say("CACHEFS.STATS").number(key)
    }

    fn expected(&self, file: usize, range: Range<usize>) -> Reply {
        let content = &self.contents[file];
        let end = range.end.min(content.len());
        Reply::Bytes(content[range.start.min(end)..end].to_vec())
    }

    /// Every place for a request is free: so many at once are served.
    fn check_places(&self, places: usize) {
        let line = "CACHEFS.READ 0 0 10";
        let mut clients = connected(self, places);
        self.server
            .while_stopped(|| clients.iter_mut().for_each(|client| send(client, line)));
        for client in &mut clients {
            assert_eq!(client.receive(), Some(self.expected(0, 0..10)));
        }
        assert_eq!(self.statistic("in_flight"), 0);
    }

    /// Shuts the server down, which must have gone well to the end.
    fn end(self) {
        let (status, log) = self.server.shut_down();
        assert!(status.success(), "{status}\n{log}");
        assert!(log.contains("<cachefs> the cache is closed"), "{log}");
        let complaints: Vec<&str> = log.lines().filter(|line| line.contains(" # <")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// The line of the configuration that loads the module.
fn load_line(work: &Path, options: &str) -> String {
    format!(
        "loadmodule {} {} {} {options}",
        module().display(),
        work.join("cache").display(),
        work.join("origin").display()
    )
}

/// Writes a file, and waits until it is old enough to be kept in a cache: a
/// change right after it could carry the same time.
fn write_trusted(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("it can be written");
    wait_until("a file grows old", || {
        let changed = fs::metadata(path).expect("it is there");
        let nanoseconds = changed.ctime_nsec() as u64;
        let since = Duration::new(changed.ctime() as u64, 0) + Duration::from_nanos(nanoseconds);
        let age = SystemTime::now().duration_since(UNIX_EPOCH + since);
        age.is_ok_and(|age| age > Duration::from_millis(100))
    });
}

/// Connections that the server has accepted.
fn connected(case: &Case, count: usize) -> Vec<Client> {
    let connect = |_| {
        let mut client = case.client();
        assert_eq!(client.say("PING"), Reply::Status("PONG".to_owned()));
        client
    };
    (0..count).map(connect).collect()
}

/// Those that the server has, this one included.
fn connections(client: &mut Client) -> usize {
    let Reply::Bytes(list) = client.say("CLIENT LIST") else {
        panic!("CLIENT LIST answers with a text");
    };
    list.iter().filter(|&&byte| byte == b'\n').count()
}

fn send(client: &mut Client, line: &str) {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    client.send(&words);
}

fn read(client: &mut Client, file: usize, range: Range<usize>) -> Reply {
    client.say(&format!(
        "CACHEFS.READ {file} {} {}",
        range.start,
        range.len()
    ))
}

fn is_error(reply: &Reply, beginning: &str) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(beginning))
}

/// xorshift64*: good enough to choose ranges.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 11) % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count).collect()
    }
}

// --- reads -----------------------------------------------------------------------------

fn bytes_are_the_origins(engine: &'static str) {
    let case = Case::new(engine, "", &[5_000_000, 300_000, 1, 0]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = now.expect("it is later than 1970").as_nanos() as u64;
    thread::scope(|scope| {
        for number in 0..8 {
            let case = &case;
            scope.spawn(move || {
                let mut client = case.client();
                let mut random = Random::new(seed.wrapping_add(number));
                for _ in 0..100 {
                    let file = random.below(case.contents.len());
                    let start = random.below(case.contents[file].len() + 1000);
                    let length = [1, 4096, 20_000, 400_000][random.below(4)];
                    let range = start..start + random.below(length);
                    let got = read(&mut client, file, range.clone());
                    let same = got == case.expected(file, range.clone());
                    assert!(same, "file {file}, {range:?}, seed {seed}");
                }
            });
        }
    });
    assert_eq!(case.statistic("in_flight"), 0);
    case.end();
}

fn a_second_pass_hits(engine: &'static str) {
    let case = Case::new(engine, "", &[1_000_000, 3 * CHUNK]);
    let pass = || {
        let mut client = case.client();
        for (file, content) in case.contents.iter().enumerate() {
            for start in (0..content.len()).step_by(10_000) {
                let range = start..start + 10_000;
                assert_eq!(
                    read(&mut client, file, range.clone()),
                    case.expected(file, range)
                );
            }
        }
    };
    pass();
    let first = case.client().say("CACHEFS.STATS");
    assert_eq!(
        first.number("bytes_from_origin"),
        (1_000_000 + 3 * CHUNK) as i64
    );
    pass();
    let second = case.client().say("CACHEFS.STATS");
    assert_eq!(second.number("origin_reads"), first.number("origin_reads"));
    let reads = (100 + (3 * CHUNK).div_ceil(10_000)) as i64;
    assert_eq!(second.number("hits"), first.number("hits") + reads);
    case.end();
}

/// One client that sends all its commands before it reads an answer.
fn answers_come_in_order(engine: &'static str) {
    let case = Case::new(engine, "", &[2_000_000]);
    let mut client = case.client();
    for _ in 0..2 {
        for number in 0..200 {
            send(
                &mut client,
                &format!("CACHEFS.READ 0 {} 100", number * 9_999),
            );
            send(&mut client, &format!("ECHO {number}"));
        }
        for number in 0..200 {
            let range = number * 9_999..number * 9_999 + 100;
            assert_eq!(client.receive(), Some(case.expected(0, range)));
            let echo = Reply::Bytes(number.to_string().into_bytes());
            assert_eq!(client.receive(), Some(echo));
        }
    }
    case.end();
}

/// Then hits come without a call of ours that would bring them.
fn a_kernel_thread_may_submit(engine: &'static str) {
    let case = Case::new(engine, "sq_poll=true sq_poll_idle_ms=1", &[500_000]);
    let mut client = case.client();
    for number in 0..200 {
        let range = (number % 50) * 10_000..(number % 50 + 1) * 10_000;
        assert_eq!(read(&mut client, 0, range.clone()), case.expected(0, range));
    }
    case.end();
}

fn a_read_has_a_limit(engine: &'static str) {
    const LIMIT: usize = 64 << 20;
    let case = Case::new(engine, "", &[LIMIT + 1]);
    let mut client = case.client();
    // Not assert_eq!, which would show them.
    assert!(read(&mut client, 0, 0..LIMIT) == case.expected(0, 0..LIMIT));
    assert!(read(&mut client, 0, 1..LIMIT + 1) == case.expected(0, 1..LIMIT + 1));
    let beyond = read(&mut client, 0, 0..LIMIT + 1);
    assert!(is_error(
        &beyond,
        "ERR one read gives at most 67108864 bytes"
    ));
    case.end();
}

/// Two reads of 40 MiB do not fit into 64 MiB, so that one waits for the other.
fn long_reads_share_memory(engine: &'static str) {
    const LENGTH: usize = 40 << 20;
    let case = Case::new(engine, "redis_memory_mib=64", &[LENGTH + 4]);
    let mut clients = connected(&case, 4);
    case.server.while_stopped(|| {
        for (start, client) in clients.iter_mut().enumerate() {
            send(client, &format!("CACHEFS.READ 0 {start} {LENGTH}"));
        }
    });
    for (start, client) in clients.iter_mut().enumerate() {
        assert!(client.receive() == Some(case.expected(0, start..start + LENGTH)));
    }
    case.end();
}

// --- what is refused ------------------------------------------------------------------

fn bad_requests_are_refused(engine: &'static str) {
    let case = Case::new(engine, "", &[100]);
    let mut client = case.client();
    let cases = [
        ("CACHEFS.READ 0 0", "ERR wrong number of arguments"),
        ("CACHEFS.READ 0 0 1 2", "ERR wrong number of arguments"),
        ("CACHEFS.FILL 0 0", "ERR wrong number of arguments"),
        ("CACHEFS.STAT", "ERR wrong number of arguments"),
        ("CACHEFS.STATS 0", "ERR wrong number of arguments"),
        ("CACHEFS.REPORT 0", "ERR wrong number of arguments"),
        ("CACHEFS.READ 0 -1 1", "ERR offset and length are numbers"),
        ("CACHEFS.READ 0 0 -1", "ERR offset and length are numbers"),
        ("CACHEFS.READ 0 0 1x", "ERR offset and length are numbers"),
        ("CACHEFS.FILL 0 0 1x", "ERR offset and length are numbers"),
        ("CACHEFS.READ none 0 1", "ERR open none: No such file"),
        ("CACHEFS.STAT none", "ERR open none: No such file"),
        ("CACHEFS.FILL none", "ERR open none: No such file"),
    ];
    for (line, expected) in cases {
        let reply = client.say(line);
        assert!(is_error(&reply, expected), "{line}: {reply:?}");
    }
    let zero = client.ask(&[b"CACHEFS.READ", b"0\0", b"0", b"1"]);
    assert!(is_error(&zero, "ERR there is a zero byte"), "{zero:?}");
    assert_eq!(read(&mut client, 0, 0..100), case.expected(0, 0..100));
    // A file that could not be opened is asked for again.
    write_trusted(&case.origin().join("none"), b"here");
    assert_eq!(
        client.say("CACHEFS.READ none 0 9"),
        Reply::Bytes(b"here".to_vec())
    );
    case.end();
}

fn nothing_leads_out(engine: &'static str) {
    let case = Case::new(engine, "", &[100]);
    fs::write(case.work.path().join("secret"), "secret").expect("it can be written");
    fs::create_dir(case.origin().join("directory")).expect("it can be made");
    symlink("../secret", case.origin().join("link")).expect("it can be made");
    symlink("0", case.origin().join("inside")).expect("it can be made");
    let mut client = case.client();
    for path in ["../secret", "directory/../../secret", "link"] {
        let reply = client.say(&format!("CACHEFS.READ {path} 0 9"));
        let expected = format!("ERR open {path}: Invalid cross-device link");
        assert!(is_error(&reply, &expected), "{path}: {reply:?}");
    }
    let directory = client.say("CACHEFS.READ directory 0 9");
    assert!(
        is_error(&directory, "ERR open directory: Is a directory"),
        "{directory:?}"
    );
    assert_eq!(
        client.say("CACHEFS.READ inside 0 9"),
        case.expected(0, 0..9)
    );
    case.end();
}

fn transactions_do_not_wait(engine: &'static str) {
    let case = Case::new(engine, "", &[100]);
    let mut client = case.client();
    client.say("MULTI");
    client.say("CACHEFS.READ 0 0 1");
    client.say("CACHEFS.STATS");
    let Reply::List(replies) = client.say("EXEC") else {
        panic!("EXEC answers with a list");
    };
    assert!(
        is_error(&replies[0], "ERR files are not read in transactions"),
        "{replies:?}"
    );
    assert_eq!(replies[1].number("hits"), 0);
    let script = client.ask(&[b"EVAL", b"return redis.call('CACHEFS.STAT', '0')", b"0"]);
    assert!(
        is_error(&script, "ERR This Redis command is not allowed from script"),
        "{script:?}"
    );
    case.end();
}

// --- files ------------------------------------------------------------------------------

fn a_fill_makes_complete(engine: &'static str) {
    let case = Case::new(engine, "", &[10 * CHUNK + 5]);
    let mut client = case.client();
    let size = (10 * CHUNK + 5) as i64;
    let stat = client.say("CACHEFS.STAT 0");
    assert_eq!(
        (stat.number("size"), stat.number("bytes_present")),
        (size, 0)
    );
    let part = client.say(&format!("CACHEFS.FILL 0 {CHUNK} {CHUNK}"));
    assert_eq!(part, Reply::Number(CHUNK as i64));
    let stat = client.say("CACHEFS.STAT 0");
    assert_eq!(
        (stat.number("bytes_present"), stat.number("complete")),
        (CHUNK as i64, 0)
    );
    let before = case.statistic("origin_reads");
    let range = CHUNK..2 * CHUNK;
    assert_eq!(read(&mut client, 0, range.clone()), case.expected(0, range));
    assert_eq!(case.statistic("origin_reads"), before);
    assert_eq!(client.say("CACHEFS.FILL 0"), Reply::Number(size));
    let stat = client.say("CACHEFS.STAT 0");
    assert_eq!(
        (stat.number("bytes_present"), stat.number("complete")),
        (size, 1)
    );
    case.end();
}

fn a_changed_file_is_seen(engine: &'static str) {
    let case = Case::new(engine, "redis_recheck_ms=0", &[100]);
    let mut client = case.client();
    assert_eq!(read(&mut client, 0, 0..100), case.expected(0, 0..100));
    let path = case.origin().join("0");
    let mut file = File::options()
        .write(true)
        .truncate(true)
        .open(&path)
        .expect("it is there");
    file.write_all(b"another").expect("it can be written");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.set_times(FileTimes::new().set_modified(old))
        .expect("its times can be set");
    assert_eq!(
        read(&mut client, 0, 0..100),
        Reply::Bytes(b"another".to_vec())
    );
    case.end();
}

fn few_files_stay_open(engine: &'static str) {
    let case = Case::new(
        engine,
        "redis_open_files=3 redis_recheck_ms=60000",
        &[100; 10],
    );
    let mut client = case.client();
    for _ in 0..2 {
        for file in 0..10 {
            assert_eq!(read(&mut client, file, 0..100), case.expected(file, 0..100));
            assert!(case.statistic("open_files") <= 3);
        }
    }
    assert_eq!(case.statistic("open_files"), 3);
    // A file that is still open is not looked at again; one that made room is.
    fs::remove_file(case.origin().join("9")).expect("it is there");
    fs::remove_file(case.origin().join("6")).expect("it is there");
    assert_eq!(read(&mut client, 9, 0..100), case.expected(9, 0..100));
    assert!(is_error(
        &read(&mut client, 6, 0..100),
        "ERR open 6: No such file"
    ));
    case.end();
}

// --- load -------------------------------------------------------------------------------

/// Of 16 requests in one turn of the event loop, those for which there is a place
/// are served, one after another by a queue of one; first while the file is being
/// opened, then with misses, then with hits.
fn too_many_requests_are_busy(engine: &'static str) {
    let case = Case::new(engine, "redis_depth=1 redis_waiting=3", &[16 * CHUNK]);
    let mut clients = connected(&case, 16);
    for pass in 1..4 {
        case.server.while_stopped(|| {
            for (number, client) in clients.iter_mut().enumerate() {
                send(client, &format!("CACHEFS.READ 0 {} 10", number * CHUNK));
            }
        });
        let mut served = 0;
        for (number, client) in clients.iter_mut().enumerate() {
            let start = number * CHUNK;
            match client.receive().expect("the connection is open") {
                Reply::Error(text) => assert!(text.starts_with("BUSY all 4 places"), "{text}"),
                bytes => {
                    assert_eq!(bytes, case.expected(0, start..start + 10));
                    served += 1;
                }
            }
        }
        assert_eq!(served, 4);
        assert_eq!(case.statistic("busy"), 12 * pass);
    }
    case.check_places(4);
    case.end();
}

fn too_many_files_are_busy(engine: &'static str) {
    let case = Case::new(engine, "redis_open_files=2", &[100; 5]);
    let mut clients = connected(&case, 5);
    case.server.while_stopped(|| {
        for (file, client) in clients.iter_mut().enumerate() {
            send(client, &format!("CACHEFS.READ {file} 0 100"));
        }
    });
    let mut served = 0;
    for (file, client) in clients.iter_mut().enumerate() {
        match client.receive().expect("the connection is open") {
            Reply::Error(text) => assert!(text.starts_with("BUSY all 2 places"), "{text}"),
            bytes => {
                assert_eq!(bytes, case.expected(file, 0..100));
                served += 1;
            }
        }
    }
    assert_eq!(served, 2);
    for (file, client) in clients.iter_mut().enumerate() {
        assert_eq!(read(client, file, 0..100), case.expected(file, 0..100));
    }
    case.end();
}

/// They are killed in the turn in which they asked, while the file is opened or
/// while they wait for the queue; or they hang up, whatever their request is at.
fn clients_may_go_away(engine: &'static str) {
    let case = Case::new(engine, "redis_depth=2 redis_waiting=6", &[64 * CHUNK]);
    let mut killer = case.client();
    for start in [0, CHUNK] {
        let mut victims = connected(&case, 6);
        let kills: Vec<String> = victims
            .iter_mut()
            .map(|victim| match victim.say("CLIENT ID") {
                Reply::Number(id) => format!("CLIENT KILL ID {id}"),
                other => panic!("{other:?}"),
            })
            .collect();
        case.server.while_stopped(|| {
            for victim in &mut victims {
                send(victim, &format!("CACHEFS.READ 0 {start} 10000"));
            }
            kills.iter().for_each(|kill| send(&mut killer, kill));
        });
        for (kill, victim) in kills.iter().zip(&mut victims) {
            assert_eq!(killer.receive(), Some(Reply::Number(1)), "{kill}");
            assert_eq!(victim.receive(), None);
        }
        wait_until("their requests end", || case.statistic("requests") == 0);
        case.check_places(8);
    }
    for chunk in 2..64 {
        let mut clients = connected(&case, 4);
        for (number, client) in clients.iter_mut().enumerate() {
            send(
                client,
                &format!("CACHEFS.READ 0 {} 20000", chunk * CHUNK + number),
            );
        }
        send(&mut clients[3], "CACHEFS.FILL 0");
    }
    // Until then some of their commands may not have been read yet.
    wait_until("they are gone", || connections(&mut killer) == 1);
    wait_until("their requests end", || case.statistic("requests") == 0);
    case.check_places(8);
    case.end();
}

// --- the server's own ways ----------------------------------------------------------------

fn a_save_in_a_child_does_no_harm(engine: &'static str) {
    let case = Case::new(engine, "", &[64 * CHUNK, 100]);
    let mut client = case.client();
    for key in 0..20 {
        client.say(&format!("SET {key} value"));
    }
    assert_eq!(read(&mut client, 0, 0..10), case.expected(0, 0..10));
    // Microseconds: the child takes its time, and we do not wait for it.
    client.say("CONFIG SET rdb-key-save-delay 20000");
    let saves = |client: &mut Client, what: &str| match client.say("INFO persistence") {
        Reply::Bytes(text) => String::from_utf8_lossy(&text).contains(what),
        other => panic!("{other:?}"),
    };
    // In flight when the server forks, and after it.
    let mut others = connected(&case, 10);
    case.server.while_stopped(|| {
        for (number, other) in others.iter_mut().enumerate() {
            if number == 5 {
                send(&mut client, "BGSAVE");
            }
            send(
                other,
                &format!("CACHEFS.READ 0 {} 10", (number + 1) * CHUNK),
            );
        }
    });
    assert_eq!(
        client.receive(),
        Some(Reply::Status("Background saving started".to_owned()))
    );
    for (number, other) in others.iter_mut().enumerate() {
        let start = (number + 1) * CHUNK;
        assert_eq!(other.receive(), Some(case.expected(0, start..start + 10)));
    }
    let mut number = 0;
    wait_until("the child ends", || {
        let range = (number * 9_999) % (64 * CHUNK)..(number * 9_999) % (64 * CHUNK) + 5_000;
        assert_eq!(read(&mut client, 0, range.clone()), case.expected(0, range));
        number += 1;
        saves(&mut client, "rdb_bgsave_in_progress:0\r\n")
    });
    assert!(saves(&mut client, "rdb_last_bgsave_status:ok\r\n"));
    assert!(saves(&mut client, "rdb_saves:1\r\n"));
    let dump = fs::metadata(case.server.directory().join("dump.rdb")).expect("it was written");
    assert!(dump.len() > 0);
    assert_eq!(read(&mut client, 1, 0..100), case.expected(1, 0..100));
    case.end();
}

fn unloading_leaves_nothing(engine: &'static str) {
    let case = Case::new(engine, "", &[10 * CHUNK]);
    let mut client = case.client();
    let load = load_line(
        case.work.path(),
        &format!("engine={engine} chunk_bytes={CHUNK}"),
    );
    let load = load.replacen("loadmodule", "MODULE LOAD", 1);
    let ok = Reply::Status("OK".to_owned());
    assert_eq!(client.say("MODULE UNLOAD cachefs"), ok);
    let before = case.server.threads_and_descriptors();
    for _ in 0..3 {
        assert_eq!(client.say(&load), ok);
        assert_ne!(case.server.threads_and_descriptors(), before);
        let twice = client.say(&load);
        assert!(
            is_error(&twice, "ERR Error loading the extension"),
            "{twice:?}"
        );
        for chunk in 0..10 {
            let range = chunk * CHUNK..chunk * CHUNK + 10;
            assert_eq!(read(&mut client, 0, range.clone()), case.expected(0, range));
        }
        assert_eq!(client.say("MODULE UNLOAD cachefs"), ok);
        // The kernel ends its own threads of a ring a little later.
        wait_until("all is closed", || {
            case.server.threads_and_descriptors() == before
        });
    }
    assert!(is_error(
        &client.say("CACHEFS.STATS"),
        "ERR unknown command"
    ));
    case.end();
}

fn a_shutdown_does_not_wait_for_clients(engine: &'static str) {
    let case = Case::new(engine, "redis_depth=1", &[64 * CHUNK]);
    let mut clients = connected(&case, 20);
    for (number, client) in clients.iter_mut().enumerate() {
        send(client, &format!("CACHEFS.READ 0 {} 100000", number * CHUNK));
        send(client, "CACHEFS.FILL 0");
    }
    case.end();
}

fn a_bad_option_prevents_loading(engine: &'static str) {
    let work = tempfile::tempdir_in(work_directory()).expect("it can be made");
    fs::create_dir(work.path().join("origin")).expect("it can be made");
    let engine = format!("engine={engine}");
    let cases = [
        ("bogus=1", "not loaded: no option is named \"bogus\""),
        ("threads=0", "not loaded: threads is outside 1..64: 0"),
        (
            "threads",
            "not loaded: the arguments after ORIGIN_ROOT are of the form KEY=VALUE",
        ),
        (
            "redis_depth=0",
            "not loaded: redis_depth is outside 1..4096: \"0\"",
        ),
        (
            "redis_depth=4097",
            "not loaded: redis_depth is outside 1..4096: \"4097\"",
        ),
        (
            "redis_waiting=1x",
            "not loaded: redis_waiting is outside 0..65536: \"1x\"",
        ),
        (
            "redis_memory_mib=63",
            "not loaded: redis_memory_mib is outside 64..1048576: \"63\"",
        ),
    ];
    for (option, expected) in cases {
        let mut server = Server::start(&load_line(work.path(), &format!("{engine} {option}")));
        assert!(!server.is_up(), "{option}");
        assert!(server.log().contains(expected), "{}", server.log());
    }
    fs::remove_dir(work.path().join("origin")).expect("it is empty");
    let mut server = Server::start(&load_line(work.path(), &engine));
    assert!(!server.is_up());
    assert!(
        server.log().contains("No such file or directory"),
        "{}",
        server.log()
    );
}
