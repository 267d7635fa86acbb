//! What is fetched when nobody reads: what had passed the cache by, and the rests of
//! files of which enough was read. One range after the other, as many chunks at once as
//! fills may have, and only with what is free.

use super::Shard;
use super::ahead::Ahead;
use crate::file::FileInner;
use crate::limits::{LATER_IDLE_MS, LATER_RANGES_MAX};
use crate::store::Object;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_millis(LATER_IDLE_MS);

/// What one shard will fetch.
pub(crate) struct Later {
    /// Chunks of files that may be closed meanwhile: then they are forgotten.
    ranges: VecDeque<(Weak<FileInner>, Range<u64>)>,
    /// When a reader last asked, or something was in the way.
    busy: Instant,
    /// Fetches under way.
    pub(super) under_way: u32,
}

/// What came of trying to begin one.
enum Begun {
    /// It is under way, or need not be.
    Yes,
    /// Something is in the way.
    NotNow,
}

impl Later {
    pub(crate) fn new() -> Self {
        Self {
            ranges: VecDeque::new(),
            busy: Instant::now(),
            under_way: 0,
        }
    }

    /// A reader has asked.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.busy = self.busy.max(now);
    }

    /// When to look again.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        (!self.ranges.is_empty()).then(|| self.busy + IDLE)
    }

    /// Of too many, the oldest is forgotten.
    fn add(&mut self, file: &Arc<FileInner>, chunks: Range<u64>) {
        let weak = Arc::downgrade(file);
        if let Some((last, range)) = self.ranges.back_mut()
            && last.ptr_eq(&weak)
            && (range.start..=range.end).contains(&chunks.start)
        {
            range.end = range.end.max(chunks.end);
            return;
        }
        if self.ranges.len() == LATER_RANGES_MAX {
            self.ranges.pop_front();
        }
        self.ranges.push_back((weak, chunks));
    }

    /// Nothing will be fetched any more.
    pub(crate) fn forget(&mut self) {
        self.ranges.clear();
    }
}

impl Shard {
    /// A chunk has passed the cache by.
    pub(super) fn passed_by(&mut self, file: &Arc<FileInner>, chunk: u64, bytes: u64) {
        self.counters.bytes_passed_by.add(bytes);
        self.later.add(file, chunk..chunk + 1);
    }

    /// A chunk of a file was stored for a reader: maybe the rest is to follow. Files
    /// that would be copied past the page cache are left to explicit fills.
    pub(super) fn maybe_fill_whole(&mut self, file: &Arc<FileInner>, object: &Object) {
        let percent = self.config.fill_after_percent;
        let geometry = object.geometry();
        if percent == 0 || geometry.size >= self.config.direct_copy_bytes {
            return;
        }
        let (present, all) = (object.chunks_present(), geometry.chunks());
        if present < all && present * 100 >= all * percent && file.ahead.asks_whole() {
            self.later.add(file, 0..all);
        }
    }

    /// Begins what can be.
    pub(crate) fn feed_later(&mut self, now: Instant) {
        if self.later.ranges.is_empty() || now < self.later.busy + IDLE {
            return;
        }
        while self.later.under_way < self.config.qos.pace.depth() {
            let Some((file, range)) = self.later.ranges.front_mut() else {
                return;
            };
            let (Some(file), Some(chunk)) = (file.upgrade(), range.next()) else {
                self.later.ranges.pop_front();
                continue;
            };
            if let Begun::NotNow = self.begin_later(&file, chunk, now) {
                if let Some((_, range)) = self.later.ranges.front_mut() {
                    range.start = chunk;
                }
                self.later.busy = now;
                return;
            }
        }
    }

    fn begin_later(&mut self, file: &Arc<FileInner>, chunk: u64, now: Instant) -> Begun {
        if file.ahead.is_closed() {
            return Begun::Yes;
        }
        let version = file.version();
        let Ok(object) = self.may_store(&version) else {
            return Begun::NotNow;
        };
        if chunk >= object.geometry().chunks() || !self.is_wanted(&object, chunk) {
            return Begun::Yes;
        }
        if !file.origin.is_in_reach() || self.fill_waits(file, now).is_some() {
            return Begun::NotNow;
        }
        let (Some(place), Some(buffer)) = (self.place_for(file, &version), self.spare_buffer())
        else {
            return Begun::NotNow;
        };
        let Some(claim) = self.admit_ahead(&object, chunk) else {
            return Begun::Yes;
        };
        let ahead = Ahead {
            chunk,
            place,
            later: true,
        };
        self.later.under_way += 1;
        self.fetch_for_nobody((file, &version), ahead, (claim, buffer));
        Begun::Yes
    }
}
