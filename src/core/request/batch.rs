//! Several requests with one end: a callback that is told all completions at once.

use super::submit::{NewRequest, submit};
use super::{Priority, Sink, Target, Treatment, total};
use crate::completion::{Completion, MissReason, Operation, Source};
use crate::error::{Errno, Error, Result};
use crate::file::File;
use crate::limits::BATCH_MAX;
use parking_lot::Mutex;
use std::sync::Arc;

/// One request of a batch.
pub struct Item {
    /// The file.
    pub file: File,
    /// What to do.
    pub operation: Operation,
    /// Where a read's bytes go, in order; of a fill, nothing.
    pub target: Vec<crate::buf::Lent>,
    /// Where in the file.
    pub offset: u64,
    /// Bytes of a fill.
    pub length: u64,
    /// Comes back in the completion.
    pub tag: u64,
    /// How to treat it.
    pub treatment: Treatment,
}

impl Item {
    /// A copy of a whole file into the cache, for which nobody waits: behind all others,
    /// without a limit of time, with the tag 0.
    pub fn background_fill(file: File) -> Self {
        Self {
            file,
            operation: Operation::Fill,
            target: Vec::new(),
            offset: 0,
            length: u64::MAX,
            tag: 0,
            treatment: Treatment {
                priority: Priority::LOW,
                timeout: None,
            },
        }
    }
}

type Callback = Box<dyn FnOnce(&[Completion]) + Send>;

/// What the requests of one batch share.
struct Gathering(Mutex<State>);

struct State {
    done: Vec<Option<Completion>>,
    left: usize,
    callback: Option<Callback>,
}

impl Gathering {
    /// One request has ended; the last one tells.
    fn gather(&self, index: usize, completion: Completion) {
        let mut state = self.0.lock();
        state.done[index] = Some(completion);
        state.left -= 1;
        if state.left > 0 {
            return;
        }
        let callback = state.callback.take().expect("told once");
        let done: Vec<Completion> = state.done.drain(..).flatten().collect();
        drop(state);
        callback(&done);
    }
}

/// Starts every request of a batch; `callback` is told all their completions, in
/// the order of the requests, on a library thread, once the last has ended.
/// `announce` is told the ids of the requests, in the same order, before that.
///
/// Errors, and nothing was started: EINVAL (an empty batch, or one of more than
/// [`BATCH_MAX`]), EAGAIN (`async_limit` would be exceeded), ESHUTDOWN.
pub fn submit_batch(
    items: Vec<Item>,
    announce: impl FnOnce(&[u64]),
    callback: impl FnOnce(&[Completion]) + Send + 'static,
) -> Result<()> {
    if items.is_empty() || items.len() > BATCH_MAX {
        let text = format!("a batch has 1 to {BATCH_MAX} requests");
        return Err(Error::new(Errno::INVAL, text));
    }
    let mut ids = Vec::with_capacity(items.len());
    let mut places = Vec::with_capacity(items.len());
    for item in &items {
        let shared = &item.file.0.origin.cache;
        shared.check_open()?;
        places.push(shared.take_async_slot()?);
        ids.push(shared.fresh_id(item.file.0.shard));
    }
    announce(&ids);
    let gathering = Arc::new(Gathering(Mutex::new(State {
        done: vec![None; items.len()],
        left: items.len(),
        callback: Some(Box::new(callback)),
    })));
    for (index, ((item, id), place)) in items.into_iter().zip(ids).zip(places).enumerate() {
        let tag = item.tag;
        let told = Arc::clone(&gathering);
        let sink = Sink::Callback(Box::new(move |mut completion| {
            drop(place);
            completion.tag = tag;
            told.gather(index, completion);
        }));
        let length = match item.operation {
            Operation::Read => total(&item.target),
            Operation::Fill => item.length,
        };
        let new = NewRequest {
            treatment: item.treatment,
            ..NewRequest::new(
                id,
                item.operation,
                Target::of(item.target),
                (item.offset, length),
                sink,
            )
        };
        // The cache was closed in between: the others have their ends as well.
        if let Err(error) = submit(&item.file.0, new) {
            gathering.gather(index, failed(tag, item.operation, error.errno()));
        }
    }
    Ok(())
}

fn failed(tag: u64, operation: Operation, errno: Errno) -> Completion {
    Completion {
        tag,
        result: Err(errno),
        bytes_from_cache: 0,
        latency_ns: 0,
        operation,
        source: Source::None,
        miss_reason: MissReason::None,
    }
}
