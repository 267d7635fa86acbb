//! Bytes on the stack, of which only what is used is written: paths, messages.

use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// At most `MAX` bytes, a NUL behind them included.
pub struct Text<const MAX: usize> {
    bytes: [MaybeUninit<u8>; MAX],
    length: usize,
}

impl<const MAX: usize> Text<MAX> {
    pub fn new() -> Self {
        let mut new = Self {
            bytes: [const { MaybeUninit::uninit() }; MAX],
            length: 0,
        };
        new.bytes[0].write(0);
        new
    }

    /// ENAMETOOLONG: it does not fit, and nothing has changed.
    pub fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.length + more.len();
        if end >= MAX {
            return Err(Errno::NAMETOOLONG);
        }
        for (place, byte) in self.bytes[self.length..end].iter_mut().zip(more) {
            place.write(*byte);
        }
        self.bytes[end].write(0);
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
        self.push(&digits[start..])
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

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn numbers_are_decimal() {
        let mut text = Text::<64>::new();
        text.push_number(0).unwrap();
        text.push_number(u64::MAX).unwrap();
        assert_eq!(text.bytes(), format!("0{}", u64::MAX).as_bytes());
    }
}
