//! Whether relative names may lead below an origin. A hint only: who is wrong opens at the
//! origin what is cached, or looks at a file once more than it need.

use crate::settings::{PATH_BYTES_MAX, Settings};
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, Ordering};

const UNKNOWN: u8 = 0;
const BELOW: u8 = 1;
const ELSEWHERE: u8 = 2;

static CURRENT: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The current directory is another one.
pub fn changed() {
    CURRENT.store(UNKNOWN, Ordering::Relaxed);
}

/// Whether a path that does not begin with an origin may lead below one all the same. What
/// is absolute may not: links that lead there from elsewhere are not followed by text.
///
/// # Safety
/// The path is a C string.
#[inline]
pub unsafe fn may_be_below(settings: &Settings, dir: i32, path: *const c_char) -> bool {
    let path = path.cast::<u8>();
    // SAFETY: a C string has a first byte, and a second one if that is not its end.
    let is_up = unsafe {
        match *path {
            b'/' => return false,
            0 => return false,
            b'.' => *path.add(1) == b'.',
            _ => false,
        }
    };
    dir != libc::AT_FDCWD || is_up || is_below(settings)
}

fn is_below(settings: &Settings) -> bool {
    match CURRENT.load(Ordering::Relaxed) {
        BELOW => true,
        ELSEWHERE => false,
        _ => look(settings),
    }
}

#[cold]
fn look(settings: &Settings) -> bool {
    let mut buffer = [MaybeUninit::uninit(); PATH_BYTES_MAX];
    let link = c"/proc/self/cwd";
    let found = rustix::fs::readlinkat_raw(rustix::fs::CWD, link, &mut buffer);
    let is_below = match found {
        Ok((path, _)) => {
            let path: &[u8] = path;
            let is_within = |path: &[u8], root: &[u8]| {
                let rest = path.strip_prefix(root);
                rest.is_some_and(|rest| matches!(rest, b"" | [b'/', ..]) || root == b"/")
            };
            // Below an origin, or above one.
            let mut roots = settings.origins().iter().map(|root| root.bytes());
            roots.any(|root| is_within(path, root) || is_within(root, path))
        }
        // Better once too often.
        Err(_) => true,
    };
    CURRENT.store(if is_below { BELOW } else { ELSEWHERE }, Ordering::Relaxed);
    is_below
}
