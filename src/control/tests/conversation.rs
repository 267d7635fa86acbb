//! Both ends of the control socket, speaking with each other.

use cachefs_control::{
    CONNECTIONS_MAX, Client, Command, FILL, Failure, Heard, Name, Out, PATH_BYTES_MAX, Place,
    REQUEST_BYTES_MAX, Refusal, Server, Service,
};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Long enough for anything that works, on a busy machine as well.
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody who is not root.
const NOBODY: u32 = 65534;

/// A service that tells the test what it was asked.
struct Parrot {
    filled: Sender<Vec<u8>>,
    ended: Sender<()>,
}

impl Service for Parrot {
    fn run(&self, command: &Command, out: &mut Out<'_>) -> Result<Value, Refusal> {
        match command {
            Command::Hello => Ok(json!("hello")),
            Command::Ls => {
                assert!(out.note(&1) && out.progress(1, 2) && out.note(&2));
                Ok(Value::Null)
            }
            Command::StatFile { path } => Ok(json!(path)),
            // Goes on until nobody wants it any more.
            Command::Verify { .. } => {
                assert!(out.note(&"begun"));
                while out.is_wanted() {
                    thread::sleep(Duration::from_millis(1));
                }
                self.ended.send(()).expect("the test listens");
                Err(Refusal::new(Errno::CANCELED, "nobody listens"))
            }
            _ => Err(Refusal::new(Errno::NODATA, "nothing of it is kept")),
        }
    }

    fn fill(&self, path: &[u8]) {
        self.filled.send(path.to_vec()).expect("the test listens");
    }
}

struct Scene {
    server: Option<Server>,
    filled: Receiver<Vec<u8>>,
    ended: Receiver<()>,
    cache: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let (filled_in, filled) = channel();
        let (ended_in, ended) = channel();
        let service = Parrot {
            filled: filled_in,
            ended: ended_in,
        };
        let place = Place::take(cache.path(), Path::new("/origin")).unwrap();
        let server = Server::start(place, Arc::new(service)).unwrap();
        Self {
            server: Some(server),
            filled,
            ended,
            cache,
        }
    }

    fn path(&self) -> &Path {
        self.server.as_ref().unwrap().path()
    }

    fn client(&self) -> Client {
        Client::connect(self.path()).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// Sends a line as it is, and reads one.
fn say(stream: &UnixStream, line: &[u8]) -> Value {
    let mut writer = stream;
    writer.write_all(line).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn one_connection_serves_many_commands() {
    let scene = Scene::new();
    let mut client = scene.client();
    for name in [&b"a/b"[..], b"caf\xe9", b""] {
        let path = Name(name.to_vec());
        let command = Command::StatFile { path: path.clone() };
        assert_eq!(client.ask::<Name>(command).unwrap(), path);
    }
    match client.ask::<()>(Command::Reload) {
        Err(Failure::Refused(refusal)) => assert_eq!(refusal.errno, Errno::NODATA.raw_os_error()),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.ask::<String>(Command::Hello).unwrap(), "hello");
}

#[test]
fn notes_and_progress_come_in_order_before_the_end() {
    let scene = Scene::new();
    let mut heard = Vec::new();
    let hear = |what| {
        heard.push(match what {
            Heard::Note(note) => note,
            Heard::Progress(done, total) => json!([done, total]),
        });
    };
    let mut client = scene.client();
    client.ask_and_hear::<()>(Command::Ls, hear).unwrap();
    assert_eq!(heard, [json!(1), json!([1, 2]), json!(2)]);
}

#[test]
fn a_fill_is_heard_and_has_no_answer() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.fill(b"/origin/caf\xe9\n").unwrap();
    client.fill(b"/origin/b").unwrap();
    // The next answer is that of the next command.
    assert_eq!(client.ask::<String>(Command::Hello).unwrap(), "hello");
    let heard = || scene.filled.recv_timeout(PATIENCE).unwrap();
    assert_eq!(heard(), b"/origin/caf\xe9\n");
    assert_eq!(heard(), b"/origin/b");
}

#[test]
fn a_fill_whose_sender_has_gone_is_heard() {
    let scene = Scene::new();
    let mut stream = scene.raw();
    stream.write_all(b"fill /origin/a\0").unwrap();
    drop(stream);
    assert_eq!(scene.filled.recv_timeout(PATIENCE).unwrap(), b"/origin/a");
}

#[test]
fn a_fill_without_its_end_is_not_believed() {
    let scene = Scene::new();
    let mut stream = scene.raw();
    stream.write_all(b"fill /origin/a").unwrap();
    drop(stream);
    let mut stream = scene.raw();
    stream.write_all(b"fiddle\0").unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    assert!(scene.filled.recv_timeout(Duration::ZERO).is_err());
}

#[test]
fn a_path_has_its_longest_length() {
    let scene = Scene::new();
    let longest = vec![b'a'; PATH_BYTES_MAX - 1];
    let mut client = scene.client();
    client.fill(&longest).unwrap();
    assert_eq!(scene.filled.recv_timeout(PATIENCE).unwrap(), longest);
    let mut stream = scene.raw();
    let message = [FILL, &longest, b"a\0"].concat();
    stream.write_all(&message).unwrap();
    // The connection is cut off, with what was not read.
    let end = stream.read(&mut [0; 1]);
    assert!(!matches!(end, Ok(1..)), "{end:?}");
    assert!(scene.filled.recv_timeout(Duration::ZERO).is_err());
}

#[test]
fn a_command_has_its_longest_length() {
    let scene = Scene::new();
    let mut line = br#"{"cachefs":1,"do":"hello"}"#.to_vec();
    line.resize(REQUEST_BYTES_MAX - 1, b' ');
    line.push(b'\n');
    let stream = scene.raw();
    assert_eq!(say(&stream, &line), json!({"done": "hello"}));
    line.insert(0, b' ');
    let answer = say(&stream, &line);
    assert_eq!(answer["failed"]["errno"], Errno::MSGSIZE.raw_os_error());
}

#[test]
fn what_is_not_understood_is_refused_and_the_connection_goes_on() {
    let scene = Scene::new();
    let stream = scene.raw();
    let answer = say(&stream, b"{\"cachefs\":2,\"do\":\"hello\"}\n");
    assert_eq!(
        answer["failed"]["errno"],
        Errno::PROTONOSUPPORT.raw_os_error()
    );
    for line in [
        &b"{\"cachefs\":1,\"do\":\"dance\"}\n"[..],
        b"{\"cachefs\":1,\"do\":\"why\"}\n",
        b"{\n",
        b"\n",
        b"\xff\xfe\n",
    ] {
        let answer = say(&stream, line);
        let errno = &answer["failed"]["errno"];
        assert_eq!(errno, Errno::INVAL.raw_os_error(), "{answer}");
    }
    let answer = say(&stream, b"{\"cachefs\":1,\"do\":\"hello\"}\n");
    assert_eq!(answer, json!({"done": "hello"}));
}

/// Runs as another user, on a thread that has it for itself.
fn as_nobody<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

#[test]
fn another_user_may_not_command() {
    if !geteuid().is_root() {
        eprintln!("skipped: to become another user takes root");
        return;
    }
    let scene = Scene::new();
    let path = scene.path();
    let denied = as_nobody(|| Client::connect(path).map(drop)).unwrap_err();
    assert_eq!(denied.raw_os_error(), Some(Errno::ACCESS.raw_os_error()));
    // Where the way there is open, who comes counts.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(scene.cache.path(), 0o755);
    open(path.parent().unwrap(), 0o755);
    open(path, 0o666);
    let refused = as_nobody(|| {
        let mut client = Client::connect(path).unwrap();
        client.ask::<String>(Command::Hello).unwrap_err()
    });
    match refused {
        Failure::Refused(refusal) => assert_eq!(refusal.errno, Errno::PERM.raw_os_error()),
        // It may be gone before the question is there.
        Failure::Lost(_) => {}
    }
    let mut fill = as_nobody(|| UnixStream::connect(path).unwrap());
    let _cut_off = fill.write_all(b"fill /origin/a\0");
    let mut end = String::new();
    let _cut_off = fill.read_to_string(&mut end);
    assert!(scene.filled.recv_timeout(Duration::ZERO).is_err());
}

#[test]
fn a_command_ends_when_its_client_has_gone() {
    let scene = Scene::new();
    let stream = scene.raw();
    let begun = say(&stream, b"{\"cachefs\":1,\"do\":\"verify\"}\n");
    assert_eq!(begun, json!({"note": "begun"}));
    drop(stream);
    scene.ended.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_server_ends_with_its_clients_and_takes_its_socket_away() {
    let mut scene = Scene::new();
    let path = scene.path().to_owned();
    let busy = scene.raw();
    say(&busy, b"{\"cachefs\":1,\"do\":\"verify\"}\n");
    let mut idle = scene.client();
    assert_eq!(idle.ask::<String>(Command::Hello).unwrap(), "hello");
    scene.server = None;
    scene.ended.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(
        idle.ask::<String>(Command::Hello),
        Err(Failure::Lost(_))
    ));
    assert!(!path.exists());
}

#[test]
fn one_connection_more_than_there_may_be_waits_for_another_to_end() {
    let scene = Scene::new();
    let mut clients: Vec<_> = (0..CONNECTIONS_MAX).map(|_| scene.client()).collect();
    for client in &mut clients {
        client.ask::<String>(Command::Hello).unwrap();
    }
    let mut late = scene.client();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || late.ask::<String>(Command::Hello).unwrap());
        thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished());
        clients.pop();
        assert_eq!(waiting.join().unwrap(), "hello");
    });
}
