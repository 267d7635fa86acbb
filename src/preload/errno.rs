//! errno of the calling thread.

/// The value that errno had, which it has again when this is dropped: what the library
/// does for itself must not be seen.
pub struct Kept(i32);

impl Kept {
    pub fn new() -> Self {
        Self(get())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        set(self.0);
    }
}

pub fn get() -> i32 {
    // SAFETY: errno of this thread is there as long as the thread.
    unsafe { *libc::__errno_location() }
}

pub fn set(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}
