//! What is next for a request: decided here, done elsewhere.

use super::Request;
use crate::completion::Operation;
use crate::store::Trust;

/// The next piece of a request, from its cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Everything is planned.
    End,
    /// These bytes are present, and a fill needs no more.
    Skip(u64),
    /// Read these bytes from the object.
    Hit(u64),
    /// These bytes of this chunk are not present.
    Miss(u64, u64),
    /// These bytes of this chunk are present, where nothing is read any more.
    Bypass(u64),
}

/// Runs of present chunks become one step, but for direct objects; each missing
/// chunk is its own.
pub(super) fn next(request: &Request, chunk_bytes: u64) -> Step {
    let (cursor, end) = (request.cursor, request.end());
    if cursor >= end {
        return Step::End;
    }
    let run = request.version.present_run(cursor, end);
    if run == 0 {
        let chunk = cursor / chunk_bytes;
        let chunk_end = (chunk + 1) * chunk_bytes;
        return Step::Miss(chunk, chunk_end.min(end) - cursor);
    }
    let chunk_end = (cursor / chunk_bytes + 1) * chunk_bytes;
    let in_chunk = run.min(chunk_end - cursor);
    match (request.operation, request.trust()) {
        (Operation::Fill, _) => Step::Skip(run),
        (Operation::Read, Trust::None) => Step::Bypass(in_chunk),
        // A buffer holds a chunk, and so it is known which one cannot be read.
        (Operation::Read, Trust::Guarded) => Step::Hit(in_chunk),
        // Without readahead, several reads at a time are faster than one.
        (Operation::Read, Trust::Whole) if request.version.is_direct() => Step::Hit(in_chunk),
        (Operation::Read, Trust::Whole) => Step::Hit(run),
    }
}
