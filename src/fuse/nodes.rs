//! The nodes that the kernel knows: files and directories of the origin, by number.
//!
//! A node of a regular file stands for one version of its content, as far as it was
//! looked up. When another version is found, or the file should be opened in a way that
//! the opens of its node do not allow, the file gets a new node, and so a fresh inode in
//! the kernel: one without pages of the old version, and without an I/O mode. The old
//! node lives on with those who have it open.

use crate::attributes::{FileId, Seen, Version};
use crate::opened::Opened;
use crate::wire::ROOT;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;

/// A file or a directory. Locks are taken in this order: `opened`, the table of nodes,
/// `state`.
pub struct Node {
    pub number: u64,
    pub id: FileId,
    pub is_regular: bool,
    pub is_directory: bool,
    /// How it is open, if it is. Held while the origin and the cache are asked.
    pub opened: Mutex<Option<Box<Opened>>>,
    /// Held for moments.
    pub state: Mutex<State>,
}

/// What of a node changes.
pub struct State {
    /// A directory's node that it was found in last, and its name there.
    pub parent: u64,
    pub name: Box<[u8]>,
    /// The content that the kernel was told of.
    pub version: Version,
    /// The kernel may have pages of another version.
    pub has_old_pages: bool,
    /// The file's next look-up finds another node.
    pub is_retired: bool,
}

struct Entry {
    node: Arc<Node>,
    /// How often the kernel was given it, less how often it gave it back.
    lookups: u64,
    /// Nodes that were found in it.
    children: u64,
}

/// All nodes.
pub struct Nodes(RwLock<Table>);

struct Table {
    entries: HashMap<u64, Entry>,
    /// The nodes that look-ups find.
    current: HashMap<FileId, u64>,
    next: u64,
}

impl Nodes {
    /// The root alone, which is never forgotten.
    pub fn new(root: &Seen) -> Self {
        let mut table = Table {
            entries: HashMap::new(),
            current: HashMap::new(),
            next: ROOT,
        };
        table.add(root, ROOT, b"");
        Self(RwLock::new(table))
    }

    /// A node by its number.
    pub fn get(&self, number: u64) -> Option<Arc<Node>> {
        let table = self.0.read();
        table
            .entries
            .get(&number)
            .map(|entry| Arc::clone(&entry.node))
    }

    /// The node of a file that was found in a directory, which the kernel is given once
    /// more.
    pub fn enter(&self, seen: &Seen, parent: u64, name: &[u8]) -> Arc<Node> {
        let mut table = self.0.write();
        if let Some(number) = table.current.get(&seen.id).copied() {
            let entry = table.entries.get_mut(&number).expect("it is current");
            let node = Arc::clone(&entry.node);
            let mut state = node.state.lock();
            if !state.is_retired && (!seen.is_regular() || state.version == seen.version) {
                entry.lookups += 1;
                table.place(&mut state, number, (parent, name));
                drop(state);
                return node;
            }
            state.is_retired = true;
        }
        table.add(seen, parent, name)
    }

    /// The kernel gives a node back so often.
    pub fn forget(&self, number: u64, lookups: u64) {
        let mut table = self.0.write();
        let Some(entry) = table.entries.get_mut(&number) else {
            return;
        };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        let gone = table.sweep(number);
        // What is open is closed when the lock is not held.
        drop(table);
        drop(gone);
    }

    /// All of them, as they are at this moment.
    pub fn all(&self) -> Vec<Arc<Node>> {
        let table = self.0.read();
        let nodes = table.entries.values();
        nodes.map(|entry| Arc::clone(&entry.node)).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.read().entries.len()
    }
}

impl Table {
    /// A new node, given to the kernel once.
    fn add(&mut self, seen: &Seen, parent: u64, name: &[u8]) -> Arc<Node> {
        let number = self.next;
        self.next += 1;
        let node = Arc::new(Node {
            number,
            id: seen.id,
            is_regular: seen.is_regular(),
            is_directory: seen.is_directory(),
            opened: Mutex::default(),
            state: Mutex::new(State {
                parent,
                name: name.into(),
                version: seen.version,
                has_old_pages: false,
                is_retired: false,
            }),
        });
        let entry = Entry {
            node: Arc::clone(&node),
            lookups: 1,
            children: 0,
        };
        self.entries.insert(number, entry);
        self.current.insert(seen.id, number);
        self.count_child(parent);
        node
    }

    /// Notes where a node was found now.
    fn place(&mut self, state: &mut State, number: u64, (parent, name): (u64, &[u8])) {
        if state.parent != parent {
            let before = state.parent;
            state.parent = parent;
            self.count_child(parent);
            if let Some(entry) = self.entries.get_mut(&before) {
                entry.children -= 1;
            }
            // The one before may be needed no more, but never the node itself.
            debug_assert_ne!(before, number);
            let gone = self.sweep(before);
            debug_assert!(gone.iter().all(|node| node.number != number));
        }
        if *state.name != *name {
            state.name = name.into();
        }
    }

    fn count_child(&mut self, parent: u64) {
        if let Some(entry) = self.entries.get_mut(&parent) {
            entry.children += 1;
        }
    }

    /// Removes a node that nobody needs any more, and those above it.
    fn sweep(&mut self, mut number: u64) -> Vec<Arc<Node>> {
        let mut gone = Vec::new();
        while number != ROOT
            && let Some(entry) = self.entries.get(&number)
            && entry.lookups == 0
            && entry.children == 0
        {
            let entry = self.entries.remove(&number).expect("it was there");
            if self.current.get(&entry.node.id) == Some(&number) {
                self.current.remove(&entry.node.id);
            }
            number = entry.node.state.lock().parent;
            if let Some(above) = self.entries.get_mut(&number) {
                above.children -= 1;
            }
            gone.push(entry.node);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{DIRECTORY, REGULAR};
    use crate::wire::Attr;

    fn seen(inode: u64, mode: u32, size: u64) -> Seen {
        Seen {
            id: FileId { device: 1, inode },
            version: Version {
                size,
                mtime_ns: 0,
                ctime_ns: 0,
            },
            attr: Attr {
                mode,
                ..Attr::default()
            },
        }
    }

    fn nodes() -> Nodes {
        Nodes::new(&seen(2, DIRECTORY, 0))
    }

    #[test]
    fn hard_links_share_a_node() {
        let nodes = nodes();
        let file = seen(3, REGULAR, 1);
        let first = nodes.enter(&file, ROOT, b"a");
        let second = nodes.enter(&file, ROOT, b"b");
        assert_eq!(first.number, second.number);
        nodes.forget(first.number, 1);
        assert!(nodes.get(first.number).is_some());
        nodes.forget(first.number, 1);
        assert!(nodes.get(first.number).is_none());
    }

    #[test]
    fn another_version_of_a_file_is_another_node() {
        let nodes = nodes();
        let old = nodes.enter(&seen(3, REGULAR, 1), ROOT, b"a");
        let new = nodes.enter(&seen(3, REGULAR, 2), ROOT, b"a");
        assert_ne!(old.number, new.number);
        nodes.forget(old.number, 1);
        let again = nodes.enter(&seen(3, REGULAR, 2), ROOT, b"a");
        assert_eq!(again.number, new.number);
    }

    #[test]
    fn a_directory_stays_the_same_when_it_changes() {
        let nodes = nodes();
        let old = nodes.enter(&seen(3, DIRECTORY, 1), ROOT, b"a");
        let new = nodes.enter(&seen(3, DIRECTORY, 2), ROOT, b"a");
        assert_eq!(old.number, new.number);
    }

    #[test]
    fn directories_stay_while_something_was_found_in_them() {
        let nodes = nodes();
        let above = nodes.enter(&seen(3, DIRECTORY, 0), ROOT, b"d").number;
        let below = nodes.enter(&seen(4, DIRECTORY, 0), above, b"e").number;
        let file = nodes.enter(&seen(5, REGULAR, 0), below, b"f").number;
        nodes.forget(above, 1);
        nodes.forget(below, 1);
        assert!(nodes.get(above).is_some());
        nodes.forget(file, 1);
        assert_eq!(nodes.count(), 1);
    }

    #[test]
    fn a_file_that_moved_lets_go_of_where_it_was() {
        let nodes = nodes();
        let here = nodes.enter(&seen(3, DIRECTORY, 0), ROOT, b"d").number;
        let there = nodes.enter(&seen(4, DIRECTORY, 0), ROOT, b"e").number;
        let file = nodes.enter(&seen(5, REGULAR, 0), here, b"f").number;
        nodes.enter(&seen(5, REGULAR, 0), there, b"g");
        nodes.forget(here, 1);
        assert!(nodes.get(here).is_none());
        nodes.forget(there, 1);
        assert!(nodes.get(there).is_some());
        nodes.forget(file, 2);
        assert_eq!(nodes.count(), 1);
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let nodes = nodes();
        nodes.forget(ROOT, 100);
        assert!(nodes.get(ROOT).is_some());
    }
}
