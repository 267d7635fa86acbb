//! What a run took.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::time::{Duration, Instant};

/// getrusage(2) counts blocks of this size, whatever the device's are.
const RUSAGE_BLOCK_BYTES: u64 = 512;

/// What a run did, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Operations, of which the row says what they are.
    pub operations: u64,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// From begin to end.
    pub elapsed: Duration,
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Bytes that had to come from a device.
    pub device_bytes: u64,
}

impl Cost {
    /// Bytes a second.
    pub fn throughput(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    /// Nanoseconds from one operation to the next.
    pub fn time_per_operation(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.operations as f64
    }

    /// Nanoseconds of CPU for one operation.
    pub fn cpu_per_operation(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.operations as f64
    }

    /// The share of the bytes that had to come from a device.
    pub fn device_share(&self) -> f64 {
        self.device_bytes as f64 / self.bytes as f64
    }
}

/// Time and CPU since a moment.
pub struct Clock {
    who: UsageWho,
    begun: Instant,
    cpu: Duration,
    device_bytes: u64,
}

impl Clock {
    /// Begins now, for all threads of this process.
    pub fn of_process() -> Self {
        Self::of(UsageWho::RUSAGE_SELF)
    }

    /// Begins now, for children that will have been waited for.
    pub fn of_children() -> Self {
        Self::of(UsageWho::RUSAGE_CHILDREN)
    }

    fn of(who: UsageWho) -> Self {
        let (cpu, device_bytes) = usage(who);
        Self {
            who,
            begun: Instant::now(),
            cpu,
            device_bytes,
        }
    }

    /// The cost until now.
    pub fn cost(&self, operations: u64, bytes: u64) -> Cost {
        self.cost_within(self.begun.elapsed(), operations, bytes)
    }

    /// The cost of what took `elapsed`.
    pub fn cost_within(&self, elapsed: Duration, operations: u64, bytes: u64) -> Cost {
        let (cpu, device_bytes) = usage(self.who);
        Cost {
            operations,
            bytes,
            elapsed,
            cpu: cpu.saturating_sub(self.cpu),
            device_bytes: device_bytes.saturating_sub(self.device_bytes),
        }
    }
}

/// CPU time, and bytes read from devices.
fn usage(who: UsageWho) -> (Duration, u64) {
    let usage = getrusage(who).expect("it fails only for an unknown `who`");
    let time = |value: TimeVal| {
        Duration::new(value.tv_sec() as u64, 0) + Duration::from_micros(value.tv_usec() as u64)
    };
    let cpu = time(usage.user_time()) + time(usage.system_time());
    (cpu, usage.block_reads() as u64 * RUSAGE_BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_operation() {
        let cost = Cost {
            operations: 1000,
            bytes: 4_096_000,
            elapsed: Duration::from_millis(2),
            cpu: Duration::from_millis(1),
            device_bytes: 1_024_000,
        };
        assert_eq!(cost.time_per_operation(), 2000.0);
        assert_eq!(cost.cpu_per_operation(), 1000.0);
        assert_eq!(cost.throughput(), 2_048_000_000.0);
        assert_eq!(cost.device_share(), 0.25);
    }

    #[test]
    fn the_time_of_this_process_is_counted() {
        let clock = Clock::of_process();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let cost = clock.cost(1, 0);
        assert!(cost.elapsed >= Duration::from_millis(20));
        assert!(cost.cpu > Duration::ZERO);
    }
}
