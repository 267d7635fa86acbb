//! Look-ups, attributes, links, extended attributes: what the origin says of names.

use crate::attributes::{Seen, shown_inode};
use crate::nodes::Node;
use crate::reply::{Reply, Request, terminated};
use crate::server::Daemon;
use crate::wire::{
    AccessIn, Attr, AttrOut, BatchForgetIn, EntryOut, ForgetIn, ForgetOne, GetxattrIn, GetxattrOut,
    ROOT, StatfsOut,
};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use zerocopy::FromBytes;

/// Bytes of the longest value of an extended attribute (XATTR_SIZE_MAX, limits.h), and
/// of the longest list of their names.
const XATTR_BYTES_MAX: usize = 64 << 10;
/// Bytes of the longest target of a link, as in PATH_MAX.
const TARGET_BYTES_MAX: usize = 4096;

impl Daemon {
    /// Answers LOOKUP.
    pub fn look_up(&self, parent: u64, name: &[u8]) -> Result<EntryOut, Errno> {
        let found = match self.tree.look_up(&self.nodes, parent, name) {
            Ok(found) => found,
            Err(Errno::NOENT) if !self.live().negative_timeout.is_zero() => {
                let (seconds, nanoseconds) = parts(self.live().negative_timeout);
                return Ok(EntryOut {
                    entry_valid: seconds,
                    entry_valid_ns: nanoseconds,
                    ..EntryOut::default()
                });
            }
            Err(errno) => return Err(errno),
        };
        let node = self.nodes.enter(&found.seen, parent, name);
        let entry = self.entry(&node, &found.seen);
        self.tree.hold(found, &node);
        Ok(entry)
    }

    /// A node as the kernel is told of it.
    pub fn entry(&self, node: &Node, seen: &Seen) -> EntryOut {
        let (entry_valid, entry_valid_ns) = parts(self.live().entry_timeout);
        let (attr_valid, attr_valid_ns) = parts(self.live().attr_timeout);
        EntryOut {
            node: node.number,
            // Numbers are given once.
            generation: 0,
            entry_valid,
            attr_valid,
            entry_valid_ns,
            attr_valid_ns,
            attr: self.shown(seen),
        }
    }

    fn shown(&self, seen: &Seen) -> Attr {
        Attr {
            ino: shown_inode(seen.id, self.tree.device()),
            ..seen.attr
        }
    }

    /// Takes nodes back.
    pub fn forget(&self, request: &Request<'_>) -> Result<(), Errno> {
        let forget = request.structure::<ForgetIn>()?;
        self.nodes.forget(request.header.node, forget.lookups);
        Ok(())
    }

    /// Takes many nodes back.
    pub fn forget_many(&self, request: &Request<'_>) -> Result<(), Errno> {
        let (batch, mut rest) = request.split::<BatchForgetIn>()?;
        for _ in 0..batch.count {
            let (one, behind) = ForgetOne::read_from_prefix(rest).map_err(|_| Errno::INVAL)?;
            self.nodes.forget(one.node, one.lookups);
            rest = behind;
        }
        Ok(())
    }

    /// Answers GETATTR. The attributes of an open file are those of its opens.
    pub fn attributes(&self, node: &Arc<Node>) -> Result<AttrOut, Errno> {
        let seen = if node.is_regular {
            self.see_regular(node)?
        } else {
            self.tree.see(&self.nodes, node)?
        };
        let (attr_valid, attr_valid_ns) = parts(self.live().attr_timeout);
        Ok(AttrOut {
            attr_valid,
            attr_valid_ns,
            padding: 0,
            attr: self.shown(&seen),
        })
    }

    /// Answers READLINK.
    pub fn read_link(&self, node: &Node) -> Result<Vec<u8>, Errno> {
        let (directory, name) = self.tree.place(&self.nodes, node)?;
        let buffer = Vec::with_capacity(TARGET_BYTES_MAX);
        let target = rustix::fs::readlinkat(&directory, &*name, buffer)?;
        Ok(target.into_bytes())
    }

    /// Answers ACCESS. The kernel checks permissions by the attributes
    /// (`default_permissions`), so there is only one thing to add.
    pub fn access(&self, access: &AccessIn) -> Result<(), Errno> {
        if access.mask & libc::W_OK.cast_unsigned() != 0 {
            return Err(Errno::ROFS);
        }
        Ok(())
    }

    /// Answers STATFS: the room of the origin.
    pub fn statistics(&self) -> Result<StatfsOut, Errno> {
        let of = rustix::fs::fstatvfs(self.tree.root())?;
        Ok(StatfsOut {
            blocks: of.f_blocks,
            blocks_free: of.f_bfree,
            blocks_available: of.f_bavail,
            files: of.f_files,
            files_free: of.f_ffree,
            block_size: of.f_bsize as u32,
            name_max: of.f_namemax as u32,
            fragment_size: of.f_frsize as u32,
            ..StatfsOut::default()
        })
    }

    /// Answers GETXATTR.
    pub fn get_xattr(
        &self,
        node: &Node,
        request: &Request<'_>,
        reply: &Reply,
    ) -> Result<(), Errno> {
        let (asked, rest) = request.split::<GetxattrIn>()?;
        let name = CString::new(terminated(rest)?).map_err(|_| Errno::INVAL)?;
        if node.number == ROOT
            && name.as_bytes() == cachefs_control::XATTR.as_bytes()
            && let Some(control) = self.control.get()
        {
            let told = control.as_os_str().as_bytes();
            return answer(asked.size, reply, |buffer| {
                let room = buffer.get_mut(..told.len()).ok_or(Errno::RANGE)?;
                room.copy_from_slice(told);
                Ok(told.len())
            });
        }
        let path = self.link_to(node)?;
        answer(asked.size, reply, |buffer| {
            rustix::fs::lgetxattr(&path.name, &name, buffer)
        })
    }

    /// Answers LISTXATTR.
    pub fn list_xattrs(
        &self,
        node: &Node,
        request: &Request<'_>,
        reply: &Reply,
    ) -> Result<(), Errno> {
        let asked = request.structure::<GetxattrIn>()?;
        let path = self.link_to(node)?;
        answer(asked.size, reply, |buffer| {
            rustix::fs::llistxattr(&path.name, buffer)
        })
    }

    /// A path to a node itself, without following it if it is a link: O_PATH
    /// descriptors have no extended attributes.
    fn link_to(&self, node: &Node) -> Result<LinkTo, Errno> {
        if node.is_directory {
            let directory = self.tree.directory(&self.nodes, node.number)?;
            let name = format!("/proc/self/fd/{}/.", directory.as_raw_fd()).into_bytes();
            return Ok(LinkTo {
                name,
                _directory: directory,
            });
        }
        let (directory, last) = self.tree.place(&self.nodes, node)?;
        let mut name = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        name.extend_from_slice(&last);
        Ok(LinkTo {
            name,
            _directory: directory,
        })
    }
}

struct LinkTo {
    name: Vec<u8>,
    /// The name is good while this is open.
    _directory: Arc<OwnedFd>,
}

/// Answers with a value, or with its length if no room was given.
fn answer(
    room: u32,
    reply: &Reply,
    get: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    let bytes = match room as usize {
        0 => XATTR_BYTES_MAX,
        room => room.min(XATTR_BYTES_MAX),
    };
    let mut buffer = vec![0; bytes];
    let length = get(&mut buffer)?;
    if room == 0 {
        let size = length as u32;
        reply.structure(&GetxattrOut { size, padding: 0 });
    } else {
        reply.bytes(&buffer[..length]);
    }
    Ok(())
}

/// Seconds and nanoseconds.
fn parts(time: std::time::Duration) -> (u64, u32) {
    (time.as_secs(), time.subsec_nanos())
}
