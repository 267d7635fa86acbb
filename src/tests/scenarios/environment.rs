//! What the system grants is used, and what it refuses is said.
//!
//! `capi-tests/tests/fallback` runs all scenarios where something is refused;
//! it says what it took away by the environment variables that are read here.

use crate::tests::door::{Door, LIMIT, Place, QueueDoor, Settings, granted_engine};
use crate::tests::log::Log;
use crate::tests::origin::{TestOrigin, content};
use cachefs_core::EngineChoice;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// What must be in the text about the engine: several, with `;` between them.
const EXPECT_REASON: &str = "CACHEFS_EXPECT_REASON";
/// What the log or the report must say when memory is registered; not set: nothing.
const EXPECT_LOG: &str = "CACHEFS_EXPECT_LOG";

fn expected(variable: &str) -> Vec<String> {
    let text = std::env::var(variable).unwrap_or_default();
    let parts = text.split(';').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

pub(crate) fn the_engine_is_what_the_system_grants<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let (kind, reason) = cache.engine();
    match engine {
        EngineChoice::Auto => {
            let granted = granted_engine().unwrap_or(kind);
            assert_eq!(kind, granted, "{reason}");
            for part in expected(EXPECT_REASON) {
                assert!(reason.contains(&part), "\"{reason}\" does not say: {part}");
            }
        }
        named => assert_eq!(kind, named, "{reason}"),
    }
    assert!(!reason.is_empty());
}

pub(crate) fn an_engine_that_is_refused_is_an_error_only_by_name<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let named = D::open(&place.cache(), &Settings::new(EngineChoice::Uring));
    match granted_engine() {
        None => {}
        Some(EngineChoice::Uring) => assert!(named.is_ok()),
        Some(_) => {
            let errno = named.err().expect("it is refused");
            let known = [libc::EPERM, libc::ENOSYS, libc::EOPNOTSUPP];
            assert!(known.contains(&errno), "{errno}");
        }
    }
    assert!(D::open(&place.cache(), &Settings::new(engine)).is_ok());
}

pub(crate) fn registered_memory_works_whether_or_not_it_can_be_pinned<D: Door>(
    engine: EngineChoice,
) {
    let place = Place::new();
    let log = Log::new();
    let mut settings = Settings::new(engine);
    settings.log = Some(log);
    let cache = D::open(&place.cache(), &settings).unwrap();
    let origin = cache.custom("code", Arc::new(TestOrigin::new(2 * MIB)));
    let file = cache.file(&origin, b"file").unwrap();
    cache.fill(&file, &mut |_, _| true).unwrap();
    // Twice what RLIMIT_MEMLOCK lets ordinary users have. Some of it is read to.
    let memory = cache.allocate(16 * MIB as usize);
    // SAFETY: it is ours until it is freed below, and longer.
    let buffer = unsafe { std::slice::from_raw_parts_mut(memory, MIB as usize) };
    let mut queue = cache.queue(2);
    // Several times, so that it is worth pinning.
    for offset in [0, 7, MIB] {
        buffer.fill(0);
        queue.read(&file, buffer, offset, 1).unwrap();
        assert_eq!(queue.wait(1, 1, Some(LIMIT))[0].result, MIB as i64);
        assert!(*buffer == content(1, offset, MIB as usize)[..]);
    }
    drop(queue);
    cache.free(memory);
    let told = expected(EXPECT_LOG);
    let said = format!("{}\n{}", cache.engine().1, log.lines());
    for part in &told {
        assert!(said.contains(part), "it does not say {part}:\n{said}");
    }
    if told.is_empty() {
        assert!(!said.contains("registered memory"), "{said}");
    }
}
