//! Directories: what may be opened, and what is refused without harm.

use crate::tests::door::{Door, Place, Settings, WAYS};
use crate::tests::origin::{TestOrigin, content, write_file};
use cachefs_core::EngineChoice;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIB: u64 = 1 << 20;

pub(crate) fn many_that_begin_one_cache_agree<D: Door>(engine: EngineChoice) {
    for _ in 0..10 {
        let place = Place::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                // flock(2) tells open files apart, so threads stand for processes.
                scope.spawn(|| {
                    let cache = D::open(&place.cache(), &Settings::new(engine));
                    assert!(cache.expect("a cache").is_normal());
                });
            }
        });
    }
}

pub(crate) fn the_directory_remembers_its_limit<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let none_named = Settings::new(engine);
    let mut small = none_named;
    small.capacity_bytes = 2 * MIB;
    let code = Arc::new(TestOrigin::new(MIB));
    let stored = |settings: &Settings| {
        let cache = D::open(&place.cache(), settings).unwrap();
        let origin = cache.custom("code", Arc::clone(&code));
        for name in [b"a", b"b", b"c"] {
            let file = cache.file(&origin, name).unwrap();
            cache.fill(&file, &mut |_, _| true).unwrap();
        }
        cache.stats().cached_objects
    };
    assert_eq!(
        stored(&small),
        1,
        "an object takes a little more than its megabyte"
    );
    assert_eq!(stored(&none_named), 1, "who names no limit keeps it");
    let mut large = none_named;
    large.capacity_bytes = 8 * MIB;
    assert_eq!(stored(&large), 3, "who names one changes it");
    assert_eq!(stored(&none_named), 3);
}

pub(crate) fn nothing_leads_out_of_the_origin<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    write_file(&place.root().join("secret"), b"secret");
    std::fs::create_dir(place.origin().join("sub")).unwrap();
    write_file(&place.origin().join("sub/file"), b"public");
    symlink("../secret", place.origin().join("relative")).unwrap();
    symlink(place.root().join("secret"), place.origin().join("absolute")).unwrap();
    symlink("../sub/file", place.origin().join("sub/inside")).unwrap();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.directory(&place.origin()).unwrap();
    let open = |path: &str| cache.file(&origin, path.as_bytes()).err();
    assert_eq!(open("../secret"), Some(libc::EXDEV));
    assert_eq!(open("sub/../../secret"), Some(libc::EXDEV));
    assert_eq!(open("relative"), Some(libc::EXDEV));
    assert_eq!(open("absolute"), Some(libc::EXDEV));
    for inside in ["sub/inside", "sub/../sub/file", "/sub/file", "//sub//file"] {
        let file = cache.file(&origin, inside.as_bytes()).unwrap();
        assert_eq!(
            cache.read_by(WAYS[0], &file, 10, 0),
            Ok(b"public".to_vec()),
            "{inside}"
        );
    }
}

pub(crate) fn what_is_no_regular_file_has_its_errno<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let root = place.origin();
    std::fs::create_dir(root.join("directory")).unwrap();
    write_file(&root.join("file"), b"x");
    symlink("loop", root.join("loop")).unwrap();
    let fifo = CString::new(root.join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    let origin = cache.directory(&root).unwrap();
    let open = |path: &[u8]| cache.file(&origin, path).err();
    assert_eq!(open(b"directory"), Some(libc::EISDIR));
    assert_eq!(open(b""), Some(libc::EISDIR), "the root itself");
    assert_eq!(
        open(b"fifo"),
        Some(libc::EINVAL),
        "and it does not wait for a writer"
    );
    assert_eq!(open(b"socket"), Some(libc::EINVAL));
    assert_eq!(open(b"missing"), Some(libc::ENOENT));
    assert_eq!(open(b"file/below"), Some(libc::ENOTDIR));
    assert_eq!(open(b"loop"), Some(libc::ELOOP));
    assert_eq!(open(&[b'x'; 256]), Some(libc::ENAMETOOLONG));
    assert_eq!(open(&[b'x'; 4096]), Some(libc::ENAMETOOLONG));
    assert_eq!(open(b"\xff\xfe"), Some(libc::ENOENT), "names are bytes");
    assert_eq!(
        cache.directory(&root.join("file")).err(),
        Some(libc::ENOTDIR)
    );
    assert_eq!(
        cache.directory(&root.join("missing")).err(),
        Some(libc::ENOENT)
    );
}

pub(crate) fn a_directory_that_is_no_cache_is_refused<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    write_file(&place.origin().join("precious"), b"data");
    let open = |path: &Path| D::open(path, &Settings::new(engine)).err();
    assert_eq!(open(&place.origin()), Some(libc::ENOTEMPTY));
    let left: Vec<_> = std::fs::read_dir(place.origin()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing was made or deleted");
    assert_eq!(
        std::fs::read(place.origin().join("precious")).unwrap(),
        b"data"
    );
    assert_eq!(open(&place.origin().join("precious")), Some(libc::ENOTDIR));
    assert_eq!(open(&place.origin().join("no/parent")), Some(libc::ENOENT));
    // Objects without the marker are not ours to delete.
    let strange = place.root().join("strange");
    std::fs::create_dir_all(strange.join("objects/00")).unwrap();
    assert_eq!(open(&strange), Some(libc::ENOTEMPTY));
}

pub(crate) fn a_newer_format_is_refused<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let settings = Settings::new(engine);
    drop(D::open(&place.cache(), &settings).unwrap());
    let marker = place.cache().join("cachefs.format");
    let text = std::fs::read_to_string(&marker).unwrap();
    let newer = text.replace("cache format ", "cache format 9");
    for (text, errno) in [
        (newer.as_str(), libc::EPROTONOSUPPORT),
        ("something else\n", libc::EPROTONOSUPPORT),
        ("", libc::EPROTONOSUPPORT),
    ] {
        std::fs::write(&marker, text).unwrap();
        assert_eq!(
            D::open(&place.cache(), &settings).err(),
            Some(errno),
            "{text:?}"
        );
        assert_eq!(
            std::fs::read_to_string(&marker).unwrap(),
            text,
            "nothing is changed"
        );
    }
    std::fs::write(&marker, text).unwrap();
    let mut other_chunks = settings;
    other_chunks.chunk_bytes = 2 * MIB;
    assert_eq!(
        D::open(&place.cache(), &other_chunks).err(),
        Some(libc::EINVAL)
    );
    assert!(D::open(&place.cache(), &settings).is_ok());
}

/// A cache that stores nothing, and still reads right.
fn passes_through<D: Door>(place: &Place, cache_dir: &Path, engine: EngineChoice) {
    let bytes = content(3, 0, 2 * MIB as usize + 9);
    write_file(&place.origin().join("file"), &bytes);
    let cache = D::open(cache_dir, &Settings::new(engine)).unwrap();
    assert!(!cache.is_normal(), "it says so");
    let origin = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&origin, b"file").unwrap();
    for way in WAYS {
        assert!(
            cache.read_by(way, &file, 4 * MIB as usize, 0).unwrap() == bytes,
            "{way:?}"
        );
    }
    assert_eq!(cache.stats().bypasses, 3);
    assert!(cache.fill(&file, &mut |_, _| true).is_err());
    assert_eq!(cache.descriptor(&file).err(), Some(libc::ENODATA));
}

/// A tmpfs of one megabyte, unmounted when dropped. None, said, without the right to mount.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let options = c"size=1m,mode=700";
        match rustix::mount::mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(options)) {
            Ok(()) => Some(Self(path)),
            Err(errno) => {
                eprintln!("skipped: cannot mount a tmpfs: {errno}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

pub(crate) fn an_unwritable_cache_passes_through<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    if rustix::process::geteuid().is_root() {
        // Permissions do not bind root; a read-only file system does.
        let Some(tmpfs) = Tmpfs::mount(place.cache()) else {
            return;
        };
        rustix::mount::mount_remount(&tmpfs.0, MountFlags::RDONLY, "").unwrap();
        passes_through::<D>(&place, &tmpfs.0, engine);
    } else {
        std::fs::create_dir(place.cache()).unwrap();
        let permissions = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(place.cache(), permissions).unwrap();
        passes_through::<D>(&place, &place.cache(), engine);
    }
}

pub(crate) fn a_full_cache_device_passes_through<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let Some(tmpfs) = Tmpfs::mount(place.cache()) else {
        return;
    };
    // Full before it became a cache, and full afterwards.
    let ballast = tmpfs.0.join("lost+found");
    let filled = std::fs::write(&ballast, vec![0; 2 * MIB as usize]);
    assert_eq!(filled.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    passes_through::<D>(&place, &tmpfs.0, engine);
    std::fs::remove_file(&ballast).unwrap();
    let cache = D::open(&tmpfs.0, &Settings::new(engine)).unwrap();
    assert!(cache.is_normal());
    let origin = cache.directory(&place.origin()).unwrap();
    let file = cache.file(&origin, b"file").unwrap();
    let bytes = content(3, 0, 2 * MIB as usize + 9);
    for way in WAYS {
        assert!(
            cache.read_by(way, &file, 4 * MIB as usize, 0).unwrap() == bytes,
            "{way:?}"
        );
    }
    assert_eq!(cache.fill(&file, &mut |_, _| true), Err(libc::ENOSPC));
    assert!(!cache.is_normal(), "it has noticed");
}

pub(crate) fn an_origin_inside_the_cache_is_refused<D: Door>(engine: EngineChoice) {
    let place = Place::new();
    let cache = D::open(&place.cache(), &Settings::new(engine)).unwrap();
    assert_eq!(
        cache.directory(&place.cache().join("objects")).err(),
        Some(libc::ELOOP)
    );
    assert_eq!(cache.directory(&place.cache()).err(), Some(libc::ELOOP));
    // The other way round is fine, but for the cache's own files.
    let origin = cache.directory(place.root()).unwrap();
    let own = cache.file(&origin, b"cache/cachefs.format");
    assert_eq!(own.err(), Some(libc::ELOOP));
    write_file(&place.origin().join("file"), b"fine");
    let file = cache.file(&origin, b"origin/file").unwrap();
    assert_eq!(cache.read_by(WAYS[0], &file, 9, 0), Ok(b"fine".to_vec()));
}
