//! The names of the options: those of a mount, of its cache and of its origin.

use cachefs_core::{OPTIONS, ORIGIN_OPTIONS, OptionInfo};
use std::fmt::Write;

/// Options of the mount: name, default, meaning.
pub const MOUNT_OPTIONS: [(&str, &str, &str); 18] = [
    (
        "origin",
        "",
        "Directory to mount; on the command line it may be the first word.",
    ),
    ("nfs_backend", "", "The same."),
    (
        "mountpoint",
        "",
        "Where to; on the command line, the last word.",
    ),
    (
        "cache_dir",
        "/var/cache/cachefs",
        "Directory of the cache, on a fast local disk.",
    ),
    (
        "config",
        "",
        "File with options: NAME = VALUE in TOML; what is written later wins.",
    ),
    (
        "attr_timeout",
        "1",
        "Seconds for which the kernel believes attributes.",
    ),
    (
        "entry_timeout",
        "1",
        "Seconds for which the kernel believes names.",
    ),
    (
        "negative_timeout",
        "0",
        "Seconds for which the kernel believes that a name is not there.",
    ),
    (
        "passthrough",
        "true",
        "Hand complete files to the kernel, where it takes them.",
    ),
    (
        "passthrough_min",
        "256KiB",
        "Size from which on that is done.",
    ),
    (
        "keep_awake",
        "true",
        "While many requests come, keep processors from sleeping deep.",
    ),
    ("max_threads", "16", "Threads that answer the kernel."),
    (
        "max_readahead",
        "1MiB",
        "Bytes that the kernel reads ahead of a reader.",
    ),
    (
        "log_file",
        "",
        "File for messages, when the daemon is in the background.",
    ),
    (
        "fsname",
        "the origin",
        "The source that mount(8) and df(1) show.",
    ),
    (
        "user",
        "",
        "User as which to go on once the mount is up, with CAP_SYS_ADMIN alone.",
    ),
    ("nvme_use_io_uring", "true", "false: engine=psync."),
    ("nvme_polling_mode", "false", "The same as io_poll."),
];

/// Options that are the same as one of the cache.
pub const SYNONYMS: [(&str, &str); 2] = [
    ("nvme_queue_depth", "queue_depth"),
    ("nvme_polling_mode", "io_poll"),
];

/// Options without a value that do something.
const FLAGS: [&str; 10] = [
    "allow_other",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "ro",
];

/// Options that are for mount(8) and systemd, or ask for what is so anyhow. "rw" is
/// among them, since mount(8) says it when nobody does: the mount is read-only.
const HEEDED_BY_OTHERS: [&str; 22] = [
    "rw",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "nofail",
    "async",
    "sync",
    "dirsync",
    "relatime",
    "norelatime",
    "strictatime",
    "lazytime",
    "nodiratime",
    "diratime",
    "default_permissions",
    "silent",
];

/// Whether it is an option without a value that does something.
pub fn is_flag(name: &str) -> bool {
    FLAGS.contains(&name)
}

/// Whether it is for others, or asks for what is so anyhow.
pub fn is_for_others(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("comment") || HEEDED_BY_OTHERS.contains(&name)
}

/// Options that can change while the mount is up.
pub const LIVE: [&str; 6] = [
    "attr_timeout",
    "entry_timeout",
    "negative_timeout",
    "passthrough_min",
    "max_readahead",
    "log_level",
];

/// The name that looks most like one: by a shared beginning, and by few slips.
pub fn nearest(name: &str) -> &'static str {
    let ours = MOUNT_OPTIONS.iter().map(|(known, ..)| *known);
    let known = ours
        .chain(SYNONYMS.iter().map(|(known, _)| *known))
        .chain(OPTIONS.iter().map(|option| option.key))
        .chain(ORIGIN_OPTIONS.iter().map(|option| option.key))
        .chain(FLAGS)
        .chain(HEEDED_BY_OTHERS);
    let likeness = |known: &str| {
        strsim::jaro_winkler(name, known) + strsim::normalized_damerau_levenshtein(name, known)
    };
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.expect("there are options")
}

/// What `--help` says about options.
pub fn help() -> String {
    let mut help = String::from("Options (-o NAME=VALUE), with their defaults:\n");
    for (name, default, meaning) in MOUNT_OPTIONS {
        writeln!(help, "  {name}={default}\n      {meaning}").expect("a string takes everything");
    }
    help.push_str("  allow_other, exec, noexec, suid, nosuid, dev, nodev, atime, noatime\n");
    help.push_str("      As with other file systems; the mount is always read-only.\n");
    help.push_str("Options of the cache:\n");
    list(&mut help, OPTIONS);
    help.push_str("Options of the origin:\n");
    list(&mut help, ORIGIN_OPTIONS);
    help
}

fn list<T>(help: &mut String, options: &[OptionInfo<T>]) {
    for option in options {
        let (key, default, range) = (option.key, option.text(option.default), option.range());
        let meaning = option.meaning;
        writeln!(help, "  {key}={default}\n      {meaning} [{range}]")
            .expect("a string takes everything");
    }
}
