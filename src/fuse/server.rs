//! The daemon's threads: each takes a request from the kernel, has it answered, and
//! takes the next.

use crate::failure::describe;
use crate::listing::Listings;
use crate::log::Level;
use crate::nodes::{Node, Nodes};
use crate::notices::Notices;
use crate::opened::Retries;
use crate::passthrough::Passthrough;
use crate::pool::{Pool, Streak};
use crate::reply::{REQUEST_BYTES, Reply, Request};
use crate::settings::{Live, Settings};
use crate::tree::Tree;
use crate::wakeups::Watch;
use crate::wire::{AccessIn, LseekIn, OpenIn, OpenOut, ReadIn, ReleaseIn, opcode};
use cachefs_core::{Cache, Origin};
use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use rustix::ioctl::{Setter, opcode as ioctl};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

/// FUSE_DEV_IOC_CLONE (linux/fuse.h).
const CLONE: rustix::ioctl::Opcode = ioctl::read::<u32>(229, 0);

/// What the requests of one mount work on.
pub struct Daemon {
    pub settings: Settings,
    pub cache: Cache,
    pub origin: Origin,
    pub tree: Tree,
    pub nodes: Nodes,
    pub listings: Listings,
    pub passthrough: Passthrough,
    pub notices: Notices,
    /// The mount's first descriptor: for what is no answer.
    pub device: Arc<OwnedFd>,
    /// Of the settings, what can change.
    pub live: RwLock<Live>,
    /// Which messages are shown.
    pub level: Level,
    /// All options in force, by name.
    pub values: Mutex<BTreeMap<&'static str, String>>,
    pub counts: Counts,
    pub retries: Retries,
    /// Where its control socket is, once there is one.
    pub control: OnceLock<PathBuf>,
}

/// Requests of the kernel.
#[derive(Default)]
pub struct Counts {
    pub requests: AtomicU64,
    /// Those of them that were reads.
    pub reads: AtomicU64,
}

/// Serves a mount until it is gone, on several threads.
pub fn serve(daemon: &Arc<Daemon>) -> io::Result<()> {
    let pool = Pool::new(daemon.settings.fuse_threads);
    let mut outcome = Ok(());
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let start = |index: usize| {
            let pool = &pool;
            let body = move || {
                let served = serve_on(daemon, index, pool);
                if !matches!(served, Ok(Ended::OneTooMany)) {
                    pool.end();
                }
                served.map(drop)
            };
            pool.expect();
            let thread = thread::Builder::new().name(format!("cachefsd-{index}"));
            let thread = thread.spawn_scoped(scope, body);
            thread.inspect_err(|_| pool.give_up())
        };
        let mut count = 0;
        while count < daemon.settings.fuse_threads {
            match start(count) {
                Ok(thread) => threads.push(thread),
                Err(error) if count == 0 => return outcome = Err(error),
                // Those that were started do.
                Err(error) => {
                    tracing::warn!("start a thread: {}", describe(&error));
                    break;
                }
            }
            count += 1;
        }
        let start_one = || {
            // Those that were started before in place of others may have ended.
            let ended = threads.extract_if(.., |thread| thread.is_finished());
            ended.for_each(|thread| join(thread, &mut outcome));
            match start(count) {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::warn!("start a thread: {}", describe(&error)),
            }
            count += 1;
        };
        let mut wakeups = Watch::new(daemon.settings.wakeups.clone());
        let requests = || daemon.counts.requests.load(Ordering::Relaxed);
        pool.watch(start_one, || wakeups.look(requests()));
        for thread in threads {
            join(thread, &mut outcome);
        }
    });
    outcome
}

/// Waits for a thread. The first error of all is the outcome.
fn join(thread: thread::ScopedJoinHandle<'_, io::Result<()>>, outcome: &mut io::Result<()>) {
    let ended = thread.join();
    let panicked = |_| Err(io::Error::other("a thread has panicked"));
    let before = std::mem::replace(outcome, Ok(()));
    *outcome = before.and(ended.unwrap_or_else(panicked));
}

/// Why a thread has ended.
enum Ended {
    /// The mount is gone.
    Unmounted,
    /// Others do its work.
    OneTooMany,
}

/// A descriptor of the same mount with a queue of its own: answers go to the one that
/// their request was read from.
fn clone_device(daemon: &Daemon) -> io::Result<OwnedFd> {
    let own = daemon.settings.devices.take()?;
    let of = daemon.device.as_raw_fd().cast_unsigned();
    // SAFETY: the call reads one `u32`, the number of a descriptor of a mount.
    unsafe { rustix::ioctl::ioctl(&own, Setter::<CLONE, u32>::new(of)) }?;
    Ok(own)
}

fn serve_on(daemon: &Arc<Daemon>, index: usize, pool: &Pool) -> io::Result<Ended> {
    let member = pool.join();
    let device = match index {
        0 => Arc::clone(&daemon.device),
        _ => clone_device(daemon).map_or_else(
            |error| {
                tracing::warn!("threads share a descriptor: {}", describe(&error));
                Arc::clone(&daemon.device)
            },
            Arc::new,
        ),
    };
    // Most of it is never touched: only a write would need so much.
    let mut bytes = vec![0; REQUEST_BYTES];
    let mut buffer = Vec::new();
    let mut streak = Streak::default();
    while pool.begin(&member) {
        let (read, waited) = Pool::timed(|| rustix::io::read(&device, &mut bytes[..]));
        pool.took(&mut streak, waited);
        let length = match read {
            Ok(length) => length,
            // ENOENT: who asked was killed before the request was read.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
            // The mount is gone. ECONNABORTED: while a request was being handed over
            // (fuse_dev_do_read() of fs/fuse/dev.c).
            Err(Errno::NODEV | Errno::CONNABORTED) => return Ok(Ended::Unmounted),
            Err(errno) => return Err(errno.into()),
        };
        let Some(request) = Request::parse(&bytes[..length]) else {
            return Err(io::Error::other("the kernel sent what is no request"));
        };
        let reply = Reply::new(&device, request.header.unique);
        member.begin(Some((reply.clone(), request.header.pid)));
        daemon.dispatch(&request, &reply, &mut buffer);
        member.finish();
    }
    Ok(Ended::OneTooMany)
}

impl Daemon {
    /// The settings that can change, as they are now.
    pub fn live(&self) -> Live {
        *self.live.read()
    }

    /// Answers a request, or has it answered.
    fn dispatch(self: &Arc<Self>, request: &Request<'_>, reply: &Reply, buffer: &mut Vec<u8>) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let outcome = match request.header.opcode {
            // Those that have no answer.
            opcode::FORGET => return self.unanswered(self.forget(request)),
            opcode::BATCH_FORGET => return self.unanswered(self.forget_many(request)),
            opcode::INTERRUPT | opcode::NOTIFY_REPLY => return,
            opcode::DESTROY => return reply.done(),
            opcode::LOOKUP => self.answer_look_up(request, reply),
            opcode::READ => self.answer_read(request, buffer, reply),
            _ => self.answer(request, reply),
        };
        if let Err(errno) = outcome {
            reply.error(errno);
        }
    }

    /// The kernel's own structures are as they have to be, or nothing is.
    fn unanswered(&self, outcome: Result<(), Errno>) {
        if let Err(errno) = outcome {
            tracing::error!("a request that cannot be read: {errno}");
        }
    }

    fn answer_look_up(&self, request: &Request<'_>, reply: &Reply) -> Result<(), Errno> {
        let entry = self.look_up(request.header.node, request.name()?)?;
        if !reply.structure(&entry) && entry.node != 0 {
            // The kernel does not know that it has it.
            self.nodes.forget(entry.node, 1);
        }
        Ok(())
    }

    fn answer_read(
        self: &Arc<Self>,
        request: &Request<'_>,
        buffer: &mut Vec<u8>,
        reply: &Reply,
    ) -> Result<(), Errno> {
        let read = request.structure::<ReadIn>()?;
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        self.read(&self.node(request)?, &read, buffer, reply)
    }

    /// Requests whose answer is there at once.
    fn answer(&self, request: &Request<'_>, reply: &Reply) -> Result<(), Errno> {
        let node = || self.node(request);
        match request.header.opcode {
            opcode::GETATTR => {
                reply.structure(&self.attributes(&node()?)?);
            }
            opcode::READLINK => {
                reply.bytes(&self.read_link(&*node()?)?);
            }
            opcode::OPEN => self.answer_open(request, reply)?,
            opcode::RELEASE => {
                self.release(&*node()?);
                reply.done();
            }
            opcode::OPENDIR => {
                let opened = self.open_directory(&*node()?)?;
                self.answer_open_directory(&opened, reply);
            }
            opcode::READDIR | opcode::READDIRPLUS => {
                let read = request.structure::<ReadIn>()?;
                let plus = request.header.opcode == opcode::READDIRPLUS;
                let listed = self.list(&*node()?, &read, plus)?;
                if !reply.bytes(&listed.reply) {
                    // The kernel does not know that it has them.
                    listed
                        .nodes
                        .iter()
                        .for_each(|node| self.nodes.forget(*node, 1));
                }
            }
            opcode::RELEASEDIR => {
                self.release_directory(request.structure::<ReleaseIn>()?.handle);
                reply.done();
            }
            opcode::STATFS => {
                reply.structure(&self.statistics()?);
            }
            opcode::ACCESS => reply.outcome(self.access(&request.structure::<AccessIn>()?)),
            opcode::GETXATTR => self.get_xattr(&*node()?, request, reply)?,
            opcode::LISTXATTR => self.list_xattrs(&*node()?, request, reply)?,
            opcode::LSEEK => {
                reply.structure(&self.seek(&*node()?, &request.structure::<LseekIn>()?)?);
            }
            // Nothing was written, so nothing is left to be written.
            opcode::FLUSH | opcode::FSYNC | opcode::FSYNCDIR => reply.done(),
            opcode::IOCTL => return Err(Errno::NOTTY),
            unserved => return Err(refusal(unserved)),
        }
        Ok(())
    }

    fn answer_open(&self, request: &Request<'_>, reply: &Reply) -> Result<(), Errno> {
        let node = self.node(request)?;
        let flags = request.structure::<OpenIn>()?.flags;
        let opened = self.open(&node, flags, request.header.pid)?;
        if !reply.structure(&opened) {
            // Nobody will release it.
            self.release(&node);
        }
        Ok(())
    }

    fn answer_open_directory(&self, opened: &OpenOut, reply: &Reply) {
        if !reply.structure(opened) {
            self.release_directory(opened.handle);
        }
    }

    /// The node that a request is about.
    fn node(&self, request: &Request<'_>) -> Result<Arc<Node>, Errno> {
        self.nodes.get(request.header.node).ok_or(Errno::STALE)
    }
}

/// What is not served: what would change something says so, and of the rest the kernel
/// does what it does without an answer (ENOSYS).
fn refusal(code: u32) -> Errno {
    match code {
        opcode::SETATTR
        | opcode::SYMLINK
        | opcode::MKNOD
        | opcode::MKDIR
        | opcode::UNLINK
        | opcode::RMDIR
        | opcode::RENAME
        | opcode::RENAME2
        | opcode::LINK
        | opcode::WRITE
        | opcode::SETXATTR
        | opcode::REMOVEXATTR
        | opcode::CREATE
        | opcode::FALLOCATE
        | opcode::TMPFILE => Errno::ROFS,
        _ => Errno::NOSYS,
    }
}
