//! `cachefs options`: the cache options.

use super::stdout;
use crate::failure::Outcome;
use crate::options;
use std::io::Write;

/// Lists key, default, meaning and range of every option.
pub fn run() -> Outcome {
    let mut out = stdout();
    out.write_all(options::table().as_bytes())?;
    Ok(out.flush()?)
}
