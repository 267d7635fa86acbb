//! The cache directory and the origins, looked at when they are first needed.
//!
//! What was looked at stays as long as the process: others of its threads may be using
//! it. So a cache directory that was made anew is looked at a few times, and then no more.

use crate::settings::{self, FixedPath, ORIGINS_MAX, Settings};
use crate::text::link_of;
use cachefs_core::peek::Peek;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

/// Times that a directory is looked at by one process.
const LOOKS_MAX: usize = 4;

/// A cache directory as it was found.
pub struct Attached {
    pub peek: Peek,
    pub origins: [Option<Root>; ORIGINS_MAX],
}

/// The root of an origin.
#[derive(Clone, Copy)]
pub struct Root {
    /// Its device, as statx(2) has it.
    pub device: (u32, u32),
    pub mount: u64,
    name: &'static FixedPath,
}

struct Places([UnsafeCell<MaybeUninit<Attached>>; LOOKS_MAX]);

// SAFETY: a place is written by whoever has `BUSY`, before `CURRENT` names it, and only
// read from then on.
unsafe impl Sync for Places {}

struct Names([UnsafeCell<FixedPath>; ORIGINS_MAX]);

// SAFETY: as above; a name is written once, since it is the same each time.
unsafe impl Sync for Names {}

static PLACES: Places = Places([const { UnsafeCell::new(MaybeUninit::uninit()) }; LOOKS_MAX]);
static NAMES: Names = Names([const { UnsafeCell::new(FixedPath::zeros()) }; ORIGINS_MAX]);
/// The place that counts, from 1; 0: none.
static CURRENT: AtomicUsize = AtomicUsize::new(0);
static BUSY: AtomicBool = AtomicBool::new(false);
/// Not before this second of the boot clock.
static NOT_BEFORE: AtomicI64 = AtomicI64::new(0);

/// The cache directory. None: there is none, or it cannot be used.
pub fn get(settings: &'static Settings) -> Option<&'static Attached> {
    let current = CURRENT.load(Ordering::Acquire);
    if let Some(attached) = at(current)
        && attached.peek.is_current()
    {
        return Some(attached);
    }
    look(settings, current)
}

fn at(place: usize) -> Option<&'static Attached> {
    let place = PLACES.0.get(place.checked_sub(1)?)?;
    // SAFETY: `CURRENT` has named it, so it was written.
    Some(unsafe { (*place.get()).assume_init_ref() })
}

#[cold]
fn look(settings: &'static Settings, before: usize) -> Option<&'static Attached> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    let place = PLACES.0.get(before)?;
    if now < NOT_BEFORE.load(Ordering::Relaxed) || BUSY.swap(true, Ordering::Acquire) {
        return None;
    }
    let mut found = None;
    if CURRENT.load(Ordering::Acquire) == before {
        match attach(settings) {
            Ok(attached) => {
                // SAFETY: this thread has `BUSY`, and nobody reads this place yet.
                unsafe { (*place.get()).write(attached) };
                CURRENT.store(before + 1, Ordering::Release);
                found = at(before + 1);
            }
            // Perhaps somebody is about to make it.
            Err(_) => NOT_BEFORE.store(now + 1, Ordering::Relaxed),
        }
    }
    BUSY.store(false, Ordering::Release);
    found
}

fn attach(settings: &'static Settings) -> Result<Attached, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(settings.cache.c_str(), flags, Mode::empty())?;
    let peek = Peek::open(
        root.as_fd(),
        matches!(settings.mode, settings::Mode::Trust(_)),
    )?;
    let mut origins = [None; ORIGINS_MAX];
    let places = origins.iter_mut().zip(&NAMES.0);
    for ((origin, name), given) in places.zip(settings.origins()) {
        // One that is not there has no files either.
        *origin = look_at_root(given, name).ok();
    }
    Ok(Attached { peek, origins })
}

fn look_at_root(given: &FixedPath, name: &'static UnsafeCell<FixedPath>) -> Result<Root, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(given.c_str(), flags, Mode::empty())?;
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, mask)?;
    let place = name.get();
    // SAFETY: whoever writes it has `BUSY`, which is this thread.
    if unsafe { (*place).bytes().is_empty() } {
        let mut buffer = [MaybeUninit::uninit(); settings::PATH_BYTES_MAX];
        let link = link_of(&fd);
        let (path, _) = rustix::fs::readlinkat_raw(rustix::fs::CWD, link.c_str(), &mut buffer)?;
        // SAFETY: this thread has `BUSY`, so no other writes it. None reads it: a `Root` with a
        // reference to it is made only below, once it is not empty.
        unsafe { (*place).push(path)? };
    }
    Ok(Root {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        mount: stat.stx_mnt_id,
        // SAFETY: it is not empty by now, and only what is empty is written (above), so that
        // nothing changes it as long as the process lives.
        name: unsafe { &*place },
    })
}

impl Root {
    /// The path of the root without links, which is the name of the origin.
    pub fn name(&self) -> &'static [u8] {
        self.name.bytes()
    }
}
