//! The progress bar.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// While files are still being found: no share and no end can be told yet.
const LISTING: &str = "{spinner} {binary_bytes} of {binary_total_bytes} so far  \
    {binary_bytes_per_sec}  {elapsed}";
/// When the total is known.
const LISTED: &str = "{wide_bar} {binary_bytes} of {binary_total_bytes}  \
    {binary_bytes_per_sec}  ETA {eta}";
/// How often it is drawn when nothing moves.
const DRAW: Duration = Duration::from_millis(200);

/// A bar over the bytes to copy, or nothing where nobody would see it.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar on stderr if that is a terminal.
    pub fn new(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(0).with_style(style(LISTING));
        bar.enable_steady_tick(DRAW);
        Self(Some(bar))
    }

    /// The bar, for whoever writes to stderr as well.
    pub fn bar(&self) -> Option<ProgressBar> {
        self.0.clone()
    }

    /// Whether it is worth asking how long files are.
    pub fn wants_sizes(&self) -> bool {
        self.0.is_some()
    }

    /// The total is other than was expected.
    pub fn correct(&self, expected: u64, actual: u64) {
        if let Some(bar) = &self.0 {
            if actual >= expected {
                bar.inc_length(actual - expected);
            } else {
                bar.dec_length(expected - actual);
            }
        }
    }

    /// A file that was at `before` bytes is at `now`. It goes back where a file
    /// has changed and is copied again.
    pub fn moved(&self, before: u64, now: u64) {
        if let Some(bar) = &self.0 {
            if now >= before {
                bar.inc(now - before);
            } else {
                bar.dec(before - now);
            }
        }
    }

    /// Everything has been found.
    pub fn listed(&self) {
        if let Some(bar) = &self.0 {
            bar.set_style(style(LISTED));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        style(LISTING);
        style(LISTED);
    }
}
