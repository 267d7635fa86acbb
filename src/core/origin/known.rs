//! What an origin has said of its paths, for as long as that is believed.
//!
//! An answer counts as long as the mark that was sampled before the question is still
//! that of the file: see [`crate::store::Invalidations`].

use super::OriginOptions;
use super::options::Validation;
use crate::error::{Errno, Error};
use crate::ids::Identity;
use crate::limits::ORIGIN_PATHS_MAX;
use crate::store::Mark;
use crate::sys;
use crate::token::VersionToken;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

/// The paths of one origin. Takes no descriptor for any of them.
pub(crate) struct Known {
    paths: Cache<Box<[u8]>, Answer>,
    /// For how long a version is believed; None: not at all.
    ttl: Option<Duration>,
    negative_ttl: Duration,
    /// For how long it is better than nothing.
    stale: Duration,
}

/// What an origin has said of a path.
#[derive(Clone)]
struct Answer {
    mark: Mark,
    /// By the boot clock.
    at: Duration,
    said: Said,
}

#[derive(Clone)]
enum Said {
    File(Arc<Validated>),
    Absent(Error),
}

/// A file, as the origin has it.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(crate) identity: Arc<Identity>,
    pub(crate) token: VersionToken,
}

/// What is believed of a path now.
pub(super) enum Belief {
    /// Nothing: ask.
    Nothing,
    File(Arc<Validated>),
    /// There is none.
    Absent(Error),
}

/// Whether an errno is the origin's own word that it has no such file. Everything
/// else, above all what a network says, tells nothing about the file.
fn is_absence(errno: Errno) -> bool {
    [Errno::NOENT, Errno::NOTDIR].contains(&errno)
}

impl Known {
    pub(super) fn new(options: &OriginOptions) -> Self {
        Self {
            paths: Cache::new(ORIGIN_PATHS_MAX),
            ttl: match options.validation() {
                Validation::Always => None,
                Validation::Ttl => Some(Duration::from_millis(options.validate_ttl_ms)),
                Validation::Never => Some(Duration::MAX),
            },
            negative_ttl: Duration::from_millis(options.negative_ttl_ms),
            stale: Duration::from_millis(options.stale_ms),
        }
    }

    /// Whether files are believed to be what they were.
    pub(crate) fn has_ttl(&self) -> bool {
        self.ttl.is_some()
    }

    /// What is believed of a path whose mark is `mark`.
    pub(super) fn belief(&self, path: &[u8], mark: Mark) -> Belief {
        if self.ttl.is_none() && self.negative_ttl.is_zero() {
            return Belief::Nothing;
        }
        let Some(answer) = self.paths.get(path).filter(|answer| answer.mark == mark) else {
            return Belief::Nothing;
        };
        let believed_for = match answer.said {
            Said::File(_) => self.ttl.unwrap_or_default(),
            Said::Absent(_) => self.negative_ttl,
        };
        if sys::boot_time().saturating_sub(answer.at) >= believed_for {
            return Belief::Nothing;
        }
        match answer.said {
            Said::File(validated) => Belief::File(validated),
            Said::Absent(error) => Belief::Absent(error),
        }
    }

    /// What a path was when the origin was last reached, and until when that is better
    /// than nothing.
    pub(super) fn stale(&self, path: &[u8], mark: Mark) -> Option<(Arc<Validated>, Duration)> {
        let answer = self.paths.get(path).filter(|answer| answer.mark == mark)?;
        let until = answer.at + self.stale;
        match answer.said {
            Said::File(validated) if sys::boot_time() < until => Some((validated, until)),
            _ => None,
        }
    }

    fn keeps_files(&self) -> bool {
        self.ttl.is_some() || !self.stale.is_zero()
    }

    /// The origin has answered a question that was asked after `mark` was sampled.
    pub(super) fn learn(
        &self,
        path: &[u8],
        mark: Mark,
        answer: Result<(&Arc<Identity>, &VersionToken), &Error>,
    ) {
        let said = match answer {
            Ok((identity, token)) if self.keeps_files() => Said::File(Arc::new(Validated {
                identity: Arc::clone(identity),
                token: *token,
            })),
            Err(error) if is_absence(error.errno()) && !self.negative_ttl.is_zero() => {
                Said::Absent(error.clone())
            }
            // What is there no more is not believed to be, and the reverse.
            Ok(_) => return self.forget(path),
            Err(error) if is_absence(error.errno()) => return self.forget(path),
            Err(_) => return,
        };
        let at = sys::boot_time();
        self.paths.insert(path.into(), Answer { mark, at, said });
    }

    fn forget(&self, path: &[u8]) {
        if self.keeps_files() || !self.negative_ttl.is_zero() {
            self.paths.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark(7);
    const LONG: u64 = 1_000_000;

    fn known(validation: &str, validate_ttl_ms: u64, negative_ttl_ms: u64) -> Known {
        let mut options = OriginOptions {
            validate_ttl_ms,
            negative_ttl_ms,
            ..OriginOptions::default()
        };
        options.set("validation", validation).unwrap();
        Known::new(&options)
    }

    fn file(size: u64) -> (Arc<Identity>, VersionToken) {
        let identity = Identity {
            origin: b"origin".to_vec(),
            file: b"file".to_vec(),
        };
        let token = VersionToken {
            size,
            mtime_ns: 1,
            ctime_ns: 1,
            inode: 1,
            tag_length: 0,
            tag: [0; crate::token::TAG_BYTES_MAX],
        };
        (Arc::new(identity), token)
    }

    fn learn_file(known: &Known, path: &[u8], size: u64) {
        let (identity, token) = file(size);
        known.learn(path, MARK, Ok((&identity, &token)));
    }

    fn learn_errno(known: &Known, path: &[u8], errno: Errno) {
        known.learn(path, MARK, Err(&Error::new(errno, "a test")));
    }

    fn size(known: &Known, path: &[u8], mark: Mark) -> Option<u64> {
        match known.belief(path, mark) {
            Belief::File(validated) => Some(validated.token.size),
            _ => None,
        }
    }

    fn absence(known: &Known, path: &[u8]) -> Option<Errno> {
        match known.belief(path, MARK) {
            Belief::Absent(error) => Some(error.errno()),
            _ => None,
        }
    }

    #[test]
    fn only_the_origins_own_word_is_an_absence() {
        let known = known("always", 0, LONG);
        let unreachable = [
            Errno::TIMEDOUT,
            Errno::IO,
            Errno::STALE,
            Errno::NOTCONN,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::CONNREFUSED,
            Errno::ACCESS,
            Errno::LOOP,
            Errno::MFILE,
        ];
        for errno in unreachable {
            learn_errno(&known, b"path", errno);
            assert_eq!(absence(&known, b"path"), None, "{errno}");
        }
        for errno in [Errno::NOENT, Errno::NOTDIR] {
            learn_errno(&known, b"path", errno);
            assert_eq!(absence(&known, b"path"), Some(errno));
        }
    }

    #[test]
    fn an_answer_is_believed_no_longer_than_it_was_said() {
        let known = known("ttl", 1, 1);
        learn_file(&known, b"file", 1);
        learn_errno(&known, b"missing", Errno::NOENT);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(size(&known, b"file", MARK), None);
        assert_eq!(absence(&known, b"missing"), None);
    }

    #[test]
    fn a_file_is_believed_as_its_origin_is_validated() {
        for (validation, believed) in [("always", None), ("ttl", Some(5)), ("never", Some(5))] {
            let known = known(validation, LONG, 0);
            learn_file(&known, b"file", 5);
            assert_eq!(size(&known, b"file", MARK), believed, "{validation}");
        }
    }

    #[test]
    fn what_was_invalidated_since_the_question_is_not_believed() {
        let known = known("never", 0, LONG);
        learn_file(&known, b"file", 5);
        learn_errno(&known, b"missing", Errno::NOENT);
        assert_eq!(size(&known, b"file", Mark(8)), None);
        assert!(matches!(known.belief(b"missing", Mark(8)), Belief::Nothing));
    }

    #[test]
    fn what_has_gone_is_not_believed_to_be_there_and_the_reverse() {
        let known = known("never", 0, 0);
        learn_file(&known, b"path", 5);
        learn_errno(&known, b"path", Errno::NOENT);
        assert_eq!(size(&known, b"path", MARK), None);
        // Unreachable is not gone.
        learn_file(&known, b"path", 5);
        learn_errno(&known, b"path", Errno::TIMEDOUT);
        assert_eq!(size(&known, b"path", MARK), Some(5));
    }

    #[test]
    fn the_paths_that_are_remembered_are_bounded() {
        let known = known("never", 0, LONG);
        for number in 0..2 * ORIGIN_PATHS_MAX as u64 {
            match number % 2 {
                0 => learn_file(&known, &number.to_le_bytes(), number),
                _ => learn_errno(&known, &number.to_le_bytes(), Errno::NOENT),
            }
        }
        assert!(known.paths.len() <= ORIGIN_PATHS_MAX);
        assert!(
            known.paths.len() > ORIGIN_PATHS_MAX / 2,
            "they are remembered"
        );
    }
}
