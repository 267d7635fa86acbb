use super::*;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

const CHUNK: u64 = 64 << 10;

/// A file of so many chunks, each full of its number plus 1, and the last short.
fn file(chunks: u64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    for chunk in 0..chunks {
        file.write_all(&[chunk as u8 + 1; CHUNK as usize]).unwrap();
    }
    file.set_len(chunks * CHUNK - 1000).unwrap();
    file
}

fn extent(chunks: u64, chunk: u64) -> Range<u64> {
    let short = if chunk + 1 == chunks { 1000 } else { 0 };
    chunk * CHUNK..(chunk + 1) * CHUNK - short
}

fn load(resident: &Resident, file: &File, chunks: u64, chunk: u64) {
    let content = Content::Mapped(file.as_fd());
    resident.load(chunk, content, extent(chunks, chunk), true);
}

/// The byte at `start` of a chunk, if it is in memory.
fn byte(resident: &Resident, chunk: u64, start: usize) -> Option<u8> {
    let Look::Here(held) = resident.look(chunk) else {
        return None;
    };
    let mut byte = 0;
    // SAFETY: a byte of ours, during the call.
    held.copy(start, 1, unsafe { Lent::new(&raw mut byte, 1) });
    Some(byte)
}

#[test]
fn a_chunk_is_wanted_after_some_reads_and_only_one_at_a_time() {
    let tier = Tier::new(8 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    for _ in 1..MEMORY_READS_MIN {
        assert!(matches!(resident.look(0), Look::Absent));
    }
    assert!(matches!(resident.look(0), Look::Wanted));
    for _ in 0..MEMORY_READS_MIN {
        assert!(matches!(resident.look(1), Look::Absent), "0 is coming in");
    }
    resident.give_up();
    for _ in 1..MEMORY_READS_MIN {
        assert!(matches!(resident.look(1), Look::Absent));
    }
    assert!(matches!(resident.look(1), Look::Wanted));
}

#[test]
fn what_was_loaded_is_the_file_mapped_or_copied() {
    let file = file(3);
    for content in [
        Content::Mapped(file.as_fd()),
        Content::Copied(file.as_fd(), 512),
    ] {
        let tier = Tier::new(8 * CHUNK, CHUNK).unwrap();
        let resident = tier.resident().unwrap();
        for chunk in 0..3 {
            resident.load(chunk, content, extent(3, chunk), true);
        }
        assert_eq!(tier.bytes(), 3 * CHUNK - 1000);
        assert_eq!(byte(&resident, 0, 0), Some(1));
        assert_eq!(byte(&resident, 1, CHUNK as usize - 1), Some(2));
        assert_eq!(byte(&resident, 2, CHUNK as usize - 1001), Some(3));
        drop(resident);
        assert_eq!(tier.bytes(), 0);
    }
}

#[test]
#[should_panic(expected = "start <= self.length")]
fn nothing_is_copied_from_beyond_a_chunk() {
    let file = file(1);
    let tier = Tier::new(8 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    load(&resident, &file, 1, 0);
    byte(&resident, 0, CHUNK as usize - 1000);
}

#[test]
fn at_the_limit_what_is_not_read_has_to_go() {
    let file = file(6);
    let tier = Tier::new(4 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    for chunk in 0..4 {
        load(&resident, &file, 6, chunk);
    }
    assert_eq!(tier.bytes(), 4 * CHUNK, "the limit itself");
    // All were just opened; the hand passes all of them once, and takes one.
    load(&resident, &file, 6, 4);
    assert_eq!(tier.bytes(), 4 * CHUNK);
    let left: Vec<u64> = (0..4)
        .filter(|c| byte(&resident, *c, 0).is_some())
        .collect();
    assert_eq!(left.len(), 3);
    assert_eq!(byte(&resident, 4, 0), Some(5));
}

#[test]
fn what_is_held_stays_and_makes_no_room() {
    let file = file(3);
    let tier = Tier::new(2 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    load(&resident, &file, 3, 0);
    load(&resident, &file, 3, 1);
    let held = [resident.look(0), resident.look(1)];
    assert!(held.iter().all(|look| matches!(look, Look::Here(_))));
    load(&resident, &file, 3, 2);
    assert_eq!(byte(&resident, 2, 0), None, "there was no room");
    drop(held);
    load(&resident, &file, 3, 2);
    assert_eq!(byte(&resident, 2, 0), Some(3));
}

#[test]
fn a_file_that_ends_early_is_not_loaded() {
    let file = file(1);
    let tier = Tier::new(8 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    resident.load(
        1,
        Content::Copied(file.as_fd(), 512),
        CHUNK..2 * CHUNK,
        true,
    );
    assert_eq!(byte(&resident, 1, 0), None);
    // Pages behind the end cannot be touched (mmap(2)).
    resident.load(1, Content::Mapped(file.as_fd()), CHUNK..2 * CHUNK, true);
    assert_eq!(byte(&resident, 1, 0), None);
    assert_eq!(tier.bytes(), 0);
}

#[test]
fn a_process_that_may_lock_no_more_keeps_what_it_has() {
    let file = file(3);
    let tier = Tier::new(8 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    load(&resident, &file, 3, 0);
    tier.lower_limit(Errno::NOMEM);
    assert_eq!(byte(&resident, 0, 0), Some(1));
    load(&resident, &file, 3, 1);
    assert_eq!(tier.bytes(), CHUNK, "one for the other");
}

#[test]
fn files_do_not_meet_each_others_chunks() {
    let (one, other) = (file(1), file(2));
    let tier = Tier::new(8 * CHUNK, CHUNK).unwrap();
    let (first, second) = (tier.resident().unwrap(), tier.resident().unwrap());
    load(&first, &one, 1, 0);
    assert_eq!(byte(&second, 0, 0), None);
    load(&second, &other, 2, 1);
    drop(first);
    assert_eq!(byte(&second, 1, 0), Some(2));
}

#[test]
fn what_is_kept_stays_until_it_is_given_back() {
    let file = file(3);
    let tier = Tier::new(2 * CHUNK, CHUNK).unwrap();
    let resident = tier.resident().unwrap();
    load(&resident, &file, 3, 0);
    load(&resident, &file, 3, 1);
    let kept = [0, 1].map(|chunk| match resident.look(chunk) {
        Look::Here(held) => held.keep(),
        _ => unreachable!("it was loaded"),
    });
    load(&resident, &file, 3, 2);
    assert_eq!(byte(&resident, 2, 0), None, "there was no room");
    kept.into_iter().for_each(|kept| resident.give_back(kept));
    load(&resident, &file, 3, 2);
    assert_eq!(byte(&resident, 2, 0), Some(3));
}
