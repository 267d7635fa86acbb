//! Power cuts: a cache at work on a file system on a disk of which every state that a
//! cut could leave is mounted, opened as another boot, and compared with the origin.

mod disk;

use super::core_door::CoreDoor;
use super::door::{Door, LIMIT, Place, Settings, WAYS};
use super::origin::{content, grow_old};
use super::random::Random;
use super::scenarios::reboots::reboot;
use super::trimming::cool_some;
use super::volume::{Volume, make};
use cachefs_core::EngineChoice;
use disk::Log;
use rustix::process::{Pid, Signal};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KIB: u64 = 1 << 10;
const CHUNK: u64 = 64 * KIB;
/// Together more than the cache may hold while it works, so that objects come and go.
const SIZES: [u64; 6] = [
    1,
    64 * KIB,
    200 * KIB + 5,
    400 * KIB + 1,
    500 * KIB,
    700 * KIB + 3,
];
const CAPACITY: u64 = 1200 * KIB;
/// Of the disk.
const DISK_MIB: u64 = 32;
/// What is written to it.
const LOG_BYTES_MAX: u64 = 96 << 20;
const WORK: Duration = Duration::from_secs(4);
/// Cuts of each run, and how many runs, unless the environment says more.
const CUTS: u64 = 8;
const CUTS_VARIABLE: &str = "CACHEFS_POWER_CUTS";
/// Where a process is to be the disk, or to work.
const DISK: &str = "CACHEFS_POWER_DISK";
const WORKER: &str = "CACHEFS_POWER_WORKER";
const TEST: &str = "tests::power::what_a_power_cut_left_is_never_wrong";

type Cache = CoreDoor<false>;

fn settings(random: &mut Random) -> Settings {
    let mut settings = Settings::new(EngineChoice::Auto);
    settings.chunk_bytes = CHUNK;
    settings.capacity_bytes = CAPACITY;
    settings.direct = random.below(3) == 0;
    settings.copy_method = random.below(5);
    settings.sync_interval_ms = 1 + random.below(30);
    settings
}

/// Reads and fills, and never ends by itself.
fn work(root: &Path) -> ! {
    let mut random = Random::of(1);
    loop {
        let cache = Cache::open(&root.join("volume/cache"), &settings(&mut random)).unwrap();
        let origin = cache.directory(&root.join("origin")).unwrap();
        for _ in 0..30 {
            let number = random.below(SIZES.len() as u64) as usize;
            let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
            if random.below(4) == 0 {
                cool_some(&root.join("volume/cache"), &mut random);
            }
            if random.below(2) == 0 {
                // There may be no room for it.
                cache.fill(&file, &mut |_, _| true).ok();
            } else {
                let offset = random.below(SIZES[number]);
                let length = 1 + random.any_size(200 * KIB);
                let bytes = cache.read_by(WAYS[number % 3], &file, length as usize, offset);
                assert!(bytes.unwrap() == expected(number, offset, length));
            }
            std::thread::sleep(Duration::from_micros(random.below(4000)));
        }
    }
}

fn expected(number: usize, offset: u64, length: u64) -> Vec<u8> {
    let length = length.min(SIZES[number] - offset);
    content(number as u64, offset, length as usize)
}

/// A process that is killed in the end, also when the test fails.
pub(crate) struct Process(Child);

impl Process {
    fn start(variable: &str, root: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([TEST, "--exact", "--nocapture"]);
        command.env(variable, root);
        command.stdout(Stdio::null()).stdin(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Has it stop, or go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.0);
        rustix::process::kill_process(id, signal).unwrap();
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

/// Shows `image` of a directory as `disk/image`, as a disk. None, said: it cannot be.
pub(crate) fn show_disk(root: &Path) -> Option<Process> {
    std::fs::create_dir(root.join("disk")).unwrap();
    let mut disk = Process::start(DISK, root);
    let end = Instant::now() + LIMIT;
    while !root.join("disk/image").exists() {
        if !disk.runs() {
            eprintln!("skipped: FUSE cannot be mounted");
            return None;
        }
        assert!(Instant::now() < end, "the disk does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(disk)
}

/// What was found after the cuts.
#[derive(Debug, Default)]
struct Found {
    /// Bytes that were served without a look at their checksum.
    durable: u64,
    verified: u64,
    dropped: u64,
    missing: u64,
}

impl Found {
    /// Reads everything after a cut.
    fn look(&mut self, place: &Place, volume: &Path, random: &mut Random) {
        let directory = volume.join("cache");
        reboot(&directory);
        let mut settings = settings(random);
        // Nothing is evicted before it was compared.
        settings.capacity_bytes = DISK_MIB << 20;
        let cache = match Cache::open(&directory, &settings) {
            Ok(cache) => cache,
            // The mark of the directory is made durable before anything is stored.
            Err(errno) => panic!("errno {errno} of a cache after a power cut"),
        };
        let origin = cache.directory(&place.origin()).unwrap();
        for (number, size) in SIZES.iter().enumerate() {
            let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
            let way = WAYS[random.below(3) as usize];
            let bytes = cache.read_by(way, &file, *size as usize, 0).unwrap();
            let right = expected(number, 0, *size);
            assert_eq!(bytes.len(), right.len(), "of {number}, {way:?}");
            let chunks = |bytes: &[u8]| bytes.chunks(CHUNK as usize).map(<[u8]>::to_vec).collect();
            let (is, be): (Vec<_>, Vec<_>) = (chunks(&bytes), chunks(&right));
            for (chunk, (is, be)) in is.iter().zip(&be).enumerate() {
                let wrong = is.iter().zip(be).position(|(is, be)| is != be);
                let shown = wrong.map(|at| (at, &is[at..is.len().min(at + 16)]));
                let stats = cache.stats();
                assert_eq!(shown, None, "chunk {chunk} of {number}, {way:?}, {stats:?}");
            }
        }
        let stats = cache.stats();
        self.verified += stats.chunks_verified;
        self.dropped += stats.chunks_dropped;
        self.missing += stats.bytes_from_origin;
        let verified = stats.chunks_verified * CHUNK;
        self.durable += stats.bytes_from_cache.saturating_sub(verified);
    }
}

/// Lets a cache work on a disk, and cuts the power `cuts` times. False, said: there is
/// no such disk to be had.
fn run(program: &[&str], mount: &str, cuts: u64, found: &mut Found) -> bool {
    let mut random = Random::of(mount.len() as u64);
    let place = Place::new();
    for (number, size) in SIZES.iter().enumerate() {
        let bytes = content(number as u64, 0, *size as usize);
        std::fs::write(place.origin().join(number.to_string()), bytes).unwrap();
    }
    grow_old();
    let root = place.root();
    for directory in ["volume", "after"] {
        std::fs::create_dir(root.join(directory)).unwrap();
    }
    let image = root.join("image");
    if !make(&image, program, DISK_MIB) {
        return false;
    }
    let first = std::fs::read(&image).unwrap();
    let Some(_disk) = show_disk(root) else {
        return false;
    };
    let _shown = Volume {
        image: image.clone(),
        path: root.join("disk"),
    };
    let Some(volume) = Volume::of(&root.join("disk/image"), &root.join("volume"), mount) else {
        return false;
    };
    // From here on, every state of the disk is looked at.
    std::fs::create_dir(volume.path.join("cache")).unwrap();
    drop(Cache::open(&volume.path.join("cache"), &settings(&mut random)).unwrap());
    rustix::fs::syncfs(std::fs::File::open(&volume.path).unwrap()).unwrap();
    let log_bytes = || std::fs::metadata(root.join("log")).unwrap().len();
    let begin = Log::read(root, Vec::new()).len();
    let mut worker = Process::start(WORKER, root);
    let end = Instant::now() + WORK;
    while Instant::now() < end && log_bytes() < LOG_BYTES_MAX {
        assert!(worker.runs(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(worker);
    let log = Log::read(root, first);
    drop(volume);
    for cut in 0..cuts {
        let entry = begin + random.below((log.len() - begin) as u64) as usize;
        // By another name each time, since the last one may be mounted still.
        let copy = root.join(format!("copy-{cut}"));
        std::fs::write(&copy, log.cut_at(entry, &mut random)).unwrap();
        let after = Volume::of(&copy, &root.join("after"), mount);
        let after = after.expect("a file system survives what a disk may do");
        std::fs::remove_file(&copy).unwrap();
        found.look(&place, &after.path, &mut random);
    }
    true
}

#[test]
fn what_a_power_cut_left_is_never_wrong() {
    if let Some(root) = std::env::var_os(DISK) {
        disk::serve(&PathBuf::from(root));
    }
    if let Some(root) = std::env::var_os(WORKER) {
        work(&PathBuf::from(root));
    }
    let asked = std::env::var(CUTS_VARIABLE).ok();
    let cuts: u64 = asked.map_or(CUTS, |text| text.parse().unwrap());
    let ext4 = ["mkfs.ext4", "-q", "-F", "-b", "4096"];
    // With the second one, removed files come back with the bytes of others.
    for mount in ["loop", "loop,data=writeback"] {
        let mut found = Found::default();
        if !run(&ext4, mount, cuts, &mut found) {
            return;
        }
        eprintln!("{cuts} cuts with {mount}: {found:?}");
        assert_eq!(found.durable > 0, mount == "loop", "{found:?}");
        assert!(found.missing > 0, "nothing was lost: {found:?}");
    }
}
