//! Readers that open, read, map and close at random while files are filled, replaced at
//! the origin, touched and evicted: no error, and no byte that was never there.
//!
//! `CACHEFSD_STRESS_SECONDS` says how long (5), `CACHEFSD_STRESS_SEED` how.

mod common;

use common::scene;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const BLOCK: usize = 4096;
const FILES: u64 = 12;
const READERS: u64 = 8;
/// Files are of up to so many blocks, so that some are too small for the kernel.
const BLOCKS_MAX: u64 = 200;

/// Numbers that a seed decides.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A block that tells which file, version and place it is of, all over.
fn block(file: u64, version: u64, index: u64) -> Vec<u8> {
    let mut random = Random(file << 48 ^ version << 24 ^ index);
    let mut bytes = [file, version, index, random.next()]
        .map(u64::to_le_bytes)
        .concat();
    bytes.resize(BLOCK, random.next() as u8);
    bytes[BLOCK / 2..BLOCK / 2 + 8].copy_from_slice(&random.next().to_le_bytes());
    bytes[BLOCK - 8..].copy_from_slice(&random.next().to_le_bytes());
    bytes
}

/// How many blocks a version of a file has.
fn blocks(file: u64, version: u64) -> u64 {
    Random(file ^ version << 20).below(BLOCKS_MAX)
}

/// What all threads share.
struct Stage {
    origin: PathBuf,
    mnt: PathBuf,
    stop: AtomicBool,
    /// The version of each file that is being made, or was.
    latest: Vec<AtomicU64>,
    opens: AtomicU64,
}

/// What went wrong, or nothing.
type Outcome = Result<(), String>;

impl Stage {
    fn path(&self, root: &Path, file: u64) -> PathBuf {
        root.join(format!("d{}/file{file}", file % 3))
    }

    /// Puts a new version in the place of a file.
    fn replace(&self, file: u64) -> io::Result<()> {
        let version = self.latest[file as usize].load(Ordering::Acquire) + 1;
        let content: Vec<Vec<u8>> = (0..blocks(file, version))
            .map(|index| block(file, version, index))
            .collect();
        let path = self.path(&self.origin, file);
        let fresh = path.with_extension("new");
        fs::write(&fresh, content.concat())?;
        self.latest[file as usize].store(version, Ordering::Release);
        fs::rename(&fresh, &path)
    }

    fn change(&self, mut random: Random) -> Outcome {
        while !self.stop.load(Ordering::Relaxed) {
            let file = random.below(FILES);
            let changed = if random.below(3) == 0 {
                // The same bytes with another time are another version.
                let times = FileTimes::new().set_modified(SystemTime::now());
                File::open(self.path(&self.origin, file)).and_then(|file| file.set_times(times))
            } else {
                self.replace(file)
            };
            changed.map_err(|error| format!("change file {file}: {error}"))?;
            thread::sleep(Duration::from_millis(random.below(40)));
        }
        Ok(())
    }

    /// Opens files, a few at a time, and reads of them what it likes.
    fn read(&self, mut random: Random) -> Outcome {
        let mut open: Vec<Reader> = Vec::new();
        let mut seen = vec![0; FILES as usize];
        while !self.stop.load(Ordering::Relaxed) {
            if open.len() < 4 && random.below(3) > 0 {
                let file = random.below(FILES);
                let direct = random.below(4) == 0;
                let known = (file, seen[file as usize]);
                open.push(Reader::open(&self.path(&self.mnt, file), known, direct)?);
                self.opens.fetch_add(1, Ordering::Relaxed);
            }
            if open.is_empty() {
                continue;
            }
            let which = random.below(open.len() as u64) as usize;
            let reader = &mut open[which];
            reader.look(&mut random)?;
            if let Some(version) = reader.version {
                let file = reader.file as usize;
                let latest = self.latest[file].load(Ordering::Acquire);
                if version > latest {
                    return Err(format!("file {file} has version {version} of {latest}"));
                }
                if version < reader.floor {
                    return Err(format!("file {file} went back to version {version}"));
                }
                seen[file] = seen[file].max(version);
            }
            if random.below(3) == 0 {
                open.swap_remove(which);
            }
        }
        Ok(())
    }
}

/// One open file.
struct Reader {
    file: u64,
    handle: File,
    /// What its first block said: an open file stays the version that it is.
    version: Option<u64>,
    /// What its thread had seen of the file when it was opened.
    floor: u64,
}

impl Reader {
    fn open(path: &Path, (file, floor): (u64, u64), direct: bool) -> Result<Self, String> {
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let handle = OpenOptions::new().read(true).custom_flags(flags).open(path);
        Ok(Self {
            file,
            handle: handle.map_err(|error| format!("open {}: {error}", path.display()))?,
            version: None,
            floor,
        })
    }

    fn look(&mut self, random: &mut Random) -> Outcome {
        match random.below(4) {
            0 => self.look_through(random),
            1 => self.look_at_map(),
            _ => self.look_at(random.below(BLOCKS_MAX), 1 + random.below(64)),
        }
    }

    fn look_through(&mut self, random: &mut Random) -> Outcome {
        let step = 1 + random.below(100);
        let mut at = 0;
        while at < BLOCKS_MAX {
            self.look_at(at, step)?;
            at += step;
        }
        Ok(())
    }

    fn look_at(&mut self, first: u64, count: u64) -> Outcome {
        let mut memory = vec![0; (count as usize + 1) * BLOCK];
        let at = memory.as_ptr().align_offset(BLOCK);
        let target = &mut memory[at..at + count as usize * BLOCK];
        let mut filled = 0;
        while filled < target.len() {
            let offset = first * BLOCK as u64 + filled as u64;
            let read = self.handle.read_at(&mut target[filled..], offset);
            match read.map_err(|error| format!("read file {}: {error}", self.file))? {
                0 => break,
                length => filled += length,
            }
        }
        let bytes = memory[at..at + filled].to_vec();
        self.check(first, count, &bytes)
    }

    fn look_at_map(&mut self) -> Outcome {
        // SAFETY: files of the origin are replaced, never changed, while this runs.
        let map = unsafe { memmap2::Mmap::map(&self.handle) };
        let map = map.map_err(|error| format!("map file {}: {error}", self.file))?;
        let bytes = map.to_vec();
        self.check(0, bytes.len() as u64 / BLOCK as u64, &bytes)
    }

    /// Every block is whole, of this file, in its place, and of one version; and the
    /// file ends where that version does.
    fn check(&mut self, first: u64, count: u64, bytes: &[u8]) -> Outcome {
        let file = self.file;
        if !bytes.len().is_multiple_of(BLOCK) {
            return Err(format!(
                "file {file}: {} bytes at block {first}",
                bytes.len()
            ));
        }
        for (index, bytes) in (first..).zip(bytes.chunks(BLOCK)) {
            let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let version = *self.version.get_or_insert(number(8));
            if bytes != block(file, version, index) {
                let found = [number(0), number(8), number(16)];
                return Err(format!("file {file}.{version} block {index} is {found:?}"));
            }
        }
        let Some(version) = self.version else {
            return Ok(());
        };
        let there = blocks(file, version).saturating_sub(first).min(count);
        if bytes.len() as u64 / BLOCK as u64 != there {
            let found = bytes.len() / BLOCK;
            return Err(format!(
                "file {file}.{version}: {found} of {there} blocks at {first}"
            ));
        }
        Ok(())
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => otherwise,
    }
}

#[test]
fn readers_meet_no_error_and_no_wrong_byte_whatever_happens_to_the_files() {
    let Some(scene) = scene() else { return };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let seed = number("CACHEFSD_STRESS_SEED", u64::from(now.subsec_nanos()));
    let seconds = number("CACHEFSD_STRESS_SECONDS", 5);
    eprintln!("CACHEFSD_STRESS_SEED={seed} CACHEFSD_STRESS_SECONDS={seconds}");
    let stage = Stage {
        origin: scene.origin(),
        mnt: scene.mnt(),
        stop: AtomicBool::new(false),
        latest: (0..FILES).map(|_| AtomicU64::new(0)).collect(),
        opens: AtomicU64::new(0),
    };
    for file in 0..FILES {
        let path = stage.path(&stage.origin, file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        stage.replace(file).unwrap();
    }
    // Half of the files have room.
    let options = "capacity_bytes=3MiB,chunk_bytes=64KiB,passthrough_min=128KiB,\
                   attr_timeout=0.02,entry_timeout=0.02";
    let mounted = scene.mount(options);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let mut threads = vec![scope.spawn(|| stage.change(Random(seed)))];
        for index in 1..=READERS {
            let random = Random(seed ^ index << 32);
            let stage = &stage;
            threads.push(scope.spawn(move || stage.read(random)));
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end && !threads.iter().any(|thread| thread.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        stage.stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let wrong: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    eprintln!("{} opens", stage.opens.load(Ordering::Relaxed));
    assert!(mounted.unmount().success());
}
