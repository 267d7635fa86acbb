//! Asks whoever has the cache open, `cachefsd` or an agent, to copy a file that is missing.
//! The messages and where its socket is are those of the crate `cachefs-control`.

use crate::report::{self, What};
use crate::settings::{PATH_BYTES_MAX, Settings};
use crate::text::{Text, link_of};
use cachefs_control::{DIRECTORY, FILL, REQUEST_BYTES_MAX, VERSION, hash_of};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI64, Ordering};

/// Servers that are tried: their numbers are given from 0 on, and one that ends may leave
/// another one behind.
const SERVERS: u64 = 2;
/// For how long nobody is asked after nobody was there, in seconds.
const PAUSE_SECONDS: i64 = 1;
/// For how long a program waits for one file, in milliseconds of the boot clock.
const WAIT_MS_MAX: i64 = 300_000;
/// Bytes of an address of a socket, its NUL included (unix(7)).
const ADDRESS_BYTES_MAX: usize = 108;

/// Not before this second of the boot clock.
static NOT_BEFORE: AtomicI64 = AtomicI64::new(0);

fn now() -> Timespec {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime)
}

/// Asks for a copy, and waits for nothing.
pub fn ask(settings: &Settings, root: &[u8], below: &[u8]) {
    let mut message = Text::<{ PATH_BYTES_MAX + 16 }>::new();
    let parts = [FILL, root, b"/", below, b"\0"];
    let asked = parts
        .into_iter()
        .try_for_each(|part| message.push(part))
        .and_then(|()| connect(settings, root, SocketFlags::NONBLOCK))
        .and_then(|socket| send(&socket, message.bytes()));
    report::count(match asked {
        Ok(()) => What::Asked,
        Err(_) => What::NobodyAsked,
    });
}

/// Has a file copied, and waits for that. False: it was not.
pub fn wait(settings: &Settings, root: &[u8], below: &[u8]) -> bool {
    let done = connect(settings, root, SocketFlags::empty()).and_then(|socket| {
        command(&socket, below)?;
        answer(&socket)
    });
    report::count(match done {
        Ok(_) => What::Asked,
        Err(_) => What::NobodyAsked,
    });
    done.unwrap_or(false)
}

fn connect(settings: &Settings, root: &[u8], flags: SocketFlags) -> Result<OwnedFd, Errno> {
    if now().tv_sec < NOT_BEFORE.load(Ordering::Relaxed) {
        return Err(Errno::CONNREFUSED);
    }
    let mut failed = Errno::CONNREFUSED;
    for number in 0..SERVERS {
        match connect_to(settings, root, number, flags) {
            Err(errno @ (Errno::CONNREFUSED | Errno::NOENT)) => failed = errno,
            other => return other,
        }
    }
    let later = now().tv_sec + PAUSE_SECONDS;
    NOT_BEFORE.store(later, Ordering::Relaxed);
    Err(failed)
}

fn connect_to(
    settings: &Settings,
    root: &[u8],
    number: u64,
    flags: SocketFlags,
) -> Result<OwnedFd, Errno> {
    let mut name = Text::<64>::new();
    let hash = hash_of(root);
    for shift in (0..16).rev() {
        let digit = char::from_digit((hash >> (shift * 4) & 15) as u32, 16);
        name.push(&[digit.map_or(b'0', |digit| digit as u8)])?;
    }
    name.push(b"-")?;
    name.push_number(number)?;
    name.push(b".sock")?;
    // A directory by its descriptor, in place of a path that may be too long.
    let mut directory = Text::<PATH_BYTES_MAX>::new();
    directory.push(settings.cache.bytes())?;
    directory.push(b"/")?;
    directory.push(DIRECTORY.as_bytes())?;
    let mut path = Text::<ADDRESS_BYTES_MAX>::new();
    let fits = path
        .push(directory.bytes())
        .and_then(|()| path.push(b"/"))
        .and_then(|()| path.push(name.bytes()));
    let held = match fits {
        Ok(()) => None,
        Err(_) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let held = rustix::fs::open(directory.c_str(), flags, Mode::empty())?;
            path.set(link_of(&held).bytes())?;
            path.push(b"/")?;
            path.push(name.bytes())?;
            Some(held)
        }
    };
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | flags,
        None,
    )?;
    let address = SocketAddrUnix::new(path.c_str())?;
    rustix::net::connect(&socket, &address)?;
    drop(held);
    Ok(socket)
}

/// Sends all of it; a signal that the other end is gone is not for the program.
fn send(socket: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sends the command `warm`, with the path as an array of numbers: no byte is special.
fn command(socket: &OwnedFd, below: &[u8]) -> Result<(), Errno> {
    let mut line = Text::<REQUEST_BYTES_MAX>::new();
    line.push(b"{\"cachefs\":")?;
    line.push_number(VERSION.into())?;
    line.push(b",\"do\":\"warm\",\"path\":[")?;
    for (index, byte) in below.iter().enumerate() {
        if index > 0 {
            line.push(b",")?;
        }
        line.push_number((*byte).into())?;
    }
    line.push(b"]}\n")?;
    send(socket, line.bytes())
}

/// Waits for the line that says how it has ended; whether it is done. ETIMEDOUT.
fn answer(socket: &OwnedFd) -> Result<bool, Errno> {
    let milliseconds = |time: Timespec| time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    let deadline = milliseconds(now()) + WAIT_MS_MAX;
    let mut beginning = [0; 8];
    let mut length = 0;
    let mut buffer = [0; 512];
    loop {
        let left = deadline - milliseconds(now());
        if left <= 0 {
            return Err(Errno::TIMEDOUT);
        }
        let limit = Timespec {
            tv_sec: left / 1000,
            tv_nsec: left % 1000 * 1_000_000,
        };
        let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if fds.iter().all(|fd| fd.revents().is_empty()) {
            continue;
        }
        let count = match rustix::io::read(socket, &mut buffer) {
            Ok(0) => return Err(Errno::CONNRESET),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        for byte in buffer.iter().take(count) {
            if *byte == b'\n' {
                // What is between is how far it is.
                if beginning.starts_with(b"{\"done\"") {
                    return Ok(true);
                }
                if beginning.starts_with(b"{\"failed") {
                    return Ok(false);
                }
                beginning = [0; 8];
                length = 0;
            } else if let Some(place) = beginning.get_mut(length) {
                *place = *byte;
                length += 1;
            }
        }
    }
}
