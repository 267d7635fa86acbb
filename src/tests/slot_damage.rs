//! Slots of the table that say something wrong of their objects, each kind on its own:
//! what they say is put right, and costs no object more than a place.

use super::door::Place;
use super::sharing::{CAPACITY, SIZE, TABLE, agrees, config, disk_usage, is_complete};
use super::sharing::{Scene, object_files, open, read, wait_until};
use cachefs_core::{Config, Errno, State};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Of the table, as docs/format.md and src/core/evict/table/layout.rs have it.
const SLOTS: u64 = 8192;
const SLOT_BYTES: u64 = 40;
const OBJECTS_MAX: u64 = 16;
const BEGUN: u64 = 192;
const USED: u64 = 128;
const PROCESS: u64 = 1024 + 99 * 8;
/// Of a slot.
const KEY: u64 = 0;
const NONCE: u64 = 16;
const STATE: u64 = 24;
/// Of a state.
const BLOCKS: u64 = u32::MAX as u64;
const FILLING: u64 = 1 << 36;
const PINNED: u64 = 1 << 35;
const LIVE: u64 = 3 << 37;

/// The table of a place, past those who map it.
struct Damage(File);

impl Damage {
    fn of(place: &Place) -> Self {
        let mut options = File::options();
        let options = options.read(true).write(true);
        Self(options.open(place.cache().join(TABLE)).unwrap())
    }

    fn word(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, offset).unwrap();
        u64::from_ne_bytes(word)
    }

    fn write(&self, offset: u64, word: u64) {
        self.0.write_all_at(&word.to_ne_bytes(), offset).unwrap();
    }

    fn change(&self, offset: u64, change: impl Fn(u64) -> u64) {
        self.write(offset, change(self.word(offset)));
    }

    /// Where the slots of objects are.
    fn slots(&self) -> Vec<u64> {
        let objects = self.word(OBJECTS_MAX);
        let all = (0..objects + objects / 2 + 64).map(|slot| SLOTS + slot * SLOT_BYTES);
        all.filter(|slot| self.word(slot + STATE) & LIVE == LIVE)
            .collect()
    }

    /// Has each slot count so many blocks more.
    fn count_more(&self, blocks: i64) {
        for slot in self.slots() {
            self.change(slot + STATE, |state| state.wrapping_add_signed(blocks));
        }
    }
}

/// What each slot says, and what is counted of all, is what is on the disk.
fn is_put_right(scene: &Scene, place: &Place) {
    let damage = Damage::of(place);
    wait_until("the slots have what is on the disk", || {
        let blocks = |slot| damage.word(slot + STATE) & BLOCKS;
        let blocks: u64 = damage.slots().into_iter().map(blocks).sum();
        blocks * 4096 == disk_usage(&place.cache())
    });
    agrees(&scene.cache, &place.cache());
}

/// Nonces that the names of data files tell.
fn nonces_of_files(place: &Place) -> Vec<u64> {
    let nonce = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let (_, nonce) = name.strip_suffix(".data")?.split_once('.')?;
        Some(u64::from_str_radix(nonce, 16).unwrap())
    };
    let files = object_files(&place.cache()).into_iter();
    let mut nonces: Vec<u64> = files.filter_map(nonce).collect();
    nonces.sort_unstable();
    nonces
}

fn count(scene: &Scene) -> u64 {
    scene.cache.stats().cached_objects
}

/// Leaves a cache with the files "0", "1", and so on.
fn leave_with(place: &Place, count: u64) {
    let scene = open(place, &config());
    for number in 0..count {
        read(&scene.cache, &scene.origin, &number.to_string());
    }
}

fn is_stored(scene: &Scene) -> bool {
    scene.cache.report().state == State::Normal
}

#[test]
fn the_count_of_an_object_that_is_in_use_is_put_right() {
    for blocks in [-28, 83, 1 << 31] {
        let place = Place::new();
        let user = open(&place, &config());
        let held = read(&user.cache, &user.origin, "held");
        Damage::of(&place).count_more(blocks);
        // Who comes looks whether the table can be believed.
        let scene = open(&place, &config());
        is_put_right(&scene, &place);
        drop(held);
        drop(user);
        is_put_right(&scene, &place);
    }
}

#[test]
fn the_count_of_an_object_that_is_partly_filled_is_put_right_by_its_last_user() {
    let place = Place::new();
    let user = open(&place, &config());
    let file = user.origin.open(b"held").unwrap();
    file.fill(0, SIZE / 4, |_, _| true).unwrap();
    drop((file, user));
    let user = open(&place, &config());
    let held = user.origin.open(b"held").unwrap();
    // No more than all of it would take: nobody can tell that from what is reserved.
    Damage::of(&place).count_more(20);
    let scene = open(&place, &config());
    wait_until("it is looked through", || {
        is_stored(&scene) && scene.cache.stats().cached_bytes <= CAPACITY
    });
    drop(held);
    drop(user);
    is_put_right(&scene, &place);
}

#[test]
fn the_count_of_an_object_that_is_open_only_to_be_synced_is_put_right() {
    let place = Place::new();
    let late = Config {
        sync_interval_ms: 4000,
        ..config()
    };
    let user = open(&place, &late);
    let file = user.origin.open(b"held").unwrap();
    file.fill(0, SIZE / 4, |_, _| true).unwrap();
    drop(file);
    let damage = Damage::of(&place);
    let slot = damage.slots()[0];
    wait_until("it is closed", || damage.word(slot + STATE) & FILLING == 0);
    damage.count_more(20);
    let scene = open(&place, &config());
    is_put_right(&scene, &place);
}

#[test]
fn counts_are_put_right_also_where_somebody_seems_to_have_died() {
    let place = Place::new();
    leave_with(&place, 3);
    let damage = Damage::of(&place);
    damage.count_more(-28);
    damage.write(PROCESS, 7);
    let scene = open(&place, &config());
    is_put_right(&scene, &place);
}

#[test]
fn a_table_that_nobody_could_look_at_undisturbed_is_looked_at_again() {
    let place = Place::new();
    leave_with(&place, 3);
    let damage = Damage::of(&place);
    damage.write(USED, 1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As if others began changes all the time.
        scope.spawn(|| {
            let mut begun = 1 << 40;
            while !over.load(Ordering::Relaxed) {
                begun += 1;
                damage.write(BEGUN, begun);
            }
        });
        let scene = open(&place, &config());
        std::thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        is_put_right(&scene, &place);
    });
}

#[test]
fn an_object_whose_slot_has_another_key_is_found_again_when_that_is_evicted() {
    damaged_and_evicted(|damage, slot| damage.change(slot + KEY, |key| key ^ 1 << 5));
}

#[test]
fn an_object_whose_slot_has_another_nonce_is_evicted_in_its_place() {
    damaged_and_evicted(|damage, slot| damage.change(slot + NONCE, |nonce| nonce ^ 1 << 5));
}

/// Damages slots of objects that nobody asks for again, so that no sum is wrong, and
/// then stores as much as there is room for.
fn damaged_and_evicted(damaged: impl Fn(&Damage, u64)) {
    let place = Place::new();
    leave_with(&place, 3);
    let damage = Damage::of(&place);
    for slot in damage.slots() {
        damaged(&damage, slot);
    }
    let scene = open(&place, &config());
    for number in 10..60 {
        read(&scene.cache, &scene.origin, &number.to_string());
    }
    is_put_right(&scene, &place);
    let used = disk_usage(&place.cache());
    assert!(used <= CAPACITY + 16 * 4096, "{used}");
}

#[test]
fn a_wrong_nonce_costs_no_object_when_somebody_has_died() {
    let place = Place::new();
    leave_with(&place, 3);
    let damage = Damage::of(&place);
    for slot in damage.slots() {
        damage.change(slot + NONCE, |nonce| nonce ^ 1 << 5);
    }
    damage.write(PROCESS, 7);
    let scene = open(&place, &config());
    wait_until("the slots have the nonces of their files", || {
        let nonces = damage.slots().into_iter();
        let mut nonces: Vec<u64> = nonces.map(|slot| damage.word(slot + NONCE)).collect();
        nonces.sort_unstable();
        nonces.len() == 3 && nonces == nonces_of_files(&place)
    });
    is_put_right(&scene, &place);
    assert_eq!(count(&scene), 3);
    for number in 0..3 {
        assert!(is_complete(&scene.origin, &number.to_string()), "{number}");
    }
}

#[test]
fn what_nobody_has_pinned_can_be_evicted_after_the_table_was_damaged() {
    let place = Place::new();
    let scene = open(&place, &config());
    let file = read(&scene.cache, &scene.origin, "pinned");
    file.pin().unwrap();
    let others = ["other", "third"].map(|name| read(&scene.cache, &scene.origin, name));
    drop((file, others, scene));
    let damage = Damage::of(&place);
    let pinned = || {
        let mut slots = damage.slots();
        slots.retain(|slot| damage.word(slot + STATE) & PINNED != 0);
        slots
    };
    let right = pinned();
    assert_eq!(right.len(), 1);
    for slot in damage.slots() {
        damage.change(slot + STATE, |state| state ^ PINNED);
    }
    let scene = open(&place, &config());
    wait_until("pins are known again", || {
        pinned() == right && is_stored(&scene)
    });
    let evicted = |name: &[u8]| scene.origin.open(name).unwrap().evict();
    let refused = evicted(b"pinned").map_err(|error| error.errno());
    assert_eq!(refused, Err(Errno::BUSY));
    assert!(evicted(b"other").is_ok() && evicted(b"third").is_ok());
}
