//! Opens without the origin: what it has said of a path is believed for a while.

use crate::attach::{self, Attached, Root};
use crate::errno::Kept;
use crate::redirect::{Kind, open_data};
use crate::report::{self, What};
use crate::settings::{Mode, Settings};
use cachefs_core::peek::{PathNow, Whole};
use std::ffi::{CStr, c_char};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

/// A path whose file may be opened without the origin, or will be from now on.
#[derive(Clone, Copy)]
pub struct Path {
    attached: &'static Attached,
    root: &'static Root,
    /// Of before the origin is asked.
    now: PathNow,
    milliseconds: u64,
}

impl Path {
    /// None: the origin has to be asked, and what it says is not noted.
    ///
    /// # Safety
    /// The path is a C string.
    #[inline]
    pub unsafe fn of(
        settings: &'static Settings,
        kind: Kind,
        path: *const c_char,
        flags: i32,
    ) -> Option<Self> {
        let (Mode::Trust(milliseconds), Kind::Read(Some((index, start)))) = (settings.mode, kind)
        else {
            return None;
        };
        // Whether the last name is a link is not known.
        if flags & libc::O_NOFOLLOW != 0 {
            return None;
        }
        let _errno = Kept::new();
        let attached = attach::get(settings)?;
        let root = attached.origins.get(index)?.as_ref()?;
        // SAFETY: the caller's; it is longer than its beginning.
        let below = unsafe { CStr::from_ptr(path.add(start)) }.to_bytes();
        Some(Self {
            attached,
            root,
            now: attached.peek.path(root.name(), below)?,
            milliseconds,
        })
    }

    /// Opens it, if the origin was asked not long ago.
    pub fn open(&self, settings: &Settings, flags: i32) -> Option<i32> {
        let _errno = Kept::new();
        let name = self.attached.peek.trusted(&self.now, self.milliseconds)?;
        // What is gone has been evicted, or is another version now.
        let data: OwnedFd = open_data(settings, &name, flags).ok()?;
        report::count(What::Redirected);
        report::count(What::Trusted);
        report::add_bytes_of(data.as_fd());
        Some(data.into_raw_fd())
    }

    /// Notes that the origin has opened this object's file by it.
    pub fn note(&self, root: &Root, whole: &Whole) {
        if std::ptr::eq(root, self.root) {
            self.attached.peek.trust(&self.now, whole);
        }
    }
}
