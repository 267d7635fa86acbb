//! What the environment says, read once, before the program can change it.
//!
//! | variable | meaning |
//! |---|---|
//! | `CACHEFS_ORIGINS` | roots of origins, absolute, between colons; without it nothing is done |
//! | `CACHEFS_DIR` | the cache directory, absolute |
//! | `CACHEFS_MODE` | `verify` (default), `wait`, `trust` or `trust:MILLISECONDS` |
//! | `CACHEFS_REPORT` | `1`: each process tells on stderr what it has done; or a file's path |

use crate::text::Text;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

/// Roots that are looked at.
pub const ORIGINS_MAX: usize = 8;
/// Bytes of a path, its NUL included (PATH_MAX).
pub const PATH_BYTES_MAX: usize = 4096;
/// For how long `trust` believes what the origin has said, in milliseconds.
const TRUST_MS: u64 = 60_000;

/// A path that is known as long as the process lives.
pub type FixedPath = Text<PATH_BYTES_MAX>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The origin's file is opened, and compared with what is cached.
    Verify,
    /// The same; what is not cached is waited for.
    Wait,
    /// What the origin has said is believed for so many milliseconds.
    Trust(u64),
}

pub struct Settings {
    pub mode: Mode,
    /// Empty: none is wanted; `1`: on stderr; else a file.
    pub report: FixedPath,
    pub cache: FixedPath,
    origins: [FixedPath; ORIGINS_MAX],
    count: usize,
}

struct Place(UnsafeCell<Settings>);

// SAFETY: it is written only by the constructor of the library, which is called once,
// before `READY` is set; from then on it is only read.
unsafe impl Sync for Place {}

static SETTINGS: Place = Place(UnsafeCell::new(Settings {
    mode: Mode::Verify,
    report: FixedPath::zeros(),
    cache: FixedPath::zeros(),
    origins: [const { FixedPath::zeros() }; ORIGINS_MAX],
    count: 0,
}));
/// There is something to do.
static READY: AtomicBool = AtomicBool::new(false);

/// None: the library does nothing, or not yet.
#[inline]
pub fn get() -> Option<&'static Settings> {
    // SAFETY: see `Place`.
    READY
        .load(Ordering::Acquire)
        .then(|| unsafe { &*SETTINGS.0.get() })
}

// glibc hands a constructor what main gets.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = construct;

/// Takes no system call.
extern "C" fn construct(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    if environment.is_null() {
        return;
    }
    // SAFETY: see `Place`: nobody reads it yet, and the dynamic linker calls this once.
    let settings = unsafe { &mut *SETTINGS.0.get() };
    let mut next = environment;
    let mut is_sound = true;
    // SAFETY: the environment is an array of C strings that ends with NULL.
    while let Some(entry) = unsafe { next.read().as_ref() } {
        // SAFETY: as above.
        let entry = unsafe { CStr::from_ptr(entry) };
        is_sound &= settings.take(entry.to_bytes());
        // SAFETY: it was not the last.
        next = unsafe { next.add(1) };
    }
    let is_on = is_sound && settings.count > 0 && !settings.cache.bytes().is_empty();
    READY.store(is_on, Ordering::Release);
}

impl Settings {
    /// Takes a variable. False: it cannot be understood, so nothing is done.
    fn take(&mut self, entry: &[u8]) -> bool {
        let Some(entry) = entry.strip_prefix(b"CACHEFS_") else {
            return true;
        };
        if let Some(origins) = entry.strip_prefix(b"ORIGINS=") {
            origins
                .split(|byte| *byte == b':')
                .all(|root| self.add(root))
        } else if let Some(cache) = entry.strip_prefix(b"DIR=") {
            cache.first() == Some(&b'/') && self.cache.set(without_slashes(cache)).is_ok()
        } else if let Some(mode) = entry.strip_prefix(b"MODE=") {
            let mode = Mode::parse(mode);
            self.mode = mode.unwrap_or(Mode::Verify);
            mode.is_some()
        } else if let Some(report) = entry.strip_prefix(b"REPORT=") {
            let is_known = matches!(report, b"" | b"0" | b"1" | [b'/', ..]);
            is_known && (report == b"0" || self.report.set(report).is_ok())
        } else {
            true
        }
    }

    fn add(&mut self, root: &[u8]) -> bool {
        let root = without_slashes(root);
        if root.is_empty() {
            return true;
        }
        let Some(place) = self.origins.get_mut(self.count) else {
            return false;
        };
        self.count += 1;
        root.starts_with(b"/") && place.set(root).is_ok()
    }

    /// The roots as they were given.
    pub fn origins(&self) -> &[FixedPath] {
        self.origins.get(..self.count).unwrap_or_default()
    }

    /// The origin that a path begins with, by its number, and where in the path what is
    /// below it begins. By the text alone.
    ///
    /// # Safety
    /// The path is a C string.
    #[inline]
    pub unsafe fn origin_of(&self, path: *const c_char) -> Option<(usize, usize)> {
        let path = path.cast::<u8>();
        self.origins().iter().enumerate().find_map(|(index, root)| {
            // No byte behind the NUL is read: the root has none.
            let root = root.bytes();
            for (at, byte) in root.iter().enumerate() {
                // SAFETY: all bytes before were of the string, and not its end.
                if unsafe { *path.add(at) } != *byte {
                    return None;
                }
            }
            let end = root.len();
            // SAFETY: as above.
            (unsafe { *path.add(end) } == b'/').then_some((index, end + 1))
        })
    }
}

impl Mode {
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"" | b"verify" => Some(Mode::Verify),
            b"wait" => Some(Mode::Wait),
            b"trust" => Some(Mode::Trust(TRUST_MS)),
            _ => {
                let digits = text.strip_prefix(b"trust:")?;
                let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
                Some(Mode::Trust(number))
            }
        }
    }
}

fn without_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/');
    path.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: &[&str]) -> (Box<Settings>, bool) {
        let mut settings = Box::new(Settings {
            mode: Mode::Verify,
            report: FixedPath::zeros(),
            cache: FixedPath::zeros(),
            origins: [const { FixedPath::zeros() }; ORIGINS_MAX],
            count: 0,
        });
        let sound = entries.iter().all(|entry| settings.take(entry.as_bytes()));
        (settings, sound)
    }

    #[test]
    fn a_path_is_of_an_origin_only_below_its_root() {
        let (settings, sound) = settings(&["CACHEFS_ORIGINS=/mnt/nfs/:/data"]);
        assert!(sound);
        // SAFETY: they are C strings.
        let of = |path: &CStr| unsafe { settings.origin_of(path.as_ptr()) };
        assert_eq!(of(c"/mnt/nfs/a"), Some((0, 9)));
        assert_eq!(of(c"/data/b"), Some((1, 6)));
        for other in [c"/mnt/nfs", c"/mnt/nfsx/a", c"/mnt", c"", c"a", c"/"] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn so_many_origins_fit_and_no_more() {
        let list = |count: usize| format!("CACHEFS_ORIGINS={}", "/o:".repeat(count));
        let (settings, sound) = settings(&[&list(ORIGINS_MAX)]);
        assert!(sound && settings.origins().len() == ORIGINS_MAX);
        assert!(!super::tests::settings(&[&list(ORIGINS_MAX + 1)]).1);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for entry in [
            "CACHEFS_MODE=sometimes",
            "CACHEFS_MODE=trust:",
            "CACHEFS_REPORT=yes",
            "CACHEFS_MODE=trust:-1",
            "CACHEFS_DIR=relative",
            "CACHEFS_ORIGINS=relative",
        ] {
            assert!(!settings(&[entry]).1, "{entry}");
        }
        let (settings, sound) = settings(&["CACHEFS_MODE=trust:250", "CACHEFS_REPORT=1"]);
        assert!(sound && settings.report.bytes() == b"1" && settings.mode == Mode::Trust(250));
    }

    #[test]
    fn a_path_that_is_too_long_is_not_understood() {
        let path = "a".repeat(PATH_BYTES_MAX - 2);
        assert!(settings(&[&format!("CACHEFS_DIR=/{path}")]).1);
        assert!(!settings(&[&format!("CACHEFS_DIR=/{path}a")]).1);
    }

    #[test]
    fn the_last_of_two_directories_counts() {
        let (settings, sound) = settings(&["CACHEFS_DIR=/first", "CACHEFS_DIR=/last"]);
        assert!(sound && settings.cache.bytes() == b"/last");
    }
}
