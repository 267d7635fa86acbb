//! A mount of the daemon `cachefsd`, and a file that is in its cache.

use super::rows::Bed;
use super::scratch::DATA;
use super::trouble::Trouble;
use crate::access::{self, Access, Daemon};
use crate::show;
use cachefs_control::Refusal;
use cachefs_core::Errno;
use rustix::fs::OFlags;
use rustix::mount::UnmountFlags;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the daemon may take to come, and to go.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(10);
/// Room in the cache beside the file.
const ROOM_BYTES: u64 = 256 << 20;
/// The last of so many parts of a file that is not complete is missing.
pub const PARTS: u64 = 8;

/// How much of the file is in the cache.
#[derive(Clone, Copy, PartialEq)]
pub enum Present {
    /// Nothing.
    Nothing,
    /// All of it.
    Whole,
    /// All but the last part: see [`PARTS`].
    Most,
}

/// The mount, which goes with this.
pub struct Mounted<'a> {
    bed: &'a Bed,
    child: Child,
    mountpoint: PathBuf,
    cache: PathBuf,
    daemon: Daemon,
}

impl<'a> Mounted<'a> {
    /// Mounts the origin of the bed, with a new cache.
    pub fn new(bed: &'a Bed, options: &str, present: Present) -> Result<Self, Trouble> {
        Self::of(bed, (&bed.origin, "mnt"), options, present)
    }

    /// Mounts an origin, which has the file, on a new directory of that name.
    pub fn of(
        bed: &'a Bed,
        (origin, name): (&Path, &str),
        options: &str,
        present: Present,
    ) -> Result<Self, Trouble> {
        if !rustix::process::geteuid().is_root() {
            return Err(Trouble::CannotRun("to mount takes root".to_owned()));
        }
        let path = bed.scratch.path();
        let (mountpoint, cache) = (path.join(name), path.join(format!("cache-of-{name}")));
        bed.scratch.remove(&cache)?;
        fs::create_dir_all(&mountpoint).map_err(Trouble::io("make the mountpoint"))?;
        let capacity = bed.read_size() + ROOM_BYTES;
        let mut list = format!(
            "cache_dir={},capacity_bytes={capacity},attr_timeout=1,entry_timeout=1",
            cache.display()
        );
        for option in bed.options.iter().map(String::as_str).chain([options]) {
            list.push(',');
            list.push_str(option);
        }
        let said = File::create(path.join("daemon.err")).map_err(Trouble::io("make a file"))?;
        let mut command = Command::new(&bed.daemon);
        command.arg(origin).arg(&mountpoint);
        command.args(["--foreground", "-o", &list]);
        command.stdin(Stdio::null()).stderr(said);
        let child = command.spawn().map_err(|error| {
            let shown = show::path(&bed.daemon);
            Trouble::CannotRun(format!(
                "start {shown}: {}: name it with --daemon",
                crate::failure::describe(&error)
            ))
        })?;
        let mut starting = Starting(Some(child));
        let daemon = starting.wait(bed, &cache)?;
        let mounted = Self {
            bed,
            child: starting.0.take().expect("it has come"),
            mountpoint,
            cache,
            daemon,
        };
        mounted.fill(present)?;
        Ok(mounted)
    }

    /// The file on the mount.
    pub fn file(&self) -> PathBuf {
        self.mountpoint.join(DATA)
    }

    /// The mountpoint.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The process of the daemon.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The cached copy of the file: the largest there is.
    pub fn copy(&self) -> Result<PathBuf, Trouble> {
        let mut largest = (0, PathBuf::new());
        let mut left = vec![self.cache.join("objects")];
        let mut look = || -> std::io::Result<()> {
            while let Some(directory) = left.pop() {
                for entry in fs::read_dir(directory)? {
                    let entry = entry?;
                    let of = entry.metadata()?;
                    if of.is_dir() {
                        left.push(entry.path());
                    } else if of.len() > largest.0 {
                        largest = (of.len(), entry.path());
                    }
                }
            }
            Ok(())
        };
        look().map_err(Trouble::io("look for the cached copy"))?;
        Ok(largest.1)
    }

    /// Whether all of the file is in the cache.
    pub fn is_complete(&self) -> Result<bool, Trouble> {
        let access = self.access()?;
        let of = access.stat_file(DATA.as_ref()).map_err(refused)?;
        Ok(of.complete)
    }

    /// Has nothing of the file be in the cache, nor in memory.
    pub fn empty(&self) -> Result<(), Trouble> {
        match self.access()?.evict(DATA.as_ref()) {
            Ok(()) => {}
            // There was nothing.
            Err(refusal) if refusal.errno == Errno::NODATA.raw_os_error() => {}
            Err(refusal) => return Err(refused(refusal)),
        }
        super::scratch::make_cold(&self.file())
    }

    /// Why the kernel does not read complete files alone.
    pub fn no_passthrough(&self) -> Result<Option<String>, Trouble> {
        let whole = self.access()?.stat(false).map_err(refused)?;
        let mount = whole.server.and_then(|server| server.mount);
        Ok(mount.and_then(|mount| mount.no_passthrough))
    }

    /// Processor time that the daemon has taken, of all its threads (proc(5), `schedstat`).
    pub fn processor_time(&self) -> Result<Duration, Trouble> {
        let tasks = format!("/proc/{}/task", self.pid());
        let sum = || -> std::io::Result<u64> {
            let mut sum = 0;
            for task in fs::read_dir(tasks)? {
                let text = fs::read_to_string(task?.path().join("schedstat"))?;
                let first = text
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse::<u64>().ok());
                sum += first.unwrap_or_default();
            }
            Ok(sum)
        };
        sum()
            .map(Duration::from_nanos)
            .map_err(Trouble::io("ask for the daemon's time"))
    }

    /// System calls of the daemon that read or write (proc(5), `io`).
    pub fn reads_and_writes(&self) -> Result<u64, Trouble> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid()));
        let text = text.map_err(Trouble::io("ask for the daemon's calls"))?;
        let lines = text.lines().filter(|line| line.starts_with("sysc"));
        let numbers = lines.filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
        Ok(numbers.sum())
    }

    fn access(&self) -> Result<Access, Trouble> {
        let access = Access::of_daemon(&self.daemon);
        access.map_err(|failure| Trouble::Failed(failure.message().unwrap_or_default().to_owned()))
    }

    fn fill(&self, present: Present) -> Result<(), Trouble> {
        let access = self.access()?;
        match present {
            Present::Nothing => return Ok(()),
            Present::Whole => {
                access.warm(DATA.as_ref(), |_, _| true).map_err(refused)?;
                return self.bed.scratch.go_on();
            }
            Present::Most => {}
        }
        // A read here and there of a chunk brings the whole of it, and neither looks like
        // a run nor amounts to a share of the file.
        let of = access.stat_file(DATA.as_ref()).map_err(refused)?;
        let chunk = of.chunk_bytes.max(1);
        let wanted = of.size / PARTS * (PARTS - 1) / chunk;
        let mut file = Direct::open(&self.file(), 4096)?;
        for remainder in 0..5 {
            for index in (0..wanted).filter(|index| index % 5 == remainder) {
                self.bed.scratch.go_on()?;
                file.read(index * chunk)?;
            }
        }
        // Some may have passed by the cache, which fetches them once nobody reads.
        let limit = Instant::now() + PATIENCE;
        while access
            .stat_file(DATA.as_ref())
            .map_err(refused)?
            .chunks_present
            < wanted
        {
            self.bed.scratch.go_on()?;
            if Instant::now() > limit {
                let text = "what was read is not kept".to_owned();
                return Err(Trouble::Failed(text));
            }
            std::thread::sleep(TICK);
        }
        match self.is_complete()? {
            false => Ok(()),
            true => Err(Trouble::Failed(
                "the file is wholly in the cache".to_owned(),
            )),
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // What is not taken away here, the daemon does when it is told to end.
        let _gone = rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH);
        end(&mut self.child);
        // The scratch directory's end meets what cannot be removed again.
        drop(self.bed.scratch.remove(&self.cache));
    }
}

/// A daemon that has not come yet.
struct Starting(Option<Child>);

impl Starting {
    fn wait(&mut self, bed: &Bed, cache: &Path) -> Result<Daemon, Trouble> {
        let child = self.0.as_mut().expect("it was started");
        let limit = Instant::now() + PATIENCE;
        loop {
            bed.scratch.go_on()?;
            if let Some(daemon) = access::daemons(cache, None).into_iter().next() {
                return Ok(daemon);
            }
            let ended = child
                .try_wait()
                .map_err(Trouble::io("wait for the daemon"))?;
            if ended.is_some() || Instant::now() > limit {
                let said = fs::read_to_string(bed.scratch.path().join("daemon.err"));
                let said = said.unwrap_or_default();
                let last = said.lines().last().unwrap_or("it does not come");
                return Err(Trouble::CannotRun(format!("cachefsd: {last}")));
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    // It fails where it has ended.
    let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let limit = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < limit {
        std::thread::sleep(TICK);
    }
    let _killed = child.kill();
    let _reaped = child.wait();
}

fn refused(refusal: Refusal) -> Trouble {
    Trouble::Failed(refusal.message)
}

/// Reads past the page cache.
pub struct Direct {
    file: File,
    memory: Vec<u8>,
    at: usize,
    length: usize,
}

impl Direct {
    /// Of so many bytes each.
    pub fn open(path: &Path, length: usize) -> Result<Self, Trouble> {
        let mut options = fs::OpenOptions::new();
        let direct = OFlags::DIRECT.bits().cast_signed();
        let file = options.read(true).custom_flags(direct).open(path);
        let memory = vec![0; length + 4096];
        let at = memory.as_ptr().align_offset(4096);
        Ok(Self {
            file: file.map_err(Trouble::io(format_args!("open {}", show::path(path))))?,
            memory,
            at,
            length,
        })
    }

    /// Reads from an offset.
    pub fn read(&mut self, offset: u64) -> Result<(), Trouble> {
        use std::os::unix::fs::FileExt;
        let buffer = &mut self.memory[self.at..self.at + self.length];
        let read = self.file.read_at(buffer, offset);
        read.map(drop).map_err(Trouble::io("read on the mount"))
    }
}
