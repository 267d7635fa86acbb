//! Whether a program opens its files by functions that a preloaded library can replace.

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};
use rustix::fs::StatVfsMountFlags;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Interpreters of interpreters, as the kernel has it (exec.c).
const INTERPRETERS_MAX: u32 = 4;

/// Why a library that is preloaded does not reach a program.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no dynamic linker.
    Static,
    /// It calls the kernel itself.
    Go,
    /// Its dynamic linker is of another C library.
    OtherLibc(String),
    /// The dynamic linker preloads nothing for who gets privileges.
    Privileged,
    /// It is of another kind of processor, or of 32 bits.
    OtherMachine,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Static => out.write_str("is linked statically"),
            Refusal::Go => out.write_str("is a program of Go, which opens files by itself"),
            Refusal::OtherLibc(linker) => write!(out, "has another C library ({linker})"),
            Refusal::Privileged => out.write_str("gets privileges when it is started"),
            Refusal::OtherMachine => out.write_str("is not of this kind of processor"),
        }
    }
}

/// The file of a program, by its name, as execvp(3) finds it.
pub fn find(name: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let path = super::search_path();
    let is_program = |path: &PathBuf| {
        let found = path.metadata();
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
    places
        .find(is_program)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Looks at a program. A hint is of something that may not be opened in the cache.
pub fn look(path: &Path) -> Result<Option<&'static str>, Refusal> {
    let mut path = path.to_owned();
    for _ in 0..INTERPRETERS_MAX {
        // What cannot be read, or is no program, exec tells.
        let Ok(mut file) = File::open(&path) else {
            return Ok(None);
        };
        let mut start = [0; 256];
        let length = file.read(&mut start).unwrap_or(0);
        match interpreter(&start[..length]) {
            Some(next) => path = next.into(),
            None => {
                if file
                    .metadata()
                    .is_ok_and(|found| is_privileged(&path, &found))
                {
                    return Err(Refusal::Privileged);
                }
                return match std::fs::read(&path) {
                    Ok(bytes) => look_at(&bytes),
                    Err(_) => Ok(None),
                };
            }
        }
    }
    Ok(None)
}

/// What runs a script.
fn interpreter(start: &[u8]) -> Option<OsString> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    let first = words.next()?;
    // The program that env(1) looks for is what matters.
    let is_env = first.ends_with(b"/env");
    let name = OsString::from_vec(
        words
            .find(|word| is_env && !word.starts_with(b"-"))
            .unwrap_or(first)
            .to_vec(),
    );
    find(&name).ok().map(PathBuf::into_os_string)
}

/// Whether the kernel tells the dynamic linker of privileges (AT_SECURE, getauxval(3)).
fn is_privileged(path: &Path, found: &Metadata) -> bool {
    let mount = rustix::fs::statvfs(path);
    if mount.is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID)) {
        return false;
    }
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let has = |bits: u32| found.permissions().mode() & bits == bits;
    let other_user = has(0o4000) && found.uid() != user.as_raw();
    // Without the right to execute, it is no sign of this.
    let other_group = has(0o2010) && found.gid() != group.as_raw();
    other_user || other_group || (!user.is_root() && gives_capabilities(path))
}

/// Whether who executes a file gets capabilities from it; those that it only lets keep
/// count for nothing.
fn gives_capabilities(path: &Path) -> bool {
    // struct vfs_cap_data (linux/capability.h): a version with a flag, and twice 32 bits of
    // what is permitted and what is inherited. Those of another user's namespace are not told.
    let mut told = [0u8; 64];
    let Ok(length) = rustix::fs::getxattr(path, "security.capability", &mut told[..]) else {
        return false;
    };
    let word = |index: usize| {
        let bytes = told[..length].get(index * 4..index * 4 + 4);
        bytes.map_or(0, |four| {
            u32::from_le_bytes([four[0], four[1], four[2], four[3]])
        })
    };
    let is_effective = word(0) & 1 != 0;
    is_effective || word(1) != 0 || word(3) != 0
}

fn look_at(bytes: &[u8]) -> Result<Option<&'static str>, Refusal> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    let own = std::fs::read("/proc/self/exe").ok();
    let machine = |bytes: &[u8]| {
        bytes
            .get(4..6)
            .map(|kind| kind.to_owned())
            .zip(bytes.get(18..20).map(|kind| kind.to_owned()))
    };
    if own.is_some_and(|own| machine(&own) != machine(bytes)) {
        return Err(Refusal::OtherMachine);
    }
    // What is damaged, exec tells.
    let Ok(header) = FileHeader64::<Endianness>::parse(bytes) else {
        return Ok(None);
    };
    let Ok(endian) = header.endian() else {
        return Ok(None);
    };
    look_at_elf(header, endian, bytes).unwrap_or(Ok(None))
}

type Looked = Result<Option<&'static str>, Refusal>;

fn look_at_elf<'data>(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    bytes: &'data [u8],
) -> object::Result<Looked>
where
    &'data [u8]: ReadRef<'data>,
{
    let sections = header.sections(endian, bytes)?;
    let is_go = sections.iter().any(|section| {
        let name = sections.section_name(endian, section);
        name.is_ok_and(|name| name == b".go.buildinfo")
    });
    if is_go {
        return Ok(Err(Refusal::Go));
    }
    let mut linker = None;
    let mut uses_ring = false;
    for segment in header.program_headers(endian, bytes)? {
        if let Some(found) = segment.interpreter(endian, bytes)? {
            linker = Some(found);
        }
        let Some(dynamic) = segment.dynamic(endian, bytes)? else {
            continue;
        };
        let strings = header
            .sections(endian, bytes)?
            .dynamic(endian, bytes)?
            .map(|(_, index)| sections.strings(endian, bytes, index));
        if let Some(Ok(strings)) = strings {
            let needed = dynamic
                .iter()
                .filter(|entry| entry.tag(endian) == elf::DT_NEEDED);
            uses_ring |= needed
                .filter_map(|entry| entry.string(endian, strings).ok())
                .any(|name| name.starts_with(b"liburing.so"));
        }
    }
    Ok(match linker {
        None => Err(Refusal::Static),
        Some(linker) if linker.windows(7).any(|part| part == b"ld-musl") => {
            let linker = String::from_utf8_lossy(linker).into_owned();
            Err(Refusal::OtherLibc(linker))
        }
        Some(_) => {
            Ok(uses_ring
                .then_some("uses io_uring: what it opens by that is not opened in the cache"))
        }
    })
}
