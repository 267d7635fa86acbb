//! Whether an origin answers: failures in a row, and a circuit that is opened by them, so
//! that readers of an origin that is down are told at once and it is left alone.
//!
//! ```text
//! closed ── breaker_failures in a row ──▶ open ── breaker_probe_ms ──▶ half open
//!   ▲                                      ▲                              │
//!   │                                      └──────────── a failure ───────┤
//!   └─────────────────────────── an answer ───────────────────────────────┘
//! ```
//!
//! Half open, one question is let through. One that is given up without an answer is
//! followed by another after as long as an open circuit waits.

use super::OriginOptions;
use crate::error::{Errno, describe};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What says that an origin could not be reached, or not now, and nothing about a file.
/// Everything else is an answer.
const UNREACHABLE: [Errno; 20] = [
    Errno::AGAIN,
    Errno::BUSY,
    Errno::COMM,
    Errno::CONNABORTED,
    Errno::CONNREFUSED,
    Errno::CONNRESET,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::IO,
    Errno::NETDOWN,
    Errno::NETRESET,
    Errno::NETUNREACH,
    Errno::NOLINK,
    Errno::NOTCONN,
    Errno::PIPE,
    Errno::PROTO,
    Errno::REMOTEIO,
    Errno::SHUTDOWN,
    Errno::STALE,
    Errno::TIMEDOUT,
];

/// See the list above.
pub(crate) fn is_unreachable(errno: Errno) -> bool {
    UNREACHABLE.contains(&errno)
}

/// Whether questions are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// All are.
    Closed,
    /// None is.
    Open,
    /// One is, and tells about the others.
    HalfOpen,
}

/// What is known of an origin's health.
#[derive(Clone, Copy, Debug)]
pub struct OriginReport {
    /// Whether questions are let through.
    pub circuit: Circuit,
    /// When the circuit last changed, by the boot clock; zero: never.
    pub since: Duration,
    /// Failures since the last answer.
    pub failures: u64,
    /// The last failure; None: there was none.
    pub last_error: Option<Errno>,
    /// When it was, by the boot clock.
    pub last_error_at: Duration,
    /// Questions that were asked again after a failure.
    pub retries: u64,
}

pub(crate) struct Health {
    /// Failures in a row that open the circuit; 0: none do.
    failures_max: u64,
    probe: Duration,
    /// As a name for people.
    name: String,
    state: Mutex<State>,
    /// Failures since the last answer, to be looked at without the lock.
    failures: AtomicU64,
    /// Answers that came after failures.
    recoveries: AtomicU64,
    retries: AtomicU64,
}

struct State {
    circuit: Circuit,
    since: Duration,
    last: Option<(Errno, Duration)>,
    /// When the next question is let through, unless the circuit is closed.
    until: Duration,
}

impl Health {
    pub(super) fn new(name: &[u8], options: &OriginOptions) -> Self {
        Self {
            failures_max: options.breaker_failures,
            probe: Duration::from_millis(options.breaker_probe_ms),
            name: String::from_utf8_lossy(name).into_owned(),
            state: Mutex::new(State {
                circuit: Circuit::Closed,
                since: Duration::ZERO,
                last: None,
                until: Duration::ZERO,
            }),
            failures: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    /// Whether the origin may be asked at `now`. Err: not now, since it failed with that.
    pub(super) fn admit(&self, now: Duration) -> Result<(), Errno> {
        if self.failures_max == 0 || self.failures() < self.failures_max {
            return Ok(());
        }
        let mut state = self.state.lock();
        if state.circuit == Circuit::Closed {
            return Ok(());
        }
        if now < state.until {
            return Err(state.last.map_or(Errno::HOSTDOWN, |(errno, _)| errno));
        }
        if state.circuit == Circuit::Open {
            state.circuit = Circuit::HalfOpen;
            state.since = now;
        }
        state.until = now + self.probe;
        Ok(())
    }

    /// The origin was asked: Err with what says that it could not be reached.
    pub(super) fn told(&self, answer: Result<(), Errno>, now: Duration) {
        match answer {
            Ok(()) if self.failures() == 0 => {}
            Ok(()) => self.answered(now),
            Err(errno) => self.failed(errno, now),
        }
    }

    #[cold]
    fn answered(&self, now: Duration) {
        let mut state = self.state.lock();
        self.failures.store(0, Ordering::Release);
        self.recoveries.fetch_add(1, Ordering::AcqRel);
        if state.circuit != Circuit::Closed {
            state.circuit = Circuit::Closed;
            state.since = now;
            drop(state);
            tracing::warn!("the origin {} answers again", self.name);
        }
    }

    #[cold]
    fn failed(&self, errno: Errno, now: Duration) {
        let mut state = self.state.lock();
        state.last = Some((errno, now));
        let failures = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
        if self.failures_max == 0 || failures < self.failures_max {
            return;
        }
        let before = std::mem::replace(&mut state.circuit, Circuit::Open);
        // What was under way when the circuit was opened does not open it for longer.
        if before == Circuit::Open {
            return;
        }
        state.since = now;
        state.until = now + self.probe;
        drop(state);
        if before == Circuit::Closed {
            let (name, text, probe) = (&self.name, describe(errno), self.probe);
            tracing::warn!("the origin {name} is left alone for {probe:?} at a time: {text}");
        }
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Every question is let through.
    pub(super) fn is_closed(&self) -> bool {
        let few = self.failures_max == 0 || self.failures() < self.failures_max;
        few || self.state.lock().circuit == Circuit::Closed
    }

    fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Grows when the origin answers after a failure.
    pub(super) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Acquire)
    }

    pub(super) fn report(&self) -> OriginReport {
        let state = self.state.lock();
        OriginReport {
            circuit: state.circuit,
            since: state.since,
            failures: self.failures(),
            last_error: state.last.map(|(errno, _)| errno),
            last_error_at: state.last.map_or(Duration::ZERO, |(_, at)| at),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Result<(), Errno> = Err(Errno::HOSTUNREACH);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(1_000_000 + ms)
    }

    fn health(breaker_failures: u64) -> Health {
        let options = OriginOptions {
            breaker_failures,
            breaker_probe_ms: 100,
            ..OriginOptions::default()
        };
        Health::new(b"a test", &options)
    }

    fn open_at(ms: u64) -> Health {
        let health = health(3);
        for _ in 0..3 {
            assert_eq!(health.admit(at(ms)), Ok(()));
            health.told(DOWN, at(ms));
        }
        assert_eq!(health.report().circuit, Circuit::Open);
        health
    }

    #[test]
    fn so_many_failures_in_a_row_open_the_circuit_and_no_fewer() {
        let health = health(3);
        for answer in [DOWN, DOWN, Ok(()), DOWN, DOWN] {
            health.told(answer, at(0));
            assert_eq!(health.report().circuit, Circuit::Closed);
            assert_eq!(health.admit(at(0)), Ok(()));
        }
        health.told(DOWN, at(0));
        assert_eq!(health.report().circuit, Circuit::Open);
    }

    #[test]
    fn an_open_circuit_gives_the_error_that_opened_it() {
        let health = open_at(0);
        for ms in [0, 50, 99] {
            assert_eq!(health.admit(at(ms)), Err(Errno::HOSTUNREACH));
        }
    }

    #[test]
    fn one_question_is_let_through_after_a_while() {
        let health = open_at(0);
        assert_eq!(health.admit(at(100)), Ok(()));
        assert_eq!(health.report().circuit, Circuit::HalfOpen);
        assert_eq!(health.admit(at(100)), Err(Errno::HOSTUNREACH));
        // One that never ends is followed by another.
        assert_eq!(health.admit(at(199)), Err(Errno::HOSTUNREACH));
        assert_eq!(health.admit(at(200)), Ok(()));
    }

    #[test]
    fn an_answer_closes_the_circuit() {
        let health = open_at(0);
        let before = health.recoveries();
        assert_eq!(health.admit(at(100)), Ok(()));
        health.told(Ok(()), at(101));
        assert_eq!(health.report().circuit, Circuit::Closed);
        assert_eq!(health.report().failures, 0);
        assert_ne!(health.recoveries(), before);
        assert_eq!(health.admit(at(101)), Ok(()));
    }

    #[test]
    fn a_failure_of_the_question_opens_it_again() {
        let health = open_at(0);
        assert_eq!(health.admit(at(100)), Ok(()));
        health.told(Err(Errno::TIMEDOUT), at(130));
        assert_eq!(health.report().circuit, Circuit::Open);
        assert_eq!(health.admit(at(229)), Err(Errno::TIMEDOUT));
        assert_eq!(health.admit(at(230)), Ok(()));
    }

    #[test]
    fn late_failures_do_not_keep_it_open_for_longer() {
        let health = open_at(0);
        health.told(DOWN, at(90));
        assert_eq!(health.admit(at(100)), Ok(()));
    }

    #[test]
    fn without_a_limit_the_circuit_stays_closed() {
        let health = health(0);
        for _ in 0..1000 {
            health.told(DOWN, at(0));
            assert_eq!(health.admit(at(0)), Ok(()));
        }
        assert_eq!(health.report().failures, 1000);
    }

    #[test]
    fn what_tells_of_a_file_is_an_answer() {
        for errno in [
            Errno::NOENT,
            Errno::NOTDIR,
            Errno::ACCESS,
            Errno::ISDIR,
            Errno::LOOP,
        ] {
            assert!(!is_unreachable(errno), "{errno}");
        }
    }
}
