//! What the kernel is made to forget when somebody says that the origin has changed.

use crate::nodes::Node;
use crate::notices::{self, Told};
use crate::server::Daemon;

impl Daemon {
    /// Has the kernel drop what it remembers of a path below the root, and its pages; with
    /// `below`, of everything below it as well. When this returns, that is done. How many
    /// names and versions that were. It waits for reads that are under way, so it is not
    /// for a thread that answers them.
    pub fn forget_path(&self, path: &[u8], below: bool) -> u64 {
        let path = trimmed(path);
        let mut forgotten = 0;
        let mut parent = None;
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match split {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        for node in self.nodes.all() {
            let of = self.tree.path(&self.nodes, &node);
            if node.is_directory && of == above {
                parent = Some(node.number);
            }
            if of == path || below && is_below(&of, path) {
                self.forget_node(&node);
                forgotten += 1;
            }
        }
        // It may be a name that was not there.
        if let Some(parent) = parent.filter(|_| forgotten == 0) {
            let told = notices::forget_name(&self.device, parent, name);
            forgotten += u64::from(told == Told::Done);
        }
        if path.is_empty() && below {
            // Linux 6.16; before it, the kernel believes for negative_timeout that a name
            // right in the root is not there.
            let _told = notices::forget_all_names(&self.device);
        }
        forgotten
    }

    fn forget_node(&self, node: &Node) {
        let (parent, name) = {
            let state = node.state.lock();
            (state.parent, state.name.clone())
        };
        // The name first: who opens it from now on finds what there is now. The root has
        // none.
        if !name.is_empty() {
            let _told = notices::forget_name(&self.device, parent, &name);
        }
        let _told = notices::drop_pages(&self.device, node.number);
    }
}

/// Without slashes at either end.
fn trimmed(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    match path.strip_prefix(above) {
        Some(rest) => above.is_empty() || rest.first() == Some(&b'/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_begins_a_new_name() {
        assert!(is_below(b"a/b/c", b"a/b") && is_below(b"a", b""));
        assert!(!is_below(b"a/bc", b"a/b") && !is_below(b"a", b"a"));
        assert_eq!(trimmed(b"//a/b/"), b"a/b");
        assert_eq!(trimmed(b"/"), b"");
    }
}
