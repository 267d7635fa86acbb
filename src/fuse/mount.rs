//! The mount itself: made, negotiated with the kernel, and taken away.

use crate::failure::{Failure, describe};
use crate::reply::READ_BYTES_MAX;
use crate::settings::Settings;
use fuser::{Filesystem, InitFlags, KernelConfig, MountOption, Request, Session, SessionACL};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Requests in the background that the kernel has under way: reads ahead, and direct
/// ones that nobody waits for.
const BACKGROUND_MAX: u16 = 64;
/// `f_type` of file systems that lie on others: overlayfs, eCryptfs, FUSE.
const STACKED: [u32; 3] = [0x794c_7630, 0x0000_f15f, 0x6573_5546];

/// A mount. It is taken away when this is dropped, unless that was done already.
pub struct Mount {
    /// Never dropped: fuser 0.18 then takes away what is mounted at that place, also when
    /// its own mount is gone and another has come (it takes POLLERR for "mounted").
    session: ManuallyDrop<Session<Handshake>>,
    mountpoint: PathBuf,
    agreed: Arc<Mutex<Agreed>>,
}

/// What the kernel granted.
#[derive(Default)]
struct Agreed {
    passthrough_refusal: Option<String>,
}

/// The part of the protocol that fuser conducts.
struct Handshake {
    wants_passthrough: bool,
    stack_depth: u32,
    agreed: Arc<Mutex<Agreed>>,
}

impl Filesystem for Handshake {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Access lists of the origin are asked for and obeyed.
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_READDIRPLUS_AUTO,
        ];
        for capability in wanted {
            if config.add_capabilities(capability).is_err() {
                tracing::debug!("the kernel does not offer {capability:?}");
            }
        }
        // A read of one request must fit; these are bounds that fuser knows.
        let _before = config.set_max_write(READ_BYTES_MAX as u32);
        let _before = config.set_max_background(BACKGROUND_MAX);
        let refusal = if !self.wants_passthrough {
            Some("it is turned off".to_owned())
        } else if config
            .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
            .is_err()
        {
            Some("this kernel does not have it: it takes Linux 6.9".to_owned())
        } else {
            config
                .set_max_stack_depth(self.stack_depth)
                .err()
                .map(|_| "the cache lies on a file system that is stacked too high".to_owned())
        };
        let mut agreed = self.agreed.lock().unwrap_or_else(|held| held.into_inner());
        agreed.passthrough_refusal = refusal;
        Ok(())
    }
}

impl Mount {
    /// Mounts, and agrees with the kernel on how to work.
    pub fn make(settings: &Settings, cache: &Path) -> Result<Self, Failure> {
        let agreed = Arc::<Mutex<Agreed>>::default();
        let handshake = Handshake {
            wants_passthrough: settings.passthrough,
            stack_depth: stack_depth(cache),
            agreed: Arc::clone(&agreed),
        };
        let mut config = fuser::Config::default();
        config.acl = match settings.allow_other {
            true => SessionACL::All,
            false => SessionACL::Owner,
        };
        let name = settings.fsname.clone();
        let name = name.unwrap_or_else(|| settings.origin.to_string_lossy().into_owned());
        config.mount_options = vec![
            // Commas end options; the name is for people.
            MountOption::FSName(name.replace(',', "_")),
            MountOption::CUSTOM("subtype=cachefsd".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::RO,
        ];
        config
            .mount_options
            .extend(settings.mount_flags.iter().cloned());
        // fuser's own error would be about the mountpoint.
        let device = settings.devices.take();
        let device = device.map_err(|errno| {
            Failure::new(format!("open /dev/fuse: {}", describe(&errno.into())))
        })?;
        let session = match settings.user {
            None => Session::new(handshake, &settings.mountpoint, &config),
            Some(_) => attach(&device, settings, &config).and_then(|()| {
                let acl = config.acl;
                Session::from_fd(handshake, device, acl, config)
            }),
        };
        let shown = settings.mountpoint.display();
        let session = session
            .map_err(|error| Failure::new(format!("mount on {shown}: {}", describe(&error))))?;
        Ok(Self {
            session: ManuallyDrop::new(session),
            mountpoint: settings.mountpoint.clone(),
            agreed,
        })
    }

    /// Whether the kernel still has it, in the tree of names or with its users.
    fn is_there(&self) -> bool {
        let mut fds = [PollFd::new(&*self.session, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // POLLERR is told without having been asked for (`fuse_dev_poll`).
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(_) => !fds[0].revents().contains(PollFlags::ERR),
            Err(_) => true,
        }
    }

    /// The mount's descriptor.
    pub fn device(&self) -> Result<OwnedFd, Failure> {
        let device = self.session.as_fd().try_clone_to_owned();
        device.map_err(|error| Failure::new(format!("copy a descriptor: {}", describe(&error))))
    }

    /// Why the kernel takes no files, if it does not.
    pub fn passthrough_refusal(&self) -> Option<String> {
        let agreed = self.agreed.lock().unwrap_or_else(|held| held.into_inner());
        agreed.passthrough_refusal.clone()
    }
}

/// Mounts a device that was opened when that was still allowed: as fuser does it, which
/// opens its own.
fn attach(device: &OwnedFd, settings: &Settings, config: &fuser::Config) -> io::Result<()> {
    let mode = std::fs::metadata(&settings.mountpoint)?
        .permissions()
        .mode();
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut data = format!(
        "fd={},rootmode={mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        user.as_raw(),
        group.as_raw()
    );
    if settings.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    let mut source = "cachefsd";
    for option in &config.mount_options {
        match option {
            MountOption::FSName(name) => source = name,
            MountOption::Dev => flags -= MountFlags::NODEV,
            MountOption::Suid => flags -= MountFlags::NOSUID,
            MountOption::NoExec => flags |= MountFlags::NOEXEC,
            MountOption::NoAtime => flags |= MountFlags::NOATIME,
            // The others are so by default, or in the data.
            _ => {}
        }
    }
    let (place, data) = (&settings.mountpoint, CString::new(data)?);
    Ok(rustix::mount::mount(
        source,
        place,
        "fuse.cachefsd",
        flags,
        data.as_c_str(),
    )?)
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = unmount(&self.mountpoint)
        {
            tracing::warn!("take the mount away: {}", describe(&error));
        }
    }
}

/// The kernel stacks file systems two high: a cache on one that is stacked itself takes
/// both, else somebody may stack another one on the mount.
fn stack_depth(cache: &Path) -> u32 {
    match rustix::fs::statfs(cache) {
        Ok(of) if STACKED.contains(&(of.f_type as u32)) => 2,
        _ => 1,
    }
}

/// Takes a mount away, as umount(8) does. A mount that is in use leaves the tree of
/// names at once, or has done so before, and ends with its last user: false.
pub fn unmount(mountpoint: &Path) -> io::Result<bool> {
    match rustix::mount::unmount(mountpoint, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::BUSY) => {
            let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
            rustix::mount::unmount(mountpoint, flags)?;
            Ok(false)
        }
        // It is no mount any more.
        Err(rustix::io::Errno::INVAL) => Ok(false),
        // A user's mount is taken away by the set-uid helper that made it.
        Err(rustix::io::Errno::PERM) => {
            let mut helper = std::process::Command::new("fusermount3");
            let ended = helper.args(["-u", "-z", "--"]).arg(mountpoint).status()?;
            if ended.success() {
                return Ok(true);
            }
            Err(io::Error::other(format!(
                "fusermount3 has ended with {ended}"
            )))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Has the kernel read ahead by so many bytes. Only root may say so; without it, the
/// kernel takes 128 KiB.
pub fn set_readahead(mountpoint: &Path, bytes: u64) -> io::Result<()> {
    let device = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(mountpoint)?);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    std::fs::write(file, (bytes >> 10).to_string())
}
