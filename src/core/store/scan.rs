//! What is in the cache directory when it is opened.

use super::layout::Header;
use super::{ObjectInfo, STAT_BLOCK_BYTES, Store, map, read_header};
use crate::error::{Context, Errno, Result};
use crate::ids::Key;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

/// Enters every object into the accounts, the longest unused first, and removes
/// the remains of processes that were killed while they made or removed one.
pub(super) fn load(store: &Store) -> Result<()> {
    let mut objects = Vec::new();
    for bucket in buckets(&store.directory.objects)? {
        objects.extend(load_bucket(store, &bucket)?);
    }
    objects.sort_by_key(|object| object.used);
    for object in objects {
        store.accounts.found(object.key, object.nonce, object.bytes);
    }
    Ok(())
}

struct Loaded {
    key: Key,
    nonce: u64,
    bytes: u64,
    used: (i64, i64),
}

fn buckets(objects: &OwnedFd) -> Result<Vec<String>> {
    let names = names(objects).context(|| "list the objects")?;
    let hex = |name: &String| name.len() == 2 && u8::from_str_radix(name, 16).is_ok();
    Ok(names.into_iter().filter(hex).collect())
}

fn names(directory: &OwnedFd) -> std::result::Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn open_bucket(store: &Store, bucket: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&store.directory.objects, bucket, flags, Mode::empty())
        .context(|| format!("open the directory {bucket}"))
}

fn load_bucket(store: &Store, bucket: &str) -> Result<Vec<Loaded>> {
    let directory = open_bucket(store, bucket)?;
    // Another process is making an object here: then nothing is known to be a
    // remain, and there is another scan at the next open.
    let alone = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok();
    let names = names(&directory).context(|| format!("list the directory {bucket}"))?;
    let mut loaded = Vec::new();
    let mut kept = HashSet::new();
    for name in names.iter().filter(|name| name.ends_with(".meta")) {
        // Unreadable ones are replaced when their file is next opened.
        let Some((header, metadata)) = open_object(&directory, name) else {
            continue;
        };
        let key = header.identity.key();
        let data_name = key.data_name(header.nonce);
        let data_name = data_name
            .rsplit('/')
            .next()
            .expect("rsplit gives one at least");
        let Ok(data) = rustix::fs::statat(&directory, data_name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let Ok(stat) = rustix::fs::fstat(&metadata) else {
            continue;
        };
        kept.insert(data_name.to_owned());
        kept.insert(name.clone());
        loaded.push(Loaded {
            key,
            nonce: header.nonce,
            bytes: (data.st_blocks + stat.st_blocks) as u64 * STAT_BLOCK_BYTES,
            used: (stat.st_mtime, stat.st_mtime_nsec as i64),
        });
    }
    if alone {
        let ours = [".meta", ".data", ".new"];
        let remains = names
            .iter()
            .filter(|name| !kept.contains(*name) && ours.iter().any(|end| name.ends_with(end)));
        for name in remains {
            match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
                Ok(()) => tracing::info!("removed the remains {bucket}/{name}"),
                Err(errno) => tracing::warn!("cannot remove {bucket}/{name}: {errno}"),
            }
        }
    }
    Ok(loaded)
}

fn open_object(directory: &OwnedFd, name: &str) -> Option<(Header, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let metadata = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
    let header = read_header(&metadata).ok()??;
    Some((header, metadata))
}

/// Every object of the directory, for people.
pub(crate) fn list(store: &Store) -> Result<Vec<ObjectInfo>> {
    let mut objects = Vec::new();
    for bucket in buckets(&store.directory.objects)? {
        let directory = open_bucket(store, &bucket)?;
        let names = names(&directory).context(|| format!("list the directory {bucket}"))?;
        for name in names.iter().filter(|name| name.ends_with(".meta")) {
            let info = open_object(&directory, name)
                .and_then(|(header, metadata)| describe(store, header, metadata));
            objects.extend(info);
        }
    }
    objects.sort_by(|a, b| (&a.origin, &a.path).cmp(&(&b.origin, &b.path)));
    Ok(objects)
}

/// None for what would not be used, so is as good as absent.
fn describe(store: &Store, header: Header, metadata: OwnedFd) -> Option<ObjectInfo> {
    let stat = rustix::fs::fstat(&metadata).ok()?;
    let data_name = header.identity.key().data_name(header.nonce);
    let objects = &store.directory.objects;
    let data = rustix::fs::statat(objects, data_name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let whole = data.st_size as u64 == header.token.size;
    if !whole || !store.can_use(&header, stat.st_size as u64) {
        return None;
    }
    let geometry = header.geometry();
    let bitmap = map(&header, &metadata).ok()?;
    Some(ObjectInfo {
        size: geometry.size,
        bytes_present: bitmap.bytes_held(geometry),
        chunks_present: bitmap.count_held(),
        chunks_total: geometry.chunks(),
        origin: header.identity.origin,
        path: header.path,
    })
}
