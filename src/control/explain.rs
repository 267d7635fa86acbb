//! Why reads of a file are served as they are, in words.

use cachefs_core::{Explanation, Kept, KeptObject};
use std::time::Duration;
use unit_prefix::NumberPrefix;

/// Bytes for people, as `1.50 MiB`.
fn size(bytes: u64) -> String {
    match NumberPrefix::binary(bytes as f64) {
        NumberPrefix::Standalone(number) => format!("{number:.0} B"),
        NumberPrefix::Prefixed(prefix, number) => format!("{number:.2} {prefix}B"),
    }
}

/// `1 file`, `2 files`.
fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The state in a word or two, and sentences about it.
pub(crate) fn words(explanation: &Explanation) -> (&'static str, Vec<String>) {
    let mut why = Vec::new();
    let state = match &explanation.kept {
        Kept::Nothing => {
            why.push("Nothing of it is in the cache: a read comes from the origin.".to_owned());
            "not cached"
        }
        Kept::OtherVersion(before) => {
            let (before, now) = (size(*before), size(explanation.token.size));
            why.push(format!(
                "The file has changed at its origin since it was cached ({before} then, {now} \
                 now): a read comes from the origin, and replaces what is cached."
            ));
            "other version"
        }
        Kept::Unusable(reason) => {
            why.push(format!(
                "What the cache has of it cannot be used, since {reason}: a read comes from the \
                 origin, and replaces it."
            ));
            "unusable"
        }
        Kept::Object(object) => words_of_object(object, &mut why),
    };
    let complete = state == "complete";
    if let Some(left) = explanation.young_for_ns.filter(|_| !complete) {
        let left = Duration::from_millis(left.div_ceil(1_000_000));
        why.push(format!(
            "It changed just now, and another change could not be told from that one: nothing \
             more of it is stored for {left:?}."
        ));
    }
    if let Some(reason) = explanation.not_storing.as_ref().filter(|_| !complete) {
        why.push(format!("The cache stores nothing now: {reason}."));
    }
    (state, why)
}

fn words_of_object(object: &KeptObject, why: &mut Vec<String>) -> &'static str {
    let (present, doubted, chunks) = (object.present, object.doubted, object.chunks);
    let each = size(object.chunk_bytes);
    let complete = present == chunks;
    why.push(if complete {
        format!(
            "All of it is in the cache: {} of {each}.",
            count(chunks, "chunk")
        )
    } else {
        format!(
            "{present} of {} of {each} may be read from the cache.",
            count(chunks, "chunk")
        )
    });
    if object.is_of_another_boot {
        why.push("Another boot of this host has left it.".to_owned());
    }
    if doubted > 0 {
        let chunks = count(doubted, "chunk");
        why.push(format!(
            "{chunks} will be compared with their checksums before they are used."
        ));
    }
    if !object.missing.is_empty() {
        let ranges = object
            .missing
            .iter()
            .map(|one| format!("{}-{}", one.start, one.end - 1));
        let ranges: Vec<String> = ranges.collect();
        let ranges = ranges.join(", ");
        why.push(format!(
            "A read of one of these bytes comes from the origin first: {ranges}."
        ));
    }
    if object.is_direct {
        why.push("It is read and written past the page cache, as direct_io asked.".to_owned());
    } else if object.is_direct_for_now {
        why.push("It is written past the page cache until it is complete.".to_owned());
    }
    let disk = size(object.disk_bytes);
    why.push(format!(
        "It takes {disk} of the disk: objects/{}.",
        object.name
    ));
    if complete { "complete" } else { "in part" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(100), "100 B");
        assert_eq!(size(3 << 19), "1.50 MiB");
    }
}
