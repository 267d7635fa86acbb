//! The configuration, read anew while the mount is up.

use crate::failure::{Failure, describe};
use crate::mount;
use crate::option_names::LIVE;
use crate::server::Daemon;
use cachefs_control::reports::Reloaded;

impl Daemon {
    /// Reads anew what the options were read from. What can change is in force when this
    /// returns; on an error nothing has changed, but that the readahead may not be set.
    pub fn reload(&self) -> Result<Reloaded, Failure> {
        let again = self.settings.read_again()?;
        let mut reloaded = Reloaded::default();
        // Held, so that two do not mix.
        let mut now = self.values.lock();
        for (name, text) in again.values() {
            if now.get(name) == Some(&text) {
                continue;
            }
            if LIVE.contains(&name) {
                reloaded.changed.push(format!("{name}={text}"));
                now.insert(name, text);
            } else {
                reloaded.needs_remount.push(name.to_owned());
            }
        }
        self.level.set(again.config.log_level)?;
        *self.live.write() = again.live;
        let is_about_readahead = |one: &String| one.starts_with("max_readahead=");
        if reloaded.changed.iter().any(is_about_readahead) {
            let mountpoint = &self.settings.mountpoint;
            mount::set_readahead(mountpoint, again.max_readahead).map_err(|error| {
                Failure::new(format!("set the readahead: {}", describe(&error)))
            })?;
        }
        Ok(reloaded)
    }
}
