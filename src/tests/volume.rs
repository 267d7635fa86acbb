//! File systems in a file, for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, unmounted when dropped.
pub(crate) struct Volume {
    image: PathBuf,
    pub(crate) path: PathBuf,
}

impl Volume {
    /// Makes and mounts one of `mib` mebibytes below `directory`. None, said,
    /// without the programs, the kernel's part of it, or the right to mount.
    pub(crate) fn mount(directory: &Path, make: &[&str], mib: u64) -> Option<Self> {
        let image = directory.join("image");
        let path = directory.join("volume");
        std::fs::create_dir(&path).unwrap();
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(mib << 20).unwrap();
        let made = Command::new(make[0]).args(&make[1..]).arg(&image).output();
        match made {
            Ok(output) if output.status.success() => {}
            other => {
                eprintln!("skipped: {}: {other:?}", make[0]);
                return None;
            }
        }
        let mount = Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&path)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self { image, path }),
            other => {
                eprintln!("skipped: mount {}: {other:?}", image.display());
                None
            }
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a thread that a failed test left behind may be in it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.image.display());
        }
    }
}
