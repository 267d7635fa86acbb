//! What ends a simulated sleep: a wake in time, or one that is noticed late.

use super::{Random, Simulation};
use crate::io::Wake;
use parking_lot::{Condvar, Mutex};
use std::time::Instant;

pub(super) struct Waker {
    host: Simulation,
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    random: Random,
    woken: bool,
    /// Woken, and nobody is to know yet.
    late: bool,
}

impl Waker {
    pub(super) fn new(host: Simulation, random: Random) -> Self {
        Self {
            host,
            state: Mutex::new(State {
                random,
                woken: false,
                late: false,
            }),
            arrived: Condvar::new(),
        }
    }

    /// Whether it was woken and that may be noticed. It is forgotten then.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut self.state.lock().woken)
    }

    /// The same for who has no more time: nothing stays unnoticed.
    pub(super) fn take_late(&self) -> bool {
        let mut state = self.state.lock();
        let late = std::mem::take(&mut state.late);
        std::mem::take(&mut state.woken) | late
    }

    /// Sleeps until it is woken, or until the limit. Forgets nothing.
    pub(super) fn sleep(&self, limit: Option<Instant>) {
        let late_wake = self.host.manners().late_wake;
        let mut state = self.state.lock();
        while !state.woken {
            let over = match limit {
                Some(limit) => self.arrived.wait_until(&mut state, limit).timed_out(),
                None => self.arrived.wait_for(&mut state, late_wake).timed_out() && state.late,
            };
            if over {
                state.woken |= std::mem::take(&mut state.late);
                return;
            }
        }
    }
}

impl Wake for Waker {
    fn wake(&self) {
        let rate = self.host.manners().wake_late;
        let mut state = self.state.lock();
        if state.random.chance(rate) {
            state.late = true;
        } else {
            state.woken = true;
            self.arrived.notify_one();
        }
    }
}
