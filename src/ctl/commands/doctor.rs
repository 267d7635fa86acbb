//! `cachefs doctor`: whether this system can run a cache, and how well.

use super::stdout;
use crate::context::Context;
use crate::failure::{Failure, Outcome, describe};
use crate::show;
use cachefs_core::{Config, EngineChoice, State, probe};
use indicatif::BinaryBytes;
use rustix::fs::{Access, AtFlags, CWD, StatxFlags};
use rustix::process::{Resource, getrlimit};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

/// The first kernel with openat2(2), without which no origin's file is opened.
const KERNEL_MIN: (u32, u32) = (5, 6);
/// Locked memory that rings and their buffers of one cache take at the defaults.
const MEMLOCK_BYTES_MIN: u64 = 8 << 20;
/// File systems whose files are elsewhere, or in memory.
const NOT_LOCAL: [&str; 8] = [
    "nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "tmpfs", "ramfs",
];

/// What was found: lines for people, and what the verdict needs of them.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    /// Why no cache can run.
    obstacles: Vec<String>,
}

impl Findings {
    fn ok(&mut self, text: impl Display) {
        self.lines.push(format!("ok  {text}"));
    }

    /// Something is missing; `advice` says what to do.
    fn no(&mut self, text: impl Display, advice: impl Display) {
        self.lines.push(format!("no  {text}: {advice}"));
    }

    /// The same, and without it there is no cache.
    fn obstacle(&mut self, text: impl Display, advice: impl Display) {
        self.no(&text, advice);
        self.obstacles.push(text.to_string());
    }
}

/// Looks at everything, and changes nothing.
pub fn run(context: &Context) -> Outcome {
    let mut findings = Findings::default();
    kernel(&mut findings);
    switch(&mut findings);
    locked_memory(&mut findings);
    let engine = engine(&mut findings, &context.config);
    directory(&mut findings, context);
    let mut out = stdout();
    for line in &findings.lines {
        writeln!(out, "{}", show::text(line))?;
    }
    if findings.obstacles.is_empty() {
        writeln!(out, "The cache can run, with the engine {engine}.")?;
        return Ok(out.flush()?);
    }
    let obstacles = show::text(&findings.obstacles.join("; "));
    writeln!(out, "The cache cannot run: {obstacles}.")?;
    out.flush()?;
    Err(Failure::told())
}

fn kernel(findings: &mut Findings) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let text = format!("kernel {release}");
    if version(&release).is_none_or(|version| version >= KERNEL_MIN) {
        findings.ok(text);
    } else {
        findings.obstacle(text, "openat2(2) came with Linux 5.6: use a newer kernel");
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// kernel.io_uring_disabled, as the kernel's documentation of sysctl defines it.
fn switch(findings: &mut Findings) {
    let name = "kernel.io_uring_disabled";
    match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
        Ok(text) => match text.trim() {
            "0" => findings.ok(format!("{name} = 0: every process may use io_uring")),
            "1" => findings.no(
                format!("{name} = 1"),
                "only root and the group kernel.io_uring_group may use io_uring; \
                 join the group, or set it to 0",
            ),
            value => findings.no(
                format!("{name} = {value}"),
                "no process may use io_uring; set it to 0 with sysctl(8)",
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.ok(format!("{name}: this kernel has no such switch"));
        }
        Err(error) => findings.no(name, describe(&error)),
    }
}

fn locked_memory(findings: &mut Findings) {
    match getrlimit(Resource::Memlock).current {
        None => findings.ok("RLIMIT_MEMLOCK: unlimited"),
        Some(bytes) if bytes >= MEMLOCK_BYTES_MIN => {
            findings.ok(format!("RLIMIT_MEMLOCK: {}", BinaryBytes(bytes)));
        }
        Some(bytes) => findings.no(
            format!("RLIMIT_MEMLOCK: {}", BinaryBytes(bytes)),
            "rings may be refused; raise it to 8 MiB (ulimit -l, LimitMEMLOCK= in systemd)",
        ),
    }
}

/// What io_uring grants, and the engine that a cache gets.
fn engine(findings: &mut Findings, config: &Config) -> &'static str {
    let choice = config.engine;
    // What is out of range was refused with the command line.
    let options = config.completed().unwrap_or_default().engine_options();
    let probed = probe(&options);
    for finding in &probed {
        let feature = format!("{} (Linux {})", finding.feature, finding.since);
        let purpose = finding.purpose;
        match &finding.granted {
            Ok(()) => findings.ok(format!("{feature}: {purpose}")),
            Err(reason) => findings.no(format!("{feature}: {purpose}"), reason),
        }
    }
    // The first finding is io_uring itself.
    let granted = probed.first().is_some_and(|first| first.granted.is_ok());
    match (choice, granted) {
        (EngineChoice::Psync, _) => "psync, as was asked for",
        (_, true) => "uring",
        (EngineChoice::Auto, false) => "psync, since io_uring is refused",
        (EngineChoice::Uring, false) => {
            let text = "engine=uring was asked for, and io_uring is refused";
            findings.obstacle(text, "see above, or leave it out for psync");
            "uring"
        }
    }
}

fn directory(findings: &mut Findings, context: &Context) {
    let path = context.cache_directory();
    let shown = show::path(path);
    if context.cache_exists() {
        open(findings, context, &shown);
    } else if let Err(reason) = may_become_cache(path) {
        let text = format!("cache {shown}: {reason}");
        findings.obstacle(
            text,
            "name another directory (--cache), or make this one fit",
        );
    } else {
        findings.ok(format!(
            "cache {shown}: not there yet, made by its first user"
        ));
    }
    // Of the directory, or of where it will be.
    let there = path.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty());
    disk(findings, there.unwrap_or(Path::new(".")), &context.config);
}

/// Opens a cache that is there.
fn open(findings: &mut Findings, context: &Context, shown: &str) {
    let advice = "see who owns it, and whether its file system is writable";
    match context.look() {
        Err(failure) => {
            let reason = failure.message().unwrap_or("cannot be opened");
            findings.obstacle(format!("cache {shown}: {reason}"), advice);
        }
        Ok(cache) => match cache.report().state {
            State::Normal => findings.ok(format!("cache {shown}: it stores")),
            other => {
                let reason = other.reason().unwrap_or("for no reason");
                let text = format!("cache {shown}: it stores nothing, {reason}");
                findings.obstacle(text, advice);
            }
        },
    }
}

/// Whether a directory that is not a cache can be made one.
fn may_become_cache(path: &Path) -> Result<(), String> {
    let usable = |path: &Path| {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS)
            .map_err(|errno| format!("write to {}: {}", show::path(path), show::errno(errno)))
    };
    match path.read_dir() {
        Ok(entries) => {
            let name = |entry: io::Result<std::fs::DirEntry>| entry.ok().map(|e| e.file_name());
            let ours = [
                "lost+found",
                "CACHEDIR.TAG",
                "objects",
                "cachefs.format.new",
            ];
            let mut strange = entries
                .filter_map(name)
                .filter(|name| !ours.iter().any(|ours| name == ours));
            match strange.next() {
                Some(name) => Err(format!(
                    "not a cache and not empty, it has {}",
                    show::path(name)
                )),
                None => usable(path),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let there = path.ancestors().skip(1).find(|path| path.exists());
            let there = there.filter(|path| !path.as_os_str().is_empty());
            usable(there.unwrap_or(Path::new(".")))
        }
        Err(error) => Err(describe(&error)),
    }
}

fn disk(findings: &mut Findings, path: &Path, config: &Config) {
    match rustix::fs::statvfs(path) {
        Err(errno) => findings.no("free space", show::errno(errno)),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("free space: {}", BinaryBytes(free));
            let capacity = config.completed().map_or(0, |config| config.capacity_bytes);
            if free >= capacity {
                findings.ok(text);
            } else {
                let limit = BinaryBytes(capacity);
                let advice = format!("capacity_bytes is {limit}; what is held already counts");
                findings.no(text, advice);
            }
        }
    }
    match file_system(path) {
        Err(error) => findings.no("file system", describe(&error)),
        Ok(None) => findings.no("file system", "not in /proc/self/mountinfo"),
        Ok(Some(kind)) if NOT_LOCAL.contains(&kind.as_str()) => findings.no(
            format!("file system: {kind}"),
            "a cache belongs on a local disk; this one is remote or takes memory",
        ),
        Ok(Some(kind)) => findings.ok(format!("file system: {kind}")),
    }
}

/// The type of the file system that a path is on.
pub(super) fn file_system(path: &Path) -> io::Result<Option<String>> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(type_of_mount(&table, stat.stx_mnt_id))
}

/// proc_pid_mountinfo(5): the mount's number comes first, the type after ` - `.
fn type_of_mount(table: &[u8], mount: u64) -> Option<String> {
    let text = String::from_utf8_lossy(table);
    let begin = format!("{mount} ");
    let line = text.lines().find(|line| line.starts_with(&begin))?;
    let (_, end) = line.split_once(" - ")?;
    end.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_any_release() {
        assert_eq!(version("6.18.44-generic"), Some((6, 18)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn the_type_of_a_mount_is_found() {
        let table = b"22 1 0:20 / /proc rw shared:5 - proc proc rw\n\
            221 1 259:1 / / rw - ext4 /dev/nvme0n1 rw\n";
        assert_eq!(type_of_mount(table, 221).as_deref(), Some("ext4"));
        assert_eq!(type_of_mount(table, 22).as_deref(), Some("proc"));
        assert_eq!(type_of_mount(table, 2), None);
    }
}
