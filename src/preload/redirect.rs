//! The way of one open: from the origin's file, which is open, to the cached one.
//!
//! Whatever fails on this way leaves the origin's descriptor as it is.

use crate::attach::{self, Attached, LinkName, Root};
use crate::errno::Kept;
use crate::fill;
use crate::identity::Identity;
use crate::report::{self, What};
use crate::settings::{Mode, PATH_BYTES_MAX, Settings};
use crate::text::Text;
use crate::trust;
use cachefs_core::VersionToken;
use cachefs_core::peek::{FileKey, OBJECTS, Seen, Whole, version_of};
use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxFlags};
use rustix::io::{DupFlags, Errno};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

/// Flags of opens that only the origin's file can serve.
const NOT_CACHED: i32 = libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_DIRECTORY
    | libc::O_PATH
    | libc::O_DIRECT
    | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// What an open is of, by its arguments alone.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Nothing that this library has to do with.
    Other,
    /// Perhaps of a file below an origin. Of which, by the beginning of its path, and
    /// where what is below the root begins in that.
    Read(Option<(usize, usize)>),
    /// The same for writing.
    Write(Option<(usize, usize)>),
}

impl Kind {
    /// # Safety
    /// The path is a C string or NULL.
    #[inline]
    pub unsafe fn of(settings: &Settings, dir: i32, path: *const c_char, flags: i32) -> Self {
        if path.is_null() {
            return Kind::Other;
        }
        // SAFETY: the caller's.
        let place = match unsafe { settings.origin_of(path) } {
            // SAFETY: the caller's.
            None if !unsafe { crate::cwd::may_be_below(settings, dir, path) } => {
                return Kind::Other;
            }
            place => place,
        };
        if is_change(flags) || flags & libc::O_CREAT != 0 {
            Kind::Write(place)
        } else if flags & NOT_CACHED != 0 {
            if flags & libc::O_DIRECT != 0 {
                report::count(What::Flags);
            }
            Kind::Other
        } else {
            Kind::Read(place)
        }
    }
}

/// Whether what is opened with these flags may be changed by that.
#[inline]
pub fn is_change(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0
}

/// Gives a descriptor of the origin's file, just opened, the cached file if that is whole.
/// `trusted`: by this path it is to be opened without the origin from now on. Neither the
/// number nor errno changes.
///
/// # Safety
/// The path is the C string that was opened; the descriptor is of that, and nobody else
/// uses it yet.
pub unsafe fn replace(
    settings: &'static Settings,
    fd: i32,
    path: *const c_char,
    place: Option<(usize, usize)>,
    flags: i32,
    trusted: Option<trust::Path<'_>>,
) {
    let _errno = Kept::new();
    // SAFETY: it is open, by the caller.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let Ok(stat) = rustix::fs::statx(borrowed, c"", AtFlags::EMPTY_PATH, mask) else {
        return;
    };
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
        return;
    }
    let Some(attached) = attach::get(settings) else {
        return report::count(What::NoCache);
    };
    let device = (stat.stx_dev_major, stat.stx_dev_minor);
    let is_near = |root: &&Root| root.device == device;
    let named = place.and_then(|(index, _)| attached.origins.get(index)?.as_ref());
    let mut roots = named.into_iter().chain(attached.origins.iter().flatten());
    let Some(root) = roots.find(is_near) else {
        if place.is_some() {
            report::count(What::OtherFileSystem);
        }
        return;
    };
    let opened = Opened {
        settings,
        attached,
        fd: borrowed,
        flags,
        stat: &stat,
        token: version_of(&stat),
        trusted,
    };
    let mut seen = opened.look(root);
    if !matches!(seen, Some(Seen::Whole(_))) {
        // Others have their roots on the same file system.
        let others = attached.origins.iter().flatten().filter(is_near);
        for other in others.filter(|other| !std::ptr::eq(*other, root)) {
            if let whole @ Some(Seen::Whole(_)) = opened.look(other) {
                return opened.found(other, whole);
            }
        }
        // SAFETY: the caller's.
        seen = unsafe { opened.miss(root, seen, path, place) };
    }
    opened.found(root, seen);
}

/// A file of an origin that was opened.
struct Opened<'a> {
    settings: &'static Settings,
    attached: &'static Attached,
    fd: BorrowedFd<'a>,
    flags: i32,
    stat: &'a Statx,
    token: VersionToken,
    trusted: Option<trust::Path<'a>>,
}

impl Opened<'_> {
    fn look(&self, root: &Root) -> Option<Seen> {
        let key = FileKey::new(root.name(), self.stat.stx_ino);
        Some(self.attached.peek.find(key, &self.token))
    }

    /// Has the file copied; what there is of it then.
    ///
    /// # Safety
    /// The path is the C string that was opened.
    unsafe fn miss(
        &self,
        root: &Root,
        seen: Option<Seen>,
        path: *const c_char,
        place: Option<(usize, usize)>,
    ) -> Option<Seen> {
        let mut buffer = [MaybeUninit::uninit(); PATH_BYTES_MAX];
        let below = match place {
            // SAFETY: the path is longer than its beginning.
            Some((_, start)) => Some(unsafe { CStr::from_ptr(path.add(start)) }.to_bytes()),
            // It was not named from its root, so that only the kernel knows.
            None => path_below(self.fd, root.name(), &mut buffer),
        };
        // It is elsewhere on the file system of the root.
        let below = below?;
        let is_done = match self.settings.mode {
            Mode::Wait => fill::wait(self.settings, root.name(), below),
            _ => {
                fill::ask(self.settings, root.name(), below);
                false
            }
        };
        if is_done { self.look(root) } else { seen }
    }

    fn found(&self, root: &Root, seen: Option<Seen>) {
        let whole = match seen {
            Some(Seen::Whole(whole)) => whole,
            Some(Seen::NotWhole) => return report::count(What::NotWhole),
            Some(Seen::Nothing) => return report::count(What::NotCached),
            None => return,
        };
        let data = match open_data(self.settings, &whole.data_name(), self.flags) {
            Ok(data) => data,
            Err(_) => return report::count(What::CacheFailed),
        };
        if !whole.is_marked() && self.mark(root, &whole, data.as_fd()).is_err() {
            return report::count(What::NoAttributes);
        }
        let mut dup = DupFlags::empty();
        if self.flags & libc::O_CLOEXEC != 0 {
            dup |= DupFlags::CLOEXEC;
        }
        // SAFETY: the number is of a descriptor that nobody else knows yet.
        let mut target = unsafe { OwnedFd::from_raw_fd(self.fd.as_raw_fd()) };
        let replaced = rustix::io::dup3(&data, &mut target, dup);
        let _number = target.into_raw_fd();
        match replaced {
            Ok(()) => {
                self.attached.peek.used(&whole);
                if let Some(path) = &self.trusted {
                    path.note(root, &whole);
                }
                report::count(What::Redirected);
                report::add_bytes(self.token.size);
            }
            Err(_) => report::count(What::CacheFailed),
        }
    }

    /// Has the data file tell whose it is.
    fn mark(&self, root: &Root, whole: &Whole, data: BorrowedFd<'_>) -> Result<(), Errno> {
        let mask = StatxFlags::BASIC_STATS;
        let own = rustix::fs::statx(data, c"", AtFlags::EMPTY_PATH, mask)?;
        Identity::of(self.stat, root.name(), own.stx_ino).write(data)?;
        self.attached.peek.mark(whole);
        Ok(())
    }
}

/// Opens a data file as the origin's was to be.
pub fn open_data(settings: &Settings, name: &[u8], flags: i32) -> Result<OwnedFd, Errno> {
    let mut path = Text::<PATH_BYTES_MAX>::new();
    let parts: [&[u8]; 5] = [settings.cache.bytes(), b"/", OBJECTS.as_bytes(), b"/", name];
    parts.into_iter().try_for_each(|part| path.push(part))?;
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    rustix::fs::open(path.c_str(), flags, rustix::fs::Mode::empty())
}

/// The path of an open file below a root, if it is there.
pub fn path_below<'a>(
    fd: BorrowedFd<'_>,
    root: &[u8],
    buffer: &'a mut [MaybeUninit<u8>; PATH_BYTES_MAX],
) -> Option<&'a [u8]> {
    let link = LinkName::new(fd.as_raw_fd());
    let (path, _) = rustix::fs::readlinkat_raw(rustix::fs::CWD, &*link, &mut buffer[..]).ok()?;
    let path: &[u8] = path;
    path.strip_prefix(root)?.strip_prefix(b"/")
}

/// Notes that a file was opened for writing.
///
/// # Safety
/// As of [`replace`].
pub unsafe fn written(
    settings: &'static Settings,
    fd: i32,
    path: *const c_char,
    place: Option<(usize, usize)>,
) {
    let _errno = Kept::new();
    let Some(attached) = attach::get(settings) else {
        return;
    };
    if let Some((index, start)) = place {
        // SAFETY: the path is longer than its beginning.
        let below = unsafe { CStr::from_ptr(path.add(start)) }.to_bytes();
        report::count(What::Written);
        if let Some(Some(root)) = attached.origins.get(index) {
            attached.peek.invalidate(root.name(), below, false);
        }
        return;
    }
    // SAFETY: it is open, by the caller.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut buffer = [MaybeUninit::uninit(); PATH_BYTES_MAX];
    for root in attached.origins.iter().flatten() {
        if let Some(below) = path_below(fd, root.name(), &mut buffer) {
            report::count(What::Written);
            return attached.peek.invalidate(root.name(), below, false);
        }
    }
}

/// Notes that a name leads to another file, or to none. Of one that may be below an origin,
/// and does not say where, all of the origin is asked for anew.
///
/// # Safety
/// The path is a C string or NULL.
pub unsafe fn renamed(settings: &'static Settings, dir: i32, path: *const c_char) {
    if path.is_null() {
        return;
    }
    // SAFETY: the caller's.
    let place = unsafe { settings.origin_of(path) };
    // SAFETY: as above.
    if place.is_none() && !unsafe { crate::cwd::may_be_below(settings, dir, path) } {
        return;
    }
    let _errno = Kept::new();
    let Some(attached) = attach::get(settings) else {
        return;
    };
    match place {
        Some((index, start)) => {
            // SAFETY: the path is longer than its beginning.
            let below = unsafe { CStr::from_ptr(path.add(start)) }.to_bytes();
            if let Some(Some(root)) = attached.origins.get(index) {
                attached.peek.invalidate(root.name(), below, false);
            }
        }
        None => {
            for root in attached.origins.iter().flatten() {
                attached.peek.invalidate(root.name(), b"", true);
            }
        }
    }
}
