//! Bytes without memory of their own: paths, messages. Of those on the stack, only what is used
//! is written.

use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// At most `MAX` bytes, a NUL behind them included.
pub struct Text<const MAX: usize> {
    bytes: [MaybeUninit<u8>; MAX],
    length: usize,
}

impl<const MAX: usize> Text<MAX> {
    pub const fn new() -> Self {
        const { assert!(MAX > 0) };
        let mut new = Self {
            bytes: [const { MaybeUninit::uninit() }; MAX],
            length: 0,
        };
        if let Some(end) = new.bytes.first_mut() {
            end.write(0);
        }
        new
    }

    /// The same of one that is in the library all along, where it takes no room in its file.
    pub const fn zeros() -> Self {
        const { assert!(MAX > 0) };
        Self {
            bytes: [const { MaybeUninit::new(0) }; MAX],
            length: 0,
        }
    }

    /// ENAMETOOLONG: it does not fit, and nothing has changed.
    pub fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.length + more.len();
        let room = self.bytes.get_mut(self.length..=end);
        let (last, places) = room
            .and_then(|room| room.split_last_mut())
            .ok_or(Errno::NAMETOOLONG)?;
        for (place, byte) in places.iter_mut().zip(more) {
            place.write(*byte);
        }
        last.write(0);
        self.length = end;
        Ok(())
    }

    /// The same of a number in decimal.
    pub fn push_number(&mut self, number: u64) -> Result<(), Errno> {
        let mut digits = [0; 20];
        let mut start = digits.len();
        let mut rest = number;
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (rest % 10) as u8;
            start = place;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(start..).unwrap_or_default())
    }

    /// Puts other bytes in their place. ENAMETOOLONG: none fit.
    pub fn set(&mut self, other: &[u8]) -> Result<(), Errno> {
        self.length = 0;
        self.push(b"")?;
        self.push(other)
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes were written.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), self.length) }
    }

    /// Up to the first NUL.
    pub fn c_str(&self) -> &CStr {
        // SAFETY: so many bytes were written, and a NUL behind them.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), self.length + 1)
        };
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }
}

/// Where /proc shows a descriptor.
pub fn link_of(fd: impl AsFd) -> Text<32> {
    let mut link = Text::new();
    // Both fit: see the test.
    let _ = link.push(b"/proc/self/fd/");
    let _ = link.push_number(fd.as_fd().as_raw_fd().unsigned_abs().into());
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::BorrowedFd;

    #[test]
    fn a_text_ends_with_a_nul_at_its_limit() {
        let mut text = Text::<4>::new();
        assert_eq!(text.c_str(), c"");
        assert_eq!(text.push(b"abcd"), Err(Errno::NAMETOOLONG));
        text.push(b"a").unwrap();
        text.push_number(10).unwrap();
        assert_eq!(text.c_str(), c"a10");
        assert_eq!(text.push_number(0), Err(Errno::NAMETOOLONG));
        assert_eq!(text.bytes(), b"a10");
        text.set(b"b").unwrap();
        assert_eq!((text.bytes(), text.c_str()), (&b"b"[..], c"b"));
        assert_eq!(text.set(b"abcd"), Err(Errno::NAMETOOLONG));
        assert_eq!((text.bytes(), text.c_str()), (&b""[..], c""));
    }

    #[test]
    fn the_link_of_any_descriptor_fits() {
        // SAFETY: nobody does anything with it.
        let of = |fd| unsafe { BorrowedFd::borrow_raw(fd) };
        assert_eq!(link_of(of(3)).c_str(), c"/proc/self/fd/3");
        assert_eq!(link_of(of(i32::MAX)).c_str(), c"/proc/self/fd/2147483647");
    }

    #[test]
    fn numbers_are_decimal() {
        let mut text = Text::<64>::new();
        text.push_number(0).unwrap();
        text.push_number(u64::MAX).unwrap();
        assert_eq!(text.bytes(), format!("0{}", u64::MAX).as_bytes());
    }
}
