//! What each errno of each operation means to an engine.
//!
//! The lists come from read(2), write(2), statx(2), splice(2), fallocate(2) and
//! io_uring_enter(2). An errno that is not in them is reported like the others, and logged.

use super::Verb;
use crate::error::Errno;
use crate::log::say;

/// What to do about an errno.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Submit the rest again.
    Repeat,
    /// Tell whoever asked.
    Report,
}

/// Decides, and logs what the manual pages do not list.
pub(super) fn judge(verb: Verb, errno: Errno) -> Verdict {
    match errno {
        // A signal, or a worker that was asked to leave: nothing was transferred.
        Errno::INTR => return Verdict::Repeat,
        // Files on some file systems answer so inside the ring although they
        // block outside it; the caller's files are never O_NONBLOCK for long.
        Errno::AGAIN => return Verdict::Repeat,
        // Asked for by us.
        Errno::CANCELED | Errno::TIMEDOUT => return Verdict::Report,
        _ => {}
    }
    if !expected(verb).contains(&errno) {
        say(|| tracing::warn!("unexpected errno of {verb:?}: {errno}"));
    }
    Verdict::Report
}

pub(super) fn expected(verb: Verb) -> &'static [Errno] {
    match verb {
        Verb::Read => &[
            Errno::BADF,
            Errno::FAULT,
            Errno::INVAL,
            Errno::IO,
            Errno::ISDIR,
            Errno::OVERFLOW,
            Errno::STALE,
            Errno::TIMEDOUT,
        ],
        Verb::Write => &[
            Errno::BADF,
            Errno::DQUOT,
            Errno::FAULT,
            Errno::FBIG,
            Errno::INVAL,
            Errno::IO,
            Errno::NOSPC,
            Errno::PERM,
            Errno::ROFS,
        ],
        Verb::Stat => &[
            Errno::ACCESS,
            Errno::BADF,
            Errno::IO,
            Errno::NOMEM,
            Errno::STALE,
            Errno::TIMEDOUT,
        ],
        Verb::Splice => &[
            Errno::BADF,
            Errno::INVAL,
            Errno::IO,
            Errno::NOMEM,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ROFS,
            Errno::STALE,
        ],
        Verb::Allocate | Verb::AllocateZeroed => &[
            Errno::BADF,
            Errno::DQUOT,
            Errno::FBIG,
            Errno::INVAL,
            Errno::IO,
            Errno::NOSPC,
            Errno::NODEV,
            Errno::NOSYS,
            // The file system or its device cannot: a plainer way is taken.
            Errno::OPNOTSUPP,
            Errno::PERM,
            Errno::ROFS,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_repeated_for_every_verb() {
        for verb in Verb::ALL {
            assert_eq!(judge(verb, Errno::INTR), Verdict::Repeat);
            assert_eq!(judge(verb, Errno::AGAIN), Verdict::Repeat);
        }
    }

    #[test]
    fn an_error_is_reported_whether_or_not_it_was_expected() {
        assert_eq!(judge(Verb::Read, Errno::IO), Verdict::Report);
        assert_eq!(judge(Verb::Read, Errno::XFULL), Verdict::Report);
    }
}
