//! How fast a processor is back from its sleep.
//!
//! A request wakes the daemon, and the answer whoever has asked; both processors have gone
//! to sleep meanwhile. In a virtual machine each return takes some 25 us, many times what
//! a small request takes. While requests come in a stream, the kernel is asked to keep
//! processors from sleeping so deep: by its "CPU latency QoS", a limit in microseconds that
//! holds as long as a descriptor is open (Documentation/power/pm_qos_interface.rst). It
//! holds for all processors, and costs power; so it is given back once the stream is over.

use crate::failure::describe;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Where a limit is asked for.
pub const DEVICE: &str = "/dev/cpu_dma_latency";
/// Who puts processors to sleep.
const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// The driver of virtual machines, which does not know how long a return takes: there,
/// only no sleep at all is short enough.
const VIRTUAL: &str = "haltpoll";
/// Microseconds that a return may take there,
const VIRTUAL_LIMIT_US: i32 = 0;
/// and elsewhere: what the lightest sleep of a processor takes (C1).
const LIMIT_US: i32 = 2;
/// No limit (PM_QOS_CPU_LATENCY_DEFAULT_VALUE in include/linux/pm_qos.h).
const NO_LIMIT_US: i32 = 2_000_000_000;
/// So many requests between two looks of the pool, 2,000 a second, are a stream.
const STREAM: u64 = 20;
/// Fewer are none any more.
const TRICKLE: u64 = 5;

/// Says how fast processors are to be back. Opened ahead, since it takes root.
#[derive(Clone)]
pub struct Wakeups {
    device: Arc<OwnedFd>,
    limit_us: i32,
}

impl Wakeups {
    /// Asks for nothing yet. Fails as open(2): mostly ENOENT or EACCES, where there is no
    /// such device or it is not for us.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let device = rustix::fs::open(DEVICE, flags, Mode::empty())?;
        // Where nobody puts them to sleep, it does not matter what is asked for.
        let driver = fs::read_to_string(DRIVER).unwrap_or_default();
        let limit_us = match driver.trim() == VIRTUAL {
            true => VIRTUAL_LIMIT_US,
            false => LIMIT_US,
        };
        let device = Arc::new(device);
        Ok(Self { device, limit_us })
    }

    fn ask(&self, limit_us: i32) -> Result<(), Errno> {
        rustix::io::write(&self.device, &limit_us.to_ne_bytes())?;
        tracing::debug!("processors are to be back within {limit_us} us");
        Ok(())
    }
}

/// Watches how many requests come.
pub struct Watch {
    /// None: it is turned off, or cannot be had.
    wakeups: Option<Wakeups>,
    stream: Stream,
}

impl Watch {
    pub fn new(wakeups: Option<Wakeups>) -> Self {
        let stream = Stream::default();
        Self { wakeups, stream }
    }

    /// So many requests have come since the mount is up. Called at regular intervals;
    /// false: need not be called again until there are more.
    pub fn look(&mut self, requests: u64) -> bool {
        let Some(wakeups) = &self.wakeups else {
            return false;
        };
        let before = self.stream.flows;
        let flows = self.stream.look(requests);
        let limit_us = if flows { wakeups.limit_us } else { NO_LIMIT_US };
        if flows != before
            && let Err(errno) = wakeups.ask(limit_us)
        {
            tracing::warn!(
                "{DEVICE}: {}; processors sleep as they like",
                describe(&errno.into())
            );
            // Not each time.
            self.wakeups = None;
            return false;
        }
        flows
    }
}

#[derive(Default)]
struct Stream {
    flows: bool,
    requests: u64,
}

impl Stream {
    fn look(&mut self, requests: u64) -> bool {
        let new = requests - std::mem::replace(&mut self.requests, requests);
        self.flows = new >= if self.flows { TRICKLE } else { STREAM };
        self.flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_are_a_stream_until_few_come() {
        let mut stream = Stream::default();
        let mut requests = 0;
        let mut after = |new| {
            requests += new;
            stream.look(requests)
        };
        assert!(!after(STREAM - 1));
        assert!(after(STREAM));
        assert!(after(TRICKLE));
        assert!(!after(TRICKLE - 1));
        assert!(!after(STREAM - 1));
        assert!(!after(0));
    }

    #[test]
    fn who_may_not_ask_does_not_look_again() {
        assert!(!Watch::new(None).look(1 << 40));
    }
}
