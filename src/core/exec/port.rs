//! The inbox of a shard.

use super::FetchId;
use crate::buf::PoolBuf;
use crate::error::{Errno, Error};
use crate::file::FileInner;
use crate::io::Wake;
use crate::origin::Opened;
use crate::request::{Failure, Request, Survey};
use crate::store::Store;
use crate::token::VersionToken;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// What a shard can be told.
pub(crate) enum Message {
    /// Serve a request.
    Start(Box<Request>),
    /// End a request early.
    Cancel(u64),
    /// A custom origin has read.
    OriginRead {
        fetch: FetchId,
        result: Result<usize, Errno>,
        buffer: PoolBuf,
    },
    /// A custom origin has told a version.
    OriginStat {
        fetch: FetchId,
        result: Result<VersionToken, Errno>,
    },
    /// A file was opened at its origin, or could not be.
    Opened(Arc<FileInner>, Box<Result<Opened, Error>>),
    /// The cache device takes something, which the shard has waited for.
    DeviceTakes,
    /// Let go of the objects that nobody uses, after a while.
    CoolLater(Weak<Store>),
    /// A worker thread has looked at a file that is to be copied; its number.
    Surveyed(u64, Survey),
    /// A worker thread has copied what is in this slot, or not.
    Copied(usize, Result<(), Failure>),
    /// Fetch chunks that nobody has asked for yet, if there is room.
    Prefetch(Arc<FileInner>, Vec<u64>),
    /// These chunks of a file have passed the cache by on their reader's thread.
    PassedBy(Arc<FileInner>, Range<u64>),
    /// Nobody will ask for what is fetched ahead of this file.
    ForgetPrefetches(Arc<FileInner>),
    /// Cancel everything and end.
    Close,
}

/// Where any thread leaves messages for a shard. What is in it is bounded by
/// the requests that the doors admit, the fetches that the pool allows, and the limit
/// of what is ahead.
#[derive(Default)]
pub(crate) struct Port {
    inbox: Mutex<Inbox>,
    /// Set by the shard's thread before it first looks into the inbox.
    waker: OnceCell<Arc<dyn Wake>>,
}

#[derive(Default)]
struct Inbox {
    messages: Vec<Message>,
    /// Why no message is taken any more.
    closed: Option<Errno>,
}

impl Port {
    /// Leaves a message. A closed port gives it back with the reason.
    pub(crate) fn post(&self, message: Message) -> Result<(), (Errno, Message)> {
        {
            let mut inbox = self.inbox.lock();
            if let Some(errno) = inbox.closed {
                return Err((errno, message));
            }
            inbox.messages.push(message);
        }
        self.wake();
        Ok(())
    }

    /// Has the shard look around, and its engine let go of files that are closed.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    pub(super) fn set_waker(&self, waker: Arc<dyn Wake>) {
        assert!(self.waker.set(waker).is_ok(), "a port has one shard");
    }

    /// Swaps the messages with an empty list.
    pub(super) fn take(&self, messages: &mut Vec<Message>) {
        debug_assert!(messages.is_empty());
        std::mem::swap(&mut self.inbox.lock().messages, messages);
    }

    /// Takes no more messages; gives those that were left.
    pub(super) fn close(&self, reason: Errno) -> Vec<Message> {
        let mut inbox = self.inbox.lock();
        inbox.closed = Some(reason);
        std::mem::take(&mut inbox.messages)
    }
}
