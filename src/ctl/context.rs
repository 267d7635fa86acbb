//! What the command line says about cache and origin, and both opened.

use crate::access::{self, Access, Daemon};
use crate::args::Args;
use crate::console::Console;
use crate::failure::{Failure, Outcome, describe};
use crate::place::Place;
use crate::{log, options, show};
use cachefs_core::{Cache, Config, OriginOptions};
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What all commands have.
pub struct Context {
    /// Where messages go.
    pub console: Console,
    /// The options of the cache.
    pub config: Config,
    /// Those of the origin.
    origin_options: OriginOptions,
    cache: PathBuf,
    cache_is_default: bool,
    origin: Option<PathBuf>,
    mount: Option<PathBuf>,
    /// The command line has options: they are about what this tool opens itself.
    has_options: bool,
    /// Those of the variable, and of the command line.
    options: Vec<String>,
}

impl Context {
    /// Reads the common part of the command line, and the environment.
    pub fn new(args: &Args, console: Console) -> Result<Self, Failure> {
        let mut config = Config::default();
        let mut origin_options = OriginOptions::default();
        let variable = std::env::var(options::VARIABLE).unwrap_or_default();
        let from_variable = variable.split(',').filter(|text| !text.is_empty());
        let options: Vec<_> = from_variable.chain(args.options()).collect();
        for text in &options {
            options::apply(&mut config, &mut origin_options, text)?;
        }
        let dispatch = log::dispatch(console.clone(), config.log_level)?;
        config.log = Some(dispatch.clone());
        // Also what the cache says on threads of this tool.
        tracing::dispatcher::set_global_default(dispatch)
            .map_err(|error| Failure::new(format!("start the log: {error}")))?;
        let cache = match &args.global.cache {
            Some(directory) => directory.clone(),
            None => default_directory()?,
        };
        Ok(Self {
            console,
            config,
            origin_options,
            cache,
            cache_is_default: args.global.cache.is_none(),
            origin: args.global.origin.clone(),
            mount: args.global.mount.clone(),
            has_options: args.options().next().is_some(),
            options: options.into_iter().map(str::to_owned).collect(),
        })
    }

    /// The cache directory, as it was given.
    pub fn cache_directory(&self) -> &Path {
        &self.cache
    }

    /// The options of the cache and the origin, as a command line has them.
    pub fn words_of_options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(String::as_str)
    }

    /// The root of the origin, if one was given.
    pub fn origin_root(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    /// Whether the directory has been made a cache. Looks only.
    pub fn cache_exists(&self) -> bool {
        cachefs_core::is_cache(&self.cache)
    }

    /// Opens the cache to store in it, and makes it if it is not there.
    pub fn open(&self) -> Result<Cache, Failure> {
        self.make_parents()?;
        Ok(Cache::open(&self.cache, &self.config)?)
    }

    /// Opens a cache that is there to look at it: nothing is made, and its limit
    /// is not changed.
    pub fn look(&self) -> Result<Cache, Failure> {
        if !self.cache_exists() {
            let shown = show::path(&self.cache);
            let text = match self.cache.symlink_metadata() {
                Err(error) => format!("the cache {shown}: {}", describe(&error)),
                Ok(_) => match self.cache.read_dir() {
                    Err(error) => format!("the cache {shown}: {}", describe(&error)),
                    Ok(_) => format!("{shown} is not a cache"),
                },
            };
            return Err(Failure::new(text));
        }
        let config = Config {
            capacity_bytes: 0,
            ..self.config.clone()
        };
        Ok(Cache::open(&self.cache, &config)?)
    }

    /// The daemons that this command is for: that of the mount that was named, or those
    /// that have the cache open, of the origin that was named. With options of its own, a
    /// command is for the directory.
    pub fn daemons(&self) -> Result<Vec<Daemon>, Failure> {
        match &self.mount {
            Some(_) if self.has_options => {
                let text = "-o and --mount: the options of a mount are those of its daemon";
                Err(Failure::usage(text))
            }
            Some(mountpoint) => Ok(vec![access::daemon_of_mount(mountpoint)?]),
            None if self.has_options => Ok(Vec::new()),
            None => Ok(access::daemons(&self.cache, self.origin_root())),
        }
    }

    /// The way to the cache as a whole, to look at it.
    pub fn access(&self) -> Result<Access, Failure> {
        match self.daemons()?.first() {
            Some(daemon) => Access::of_daemon(daemon),
            None => self.access_directory(self.look()?, false),
        }
    }

    /// The way to files of an origin: of the one that was named, or that is the only one
    /// there is. `open` opens the cache where no daemon has it.
    pub fn access_files(
        &self,
        open: impl FnOnce(&Self) -> Result<Cache, Failure>,
    ) -> Result<Access, Failure> {
        let daemons = self.daemons()?;
        let Some(first) = daemons.first() else {
            return self.access_directory(open(self)?, true);
        };
        let is_other = |daemon: &&Daemon| daemon.hello.origin != first.hello.origin;
        if let Some(other) = daemons.iter().find(is_other) {
            let shown = |daemon: &Daemon| show::path(daemon.hello.origin.path());
            return Err(Failure::usage(format!(
                "which origin? {} and {} are cached here: name one with --origin or --mount",
                shown(first),
                shown(other)
            )));
        }
        Access::of_daemon(first)
    }

    fn access_directory(&self, cache: Cache, with_origin: bool) -> Result<Access, Failure> {
        let origin = match with_origin {
            true => Some(self.place(&cache)?.into_parts()),
            false => None,
        };
        Ok(Access::of_directory(cache, &self.cache, origin))
    }

    /// Opens the origin.
    pub fn place(&self, cache: &Cache) -> Result<Place, Failure> {
        let Some(root) = &self.origin else {
            let text = "which origin? Name its root with --origin DIR or CACHEFS_ORIGIN: \
                the root that the other users of the cache name";
            return Err(Failure::usage(text));
        };
        let origin = cache.open_directory(root, &self.origin_options)?;
        Place::new(origin, root).map_err(|error| {
            let shown = show::path(root);
            Failure::new(format!("open the origin {shown}: {}", describe(&error)))
        })
    }

    /// Above the default directory nobody else may have made anything yet;
    /// above one that was given, a missing parent is a slip of the pen.
    fn make_parents(&self) -> Outcome {
        let Some(parent) = self.cache.parent().filter(|_| self.cache_is_default) else {
            return Ok(());
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(parent).map_err(|error| {
            let shown = show::path(parent);
            Failure::new(format!("make the directory {shown}: {}", describe(&error)))
        })
    }
}

fn default_directory() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/cache/cachefs".into());
    }
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    // A relative $XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
    let cache_home = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache_home = cache_home.filter(|path| path.is_absolute());
    match cache_home.or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache"))) {
        Some(directory) => Ok(directory.join("cachefs")),
        None => Err(Failure::usage(
            "which cache? There is no HOME: name its directory with --cache DIR or CACHEFS_DIR",
        )),
    }
}
