//! Opens that need not ask the origin: where its options say that what it has said before
//! is believed (`validation`), or that it may be out of reach (`stale_ms`).
//!
//! The library opens such files by their path, and asks the origin, or not. What the kernel
//! was told of a file when it was looked up counts more: if that differs, the origin is
//! asked in any case.

use crate::attributes::Version;
use crate::nodes::Node;
use crate::server::Daemon;
use cachefs_core::File;
use rustix::io::Errno;

impl Daemon {
    /// Whether opens may be answered without the origin.
    pub fn believes(&self) -> bool {
        let options = &self.settings.origin_options;
        options.validation != 0 || options.stale_ms != 0
    }

    /// Opens a file of the origin in the cache by its path. ESTALE: another file is there,
    /// or none.
    pub fn open_believing(&self, node: &Node) -> Result<File, Errno> {
        let path = self.tree.path(&self.nodes, node);
        let file = self.open_at(node, &path)?;
        let told = node.state.lock().version;
        if Version::from(&file.info().token) == told || file.info().stale {
            return Ok(file);
        }
        drop(file);
        self.doubt(node);
        self.open_at(node, &path)
    }

    fn open_at(&self, node: &Node, path: &[u8]) -> Result<File, Errno> {
        match self.origin.open(path) {
            Ok(file) if file.info().token.inode == node.id.inode => Ok(file),
            Ok(_) => Err(Errno::STALE),
            Err(error) => match error.errno() {
                // The kernel looks it up, and finds what there is.
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Err(Errno::STALE),
                errno => {
                    tracing::warn!("{error}");
                    Err(errno)
                }
            },
        }
    }

    /// The version that a file has now, or is believed to have. ESTALE as above.
    pub fn version_now(&self, node: &Node) -> Result<Version, Errno> {
        if self.believes() {
            let file = self.open_believing(node)?;
            return Ok(Version::from(&file.info().token));
        }
        Ok(self.tree.see_named(&self.nodes, node)?.version)
    }

    /// A file was found to have changed: what is believed of it counts no more.
    pub fn doubt(&self, node: &Node) {
        if self.believes() {
            let path = self.tree.path(&self.nodes, node);
            if let Err(error) = self.origin.invalidate(&path) {
                tracing::debug!("{error}");
            }
        }
    }
}
