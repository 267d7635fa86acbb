//! How far one operation is: what every engine does about short transfers and
//! interruptions, whatever tells it of them.

use super::errno::{Verdict, judge};
use super::{Output, Terms, Verb};
use crate::error::Errno;
use crate::limits::INTERRUPTS_MAX;

/// Of an operation that takes one or several submissions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Bytes that were moved so far.
    pub(super) done: usize,
    /// Submissions in a row that were interrupted.
    interrupts: u32,
}

impl Progress {
    /// A submission has moved bytes. The bytes of the operation if it has ended,
    /// which it has at the end of the file; None: the rest is to be submitted.
    pub(super) fn moved(&mut self, moved: usize, whole: usize, terms: &Terms) -> Option<usize> {
        self.done += moved;
        self.interrupts = 0;
        let ended = moved == 0 || self.done >= whole || terms.met_the_end(self.done);
        ended.then_some(self.done.min(whole))
    }

    /// A submission has failed. The errno of the operation if it has ended; None:
    /// it is to be submitted again.
    pub(super) fn failed(&mut self, verb: Verb, errno: Errno) -> Option<Errno> {
        self.interrupts += 1;
        let again = self.interrupts <= INTERRUPTS_MAX;
        let repeat = again && judge(verb, errno) == Verdict::Repeat;
        (!repeat).then_some(errno)
    }
}

/// Whether an operation of `whole` bytes did all that it was to do, so that what
/// is linked to it may begin.
pub(super) fn did_all(result: &Result<Output, Errno>, whole: usize) -> bool {
    match result {
        Ok(Output::Bytes(moved)) => *moved >= whole,
        Ok(Output::Attributes(_)) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_goes_on_until_all_is_moved_or_the_file_ends() {
        let mut progress = Progress::default();
        assert_eq!(progress.moved(3, 10, &Terms::default()), None);
        assert_eq!(progress.moved(7, 10, &Terms::default()), Some(10));
        let mut progress = Progress::default();
        assert_eq!(progress.moved(3, 10, &Terms::default()), None);
        assert_eq!(
            progress.moved(0, 10, &Terms::default()),
            Some(3),
            "the end of the file"
        );
    }

    #[test]
    fn interruptions_end_an_operation_at_their_limit_and_are_forgotten_by_progress() {
        let mut progress = Progress::default();
        for round in 0..2 {
            for _ in 0..INTERRUPTS_MAX {
                assert_eq!(progress.failed(Verb::Read, Errno::INTR), None, "{round}");
            }
            if round == 0 {
                assert_eq!(progress.moved(1, 10, &Terms::default()), None);
            }
        }
        assert_eq!(progress.failed(Verb::Read, Errno::INTR), Some(Errno::INTR));
    }

    #[test]
    fn what_moves_fewer_bytes_than_asked_for_has_not_done_all() {
        assert!(did_all(&Ok(Output::Bytes(10)), 10));
        assert!(!did_all(&Ok(Output::Bytes(9)), 10));
        assert!(!did_all(&Err(Errno::IO), 0));
    }
}
