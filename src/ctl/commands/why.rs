//! `cachefs why`: why reads of a file are served as they are, in words.

use super::{stdout, write_json};
use crate::access::Access;
use crate::args::Why;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::show;
use cachefs_control::reports::{Explained, exact};
use serde::Serialize;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One file in JSON.
#[derive(Serialize)]
struct Report {
    /// As it was given.
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<Vec<u8>>,
    #[serde(flatten)]
    of: Explained,
}

/// Explains each file.
pub fn run(context: &Context, args: &Why) -> Outcome {
    let access = context.access_files(Context::look)?;
    access.roots()?;
    let mut reports = Vec::new();
    let mut failed = false;
    for name in &args.files {
        match report(&access, name) {
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
            writeln!(
                out,
                "{}: {}",
                show::text(&report.file),
                show::text(&report.of.state)
            )?;
            for sentence in &report.of.why {
                writeln!(out, "  {}", show::text(sentence))?;
            }
        }
        out.flush()?;
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}

fn report(access: &Access, name: &Path) -> Result<Report, String> {
    let path = access.roots().expect("they are there").find(name)?;
    let of = access.why(&path);
    let name = name.as_os_str().as_bytes();
    Ok(Report {
        file: String::from_utf8_lossy(name).into_owned(),
        file_bytes: exact(name),
        of: of.map_err(|refusal| show::text(&refusal.message))?,
    })
}
