//! The origin as a tree of names: how a node's file is found there.
//!
//! Every step goes by a directory's descriptor and one name, and follows no link, so
//! that nothing leads out of the tree. What is found is compared with what the node
//! stands for: another file of that name is ESTALE, upon which the kernel looks the
//! path up again.

use crate::attributes::{FileId, Seen};
use crate::nodes::{Node, Nodes};
use crate::wire::ROOT;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Directories that are kept open for the next look at what is in them.
const DIRECTORIES_MAX: usize = 256;
/// Files that were just looked up and are held for the open that mostly follows: it
/// gets the file that was looked up, whatever has taken its name meanwhile.
const FILES_MAX: usize = 128;
/// Directories within each other.
const DEPTH_MAX: usize = 2048;

/// Where the origin is.
pub struct Tree {
    root: Arc<OwnedFd>,
    root_id: FileId,
    directories: Slots,
    files: Slots,
}

/// A few open files by node, each in the place that its number gives it.
struct Slots(Box<[Mutex<Slot>]>);

type Slot = Option<(u64, Arc<OwnedFd>)>;

impl Slots {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    fn slot(&self, number: u64) -> &Mutex<Slot> {
        &self.0[(number % self.0.len() as u64) as usize]
    }

    fn get(&self, number: u64) -> Option<Arc<OwnedFd>> {
        let slot = self.slot(number).lock();
        let held = slot.as_ref().filter(|(owner, _)| *owner == number);
        held.map(|(_, fd)| Arc::clone(fd))
    }

    fn put(&self, number: u64, fd: Arc<OwnedFd>) {
        let before = self.slot(number).lock().replace((number, fd));
        // Closed when the lock is not held.
        drop(before);
    }
}

impl Tree {
    /// The tree below a directory.
    pub fn open(root: &Path) -> Result<(Self, Seen), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty())?;
        let seen = Seen::of(&fd)?;
        let tree = Self {
            root: Arc::new(fd),
            root_id: seen.id,
            directories: Slots::new(DIRECTORIES_MAX),
            files: Slots::new(FILES_MAX),
        };
        Ok((tree, seen))
    }

    /// The file system of the root.
    pub fn device(&self) -> u64 {
        self.root_id.device
    }

    /// The root.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Looks a name up in a directory.
    pub fn look_up(&self, nodes: &Nodes, parent: u64, name: &[u8]) -> Result<Found, Errno> {
        let directory = self.directory(nodes, parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&directory, plain(name)?, flags, Mode::empty())?;
        let seen = Seen::of(&fd)?;
        Ok(Found { fd, seen })
    }

    /// Keeps what was looked up for what mostly follows.
    pub fn hold(&self, found: Found, node: &Node) {
        if found.seen.is_directory() {
            self.directories.put(node.number, Arc::new(found.fd));
        } else if found.seen.is_regular() {
            self.files.put(node.number, Arc::new(found.fd));
        }
    }

    /// A directory's descriptor, which can only be looked through (O_PATH).
    pub fn directory(&self, nodes: &Nodes, number: u64) -> Result<Arc<OwnedFd>, Errno> {
        // The names on the way from the first directory that is open already.
        let mut way = Vec::new();
        let mut at = number;
        let mut fd = loop {
            if at == ROOT {
                break Arc::clone(&self.root);
            }
            if let Some(fd) = self.directories.get(at) {
                break fd;
            }
            if way.len() == DEPTH_MAX {
                return Err(Errno::LOOP);
            }
            let node = nodes.get(at).ok_or(Errno::STALE)?;
            at = node.state.lock().parent;
            way.push(node);
        };
        for node in way.into_iter().rev() {
            let name = node.state.lock().name.clone();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&fd, &*name, flags, Mode::empty());
            let opened = opened.map_err(|errno| match errno {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Errno::STALE,
                other => other,
            })?;
            if Seen::of(&opened)?.id != node.id {
                return Err(Errno::STALE);
            }
            fd = Arc::new(opened);
            self.directories.put(node.number, Arc::clone(&fd));
        }
        Ok(fd)
    }

    /// Where a node's name is: its directory, and the name.
    pub fn place(&self, nodes: &Nodes, node: &Node) -> Result<(Arc<OwnedFd>, Box<[u8]>), Errno> {
        let (parent, name) = {
            let state = node.state.lock();
            (state.parent, state.name.clone())
        };
        Ok((self.directory(nodes, parent)?, name))
    }

    /// Looks at a file that is not known to be open.
    pub fn see(&self, nodes: &Nodes, node: &Node) -> Result<Seen, Errno> {
        if node.id == self.root_id {
            return Seen::of(&self.root);
        }
        if let Some(fd) = self.directories.get(node.number) {
            return Seen::of(&fd);
        }
        self.see_named(nodes, node)
    }

    /// Looks at what has a file's name. ESTALE: it is another file, or there is none.
    pub fn see_named(&self, nodes: &Nodes, node: &Node) -> Result<Seen, Errno> {
        let (directory, name) = self.place(nodes, node)?;
        match Seen::named(&directory, &name) {
            Ok(seen) if seen.id == node.id => Ok(seen),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(Errno::STALE),
            Err(errno) => Err(errno),
        }
    }

    /// Opens a regular file for reading. ESTALE: another file has its name.
    pub fn open_file(&self, nodes: &Nodes, node: &Node) -> Result<(OwnedFd, Seen), Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = match self.files.get(node.number) {
            Some(held) => {
                let link = format!("/proc/self/fd/{}", held.as_raw_fd());
                rustix::fs::open(link, flags, Mode::empty())?
            }
            None => {
                let (directory, name) = self.place(nodes, node)?;
                // Something else may have its name now, which must not be waited for.
                let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let opened = rustix::fs::openat(&directory, &*name, flags, Mode::empty());
                let fd = opened.map_err(|errno| match errno {
                    Errno::LOOP | Errno::NXIO => Errno::STALE,
                    other => other,
                })?;
                rustix::fs::fcntl_setfl(&fd, OFlags::empty())?;
                fd
            }
        };
        let seen = Seen::of(&fd)?;
        if seen.id != node.id || !seen.is_regular() {
            return Err(Errno::STALE);
        }
        Ok((fd, seen))
    }

    /// The path of a node below the root, as far as it is known: for people.
    pub fn path(&self, nodes: &Nodes, node: &Node) -> Vec<u8> {
        let mut names = Vec::new();
        let (mut at, mut name) = {
            let state = node.state.lock();
            (state.parent, state.name.clone())
        };
        loop {
            names.push(name);
            if at == ROOT || names.len() == DEPTH_MAX {
                break;
            }
            let Some(above) = nodes.get(at) else { break };
            let state = above.state.lock();
            (at, name) = (state.parent, state.name.clone());
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// A file that was looked up.
pub struct Found {
    fd: OwnedFd,
    pub seen: Seen,
}

/// A name of one step that goes down.
fn plain(name: &[u8]) -> Result<&[u8], Errno> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        _ if name.contains(&b'/') => Err(Errno::INVAL),
        _ => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (tempfile::TempDir, Tree, Nodes) {
        let directory = tempfile::tempdir().unwrap();
        let (tree, root) = Tree::open(directory.path()).unwrap();
        (directory, tree, Nodes::new(&root))
    }

    fn enter(tree: &Tree, nodes: &Nodes, parent: u64, name: &[u8]) -> Arc<Node> {
        let found = tree.look_up(nodes, parent, name).unwrap();
        nodes.enter(&found.seen, parent, name)
    }

    #[test]
    fn no_name_leads_up() {
        let (_directory, tree, nodes) = scene();
        for name in [&b".."[..], b".", b"", b"a/b"] {
            let looked_up = tree.look_up(&nodes, ROOT, name);
            assert_eq!(looked_up.map(|_| ()), Err(Errno::INVAL));
        }
    }

    #[test]
    fn a_directory_that_became_a_link_is_stale() {
        let (directory, tree, nodes) = scene();
        let inside = directory.path().join("d");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("f"), b"x").unwrap();
        let node = enter(&tree, &nodes, ROOT, b"d");
        std::fs::rename(&inside, directory.path().join("e")).unwrap();
        std::os::unix::fs::symlink("/etc", &inside).unwrap();
        let found = tree.directory(&nodes, node.number);
        assert_eq!(found.map(|_| ()), Err(Errno::STALE));
    }

    #[test]
    fn a_file_that_was_replaced_is_stale_unless_it_is_held() {
        let (directory, tree, nodes) = scene();
        let file = directory.path().join("f");
        std::fs::write(&file, b"old").unwrap();
        let found = tree.look_up(&nodes, ROOT, b"f").unwrap();
        let node = nodes.enter(&found.seen, ROOT, b"f");
        std::fs::write(directory.path().join("g"), b"new").unwrap();
        std::fs::rename(directory.path().join("g"), &file).unwrap();
        let opened = tree.open_file(&nodes, &node).map(|_| ());
        assert_eq!(opened, Err(Errno::STALE));
        tree.hold(found, &node);
        assert!(tree.open_file(&nodes, &node).is_ok());
    }

    #[test]
    fn the_path_of_a_node_is_known() {
        let (directory, tree, nodes) = scene();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        let a = enter(&tree, &nodes, ROOT, b"a");
        let b = enter(&tree, &nodes, a.number, b"b");
        assert_eq!(tree.path(&nodes, &b), b"a/b");
    }
}
