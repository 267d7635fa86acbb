//! A request of C, checked and converted: what queues and batches take.

use super::cache::no_flags;
use super::handle::{Handle, Held};
use super::pointer::lent;
use super::read::segments;
use super::types::*;
use cachefs_core::{Errno, Error, File, Lent, Priority, Result, Treatment};
use std::time::Duration;

/// No release has a larger request.
const REQUEST_BYTES_MAX: usize = 4096;

/// What a request asks for.
pub(super) enum Action {
    /// Read into one piece.
    Read(Lent),
    /// Read into several.
    ReadVectored(Vec<Lent>),
    /// Copy so many bytes into the cache.
    Fill(u64),
}

/// A request without its file.
pub(super) struct Request {
    pub(super) action: Action,
    pub(super) offset: u64,
    pub(super) tag: u64,
    pub(super) treatment: Treatment,
}

/// The requests of one call, and the file of the last one: runs on one file are
/// the rule, and each look-up costs.
pub(super) struct Requests {
    first: *const cachefs_request,
    count: u32,
    size: usize,
    file: Option<(*mut cachefs_file, Held<File>)>,
}

impl Requests {
    /// EINVAL for NULL, or a size that no release has.
    ///
    /// # Safety
    /// `first` must be readable for `count` elements of `size` bytes for as long
    /// as the value lives, and each buffer be lent.
    pub(super) unsafe fn new(
        first: *const cachefs_request,
        count: u32,
        size: usize,
    ) -> Result<Self> {
        if size < size_of::<cachefs_request>() || size > REQUEST_BYTES_MAX {
            return Err(Error::new(
                Errno::INVAL,
                "request_size is not of any release",
            ));
        }
        if first.is_null() && count > 0 {
            return Err(Error::new(Errno::INVAL, "the requests are NULL"));
        }
        Ok(Self {
            first,
            count,
            size,
            file: None,
        })
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// One of them, and its file.
    pub(super) fn get(&mut self, index: u32) -> Result<(Request, &Held<File>)> {
        assert!(index < self.count);
        // SAFETY: by the contract of `new`, below the count.
        let place = unsafe { self.first.byte_add(index as usize * self.size) };
        for byte in size_of::<cachefs_request>()..self.size {
            // SAFETY: below the size that the caller promises.
            if unsafe { place.cast::<u8>().add(byte).read() } != 0 {
                let text = "cachefs_request: a field that this release does not know is set";
                return Err(Error::new(Errno::TOOBIG, text));
            }
        }
        // SAFETY: readable for at least this structure.
        let raw = unsafe { place.read_unaligned() };
        no_flags(raw.flags.into())?;
        if raw.reserved != 0 {
            return Err(Error::new(Errno::INVAL, "a reserved field is not 0"));
        }
        let request = Request {
            // SAFETY: the caller promises the buffers.
            action: unsafe { action(&raw) }?,
            offset: raw.offset,
            tag: raw.tag,
            treatment: treatment(raw.priority, raw.timeout_ns)?,
        };
        if self
            .file
            .as_ref()
            .is_none_or(|(handle, _)| *handle != raw.file)
        {
            self.file = Some((raw.file, File::get(raw.file)?));
        }
        let (_, file) = self.file.as_ref().expect("found above");
        Ok((request, file))
    }
}

/// # Safety
/// The buffers of the request must be lent.
unsafe fn action(raw: &cachefs_request) -> Result<Action> {
    match raw.operation {
        // SAFETY: the caller promises the buffer.
        CACHEFS_OPERATION_READ => Ok(Action::Read(unsafe { lent(raw.buffer, raw.length) }?)),
        CACHEFS_OPERATION_READV => {
            let count = u32::try_from(raw.length)
                .map_err(|_| Error::new(Errno::INVAL, "too many pieces of memory"))?;
            // SAFETY: the caller promises the pieces and their memory.
            let pieces = unsafe { segments(raw.buffer.cast_const().cast(), count) }?;
            Ok(Action::ReadVectored(pieces))
        }
        CACHEFS_OPERATION_FILL if raw.buffer.is_null() => Ok(Action::Fill(raw.length)),
        CACHEFS_OPERATION_FILL => Err(Error::new(Errno::INVAL, "a fill has no buffer")),
        other => {
            let text = format!("there is no operation {other}");
            Err(Error::new(Errno::INVAL, text))
        }
    }
}

fn treatment(priority: u32, timeout_ns: u64) -> Result<Treatment> {
    let priority = match priority {
        CACHEFS_PRIORITY_DEFAULT => Priority::default(),
        CACHEFS_PRIORITY_HIGH => Priority::HIGH,
        CACHEFS_PRIORITY_LOW => Priority::LOW,
        CACHEFS_PRIORITY_BACKGROUND => Priority::BACKGROUND,
        other => {
            let text = format!("there is no priority {other}");
            return Err(Error::new(Errno::INVAL, text));
        }
    };
    let timeout = (timeout_ns > 0).then(|| Duration::from_nanos(timeout_ns));
    Ok(Treatment { priority, timeout })
}
