//! `cachefs why`: why reads of a file are served as they are, in words.

use super::write_each;
use crate::access::Access;
use crate::args::Why;
use crate::context::Context;
use crate::failure::Outcome;
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
    write_each(
        context,
        (&args.files, args.json),
        |name| report(&access, name),
        |out, report| {
            let (file, state) = (show::text(&report.file), show::text(&report.of.state));
            writeln!(out, "{file}: {state}")?;
            for sentence in &report.of.why {
                writeln!(out, "  {}", show::text(sentence))?;
            }
            Ok(())
        },
    )
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
