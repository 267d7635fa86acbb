//! Names on the command line to paths below the origin.

use crate::failure::describe;
use crate::show;
use cachefs_core::{File, Origin};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// An origin that is a directory, and where it is.
pub struct Place {
    origin: Origin,
    roots: Roots,
}

impl Place {
    /// The place of an origin that was opened at `root`.
    pub fn new(origin: Origin, root: &Path) -> io::Result<Self> {
        let roots = Roots::of_directory(root)?;
        Ok(Self { origin, roots })
    }

    /// The path below the root that a name on the command line means.
    pub fn find(&self, name: &Path) -> Result<PathBuf, String> {
        self.roots.find(name)
    }

    /// Opens a file by its path below the root.
    pub fn open(&self, path: &Path) -> cachefs_core::Result<File> {
        self.origin.open(path.as_os_str().as_bytes())
    }

    /// Both of which it is made.
    pub fn into_parts(self) -> (Origin, Roots) {
        (self.origin, self.roots)
    }
}

/// How names on the command line are understood.
#[derive(Clone)]
pub struct Roots {
    /// As it was given, from `/`: names may begin with it as well. Of a mount, where that
    /// is.
    given: PathBuf,
    /// Without links.
    real: PathBuf,
    /// Where the tool was started, without links.
    current: PathBuf,
}

impl Roots {
    /// Those of an origin by its root.
    pub fn of_directory(root: &Path) -> io::Result<Self> {
        Ok(Self {
            given: std::path::absolute(root)?,
            real: root.canonicalize()?,
            current: current(),
        })
    }

    /// Those of an origin whose root has no links, and which may be mounted somewhere.
    /// Asks neither, since they may not answer.
    pub fn of_mount(root: &Path, mountpoint: Option<&Path>) -> Self {
        Self {
            given: mountpoint.unwrap_or(root).to_owned(),
            real: root.to_owned(),
            current: current(),
        }
    }

    /// The path in the system of a path below the root.
    pub fn full(&self, path: &Path) -> PathBuf {
        self.real.join(path)
    }

    /// The path below the root that a name on the command line means.
    pub fn find(&self, name: &Path) -> Result<PathBuf, String> {
        let is_inside = |root| self.current.starts_with(root);
        let base = if is_inside(&self.real) || is_inside(&self.given) {
            &self.current
        } else {
            &self.real
        };
        let full = base.join(name);
        // Without `..`, the names below the root are left for the origin to
        // resolve by its own rule.
        if !full.components().any(|part| part == Component::ParentDir) {
            for root in [&self.real, &self.given] {
                if let Ok(path) = full.strip_prefix(root) {
                    return Ok(path.to_owned());
                }
            }
        }
        // The last name is left as well, if it is one: it may be a link.
        let real = match (full.parent(), full.file_name()) {
            (Some(parent), Some(last)) => parent.canonicalize().map(|parent| parent.join(last)),
            _ => full.canonicalize(),
        };
        let real = real.map_err(|error| format!("{}: {}", show::path(name), describe(&error)))?;
        let below = real.strip_prefix(&self.real);
        let below = below.or_else(|_| real.strip_prefix(&self.given));
        below.map(Path::to_owned).map_err(|_| {
            let root = show::path(&self.given);
            format!("{}: not below the origin {root}", show::path(name))
        })
    }
}

/// A directory that was removed is below nothing.
fn current() -> PathBuf {
    std::env::current_dir().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(current: &Path, tree: &Path) -> Roots {
        Roots {
            given: tree.join("link"),
            real: tree.join("root"),
            current: current.to_owned(),
        }
    }

    /// `root/a/b`, and `link` to `root`.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(tree.join("root/a/b")).unwrap();
        std::os::unix::fs::symlink("root", tree.join("link")).unwrap();
        (directory, tree)
    }

    #[test]
    fn an_absolute_name_may_use_either_form_of_the_root() {
        let (_guard, tree) = tree();
        let roots = roots(Path::new("/"), &tree);
        for name in ["root/a/f", "link/a/f", "root/./a/f", "root/a/b/../f"] {
            assert_eq!(roots.find(&tree.join(name)), Ok("a/f".into()), "{name}");
        }
        assert_eq!(roots.find(&tree.join("root")), Ok("".into()));
        assert!(roots.find(&tree.join("rooted")).is_err());
        assert!(roots.find(&tree.join("root/../f")).is_err());
    }

    #[test]
    fn a_relative_name_begins_at_the_current_directory_if_that_is_below() {
        let (_guard, tree) = tree();
        let inside = roots(&tree.join("root/a"), &tree);
        assert_eq!(inside.find(Path::new("f")), Ok("a/f".into()));
        assert_eq!(inside.find(Path::new("../f")), Ok("f".into()));
        assert_eq!(inside.find(Path::new("..")), Ok("".into()));
        assert!(inside.find(Path::new("../../f")).is_err());
        let mounted = roots(&tree.join("link/a"), &tree);
        assert_eq!(mounted.find(Path::new("f")), Ok("a/f".into()));
        let outside = roots(&tree, &tree);
        assert_eq!(outside.find(Path::new("a/f")), Ok("a/f".into()));
    }
}
