//! What the predictor asks for, read by read.

use super::budget::Budget;
use super::predictor::{Predictor, Watch};
use crate::limits::{
    READAHEAD_HEAD_BYTES, READAHEAD_IDLE_READS, READAHEAD_RUN_BYTES_MAX, READAHEAD_WATCH_READS,
};

use std::time::{Duration, Instant};

const CHUNK: u64 = 64 << 10;
/// Behind the head of the file.
const FROM: u64 = 100 * CHUNK;
const SIZE: u64 = 10_000 * CHUNK;

/// A file of which nothing is present, and a budget that is not the limit.
struct Reader {
    predictor: Predictor,
    budget: Budget,
    size: u64,
    unused: u64,
    now: Instant,
}

impl Reader {
    fn new() -> Self {
        Self {
            predictor: Predictor::new(CHUNK),
            budget: Budget::new(1 << 40),
            size: SIZE,
            unused: 0,
            now: Instant::now(),
        }
    }

    /// The chunks that a read has fetched, which come at once.
    fn read(&mut self, offset: u64, length: u64) -> Vec<u64> {
        let fetch = self.read_only(offset, length);
        self.arrive(&fetch);
        fetch
    }

    fn read_only(&mut self, offset: u64, length: u64) -> Vec<u64> {
        let read = offset..(offset + length).min(self.size);
        let nothing = |_| false;
        let advice = self
            .predictor
            .read(read, self.size, true, nothing, &self.budget);
        self.unused += advice.unused;
        advice.fetch
    }

    fn arrive(&mut self, chunks: &[u64]) {
        for chunk in chunks {
            assert!(self.predictor.arrived(*chunk, self.now, &self.budget));
        }
    }

    /// Reads in a row; the chunks that were fetched ahead.
    fn run(&mut self, offset: u64, length: u64, count: u64) -> Vec<u64> {
        let reads = (0..count).map(|n| offset + n * length);
        reads.flat_map(|at| self.read(at, length)).collect()
    }

    fn stall(&mut self, chunk: u64) -> Vec<u64> {
        let more = self.predictor.stalled(chunk, |_| false, &self.budget);
        self.arrive(&more);
        more
    }
}

#[test]
fn a_third_read_in_a_row_fetches_the_next_chunks() {
    let mut reader = Reader::new();
    assert_eq!(reader.read(FROM, CHUNK), []);
    assert_eq!(reader.read(FROM + CHUNK, CHUNK), []);
    assert_eq!(reader.read(FROM + 2 * CHUNK, CHUNK), [103, 104]);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), [105]);
    assert_eq!(reader.unused, 0);
}

#[test]
fn reads_smaller_than_a_chunk_make_a_run_within_it() {
    let mut reader = Reader::new();
    assert_eq!(reader.run(FROM, 4096, 2), []);
    assert_eq!(reader.read(FROM + 2 * 4096, 4096), [101, 102]);
    // Until it leaves its chunk, it has nothing more to tell.
    assert_eq!(reader.predictor.watch(), Watch::Leaving(100));
}

#[test]
fn a_look_at_the_head_of_a_file_fetches_nothing() {
    for length in [512, 4096, 16 << 10, 64 << 10] {
        let mut reader = Reader::new();
        let count = READAHEAD_HEAD_BYTES / length;
        assert_eq!(reader.run(0, length, count), [], "{count} of {length}");
    }
}

#[test]
fn a_run_that_goes_on_behind_the_head_is_one() {
    let mut reader = Reader::new();
    let count = READAHEAD_HEAD_BYTES / 4096;
    assert_eq!(reader.run(0, 4096, count), []);
    assert_eq!(reader.read(READAHEAD_HEAD_BYTES, 4096), [3, 4]);
}

#[test]
fn a_backward_run_fetches_what_lies_before_and_ends_at_the_first_chunk() {
    let mut reader = Reader::new();
    let reads = (0..5).rev().map(|n| n * CHUNK);
    let fetched: Vec<Vec<u64>> = reads.map(|at| reader.read(at, CHUNK)).collect();
    assert_eq!(fetched, [vec![], vec![], vec![1, 0], vec![], vec![]]);
    assert_eq!(reader.budget.used(), 0);
}

#[test]
fn a_strided_run_fetches_only_what_it_will_touch() {
    for (delta, length) in [(10 * CHUNK, 4096), (3 * CHUNK + 512, 100)] {
        let mut reader = Reader::new();
        let at = |n: u64| FROM + n * delta;
        for n in 0..3 {
            assert_eq!(reader.read(at(n), length), [], "read {n}");
        }
        let expected = [at(4) / CHUNK, at(5) / CHUNK];
        assert_eq!(reader.read(at(3), length), expected);
        assert_eq!(reader.read(at(4), length), [at(6) / CHUNK]);
        assert_eq!(reader.unused, 0);
    }
}

#[test]
fn a_strided_run_goes_downwards_too() {
    let mut reader = Reader::new();
    let at = |n: u64| 500 * CHUNK - n * 7 * CHUNK;
    assert!((0..3).all(|n| reader.read(at(n), 4096).is_empty()));
    assert_eq!(reader.read(at(3), 4096), [at(4) / CHUNK, at(5) / CHUNK]);
}

#[test]
fn short_strides_are_a_run_of_chunks() {
    let mut reader = Reader::new();
    assert!((0..3).all(|n| reader.read(FROM + n * 40_000, 4096).is_empty()));
    assert_eq!(reader.read(FROM + 3 * 40_000, 4096), [102, 103]);
}

#[test]
fn two_readers_of_one_file_have_a_run_each() {
    let mut reader = Reader::new();
    let other = 5_000 * CHUNK;
    for n in 0..2 {
        assert_eq!(reader.read(FROM + n * CHUNK, CHUNK), []);
        assert_eq!(reader.read(other + n * CHUNK, CHUNK), []);
    }
    assert_eq!(reader.read(FROM + 2 * CHUNK, CHUNK), [103, 104]);
    assert_eq!(reader.read(other + 2 * CHUNK, CHUNK), [5003, 5004]);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), [105]);
    assert_eq!(reader.read(other + 3 * CHUNK, CHUNK), [5005]);
    assert_eq!(reader.unused, 0);
}

#[test]
fn random_reads_fetch_nothing() {
    // Weyl's sequence: every distance occurs, none twice in a row.
    let mut reader = Reader::new();
    let mut place: u64 = 1;
    for _ in 0..10_000 {
        place = place
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let offset = (place >> 8) % (SIZE - 4096);
        assert_eq!(reader.read(offset, 4096), [], "{offset}");
    }
    assert_eq!(reader.predictor.watch(), Watch::Everything, "they miss");
}

#[test]
fn a_run_that_is_left_for_random_reads_gives_up_what_was_not_read() {
    let mut reader = Reader::new();
    assert_eq!(reader.run(FROM, CHUNK, 3), [103, 104]);
    assert_eq!(reader.budget.used(), 2 * CHUNK);
    for n in 0..=READAHEAD_IDLE_READS {
        reader.read(2_000 * CHUNK + n * n * CHUNK, 4096);
    }
    assert_eq!((reader.unused, reader.budget.used()), (2 * CHUNK, 0));
    // The next run gets less to begin with, and more again if it reads that.
    assert_eq!(reader.run(FROM + 10 * CHUNK, CHUNK, 3), [113]);
}

#[test]
fn a_reader_that_waits_gets_a_larger_window_once_for_each_place() {
    let mut reader = Reader::new();
    assert_eq!(reader.run(FROM, CHUNK, 3), [103, 104]);
    assert_eq!(reader.stall(102), [105, 106]);
    assert_eq!(reader.stall(102), []);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), [107]);
    assert_eq!(reader.stall(103), [108, 109, 110, 111]);
}

#[test]
fn a_wait_elsewhere_grows_no_window() {
    let mut reader = Reader::new();
    assert_eq!(reader.run(FROM, CHUNK, 3), [103, 104]);
    assert_eq!(reader.stall(500), []);
}

#[test]
fn the_window_has_a_limit() {
    let mut reader = Reader::new();
    reader.run(FROM, CHUNK, 3);
    for n in 3..200 {
        reader.read(FROM + n * CHUNK, CHUNK);
        reader.stall(100 + n);
        assert!(reader.budget.used() <= READAHEAD_RUN_BYTES_MAX, "read {n}");
    }
    // It is refilled once a quarter of it was read.
    assert!(reader.budget.used() >= READAHEAD_RUN_BYTES_MAX / 4 * 3);
}

#[test]
fn chunks_that_are_left_out_shrink_the_window() {
    let mut reader = Reader::new();
    reader.run(FROM, CHUNK, 3);
    assert_eq!(reader.stall(102), [105, 106]);
    assert_eq!(reader.stall(102), []);
    // 103 is left out, and again 105: by less than what a run may skip.
    reader.read(FROM + 4 * CHUNK, CHUNK);
    reader.read(FROM + 6 * CHUNK, CHUNK);
    reader.read(FROM + 8 * CHUNK, CHUNK);
    assert_eq!(reader.unused, 2 * CHUNK);
    reader.read(FROM + 9 * CHUNK, CHUNK);
    assert!(reader.budget.used() <= 2 * CHUNK);
}

#[test]
fn nothing_beyond_the_end_of_the_file_is_asked_for() {
    let mut reader = Reader::new();
    reader.size = FROM + 3 * CHUNK + 1;
    assert_eq!(reader.run(FROM, CHUNK, 3), [103]);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), []);
    assert_eq!(reader.budget.used(), 0);
}

#[test]
fn the_limit_of_all_files_is_kept() {
    let mut reader = Reader::new();
    reader.budget = Budget::new(3 * CHUNK);
    assert_eq!(reader.run(FROM, CHUNK, 3), [103, 104]);
    // It may have as much as is left for others.
    assert_eq!(reader.stall(102), []);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), [105]);
    assert_eq!(reader.budget.used(), 2 * CHUNK);
}

#[test]
fn a_chunk_that_was_refused_is_asked_for_again() {
    let mut reader = Reader::new();
    reader.run(FROM, CHUNK, 2);
    assert_eq!(reader.read_only(FROM + 2 * CHUNK, CHUNK), [103, 104]);
    reader.predictor.refused(103, &reader.budget);
    reader.predictor.refused(104, &reader.budget);
    assert_eq!(reader.budget.used(), 0);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), [104, 105]);
}

#[test]
fn a_chunk_that_cannot_be_fetched_ends_its_run() {
    let mut reader = Reader::new();
    reader.run(FROM, CHUNK, 2);
    assert_eq!(reader.read_only(FROM + 2 * CHUNK, CHUNK), [103, 104]);
    reader.arrive(&[103]);
    assert_eq!(reader.predictor.failed(104, &reader.budget), CHUNK);
    assert_eq!(reader.budget.used(), 0);
    assert_eq!(reader.run(FROM + 3 * CHUNK, CHUNK, 2), []);
    assert_eq!(reader.read(FROM + 5 * CHUNK, CHUNK), [106]);
}

#[test]
fn a_chunk_that_was_read_on_its_way_is_not_unused() {
    let mut reader = Reader::new();
    reader.run(FROM, CHUNK, 2);
    assert_eq!(reader.read_only(FROM + 2 * CHUNK, CHUNK), [103, 104]);
    assert_eq!(reader.read(FROM + 3 * CHUNK, CHUNK), [105]);
    reader.arrive(&[103]);
    assert_eq!(reader.budget.used(), 2 * CHUNK);
    let closed = reader.predictor.close(&reader.budget);
    assert_eq!(closed, (true, CHUNK), "105 had come, 104 had not");
    assert_eq!(reader.budget.used(), 0);
    assert!(!reader.predictor.arrived(104, reader.now, &reader.budget));
}

#[test]
fn hits_are_watched_after_a_miss_only() {
    let mut reader = Reader::new();
    let budget = Budget::new(1 << 40);
    let hit = |predictor: &mut Predictor, n: u64| {
        let offset = n * n * 5 * CHUNK;
        predictor.read(offset..offset + 1, SIZE, false, |_| true, &budget);
        predictor.watch()
    };
    assert_eq!(hit(&mut reader.predictor, 1), Watch::Nothing);
    reader.read(FROM, 1);
    assert_eq!(hit(&mut reader.predictor, 2), Watch::Everything);
    let hits = u64::from(READAHEAD_WATCH_READS);
    let watched: Vec<Watch> = (3..3 + hits)
        .map(|n| hit(&mut reader.predictor, n))
        .collect();
    assert_eq!(watched.last(), Some(&Watch::Nothing));
}

#[test]
fn what_came_long_ago_and_is_not_read_gives_its_share_back() {
    let mut reader = Reader::new();
    let begun = reader.now;
    let early = reader.run(FROM, CHUNK, 3).len() as u64;
    assert!(early > 0);
    reader.now += Duration::from_secs(5);
    let late = reader.read_only(FROM + 3 * CHUNK, CHUNK);
    reader.arrive(&late);
    let unread = reader.budget.used() / CHUNK;
    let before = begun - Duration::from_nanos(1);
    let (unused, oldest) = reader.predictor.reclaim(before, &reader.budget);
    assert_eq!((unused, oldest), (0, Some(begun)), "nothing is old");
    let (unused, oldest) = reader.predictor.reclaim(begun, &reader.budget);
    assert_eq!(unused, (unread - late.len() as u64) * CHUNK);
    assert_eq!(reader.budget.used(), late.len() as u64 * CHUNK);
    assert_eq!(oldest, (!late.is_empty()).then_some(reader.now));
    let (_, oldest) = reader.predictor.reclaim(reader.now, &reader.budget);
    assert_eq!((oldest, reader.budget.used()), (None, 0));
    // It goes on as before.
    assert!(!reader.run(FROM + 200 * CHUNK, CHUNK, 3).is_empty());
}
