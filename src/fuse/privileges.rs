//! From root to a user who has nothing left of it but CAP_SYS_ADMIN: to mount, and to hand
//! files to the kernel, takes that.

use crate::device::Devices;
use crate::failure::{Failure, describe};
use crate::settings::Settings;
use nix::unistd::{Gid, Uid, User, initgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

/// Goes on as the user of the settings, if they name one. Only for a process that has one
/// thread: the capabilities are those of a thread, and of those that it starts.
pub fn drop_to_user(settings: &mut Settings) -> Result<(), Failure> {
    let Some(name) = &settings.user else {
        return Ok(());
    };
    let user = find(name)?;
    // Where the device is for root alone, it has to be open by now.
    settings.devices = Devices::open(settings.fuse_threads + 1)?;
    let failed = |what: &str, error: io::Error| {
        Failure::new(format!("user={name}: {what}: {}", describe(&error)))
    };
    own(&settings.cache_dir, &user, |path| {
        DirBuilder::new().mode(0o700).create(path)
    })
    .map_err(|error| failed("make the cache directory", error))?;
    if let Some(log) = &settings.log_file {
        own(log, &user, |path| File::create_new(path).map(drop))
            .map_err(|error| failed("make the log file", error))?;
    }
    become_user(&user).map_err(|error| failed("change the user", error))?;
    keep_one_capability().map_err(|error| failed("give up capabilities", error))
}

/// A user by name or number.
fn find(name: &str) -> Result<User, Failure> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(Failure::usage(format!(
            "user={name}: there is no such user"
        ))),
        Err(errno) => Err(Failure::new(format!(
            "user={name}: {}",
            describe(&errno.into())
        ))),
    }
}

/// Makes a path for the user, unless it is there.
fn own(path: &Path, user: &User, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    match make(path) {
        Ok(()) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn become_user(user: &User) -> io::Result<()> {
    let name = CString::new(user.name.as_bytes())?;
    let (uid, gid): (Uid, Gid) = (user.uid, user.gid);
    initgroups(&name, gid)?;
    setresgid(gid, gid, gid)?;
    // Else they would all go with the user.
    rustix::thread::set_keep_capabilities(true)?;
    setresuid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    Ok(())
}

fn keep_one_capability() -> io::Result<()> {
    let kept = CapabilitySet::SYS_ADMIN;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    // No program that it starts gets more.
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        assert_eq!(find("root").unwrap().uid.as_raw(), 0);
        assert_eq!(find("0").unwrap().name, "root");
        let failure = find("no such user").unwrap_err();
        assert_eq!(failure.status(), 2);
    }
}
