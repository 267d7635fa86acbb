//! What a mount is to be: options by name, wherever they were written.

use crate::device::Devices;
use crate::failure::{Failure, describe};
use crate::option_names::{MOUNT_OPTIONS, SYNONYMS, is_flag, is_for_others, nearest};
use crate::wakeups::Wakeups;
use cachefs_core::{Config, OPTIONS, ORIGIN_OPTIONS, OptionInfo, OriginOptions};
use fuser::MountOption;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Threads that answer the kernel, if nobody says.
const THREADS_DEFAULT: usize = 16;
/// At most so many.
const THREADS_MAX: usize = 256;
/// Bytes from which on a complete file is handed to the kernel, if nobody says: to hand
/// over a smaller one costs more than it saves.
const PASSTHROUGH_MIN_DEFAULT: u64 = 256 << 10;
/// Bytes that the kernel reads ahead, if nobody says.
const READAHEAD_DEFAULT: u64 = 1 << 20;
/// For how long the kernel believes what it was told, if nobody says.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// Seconds that a timeout may have.
const TIMEOUT_SECONDS_MAX: f64 = 1e9;

/// A mount to be.
#[derive(Clone)]
pub struct Settings {
    pub origin: PathBuf,
    pub mountpoint: PathBuf,
    pub cache_dir: PathBuf,
    pub config: Config,
    pub origin_options: OriginOptions,
    pub live: Live,
    pub passthrough: bool,
    pub keep_awake: bool,
    pub fuse_threads: usize,
    /// Bytes.
    pub max_readahead: u64,
    pub log_file: Option<PathBuf>,
    pub fsname: Option<String>,
    pub allow_other: bool,
    pub mount_flags: Vec<MountOption>,
    /// As whom to go on once the mount is up.
    pub user: Option<String>,
    /// Of the kernel's, opened ahead.
    pub devices: Devices,
    /// None: they are not to be, or cannot be, asked for.
    pub wakeups: Option<Wakeups>,
    /// Where it was said, to be read again.
    sources: Vec<Source>,
    has_file: bool,
    /// Where relative names of files begin.
    base: PathBuf,
}

/// What can change while the mount is up, and is looked at by those who answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub attr_timeout: Duration,
    pub entry_timeout: Duration,
    pub negative_timeout: Duration,
    /// Bytes.
    pub passthrough_min: u64,
}

/// Where options were written.
#[derive(Clone)]
enum Source {
    List(OsString),
    /// The same, where unknown ones are no error.
    Known(OsString),
    File(PathBuf),
}

impl Default for Live {
    fn default() -> Self {
        Self {
            attr_timeout: TIMEOUT_DEFAULT,
            entry_timeout: TIMEOUT_DEFAULT,
            negative_timeout: Duration::ZERO,
            passthrough_min: PASSTHROUGH_MIN_DEFAULT,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            origin: PathBuf::new(),
            mountpoint: PathBuf::new(),
            cache_dir: "/var/cache/cachefs".into(),
            config: Config::default(),
            origin_options: OriginOptions::default(),
            live: Live::default(),
            passthrough: true,
            keep_awake: true,
            fuse_threads: THREADS_DEFAULT,
            max_readahead: READAHEAD_DEFAULT,
            log_file: None,
            fsname: None,
            allow_other: false,
            mount_flags: Vec::new(),
            user: None,
            devices: Devices::default(),
            wakeups: None,
            sources: Vec::new(),
            has_file: false,
            // Later it is another one, in the background.
            base: std::env::current_dir().unwrap_or_default(),
        }
    }
}

impl Settings {
    /// Sets what a list says, as after `-o`: separated by commas, of which `\,` is none.
    pub fn set_list(&mut self, list: &OsStr) -> Result<(), Failure> {
        self.sources.push(Source::List(list.to_owned()));
        split(list.as_bytes())
            .iter()
            .try_for_each(|word| self.set_word(word))
    }

    /// The same, where unknown options are no error (`mount -s`). What was left out.
    pub fn set_known(&mut self, list: &OsStr) -> Vec<Failure> {
        self.sources.push(Source::Known(list.to_owned()));
        let words = split(list.as_bytes());
        words
            .iter()
            .filter_map(|word| self.set_word(word).err())
            .collect()
    }

    fn set_word(&mut self, word: &[u8]) -> Result<(), Failure> {
        let (name, value) = match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let name = String::from_utf8_lossy(name);
        self.set(&name, value)
            .map_err(|why| Failure::usage(format!("-o {}: {why}", String::from_utf8_lossy(word))))
    }

    /// Sets what a file says.
    pub fn set_file(&mut self, path: &Path) -> Result<(), Failure> {
        self.sources.push(Source::File(path.to_owned()));
        self.read_file(path)
    }

    /// Whether a file was named.
    pub fn has_file(&self) -> bool {
        self.has_file
    }

    /// The same options as they are written now, and nothing else.
    pub fn read_again(&self) -> Result<Self, Failure> {
        let mut again = Self {
            base: self.base.clone(),
            ..Self::default()
        };
        for source in &self.sources {
            match source {
                Source::List(list) => again.set_list(list)?,
                // They have been told once.
                Source::Known(list) => drop(again.set_known(list)),
                Source::File(path) => again.set_file(path)?,
            }
        }
        Ok(again)
    }

    /// Every option as text: as it was written, so that two of them can be compared.
    pub fn values(&self) -> BTreeMap<&'static str, String> {
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        let Live {
            attr_timeout,
            entry_timeout,
            negative_timeout,
            passthrough_min,
        } = self.live;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut values = BTreeMap::from([
            ("origin", path(&self.origin)),
            ("mountpoint", path(&self.mountpoint)),
            ("cache_dir", path(&self.cache_dir)),
            ("attr_timeout", seconds(attr_timeout)),
            ("entry_timeout", seconds(entry_timeout)),
            ("negative_timeout", seconds(negative_timeout)),
            ("passthrough", self.passthrough.to_string()),
            ("keep_awake", self.keep_awake.to_string()),
            ("passthrough_min", passthrough_min.to_string()),
            ("max_threads", self.fuse_threads.to_string()),
            ("max_readahead", self.max_readahead.to_string()),
            (
                "log_file",
                path(self.log_file.as_deref().unwrap_or("".as_ref())),
            ),
            ("fsname", self.fsname.clone().unwrap_or_default()),
            ("allow_other", self.allow_other.to_string()),
            ("user", self.user.clone().unwrap_or_default()),
            ("exec, suid, dev, atime", format!("{:?}", self.mount_flags)),
        ]);
        texts(&mut values, OPTIONS, &self.config);
        texts(&mut values, ORIGIN_OPTIONS, &self.origin_options);
        values
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Failure> {
        self.has_file = true;
        let shown = path.display();
        let text = std::fs::read_to_string(self.base.join(path))
            .map_err(|error| Failure::usage(format!("{shown}: {}", describe(&error))))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            Failure::usage(format!("{shown}: {}", error.to_string().trim_end()))
        })?;
        for (name, value) in &table {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Boolean(true) if is_flag(name) => {
                    self.set(name, None)
                        .map_err(|why| Failure::usage(format!("{shown}: {why}")))?;
                    continue;
                }
                toml::Value::Boolean(false) if is_flag(name) => continue,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                _ => {
                    let why = "a value is a text, a number, true or false";
                    return Err(Failure::usage(format!("{shown}: {name}: {why}")));
                }
            };
            self.set(name, Some(text.as_bytes()))
                .map_err(|why| Failure::usage(format!("{shown}: {name}: {why}")))?;
        }
        Ok(())
    }

    /// Sets one option. Nothing is changed on error.
    fn set(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), String> {
        // To mount(8), "user" says who may mount.
        if is_for_others(name) && !(name == "user" && value.is_some()) {
            return Ok(());
        }
        if is_flag(name) {
            return match value {
                None => {
                    self.set_flag(name);
                    Ok(())
                }
                Some(_) => Err(format!("{name} takes no value")),
            };
        }
        let is_ours = MOUNT_OPTIONS.iter().any(|(known, ..)| *known == name);
        let synonym = SYNONYMS.iter().find(|(known, _)| *known == name);
        let key = synonym.map_or(name, |(_, key)| *key);
        let is_the_caches = OPTIONS.iter().any(|option| option.key == key);
        let is_the_origins = ORIGIN_OPTIONS.iter().any(|option| option.key == key);
        if !is_ours && !is_the_caches && !is_the_origins {
            let nearest = nearest(name);
            let text = format!("no option is named \"{name}\": did you mean \"{nearest}\"?");
            return Err(text);
        }
        let value = value.ok_or_else(|| format!("it is written {name}=VALUE"))?;
        if is_the_caches || is_the_origins {
            let text = text(value)?;
            let set = match is_the_caches {
                true => self.config.set(key, text),
                false => self.origin_options.set(key, text),
            };
            return set.map_err(|error| error.to_string());
        }
        self.set_value(name, value)
    }

    fn set_value(&mut self, name: &str, value: &[u8]) -> Result<(), String> {
        match name {
            "origin" | "nfs_backend" => self.origin = path(value)?,
            "mountpoint" => self.mountpoint = path(value)?,
            "cache_dir" => self.cache_dir = path(value)?,
            "config" => self
                .read_file(&path(value)?)
                .map_err(|why| why.message().to_owned())?,
            "attr_timeout" => self.live.attr_timeout = seconds(value)?,
            "entry_timeout" => self.live.entry_timeout = seconds(value)?,
            "negative_timeout" => self.live.negative_timeout = seconds(value)?,
            "passthrough" => self.passthrough = truth(value)?,
            "keep_awake" => self.keep_awake = truth(value)?,
            "passthrough_min" => self.live.passthrough_min = size(value)?,
            "max_readahead" => self.max_readahead = size(value)?,
            "max_threads" => self.fuse_threads = threads(value)?,
            "log_file" => self.log_file = Some(path(value)?),
            "user" => self.user = Some(text(value)?.to_owned()),
            "fsname" => self.fsname = Some(text(value)?.to_owned()),
            "nvme_use_io_uring" => {
                let engine = if truth(value)? { "auto" } else { "psync" };
                self.config.set("engine", engine).expect("it is an engine");
            }
            other => unreachable!("{other} is in the table"),
        }
        Ok(())
    }

    fn set_flag(&mut self, name: &str) {
        // The later of two that contradict each other counts.
        let (flag, other) = match name {
            "allow_other" => {
                self.allow_other = true;
                return;
            }
            // It is.
            "ro" => return,
            "exec" => (MountOption::Exec, MountOption::NoExec),
            "noexec" => (MountOption::NoExec, MountOption::Exec),
            "suid" => (MountOption::Suid, MountOption::NoSuid),
            "nosuid" => (MountOption::NoSuid, MountOption::Suid),
            "dev" => (MountOption::Dev, MountOption::NoDev),
            "nodev" => (MountOption::NoDev, MountOption::Dev),
            "atime" => (MountOption::Atime, MountOption::NoAtime),
            "noatime" => (MountOption::NoAtime, MountOption::Atime),
            unknown => unreachable!("{unknown} is in the table"),
        };
        self.mount_flags.retain(|one| *one != flag && *one != other);
        self.mount_flags.push(flag);
    }

    /// Checks what can be seen before anything is begun, and makes paths absolute.
    pub fn complete(mut self) -> Result<Self, Failure> {
        if self.origin.as_os_str().is_empty() {
            return Err(Failure::usage("which origin? Name the directory to mount"));
        }
        if self.mountpoint.as_os_str().is_empty() {
            return Err(Failure::usage("mount where? Name the mountpoint"));
        }
        self.origin = real("the origin", &self.origin)?;
        self.mountpoint = real("the mountpoint", &self.mountpoint)?;
        self.cache_dir = std::path::absolute(&self.cache_dir).map_err(|error| {
            Failure::new(format!(
                "{}: {}",
                self.cache_dir.display(),
                describe(&error)
            ))
        })?;
        let (origin, mountpoint) = (self.origin.display(), self.mountpoint.display());
        if self.mountpoint != self.origin && self.mountpoint.starts_with(&self.origin) {
            let text =
                format!("{mountpoint} lies inside the origin {origin}: it would show itself");
            return Err(Failure::new(text));
        }
        // It need not be there yet, so the directory above it tells where it will be.
        let above = self
            .cache_dir
            .ancestors()
            .find_map(|path| path.canonicalize().ok());
        if above.is_some_and(|above| above.starts_with(&self.mountpoint)) {
            let cache = self.cache_dir.display();
            let text = format!("the cache {cache} lies below the mountpoint {mountpoint}");
            return Err(Failure::new(text));
        }
        Ok(self)
    }
}

/// The path without links. A dead mount in its place is told from other errors.
fn real(what: &str, path: &Path) -> Result<PathBuf, Failure> {
    let real = path.canonicalize().and_then(|real| {
        // Of a dead mount, the kernel may still remember names and attributes.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&real, flags, Mode::empty())?;
        Ok(real)
    });
    real.map_err(|error| {
        let shown = path.display();
        let text = match error.raw_os_error() {
            Some(libc::ENOTCONN) => {
                format!("{what} {shown}: a mount whose daemon has died is there: umount -l {shown}")
            }
            _ => format!("{what} {shown}: {}", describe(&error)),
        };
        Failure::new(text)
    })
}

/// The values of a table's options, with the default for what was not said.
fn texts<T: Clone>(
    values: &mut BTreeMap<&'static str, String>,
    options: &'static [OptionInfo<T>],
    of: &T,
) {
    let mut of = of.clone();
    for option in options {
        let value = match option.value(&mut of) {
            0 => option.default,
            said => said,
        };
        values.insert(option.key, option.text(value));
    }
}

/// Words between commas, without those that are empty.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let word = words.last_mut().expect("there is one");
        match byte {
            b'\\' if bytes.peek() == Some(&b',') => {
                bytes.next();
                word.push(b',');
            }
            b',' => words.push(Vec::new()),
            plain => word.push(plain),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn text(value: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(value).map_err(|_| "the value is not UTF-8".to_owned())
}

fn path(value: &[u8]) -> Result<PathBuf, String> {
    match value {
        b"" => Err("a path has at least one byte".to_owned()),
        _ => Ok(std::ffi::OsString::from_vec(value.to_vec()).into()),
    }
}

fn truth(value: &[u8]) -> Result<bool, String> {
    match text(value)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

fn seconds(value: &[u8]) -> Result<Duration, String> {
    let number = text(value)?.parse().ok();
    let number = number.filter(|number: &f64| (0.0..=TIMEOUT_SECONDS_MAX).contains(number));
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "it is a number of seconds, not below 0".to_owned())
}

fn threads(value: &[u8]) -> Result<usize, String> {
    let number = text(value)?.parse().ok();
    let number = number.filter(|number| (1..=THREADS_MAX).contains(number));
    number.ok_or_else(|| format!("it is a number from 1 to {THREADS_MAX}"))
}

/// A size as the options of the cache have it, or 0.
fn size(value: &[u8]) -> Result<u64, String> {
    let text = text(value)?;
    let mut config = Config::default();
    match config.set("direct_copy_bytes", text) {
        Ok(()) => Ok(config.direct_copy_bytes),
        Err(_) if text == "0" => Ok(0),
        Err(_) => Err("it is a size, as 4096, 64K or 1MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let outcome = settings.set_list(OsStr::new(list));
        outcome
            .map(|()| settings)
            .map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn the_names_of_other_systems_are_understood() {
        let settings = set(
            "rw,nfs_backend=/mnt/nfs,cache_dir=/mnt/nvme,nvme_use_io_uring=true,\
             nvme_queue_depth=64,nvme_polling_mode=true,_netdev,noauto,user,x-systemd.automount",
        )
        .unwrap();
        assert_eq!(settings.origin, Path::new("/mnt/nfs"));
        assert_eq!(settings.cache_dir, Path::new("/mnt/nvme"));
        assert_eq!(
            (settings.config.queue_depth, settings.config.io_poll),
            (64, 1)
        );
    }

    #[test]
    fn an_unknown_option_is_told_with_the_nearest_one() {
        for (typed, meant) in [
            ("cachedir=/x", "cache_dir"),
            ("atr_timeout=1", "attr_timeout"),
            ("alow_other", "allow_other"),
            ("capacity=1G", "capacity_bytes"),
            ("nvme_queue_dept=1", "nvme_queue_depth"),
        ] {
            let error = set(typed).map(|_| ()).unwrap_err();
            assert!(
                error.contains(&format!("did you mean \"{meant}\"")),
                "{error}"
            );
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for list in [
            "attr_timeout=-1",
            "attr_timeout=nan",
            "attr_timeout",
            "max_threads=0",
            "passthrough=maybe",
            "keep_awake=1.5",
            "passthrough_min=much",
            "cache_dir=",
            "allow_other=yes",
            "queue_depth=many",
        ] {
            assert!(set(list).is_err(), "{list}");
        }
    }

    #[test]
    fn what_is_unknown_is_left_out_where_mount_says_so() {
        let mut settings = Settings::default();
        let left_out = settings.set_known(OsStr::new("what=1,cache_dir=/c"));
        assert_eq!(left_out.len(), 1);
        assert_eq!(settings.cache_dir, Path::new("/c"));
    }

    #[test]
    fn a_comma_may_be_part_of_a_value() {
        let settings = set("origin=/a\\,b,cache_dir=/c").unwrap();
        assert_eq!(settings.origin, Path::new("/a,b"));
    }

    #[test]
    fn a_file_has_the_same_options() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mount.toml");
        let text = "origin = '/o'\nattr_timeout = 2.5\nqueue_depth = 64\nallow_other = true\n";
        std::fs::write(&file, text).unwrap();
        let mut settings = Settings::default();
        settings.set_file(&file).unwrap();
        assert_eq!(settings.live.attr_timeout, Duration::from_millis(2500));
        assert!(settings.allow_other && settings.config.queue_depth == 64);
        std::fs::write(&file, "orgin = '/o'\n").unwrap();
        let error = Settings::default().set_file(&file).unwrap_err();
        assert!(
            error.message().contains("did you mean \"origin\""),
            "{error:?}"
        );
    }

    #[test]
    fn options_of_the_origin_are_those_of_the_mount_as_well() {
        let settings = set("validation=ttl,stale_ms=5000,bytes_per_second=10MiB").unwrap();
        let options = settings.origin_options;
        assert_eq!((options.validation, options.stale_ms), (1, 5000));
        assert_eq!(options.bytes_per_second, 10 << 20);
        assert!(set("validation=sometimes").is_err());
    }

    #[test]
    fn who_may_mount_is_not_as_whom_to_go_on() {
        assert_eq!(set("user").unwrap().user, None);
        assert_eq!(set("user=nobody").unwrap().user.as_deref(), Some("nobody"));
    }

    #[test]
    fn what_was_written_is_read_again_as_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mount.toml");
        std::fs::write(&file, "attr_timeout = 2\nretries = 3\n").unwrap();
        let mut settings = Settings::default();
        settings.set_file(&file).unwrap();
        settings.set_list(OsStr::new("entry_timeout=7")).unwrap();
        std::fs::write(&file, "attr_timeout = 4\nentry_timeout = 1\n").unwrap();
        let again = settings.read_again().unwrap();
        let changed = again.values().into_iter();
        let before = settings.values();
        let changed = changed.filter(|(name, text)| before[name] != *text);
        let expected = [("attr_timeout", "4"), ("retries", "0")];
        assert!(changed.eq(expected.map(|(name, text)| (name, text.to_owned()))));
    }

    #[test]
    fn a_mount_that_would_show_itself_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let settings = |origin: &Path, mountpoint: &Path, cache: &Path| {
            Settings {
                origin: origin.into(),
                mountpoint: mountpoint.into(),
                cache_dir: cache.into(),
                ..Settings::default()
            }
            .complete()
            .map(|_| ())
        };
        let elsewhere = Path::new("/var/cache/x");
        assert!(settings(directory.path(), &inside, elsewhere).is_err());
        assert!(settings(elsewhere.parent().unwrap(), &inside, &inside.join("c")).is_err());
        assert!(settings(&inside, directory.path(), elsewhere).is_ok());
        assert!(settings(&inside, &inside, elsewhere).is_ok());
    }
}
