//! The table against a model, and against damage.

use super::super::s3fifo;
use super::*;
use rustix::fs::MemfdFlags;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

/// xorshift64*: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn file(objects_max: u64) -> (OwnedFd, Sizes) {
    let sizes = Sizes::new(objects_max, 11);
    let file = rustix::fs::memfd_create("slots", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, sizes.file_bytes()).unwrap();
    (file, sizes)
}

fn table(objects_max: u64) -> Table {
    let (file, sizes) = file(objects_max);
    Table::map(file.as_fd(), sizes).unwrap()
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

#[derive(Clone, Copy)]
struct Known {
    handle: Handle,
    nonce: u64,
    blocks: u64,
    pinned: bool,
}

/// What the model has must be what the table has, in each and in all.
fn compare(table: &Table, model: &HashMap<u64, Known>, seed: u64) {
    for (number, known) in model {
        let entry = table.find(key(*number));
        let entry = entry.unwrap_or_else(|| panic!("seed {seed}: {number} is lost"));
        assert_eq!(entry.handle, known.handle, "seed {seed}");
        assert_eq!(entry.nonce, known.nonce, "seed {seed}");
        assert_eq!(entry.state.blocks(), known.blocks, "seed {seed}");
        assert_eq!(entry.state.is_pinned(), known.pinned, "seed {seed}");
    }
    let totals = table.totals();
    assert_eq!(totals.objects, model.len() as u64, "seed {seed}");
    let blocks: u64 = model.values().map(|known| known.blocks).sum();
    assert_eq!(totals.blocks, blocks, "seed {seed}");
    assert_eq!(table.is_sound(), Some(true), "seed {seed}");
}

#[test]
fn a_table_does_what_a_map_does() {
    for seed in 1..=20 {
        let mut numbers = Numbers(seed);
        let table = table(200);
        let mut model: HashMap<u64, Known> = HashMap::new();
        for step in 0..4000 {
            let number = numbers.below(300);
            let known = model.get(&number).copied();
            match (numbers.below(6), known) {
                (0 | 1, None) => {
                    let nonce = numbers.next();
                    let entered = s3fifo::enter(&table, key(number), nonce, State::default());
                    assert_eq!(entered.is_some(), model.len() < 200, "seed {seed}");
                    if let Some(handle) = entered {
                        let known = Known {
                            handle,
                            nonce,
                            blocks: 0,
                            pinned: false,
                        };
                        model.insert(number, known);
                    }
                }
                (2, Some(known)) => {
                    assert!(table.remove(known.handle).is_some(), "seed {seed}");
                    assert!(table.remove(known.handle).is_none(), "seed {seed}: twice");
                    assert_eq!(table.reserve(known.handle, 1, 9999), Err(false));
                    model.remove(&number);
                }
                (3, Some(mut known)) => {
                    let (blocks, limit) = (numbers.below(50), 2000);
                    let fits = table.totals().blocks + blocks <= limit;
                    let reserved = table.reserve(known.handle, blocks, limit);
                    assert_eq!(reserved.is_ok(), fits, "seed {seed}");
                    known.blocks += if fits { blocks } else { 0 };
                    model.insert(number, known);
                }
                (4, Some(mut known)) => {
                    known.blocks = numbers.below(known.blocks + 1);
                    known.pinned = numbers.below(2) == 0;
                    let changed = |state: State| {
                        let state = state.with_blocks(known.blocks);
                        state.with_pinned(known.pinned)
                    };
                    table.update(known.handle, changed);
                    model.insert(number, known);
                }
                (_, Some(known)) => {
                    table.touch(known.handle);
                }
                (_, None) => assert_eq!(table.find(key(number)), None, "seed {seed}"),
            }
            if step % 100 == 0 {
                compare(&table, &model, seed);
            }
        }
        compare(&table, &model, seed);
    }
}

#[test]
fn each_object_that_may_go_goes_once() {
    for seed in 1..=20 {
        let mut numbers = Numbers(seed);
        let table = table(100);
        for number in 0..100 {
            let handle = s3fifo::enter(&table, key(number), number, State::default()).unwrap();
            for _ in 0..numbers.below(5) {
                table.touch(handle);
            }
        }
        let mut gone = Vec::new();
        while let Some(entry) = s3fifo::next(&table, |entry| !entry.nonce.is_multiple_of(7)) {
            s3fifo::evicted(&table, entry.handle, entry.key);
            gone.push(entry.nonce);
        }
        gone.sort_unstable();
        let expected: Vec<u64> = (0..100).filter(|number| number % 7 != 0).collect();
        assert_eq!(gone, expected, "seed {seed}");
    }
}

#[test]
fn a_full_table_takes_no_more_and_takes_one_for_one_that_goes() {
    let table = table(64);
    let handles: Vec<_> = (0..64)
        .map(|number| table.insert(key(number), 0, State::default()).unwrap())
        .collect();
    assert_eq!(table.insert(key(64), 0, State::default()), None);
    table.remove(handles[9]);
    assert!(table.insert(key(64), 0, State::default()).is_some());
    assert_eq!(table.insert(key(65), 0, State::default()), None);
}

#[test]
fn what_two_mappings_do_at_once_is_counted_right() {
    const EACH: u64 = 20_000;
    let (file, sizes) = file(64);
    let tables = [0, 1].map(|_| Table::map(file.as_fd(), sizes).unwrap());
    let handle = tables[0].insert(key(1), 1, State::default()).unwrap();
    std::thread::scope(|scope| {
        for table in &tables {
            scope.spawn(|| {
                for step in 0..EACH {
                    table.reserve(handle, 3, u64::MAX).unwrap();
                    let less = |state: State| state.with_blocks(state.blocks() - 1);
                    table.update(handle, less).unwrap();
                    if step % 16 == 0 {
                        table.update(handle, |state| state.with_long(!state.is_long()));
                    }
                }
            });
        }
    });
    assert_eq!(tables[0].totals().blocks, 2 * EACH * 2);
    assert_eq!(tables[1].is_sound(), Some(true));
}

#[test]
fn blocks_go_with_their_object_to_another_origin() {
    let table = table(64);
    let state = State::default().with_blocks(5).with_origin(3);
    let handle = table.insert(key(1), 1, state).unwrap();
    table.limit_origin(3, 1, 0);
    table.limit_origin(4, 1, 0);
    assert_eq!(
        (table.origin_excess(3, 0), table.origin_excess(4, 0)),
        (4, 0)
    );
    table.update(handle, |state| state.with_origin(4).with_blocks(7));
    assert_eq!(
        (table.origin_excess(3, 0), table.origin_excess(4, 0)),
        (0, 6)
    );
    table.remove(handle);
    assert_eq!(table.origin_excess(4, 0), 0);
}

#[test]
fn counts_that_a_dead_process_left_wrong_are_put_right() {
    let table = table(64);
    for number in 0..10 {
        let handle = table.insert(key(number), 0, State::default()).unwrap();
        table.reserve(handle, 5, 1000).unwrap();
    }
    // Killed between reserving in all and in one, in the middle of a change.
    table.word(Word::Begun).fetch_add(1, Ordering::Relaxed);
    table.word(Word::Used).fetch_add(256, Ordering::Relaxed);
    table.word(Word::Objects).fetch_add(1, Ordering::Relaxed);
    assert_eq!(table.is_sound(), Some(false));
    assert!(table.recount());
    assert_eq!(table.is_sound(), Some(true));
    let totals = table.totals();
    assert_eq!((totals.blocks, totals.objects), (50, 10));
}

#[test]
fn a_slot_that_somebody_died_over_is_free_again() {
    let table = table(64);
    let (slot, _) = table.claim(key(1)).unwrap();
    assert!(table.find(key(1)).is_none());
    let busy = table.busy();
    assert_eq!(busy.len(), 1);
    table.free_busy(&busy);
    let handle = table.insert(key(1), 5, State::default()).unwrap();
    assert_eq!(u64::from(handle.slot), slot);
}

#[test]
fn any_damage_is_survived_and_put_right() {
    for seed in 1..=60 {
        let mut numbers = Numbers(seed);
        let (file, sizes) = file(64);
        let table = Table::map(file.as_fd(), sizes).unwrap();
        for number in 0..40 {
            let handle = s3fifo::enter(&table, key(number), number, State::default()).unwrap();
            table.reserve(handle, 4, 1000).unwrap();
        }
        // Behind the part that has a checksum; words at their limits are the worst.
        let words = sizes.file_bytes() / 8;
        for _ in 0..1 + numbers.below(200) {
            let word = table.memory.word((8 + numbers.below(words - 8)) * 8);
            match numbers.below(3) {
                0 => word.store(numbers.next(), Ordering::Relaxed),
                1 => word.store(u64::MAX, Ordering::Relaxed),
                _ => {
                    word.fetch_xor(1 << numbers.below(64), Ordering::Relaxed);
                }
            }
        }
        table.calm();
        for number in 0..60 {
            if let Some(entry) = table.find(key(number)) {
                assert_eq!(entry.key, key(number));
                let _room = table.reserve(entry.handle, 2, 1000);
                table.touch(entry.handle);
            } else {
                s3fifo::enter(&table, key(number), number, State::default());
            }
        }
        let mut rounds = 0;
        while let Some(entry) = s3fifo::next(&table, |_| true) {
            s3fifo::evicted(&table, entry.handle, entry.key);
            rounds += 1;
            assert!(rounds < 10_000, "seed {seed}: it never ends");
        }
        table.free_busy(&table.busy());
        table.drop_lost();
        assert!(table.recount(), "seed {seed}");
        table.queue_anew();
        assert_eq!(table.is_sound(), Some(true), "seed {seed}");
        // What is left can all go.
        while let Some(entry) = s3fifo::next(&table, |_| true) {
            s3fifo::evicted(&table, entry.handle, entry.key);
        }
        let left = table.entries().filter(|entry| !entry.state.is_pinned());
        assert_eq!(left.count(), 0, "seed {seed}");
    }
}

#[test]
fn a_header_of_another_format_or_with_any_bit_flipped_is_none() {
    let sizes = Sizes::new(1000, 5);
    let good = sizes.encode();
    assert_eq!(Sizes::decode(&good), Some(sizes));
    for bit in 0..good.len() * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Sizes::decode(&bad), None, "bit {bit}");
    }
    assert_eq!(Sizes::decode(&[0; FIXED_BYTES]), None);
}
