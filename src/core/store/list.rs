//! The objects of a cache directory, for people, and what names tell of them.

use super::layout::Header;
use super::{ObjectInfo, Store, read_header};
use crate::error::{Context, Errno, Result};
use crate::ids::Key;
use crate::sys;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

/// The directories that objects are in.
pub(super) fn buckets(objects: &OwnedFd) -> Result<Vec<String>> {
    let names = names(objects).context(|| "list the objects")?;
    let hex = |name: &String| name.len() == 2 && u8::from_str_radix(name, 16).is_ok();
    Ok(names.into_iter().filter(hex).collect())
}

pub(super) fn names(directory: &OwnedFd) -> std::result::Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

pub(super) fn open_bucket(store: &Store, bucket: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&store.directory.objects, bucket, flags, Mode::empty())
        .context(|| format!("open the directory {bucket}"))
}

/// A metadata file and its header. None: it is gone, or damaged.
pub(super) fn open_object(
    directory: &OwnedFd,
    name: &str,
) -> std::result::Result<Option<(Header, OwnedFd)>, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let metadata = match sys::open_at(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let header = read_header(&metadata)?;
    Ok(header.map(|header| (header, metadata)))
}

/// The key that the name of a metadata file tells.
pub(super) fn key_in(digits: &str) -> Option<Key> {
    let number = u128::from_str_radix(digits, 16).ok()?;
    let key = Key(number.to_be_bytes());
    // There is one way to write each.
    (key.hex() == digits).then_some(key)
}

/// Key and nonce that the name of a data file tells.
pub(super) fn data_in(name: &str) -> Option<(Key, u64)> {
    let (key, nonce) = name.strip_suffix(".data")?.split_once('.')?;
    Some((key_in(key)?, u64::from_str_radix(nonce, 16).ok()?))
}

/// Every object of the directory, for people.
pub(crate) fn list(store: &Store) -> Result<Vec<ObjectInfo>> {
    let mut objects = Vec::new();
    for bucket in buckets(&store.directory.objects)? {
        let directory = open_bucket(store, &bucket)?;
        let names = names(&directory).context(|| format!("list the directory {bucket}"))?;
        for name in names.iter().filter(|name| name.ends_with(".meta")) {
            let object = open_object(&directory, name).ok().flatten();
            objects.extend(object.and_then(|(header, metadata)| describe(store, header, metadata)));
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
    let bitmap = store.map(&header, &metadata).ok()?;
    Some(ObjectInfo {
        size: geometry.size,
        bytes_present: bitmap.bytes_held(geometry),
        chunks_present: bitmap.count_held(),
        chunks_total: geometry.chunks(),
        origin: header.identity.origin,
        path: header.path,
    })
}
