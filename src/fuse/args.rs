//! The command line: of the daemon, and of mount(8) when it calls `mount.cachefs`.

use crate::failure::Failure;
use crate::option_names;
use crate::settings::Settings;
use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Mounts a slow directory as a fast one: what was read is kept on a local disk.
#[derive(Parser)]
#[command(name = "cachefsd", version)]
struct Args {
    /// Directory to mount.
    origin: Option<PathBuf>,
    /// Where to.
    mountpoint: Option<PathBuf>,
    /// Options, separated by commas.
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// A file with options.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stay in the foreground, with messages on stderr.
    #[arg(short, long)]
    foreground: bool,
}

/// As mount(8) calls a helper.
#[derive(Parser)]
#[command(name = "mount.cachefs", version)]
struct MountArgs {
    /// The origin, unless an option names it.
    source: PathBuf,
    /// Where to.
    mountpoint: PathBuf,
    /// Options, separated by commas.
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// The type, which may have a part for us.
    #[arg(short, value_name = "TYPE")]
    _type: Option<OsString>,
    /// Only look whether it could be done.
    #[arg(short)]
    fake: bool,
    /// Unknown options are no error.
    #[arg(short)]
    sloppy: bool,
    /// Nothing is written to /etc/mtab; it never is.
    #[arg(short)]
    _no_mtab: bool,
    /// Tell more.
    #[arg(short)]
    _verbose: bool,
}

/// What the command line asks for.
pub struct Asked {
    pub settings: Settings,
    /// The daemon is to leave the terminal once the mount is up.
    pub background: bool,
    /// Only look whether it could be done.
    pub fake: bool,
}

/// What the words of a command line ask for; None: help, which has been written.
pub fn parse(words: &[OsString]) -> Result<Option<Asked>, Failure> {
    let program = words.first().map(Path::new).and_then(Path::file_name);
    let as_helper = program.is_some_and(|name| name.as_encoded_bytes().starts_with(b"mount."));
    let parsed = if as_helper {
        parse_helper(words)
    } else {
        parse_daemon(words)
    };
    match parsed {
        Ok(asked) => Ok(Some(asked)),
        Err(Refused::Failure(failure)) => Err(failure),
        Err(Refused::Text(text)) if text.use_stderr() => {
            let text = text.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            Err(Failure::usage(text.trim_end()))
        }
        Err(Refused::Text(text)) => match text.print() {
            Ok(()) => Ok(None),
            Err(error) => Err(Failure::new(format!("write to stdout: {error}"))),
        },
    }
}

enum Refused {
    Text(clap::Error),
    Failure(Failure),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Refused::Text(error)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Refused::Failure(failure)
    }
}

fn parse_daemon(words: &[OsString]) -> Result<Asked, Refused> {
    let command = Args::command().after_long_help(option_names::help());
    let args = Args::from_arg_matches(&command.try_get_matches_from(words)?)?;
    let mut settings = Settings::default();
    if let Some(file) = &args.config {
        settings.set_file(file)?;
    }
    for list in &args.options {
        settings.set_list(list)?;
    }
    match (args.origin, args.mountpoint) {
        (Some(origin), Some(mountpoint)) => {
            settings.origin = origin;
            settings.mountpoint = mountpoint;
        }
        // An option has named the origin.
        (Some(mountpoint), None) => settings.mountpoint = mountpoint,
        _ => {}
    }
    Ok(Asked {
        settings: settings.complete()?,
        background: !args.foreground,
        fake: false,
    })
}

fn parse_helper(words: &[OsString]) -> Result<Asked, Refused> {
    let args = MountArgs::try_parse_from(words)?;
    let mut settings = Settings::default();
    for list in &args.options {
        if args.sloppy {
            for left_out in settings.set_known(list) {
                // Without a stderr nobody wants to know.
                let _untold = writeln!(std::io::stderr(), "{}", left_out.message());
            }
        } else {
            settings.set_list(list)?;
        }
    }
    // In fstab the source is often only a name.
    if settings.origin.as_os_str() == OsStr::new("") {
        settings.origin = args.source;
    }
    settings.mountpoint = args.mountpoint;
    Ok(Asked {
        settings: settings.complete()?,
        background: true,
        fake: args.fake,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Asked, Failure> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&words).map(|asked| asked.expect("it is no help"))
    }

    #[test]
    fn mount_calls_us_with_a_source_that_may_be_a_name() {
        let words = [
            "/sbin/mount.cachefs",
            "cachefs",
            "/tmp",
            "-o",
            "rw,origin=/usr",
        ];
        let settings = asked(&words).unwrap().settings;
        assert_eq!(settings.origin, Path::new("/usr"));
        let settings = asked(&["mount.cachefs", "/usr", "/tmp", "-n", "-o", "ro"]).unwrap();
        assert_eq!(settings.settings.origin, Path::new("/usr"));
    }

    #[test]
    fn the_daemon_takes_the_origin_as_a_word_or_as_an_option() {
        let settings = asked(&["cachefsd", "/usr", "/tmp", "-f"]).unwrap().settings;
        assert_eq!(settings.origin, Path::new("/usr"));
        let asked = asked(&["cachefsd", "-o", "origin=/usr", "/tmp"]).unwrap();
        assert_eq!(asked.settings.mountpoint, Path::new("/tmp"));
        assert!(asked.background);
    }

    #[test]
    fn what_is_missing_is_said() {
        let failure = asked(&["cachefsd"]).map(|_| ()).unwrap_err();
        assert!(failure.message().contains("origin"));
        assert_eq!(failure.status(), 2);
    }
}
