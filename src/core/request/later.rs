//! What is fetched when nobody reads: what had passed the cache by, and the rests of
//! files of which enough was read. One range after the other, as many chunks at once as
//! fills may have, and only with what is free.

use super::Shard;
use super::ahead::Ahead;
use crate::file::FileInner;
use crate::limits::{LATER_FILES_MAX, LATER_IDLE_MS, LATER_KEPT_MS, LATER_RANGES_MAX};
use crate::store::{Grant, Object, Takes};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_millis(LATER_IDLE_MS);
const KEPT: Duration = Duration::from_millis(LATER_KEPT_MS);

/// What one shard will fetch.
pub(crate) struct Later {
    /// Chunks of files that may be closed meanwhile: then they are forgotten.
    ranges: VecDeque<(Weak<FileInner>, Range<u64>)>,
    /// Files of which something has passed by, until when: who has read a file once and closed
    /// it is to find it in the cache the next time.
    kept: VecDeque<(Arc<FileInner>, Instant)>,
    /// When a reader last asked, or something was in the way.
    busy: Instant,
    /// Fetches under way.
    pub(super) under_way: u32,
}

/// What came of trying to begin one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// It is under way, or need not be.
    Yes,
    /// Something is in the way.
    NotNow,
    /// The device is: the shard is told when it is not any more.
    Asleep,
}

impl Later {
    pub(crate) fn new() -> Self {
        Self {
            ranges: VecDeque::new(),
            kept: VecDeque::new(),
            busy: Instant::now(),
            under_way: 0,
        }
    }

    /// A reader has asked.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.busy = self.busy.max(now);
    }

    /// When to look again.
    fn next_look(&self) -> Option<Instant> {
        (!self.ranges.is_empty()).then(|| self.busy + IDLE)
    }

    /// Holds on to a file: of too many, not to the oldest any more.
    fn keep(&mut self, file: &Arc<FileInner>, now: Instant) {
        match self.kept.back_mut() {
            Some((last, until)) if Arc::ptr_eq(last, file) => *until = now + KEPT,
            _ => {
                self.kept.retain(|(one, _)| !Arc::ptr_eq(one, file));
                if self.kept.len() == LATER_FILES_MAX {
                    self.kept.pop_front();
                }
                self.kept.push_back((Arc::clone(file), now + KEPT));
            }
        }
    }

    fn keeps(&self, file: &Arc<FileInner>) -> bool {
        self.kept.iter().any(|(one, _)| Arc::ptr_eq(one, file))
    }

    /// Lets go of files whose time is over, and of which nothing is to be fetched.
    fn release(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|(_, until)| *until <= now) {
            self.kept.pop_front();
        }
        if self.ranges.is_empty() {
            self.kept.clear();
        }
    }

    /// The first range is done, or its file is gone.
    fn pop(&mut self) {
        if let Some((file, _)) = self.ranges.pop_front()
            && !self.ranges.iter().any(|(other, _)| other.ptr_eq(&file))
        {
            self.kept
                .retain(|(one, _)| Arc::as_ptr(one) != file.as_ptr());
        }
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
        self.kept.clear();
    }
}

impl Shard {
    /// A chunk has passed the cache by.
    pub(super) fn passed_by(&mut self, file: &Arc<FileInner>, chunk: u64, bytes: u64) {
        self.counters.bytes_passed_by.add(bytes);
        self.passed_elsewhere(file, chunk..chunk + 1);
    }

    /// The same of chunks that passed on their reader's thread, who has counted them.
    pub(crate) fn passed_elsewhere(&mut self, file: &Arc<FileInner>, chunks: Range<u64>) {
        let now = Instant::now();
        self.later.put_off(now);
        self.later.keep(file, now);
        self.later.add(file, chunks);
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

    /// When to look whether something can be begun.
    pub(crate) fn next_later(&self) -> Option<Instant> {
        self.later.next_look().filter(|_| !self.held.later)
    }

    /// Begins what can be.
    pub(crate) fn feed_later(&mut self, now: Instant) {
        self.later.release(now);
        if self.later.ranges.is_empty() || now < self.later.busy + IDLE {
            return;
        }
        while self.later.under_way < self.config.qos.pace.depth() {
            let Some((file, range)) = self.later.ranges.front_mut() else {
                return;
            };
            let (Some(file), Some(chunk)) = (file.upgrade(), range.next()) else {
                self.later.pop();
                continue;
            };
            let begun = self.begin_later(&file, chunk, now);
            if begun == Begun::Yes {
                continue;
            }
            if let Some((_, range)) = self.later.ranges.front_mut() {
                range.start = chunk;
            }
            match begun {
                Begun::Asleep => self.held.later = true,
                _ => self.later.busy = now,
            }
            return;
        }
    }

    fn begin_later(&mut self, file: &Arc<FileInner>, chunk: u64, now: Instant) -> Begun {
        if file.ahead.is_closed() && !self.later.keeps(file) {
            return Begun::Yes;
        }
        let version = file.version();
        let Ok(object) = self.may_store(&version) else {
            return Begun::NotNow;
        };
        if chunk >= object.geometry().chunks() || !self.is_wanted(&object, chunk) {
            return Begun::Yes;
        }
        if self.device_takes(Some((&object, chunk))) != Takes::Now {
            return Begun::Asleep;
        }
        if !file.origin.is_in_reach() || self.fill_waits(file, now).is_some() {
            return Begun::NotNow;
        }
        let (Some(place), Some(buffer)) = (self.place_for(file, &version), self.spare_buffer())
        else {
            return Begun::NotNow;
        };
        let claim = match self.admit_ahead(&object, chunk) {
            Ok(claim) => claim,
            Err(Grant::Asleep) => {
                self.have_it_told();
                return Begun::Asleep;
            }
            Err(_) => return Begun::Yes,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Config, File, OriginOptions};

    /// So many open files; their cache and where they are.
    fn files(count: usize) -> (Vec<File>, Cache, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("origin");
        std::fs::create_dir(&root).unwrap();
        let cache = Cache::open(&directory.path().join("cache"), &Config::default()).unwrap();
        let origin = cache
            .open_directory(&root, &OriginOptions::default())
            .unwrap();
        let open = |number: usize| {
            let name = number.to_string();
            std::fs::write(root.join(&name), "content").unwrap();
            origin.open(name.as_bytes()).unwrap()
        };
        ((0..count).map(open).collect(), cache, directory)
    }

    /// Has all files pass by, one after the other.
    fn passed(files: &[File], now: Instant) -> Later {
        let mut later = Later::new();
        for file in files {
            later.keep(&file.0, now);
            later.add(&file.0, 0..1);
        }
        later
    }

    #[test]
    fn of_files_that_passed_by_the_latest_are_kept_and_no_more_than_a_few() {
        let (files, ..) = files(LATER_FILES_MAX + 1);
        let later = passed(&files, Instant::now());
        assert_eq!(later.kept.len(), LATER_FILES_MAX);
        assert!(!later.keeps(&files[0].0));
        assert!(files[1..].iter().all(|file| later.keeps(&file.0)));
    }

    #[test]
    fn a_file_that_passes_by_again_is_kept_longer() {
        let (files, ..) = files(2);
        let now = Instant::now();
        let mut later = passed(&files, now);
        later.keep(&files[0].0, now + KEPT / 2);
        assert_eq!(later.kept.len(), 2);
        later.release(now + KEPT);
        assert!(later.keeps(&files[0].0) && !later.keeps(&files[1].0));
        later.release(now + KEPT * 2);
        assert!(later.kept.is_empty());
    }

    #[test]
    fn a_file_is_let_go_of_with_the_last_of_its_ranges() {
        let (files, ..) = files(2);
        let mut later = passed(&files, Instant::now());
        later.add(&files[0].0, 5..6);
        later.pop();
        assert!(later.keeps(&files[0].0), "another one of it is left");
        later.pop();
        later.pop();
        assert!(!later.keeps(&files[0].0) && !later.keeps(&files[1].0));
    }
}
