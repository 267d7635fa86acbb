//! File systems in a file, for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, unmounted when dropped.
pub(crate) struct Volume {
    pub(crate) image: PathBuf,
    pub(crate) path: PathBuf,
}

impl Volume {
    /// Makes and mounts one of `mib` mebibytes below `directory`. None, said,
    /// without the programs, the kernel's part of it, or the right to mount.
    pub(crate) fn mount(directory: &Path, program: &[&str], mib: u64) -> Option<Self> {
        let image = directory.join("image");
        let path = directory.join("volume");
        std::fs::create_dir(&path).unwrap();
        if !make(&image, program, mib) {
            return None;
        }
        Self::of(&image, &path, "loop")
    }

    /// Mounts one that was made. None, said, if that cannot be.
    pub(crate) fn of(image: &Path, path: &Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-o", options])
            .arg(image)
            .arg(path)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self {
                image: image.to_owned(),
                path: path.to_owned(),
            }),
            other => {
                eprintln!("skipped: mount {}: {other:?}", image.display());
                None
            }
        }
    }
}

/// Makes a file system of `mib` mebibytes in a file. False, said, without the program.
pub(crate) fn make(image: &Path, program: &[&str], mib: u64) -> bool {
    let file = std::fs::File::create(image).unwrap();
    file.set_len(mib << 20).unwrap();
    let (program, arguments) = program.split_first().unwrap();
    let made = Command::new(program).args(arguments).arg(image).output();
    match made {
        Ok(output) if output.status.success() => true,
        other => {
            eprintln!("skipped: {program}: {other:?}");
            false
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
