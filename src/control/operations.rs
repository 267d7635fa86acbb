//! The commands that take a cache and an origin, and nothing of whoever has them open.
//! Paths are below the origin's root. Errors are those of the core.

use crate::explain::words;
use crate::name::Name;
use crate::protocol::Refusal;
use crate::reports::{Entry, Explained, Filled, Health, OfCache, OfFile, OfObject, OfOrigin};
use crate::reports::{Verified, exact, percent};
use crate::words::describe;
use cachefs_core::{Cache, Circuit, EngineKind, Kept, ObjectInfo, Origin, State};
use cachefs_core::{Verification, VersionToken};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a command comes to.
pub type Outcome<T> = Result<T, Refusal>;

/// The cache as a whole. To count the objects of each origin takes a look at all of them.
pub fn stat(cache: &Cache, directory: &Path, with_origins: bool) -> Outcome<OfCache> {
    let (report, stats) = (cache.report(), cache.stats());
    let bytes = directory.as_os_str().as_bytes();
    Ok(OfCache {
        directory: String::from_utf8_lossy(bytes).into_owned(),
        directory_bytes: exact(bytes),
        state: report.state.name().to_owned(),
        state_reason: report.state.reason().map(str::to_owned),
        engine: match report.engine {
            EngineKind::Uring => "uring".to_owned(),
            EngineKind::Psync => "psync".to_owned(),
        },
        engine_reason: report.engine_reason,
        capacity_bytes: cache.capacity_bytes(),
        cached_bytes: stats.cached_bytes,
        cached_objects: stats.cached_objects,
        origins: match with_origins {
            true => by_origin(&cache.objects()?),
            false => Vec::new(),
        },
    })
}

/// Sums of each origin, by name.
fn by_origin(objects: &[ObjectInfo]) -> Vec<OfOrigin> {
    let mut origins: BTreeMap<&[u8], OfOrigin> = BTreeMap::new();
    for object in objects {
        let report = origins.entry(&object.origin).or_insert_with(|| OfOrigin {
            origin: String::from_utf8_lossy(&object.origin).into_owned(),
            origin_bytes: exact(&object.origin),
            ..OfOrigin::default()
        });
        report.objects += 1;
        report.complete_objects += u64::from(object.chunks_present == object.chunks_total);
        report.file_bytes += object.size;
        report.bytes_present += object.bytes_present;
    }
    origins.into_values().collect()
}

/// Whether an origin answers.
pub fn health(origin: &Origin) -> Health {
    let report = origin.report();
    Health {
        circuit: match report.circuit {
            Circuit::Closed => "closed".to_owned(),
            Circuit::Open => "open".to_owned(),
            Circuit::HalfOpen => "half open".to_owned(),
        },
        failures: report.failures,
        last_error: report.last_error.map(|errno| describe(&errno.into())),
        retries: report.retries,
    }
}

/// How much of a file is in the cache.
pub fn stat_file(origin: &Origin, path: &Name) -> Outcome<OfFile> {
    let file = origin.open(&path.0)?;
    let (info, residency) = (file.info(), file.residency());
    let VersionToken {
        size,
        mtime_ns,
        inode,
        ..
    } = info.token;
    Ok(OfFile {
        size,
        version: format!("{:016x}", info.version),
        mtime_ns,
        inode,
        complete: residency.complete,
        bytes_present: residency.bytes_present,
        percent_present: percent(residency.bytes_present, size),
        chunks_present: residency.chunks_present,
        chunks_total: residency.chunks_total,
        chunk_bytes: residency.chunk_bytes,
    })
}

/// The objects of a cache, by origin and path. `each` is told of one; false of it ends it.
pub fn list(cache: &Cache, mut each: impl FnMut(&Entry) -> bool) -> Outcome<()> {
    if let State::PassThrough(reason) = cache.report().state {
        let text = format!("the cache cannot be used: {reason}");
        return Err(Refusal::new(Errno::IO, text));
    }
    for object in cache.objects()? {
        let entry = Entry {
            origin: Name(object.origin),
            path: Name(object.path),
            size: object.size,
            bytes_present: object.bytes_present,
            chunks_present: object.chunks_present,
            chunks_total: object.chunks_total,
        };
        if !each(&entry) {
            break;
        }
    }
    Ok(())
}

/// Why reads of a file are served as they are.
pub fn why(origin: &Origin, path: &Name) -> Outcome<Explained> {
    let explanation = origin.explain(&path.0)?;
    let (state, why) = words(&explanation);
    Ok(Explained {
        state: state.to_owned(),
        why,
        object: match explanation.kept {
            Kept::Object(object) => Some(OfObject {
                chunk_bytes: object.chunk_bytes,
                chunks_total: object.chunks,
                chunks_present: object.present,
                chunks_doubted: object.doubted,
                missing: object
                    .missing
                    .iter()
                    .map(|one| (one.start, one.end))
                    .collect(),
                disk_bytes: object.disk_bytes,
                name: object.name,
            }),
            _ => None,
        },
    })
}

/// Copies a file into the cache. `watch` is told how many bytes of how many are there;
/// false of it ends it (ECANCELED).
pub fn warm(origin: &Origin, path: &Name, watch: impl FnMut(u64, u64) -> bool) -> Outcome<Filled> {
    let file = origin.open(&path.0)?;
    let present_before = file.residency().bytes_present;
    let bytes = file.fill(0, u64::MAX, watch)?;
    Ok(Filled {
        bytes,
        present_before: present_before.min(bytes),
    })
}

/// Keeps what is cached of a file from being evicted, or no longer.
pub fn pin(origin: &Origin, path: &Name, pinned: bool) -> Outcome<()> {
    let file = origin.open(&path.0)?;
    let outcome = if pinned { file.pin() } else { file.unpin() };
    Ok(outcome?)
}

/// Removes what is cached of a file.
pub fn evict(origin: &Origin, path: &Name) -> Outcome<()> {
    Ok(origin.open(&path.0)?.evict()?)
}

/// What is known of a path counts no more; nor does, with `below`, what is below it.
pub fn invalidate(origin: &Origin, path: &Name, below: bool) -> Outcome<()> {
    origin.invalidate(&path.0)?;
    if below {
        origin.invalidate_below(&path.0)?;
    }
    Ok(())
}

/// Compares what is cached of a file, or of all, with its checksums. False of `watch`
/// ends it (ECANCELED).
pub fn verify(
    cache: &Cache,
    file: Option<(&Origin, &Name)>,
    watch: impl FnMut(&Verification) -> bool,
) -> Outcome<Verified> {
    let found = match file {
        Some((origin, path)) => origin.open(&path.0)?.verify(watch)?,
        None => cache.verify(watch)?,
    };
    Ok(Verified::from(&found))
}
