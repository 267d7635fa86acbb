//! The way of one open: from the origin's file, which is open, to the cached one.
//!
//! Whatever fails on this way leaves the origin's descriptor as it is.

use crate::attach::{self, Attached, Root};
use crate::errno::Kept;
use crate::fill;
use crate::identity::{Identity, device_of};
use crate::locks;
use crate::report::{self, What};
use crate::settings::{Mode, PATH_BYTES_MAX, Settings};
use crate::text::{Text, link_of};
use crate::trust;
use cachefs_core::VersionToken;
use cachefs_core::peek::{FileKey, OBJECTS, Seen, Whole, version_of};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::{DupFlags, Errno};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

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

/// What became of the descriptor of an origin's file.
pub enum Replaced {
    /// Its number is what it was.
    No,
    /// It is closed, and this one is of the cached file: the lowest that was free, as after
    /// any open.
    By(i32),
    /// It is closed, and the cached file is gone: the origin's is to be opened again.
    Closed,
}

/// An open that libc has done just now.
#[derive(Clone, Copy)]
pub struct Call {
    pub settings: &'static Settings,
    /// The C string that was opened.
    pub path: *const c_char,
    /// Of which origin that is, as [`Kind::Read`] has it.
    pub place: Option<(usize, usize)>,
    pub flags: i32,
    /// By this path it is to be opened without the origin from now on.
    pub trusted: Option<trust::Path>,
}

/// Puts the cached file in the place of the origin's, if it is whole. errno does not change.
///
/// # Safety
/// The path is a C string; the descriptor is what the call gave, and nobody else knows its
/// number yet.
pub unsafe fn replace(fd: i32, call: Call) -> Replaced {
    let _errno = Kept::new();
    // SAFETY: the caller's.
    let Some(opened) = (unsafe { Opened::find(fd, call) }) else {
        return Replaced::No;
    };
    if !opened.whole.is_marked() {
        // SAFETY: the caller's.
        unsafe { opened.move_to(fd) };
        return Replaced::No;
    }
    // First, which leaves its number to the other one: moving that there takes longer.
    // SAFETY: it is open, and nobody else knows its number.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    let Some(data) = opened.open() else {
        return Replaced::Closed;
    };
    opened.note();
    Replaced::By(data.into_raw_fd())
}

/// The same for somebody who knows the number already: it stays.
///
/// # Safety
/// As above, but that whoever knows the number does not use it yet.
pub unsafe fn replace_in_place(fd: i32, call: Call) {
    let _errno = Kept::new();
    // SAFETY: the caller's.
    if let Some(opened) = unsafe { Opened::find(fd, call) } {
        // SAFETY: the caller's.
        unsafe { opened.move_to(fd) };
    }
}

/// A file of an origin that was opened.
struct Asked<'a> {
    call: Call,
    attached: &'static Attached,
    fd: BorrowedFd<'a>,
    stat: Stat,
    token: VersionToken,
}

/// One of which all is in the cache.
struct Opened {
    call: Call,
    attached: &'static Attached,
    root: &'static Root,
    stat: Stat,
    whole: Whole,
}

impl Asked<'_> {
    fn look(&self, root: &Root) -> Seen {
        let key = FileKey::new(root.name(), self.stat.st_ino);
        self.attached.peek.find(key, &self.token)
    }

    /// The root below which all of it is cached. Has it copied if there is none.
    ///
    /// # Safety
    /// The path of the call is a C string.
    unsafe fn whole(&self) -> Option<(&'static Root, Whole)> {
        let (place, device) = (self.call.place, device_of(&self.stat));
        let is_near = |root: &&Root| root.device == device;
        let all = || self.attached.origins.iter().flatten();
        let named = place.and_then(|(index, _)| self.attached.origins.get(index)?.as_ref());
        let Some(root) = named.into_iter().chain(all()).find(is_near) else {
            if place.is_some() {
                report::count(What::OtherFileSystem);
            }
            return None;
        };
        let mut seen = self.look(root);
        if let Seen::Whole(whole) = seen {
            return Some((root, whole));
        }
        // Others have their roots on the same file system.
        for other in all()
            .filter(is_near)
            .filter(|other| !std::ptr::eq(*other, root))
        {
            if let Seen::Whole(whole) = self.look(other) {
                return Some((other, whole));
            }
        }
        // SAFETY: the caller's.
        if unsafe { self.miss(root) }? {
            seen = self.look(root);
        }
        match seen {
            Seen::Whole(whole) => return Some((root, whole)),
            Seen::NotWhole => report::count(What::NotWhole),
            Seen::Nothing => report::count(What::NotCached),
        }
        None
    }

    /// Has the file copied; whether that is done. None: it is elsewhere on the file system
    /// of the root.
    ///
    /// # Safety
    /// As above.
    unsafe fn miss(&self, root: &Root) -> Option<bool> {
        let Call { settings, path, .. } = self.call;
        let mut buffer = [MaybeUninit::uninit(); PATH_BYTES_MAX];
        let below = match self.call.place {
            // SAFETY: the path is longer than its beginning.
            Some((_, start)) => unsafe { CStr::from_ptr(path.add(start)) }.to_bytes(),
            // It was not named from its root, so that only the kernel knows.
            None => path_below(self.fd, root.name(), &mut buffer)?,
        };
        Some(match settings.mode {
            Mode::Wait => fill::wait(settings, root.name(), below),
            _ => {
                fill::ask(settings, root.name(), below);
                false
            }
        })
    }
}

impl Opened {
    /// # Safety
    /// As of [`replace_in_place`].
    unsafe fn find(fd: i32, call: Call) -> Option<Self> {
        // SAFETY: it is open, by the caller.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let stat = rustix::fs::fstat(fd).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let Some(attached) = attach::get(call.settings) else {
            report::count(What::NoCache);
            return None;
        };
        if locks::may_have(&stat) {
            if call.place.is_some() {
                report::count(What::Locked);
            }
            return None;
        }
        let asked = Asked {
            call,
            attached,
            fd,
            token: version_of(&stat),
            stat,
        };
        // SAFETY: the caller's.
        let (root, whole) = unsafe { asked.whole() }?;
        Some(Self {
            call,
            attached,
            root,
            stat,
            whole,
        })
    }

    /// The cached file, unless it was evicted just now.
    fn open(&self) -> Option<OwnedFd> {
        let data = open_data(self.call.settings, &self.whole.data_name(), self.call.flags);
        if data.is_err() {
            report::count(What::CacheFailed);
        }
        data.ok()
    }

    /// Has a number be one of the cached file, if that can be.
    ///
    /// # Safety
    /// It is an open descriptor, which nobody uses meanwhile.
    unsafe fn move_to(&self, fd: i32) {
        let Some(data) = self.open() else {
            return;
        };
        if !self.whole.is_marked() && self.mark(data.as_fd()).is_err() {
            return report::count(What::NoAttributes);
        }
        let mut dup = DupFlags::empty();
        if self.call.flags & libc::O_CLOEXEC != 0 {
            dup |= DupFlags::CLOEXEC;
        }
        // SAFETY: it is open, and nobody closes it meanwhile.
        let mut target = unsafe { OwnedFd::from_raw_fd(fd) };
        let moved = rustix::io::dup3(&data, &mut target, dup);
        let _number = target.into_raw_fd();
        match moved {
            Ok(()) => self.note(),
            Err(_) => report::count(What::CacheFailed),
        }
    }

    /// It was given away.
    fn note(&self) {
        self.attached.peek.used(&self.whole);
        if let Some(path) = &self.call.trusted {
            path.note(self.root, &self.whole);
        }
        report::count(What::Redirected);
        report::add_bytes(self.stat.st_size.unsigned_abs());
    }

    /// Has the data file tell whose it is.
    fn mark(&self, data: BorrowedFd<'_>) -> Result<(), Errno> {
        let own = rustix::fs::fstat(data)?;
        Identity::of(&self.stat, self.root.name(), own.st_ino).write(data)?;
        self.attached.peek.mark(&self.whole);
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
    let link = link_of(fd);
    let link = rustix::fs::readlinkat_raw(rustix::fs::CWD, link.c_str(), &mut buffer[..]);
    let (path, _) = link.ok()?;
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
