//! For benchmarks: a request that is only planned.

use super::submit::new_request;
use super::{NewRequest, Request, Sink, Target, plan};
use crate::completion::Operation;
use crate::file::File;

/// A read of which nothing is done.
pub struct Planned {
    request: Box<Request>,
    chunk_bytes: u64,
}

impl Planned {
    /// Of these bytes.
    pub fn new(file: &File, offset: u64, length: u64) -> Self {
        let sink = Sink::Callback(Box::new(|_| {}));
        let range = (offset, length);
        let new = NewRequest::new(0, Operation::Read, Target::Nothing, range, sink);
        Self {
            request: new_request(&file.0, new),
            chunk_bytes: file.0.origin.cache.chunk_bytes,
        }
    }

    /// Decides what is next; whether there is anything.
    pub fn plan(&self) -> bool {
        plan::next(&self.request, self.chunk_bytes) != plan::Step::End
    }
}
