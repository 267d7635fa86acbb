//! `cachefs why`: why reads of a file are served as they are, in words.

use super::{stdout, write_json};
use crate::args::Why;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::place::Place;
use crate::show;
use cachefs_core::{Explanation, Kept, KeptObject};
use indicatif::BinaryBytes;
use serde::Serialize;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// One file in JSON.
#[derive(Serialize)]
struct Report {
    /// As it was given.
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<Vec<u8>>,
    /// `complete`, `in part`, `other version`, `unusable` or `not cached`.
    state: &'static str,
    /// Sentences that say why.
    why: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectReport>,
}

/// What the cache has of it.
#[derive(Serialize)]
struct ObjectReport {
    /// Below `objects` of the cache directory.
    name: String,
    chunk_bytes: u64,
    chunks_total: u64,
    chunks_present: u64,
    /// To be verified before they are used.
    chunks_doubted: u64,
    /// The first byte of each missing range and the byte behind it; the first few.
    missing: Vec<(u64, u64)>,
    disk_bytes: u64,
}

/// Explains each file.
pub fn run(context: &Context, args: &Why) -> Outcome {
    let cache = context.look()?;
    let place = context.place(&cache)?;
    let mut reports = Vec::new();
    let mut failed = false;
    for name in &args.files {
        match report(&place, name) {
            Ok(report) => reports.push(report),
            Err(message) => {
                context.console.say(message);
                failed = true;
            }
        }
    }
    if args.json {
        write_json(&reports)?;
    } else {
        let mut out = stdout();
        for report in &reports {
            writeln!(out, "{}: {}", show::text(&report.file), report.state)?;
            for sentence in &report.why {
                writeln!(out, "  {}", show::text(sentence))?;
            }
        }
        out.flush()?;
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}

fn report(place: &Place, name: &Path) -> Result<Report, String> {
    let path = place.find(name)?;
    let explanation = place.explain(&path);
    let explanation = explanation.map_err(|error| show::text(error.message()))?;
    let name = name.as_os_str().as_bytes();
    let (state, why) = words(&explanation);
    Ok(Report {
        file: String::from_utf8_lossy(name).into_owned(),
        file_bytes: show::exact(name),
        state,
        why,
        object: match explanation.kept {
            Kept::Object(object) => Some(ObjectReport {
                chunk_bytes: object.chunk_bytes,
                chunks_total: object.chunks,
                chunks_present: object.present,
                chunks_doubted: object.doubted,
                missing: object
                    .missing
                    .iter()
                    .map(|one| (one.start, one.end))
                    .collect(),
                disk_bytes: object.disk_bytes,
                name: object.name,
            }),
            _ => None,
        },
    })
}

/// The state in a word or two, and sentences about it.
fn words(explanation: &Explanation) -> (&'static str, Vec<String>) {
    let mut why = Vec::new();
    let state = match &explanation.kept {
        Kept::Nothing => {
            why.push("Nothing of it is in the cache: a read comes from the origin.".to_owned());
            "not cached"
        }
        Kept::OtherVersion(size) => {
            let (before, now) = (BinaryBytes(*size), BinaryBytes(explanation.token.size));
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
    let each = BinaryBytes(object.chunk_bytes);
    let complete = present == chunks;
    why.push(if complete {
        format!(
            "All of it is in the cache: {} of {each}.",
            show::count(chunks, "chunk")
        )
    } else {
        format!(
            "{present} of {} of {each} may be read from the cache.",
            show::count(chunks, "chunk")
        )
    });
    if object.is_of_another_boot {
        why.push("Another boot of this host has left it.".to_owned());
    }
    if doubted > 0 {
        let chunks = show::count(doubted, "chunk");
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
    let disk = BinaryBytes(object.disk_bytes);
    why.push(format!(
        "It takes {disk} of the disk: objects/{}.",
        object.name
    ));
    if complete { "complete" } else { "in part" }
}
