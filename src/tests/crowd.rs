//! Eight processes with one cache directory, killed at random, whose files are replaced
//! underneath: each byte is of the version that was opened, and in the end the accounts
//! are those of the disk.

use super::child::Child;
use super::core_door::CoreDoor;
use super::door::{Door, LIMIT, Place, Settings, WAYS};
use super::origin::{content, grow_old};
use super::random::Random;
use super::sharing::{object_files, on_disk};
use super::trimming::cool_some;
use cachefs_core::{EngineChoice, File};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const KIB: u64 = 1 << 10;
const CHUNK: u64 = 64 * KIB;
const FILES: u64 = 12;
/// Bytes of the largest file. All files together are more than the cache may hold.
const SIZE_MAX: u64 = 900 * KIB;
const CAPACITY: u64 = 2 << 20;
/// What may be on the disk beyond that for a moment: objects that were replaced, or
/// evicted, while somebody of this process was about to close them.
const SLACK: u64 = 256 * KIB;
const PROCESSES: usize = 8;
/// How long they run, where nothing else is said.
const SECONDS: u64 = 10;
/// How long, in seconds.
const SECONDS_VARIABLE: &str = "CACHEFS_CROWD_SECONDS";
/// Where a process of the crowd has its files, and its number.
const PLACE: &str = "CACHEFS_CROWD_AT";
const NUMBER: &str = "CACHEFS_CROWD_NUMBER";
const TEST: &str = "tests::crowd::a_crowd_of_processes_serves_no_wrong_byte";

type Cache = CoreDoor<false>;

fn open(root: &Path, random: &mut Random) -> Cache {
    let mut settings = Settings::new(EngineChoice::Auto);
    settings.chunk_bytes = CHUNK;
    settings.capacity_bytes = CAPACITY;
    settings.direct = random.below(3) == 0;
    settings.copy_method = random.below(5);
    settings.memory_bytes = if random.below(3) == 0 { 512 * KIB } else { 0 };
    Cache::open(&root.join("cache"), &settings).unwrap()
}

/// The bytes of a version of a file.
fn size_of(file: u64, version: u64) -> u64 {
    1 + (file * 7919 + version * 104_729) * 4093 % SIZE_MAX
}

fn number_of(file: u64, version: u64) -> u64 {
    version * FILES + file
}

/// Replaces a file of the origin at once; its mtime says which version it is.
fn replace(origin: &Path, file: u64, version: u64) {
    let bytes = content(number_of(file, version), 0, size_of(file, version) as usize);
    let new = origin.join("new");
    std::fs::write(&new, bytes).unwrap();
    let mtime = std::time::UNIX_EPOCH + Duration::from_secs(version);
    let handle = std::fs::File::options().write(true).open(&new).unwrap();
    handle.set_modified(mtime).unwrap();
    std::fs::rename(&new, origin.join(file.to_string())).unwrap();
}

fn check(cache: &Cache, file: &File, number: u64, random: &mut Random) {
    let token = file.info().token;
    let version = token.mtime_ns as u64 / 1_000_000_000;
    let size = size_of(number, version);
    assert_eq!(token.size, size, "version {version} of {number}");
    let offset = random.below(size);
    let length = 1 + random.any_size(300 * KIB);
    let way = WAYS[random.below(3) as usize];
    let bytes = cache.read_by(way, file, length as usize, offset).unwrap();
    let expected = length.min(size - offset) as usize;
    let place = format!("{length} at {offset} of version {version} of {number}, {way:?}");
    assert_eq!(bytes.len(), expected, "{place}");
    assert!(
        bytes == content(number_of(number, version), offset, expected),
        "{place}"
    );
}

/// Reads and fills until the file `end` is there.
fn work(root: &Path, number: u64) {
    std::fs::write(root.join(format!("begun-{number}")), b"").unwrap();
    let mut random = Random::of(number);
    while !root.join("end").exists() {
        let cache = open(root, &mut random);
        let origin = cache.directory(&root.join("origin")).unwrap();
        let mut kept = Vec::new();
        for _ in 0..random.below(60) {
            let number = random.below(FILES);
            let file = cache.file(&origin, number.to_string().as_bytes()).unwrap();
            if random.below(4) == 0 {
                // There may be no room for it.
                cache.fill(&file, &mut |_, _| true).ok();
            } else {
                check(&cache, &file, number, &mut random);
            }
            if random.below(4) == 0 {
                kept.push((file, number));
            }
            if random.below(4) == 0 {
                cool_some(&root.join("cache"), &mut random);
            }
            if random.below(8) == 0 {
                kept.clear();
            }
            for (file, number) in &kept {
                check(&cache, file, *number, &mut random);
            }
        }
        drop(kept);
        drop(origin);
        cache.close();
    }
}

/// A crowd, and what its files are meanwhile.
struct Crowd {
    place: Place,
    random: Random,
    versions: Vec<u64>,
    processes: Vec<(Child, PathBuf)>,
    begun: u64,
    kills: u64,
}

impl Crowd {
    fn new() -> Self {
        let place = Place::new();
        for file in 0..FILES {
            replace(&place.origin(), file, 1);
        }
        grow_old();
        let mut crowd = Self {
            place,
            random: Random::new(),
            versions: vec![1; FILES as usize],
            processes: Vec::new(),
            begun: 0,
            kills: 0,
        };
        for _ in 0..PROCESSES {
            let process = crowd.start();
            crowd.processes.push(process);
        }
        crowd
    }

    fn start(&mut self) -> (Child, PathBuf) {
        let root = self.place.root();
        let number = self.begun.to_string();
        self.begun += 1;
        let begun = root.join(format!("begun-{number}"));
        let environment = [(PLACE, root.as_os_str()), (NUMBER, OsStr::new(&number))];
        (Child::start(TEST, &environment), begun)
    }

    /// A moment passes; a file may be replaced, and a process.
    fn go_on(&mut self) {
        std::thread::sleep(Duration::from_micros(self.random.below(100_000)));
        for (child, _) in &mut self.processes {
            child.assert_alive();
        }
        if self.random.below(3) == 0 {
            let file = self.random.below(FILES);
            let version = &mut self.versions[file as usize];
            *version += 1;
            replace(&self.place.origin(), file, *version);
        }
        let one = self.random.below(PROCESSES as u64) as usize;
        if self.processes[one].1.exists() && self.random.below(2) == 0 {
            self.processes[one] = self.start();
            self.kills += 1;
        }
    }

    /// Those that are left end by themselves.
    fn end(&mut self) {
        std::fs::write(self.place.root().join("end"), b"").unwrap();
        for (child, _) in self.processes.drain(..) {
            child.ends_well(LIMIT);
        }
    }
}

#[test]
fn a_crowd_of_processes_serves_no_wrong_byte() {
    if let Some(root) = std::env::var_os(PLACE) {
        let number = std::env::var(NUMBER).unwrap().parse().unwrap();
        return work(&PathBuf::from(root), number);
    }
    let seconds = std::env::var(SECONDS_VARIABLE).ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().unwrap());
    let mut crowd = Crowd::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut most = 0;
    while Instant::now() < end {
        crowd.go_on();
        most = most.max(on_disk_at_once(&crowd.place.cache()));
    }
    assert!(crowd.kills > 0, "nobody was killed");
    crowd.end();
    let cache = open(crowd.place.root(), &mut crowd.random);
    let disk = accounts_of_the_disk(&cache, &crowd.place.cache());
    assert!(disk <= CAPACITY, "{disk} bytes");
    assert!(most <= CAPACITY + SLACK, "{most} bytes");
}

/// Bytes that the objects take at one moment, at least. A walk over them takes a while: it
/// counts what goes meanwhile as well as what comes in its place. What two walks find was
/// there between them.
fn on_disk_at_once(cache: &Path) -> u64 {
    let (before, after) = (taken(cache), taken(cache));
    let of_both = |(file, bytes): (&_, &u64)| after.get(file).map(|other| *bytes.min(other));
    before.iter().filter_map(of_both).sum()
}

/// What the file of each number takes on the disk, told from others that had the number by
/// when it was made, where the file system says that.
fn taken(cache: &Path) -> HashMap<(u64, Option<SystemTime>), u64> {
    let found = object_files(cache).into_iter();
    let found = found.filter_map(|path| path.symlink_metadata().ok());
    let file = |one: &Metadata| (one.ino(), one.created().ok());
    found.map(|one| (file(&one), one.blocks() * 512)).collect()
}

/// Waits until what the killed ones have left is put right, which is done beside
/// serving. Gives the bytes on the disk.
fn accounts_of_the_disk(cache: &Cache, directory: &Path) -> u64 {
    let end = Instant::now() + LIMIT;
    loop {
        let (stats, disk) = (cache.stats(), on_disk(directory));
        // What has many extents may get a block for them when it is written back.
        let most = stats.cached_bytes + 4096 * stats.cached_objects;
        if stats.cached_objects == disk.1 && (stats.cached_bytes..=most).contains(&disk.0) {
            return disk.0;
        }
        let counted = (stats.cached_bytes, stats.cached_objects);
        assert!(
            Instant::now() < end,
            "{counted:?} are counted, {disk:?} there"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
