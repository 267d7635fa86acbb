//! Quality of service: how fast fills may be, whose turn is next, and how many at once.
//!
//! | file | what it decides |
//! |---|---|
//! | `bucket` | when the next bytes or operations may be taken |
//! | `pace` | how many fills there are at once, by the latency of hits |
//! | `shares` | which of several origins is next |
//! | `slow` | whether readers pass the cache by, since its device is slower than they are |
//!
//! Decides only. The steps in `request/` ask, and wait by the timers of their shard. The
//! rules are in `docs/qos.md`.

mod bucket;
mod pace;
mod shares;
mod slow;

use crate::config::Config;
use crate::io::Priority;
use std::time::Duration;

pub(crate) use bucket::Bucket;
pub(crate) use pace::Pace;
pub(crate) use shares::Shares;
use slow::Slow;

/// What all shards of one cache share.
pub(crate) struct Qos {
    /// What fills write to the cache device.
    pub(crate) fills: Bucket,
    pub(crate) pace: Pace,
    pub(crate) slow: Slow,
    /// Of what fills do at the device, unless the request has a priority of its own.
    pub(crate) priority: Priority,
}

impl Qos {
    /// Of a completed configuration.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            fills: Bucket::new(
                config.fill_bytes_per_second,
                config.fill_operations_per_second,
            ),
            pace: Pace::new(config.fill_depth as u32, config.fill_latency_percent),
            slow: Slow::default(),
            priority: match config.fill_priority {
                0 => Priority::LOW,
                1 => Priority::BACKGROUND,
                _ => Priority::default(),
            },
        }
    }

    /// For what a fill does, where the request says nothing else.
    pub(crate) fn priority_of(&self, asked: Priority) -> Priority {
        if asked == Priority::default() {
            self.priority
        } else {
            asked
        }
    }
}

/// So much of what an origin is allowed may be taken in advance by readers.
pub(crate) const READERS_AHEAD: Duration =
    Duration::from_millis(crate::limits::QOS_READERS_AHEAD_MS);
