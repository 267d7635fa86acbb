//! Requests read from the device, and replies written to it.

use crate::wire::{InHeader, OutHeader, REQUEST_HEADERS_BYTES};
use rustix::io::Errno;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that one READ asks for at most: what the kernel grants by default
/// (`fuse.max_pages_limit`, 256 pages).
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Room for any request.
pub const REQUEST_BYTES: usize = READ_BYTES_MAX + REQUEST_HEADERS_BYTES;

/// One request, as it lies in its buffer.
pub struct Request<'a> {
    pub header: InHeader,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// None: it is shorter than it says.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = InHeader::read_from_prefix(bytes).ok()?;
        let length = (header.length as usize).checked_sub(size_of::<InHeader>())?;
        let extensions = usize::from(header.extension_length) * 8;
        let body = rest.get(..length.checked_sub(extensions)?)?;
        Some(Self { header, body })
    }

    /// The structure that it begins with, and what follows it. EINVAL: there is none.
    pub fn split<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<(T, &'a [u8]), Errno> {
        T::read_from_prefix(self.body).map_err(|_| Errno::INVAL)
    }

    /// The same without what follows.
    pub fn structure<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T, Errno> {
        Ok(self.split::<T>()?.0)
    }

    /// The name that it is about.
    pub fn name(&self) -> Result<&'a [u8], Errno> {
        terminated(self.body)
    }
}

/// The bytes before the first NUL. EINVAL: there is no NUL.
pub fn terminated(bytes: &[u8]) -> Result<&[u8], Errno> {
    let end = bytes.iter().position(|byte| *byte == 0);
    Ok(&bytes[..end.ok_or(Errno::INVAL)?])
}

/// Whom to answer. The kernel waits for one answer from the descriptor that the request
/// was read from.
#[derive(Clone)]
pub struct Reply {
    device: Arc<OwnedFd>,
    unique: u64,
}

impl Reply {
    pub fn new(device: &Arc<OwnedFd>, unique: u64) -> Self {
        Self {
            device: Arc::clone(device),
            unique,
        }
    }

    /// Answers with an errno.
    pub fn error(&self, errno: Errno) {
        self.said(self.send(-errno.raw_os_error(), &[]));
    }

    /// Answers that it is done.
    pub fn done(&self) {
        self.bytes(&[]);
    }

    /// Answers with bytes. False: the kernel does not take them, since whoever asked is
    /// gone.
    pub fn bytes(&self, bytes: &[u8]) -> bool {
        let sent = self.send(0, bytes);
        let taken = sent.is_ok();
        self.said(sent);
        taken
    }

    /// The same with a structure.
    pub fn structure<T: IntoBytes + Immutable>(&self, structure: &T) -> bool {
        self.bytes(structure.as_bytes())
    }

    /// Answers with bytes that may turn out to be unreadable: EFAULT, and the kernel has
    /// ended the request with EIO (`fuse_dev_do_write`).
    pub fn try_bytes(&self, bytes: &[u8]) -> Result<(), Errno> {
        match self.send(0, bytes) {
            Err(Errno::FAULT) => Err(Errno::FAULT),
            sent => {
                self.said(sent);
                Ok(())
            }
        }
    }

    /// Answers what a function came to.
    pub fn outcome(&self, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) => self.done(),
            Err(errno) => self.error(errno),
        }
    }

    fn send(&self, error: i32, bytes: &[u8]) -> Result<(), Errno> {
        send(&self.device, (error, self.unique), bytes)
    }

    /// ENOENT: who asked was killed meanwhile. ENODEV: the mount is gone.
    fn said(&self, sent: Result<(), Errno>) {
        match sent {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => tracing::error!("answer the kernel: {errno}"),
        }
    }
}

fn send(device: &OwnedFd, (error, unique): (i32, u64), bytes: &[u8]) -> Result<(), Errno> {
    let header = OutHeader {
        length: (size_of::<OutHeader>() + bytes.len()) as u32,
        error,
        unique,
    };
    let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(bytes)];
    // The device takes a reply whole or not at all.
    rustix::io::writev(device, &parts).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ForgetIn;

    fn request(length: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<InHeader>()];
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_request_that_says_to_be_longer_than_it_is_is_none() {
        for length in [0, 39, 49, u32::MAX] {
            assert!(
                Request::parse(&request(length, &[0; 8])).is_none(),
                "{length}"
            );
        }
        assert!(Request::parse(&[0; 39]).is_none());
    }

    #[test]
    fn the_structure_and_the_name_are_found() {
        let mut body = 5u64.to_ne_bytes().to_vec();
        body.extend_from_slice(b"caf\xe9\0");
        let bytes = request(53, &body);
        let parsed = Request::parse(&bytes).unwrap();
        let (forget, rest) = parsed.split::<ForgetIn>().unwrap();
        assert_eq!(forget.lookups, 5);
        assert_eq!(terminated(rest), Ok(&b"caf\xe9"[..]));
    }

    #[test]
    fn what_is_too_short_is_invalid() {
        let bytes = request(44, b"name");
        let parsed = Request::parse(&bytes).unwrap();
        assert_eq!(parsed.name(), Err(Errno::INVAL));
        assert!(parsed.structure::<ForgetIn>().is_err());
    }
}
