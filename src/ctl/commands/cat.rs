//! `cachefs cat`: files to stdout, through the cache.

use crate::args::Cat;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::place::Place;
use crate::show;
use indicatif::BinaryBytes;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// Writes each file; one that cannot be read does not stop the others.
pub fn run(context: &Context, args: &Cat) -> Outcome {
    let cache = context.open()?;
    let place = context.place(&cache)?;
    // Not std's own stdout: that looks for the last line feed in everything.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; READ_BYTES];
    let mut failed = false;
    for name in &args.files {
        if let Err(message) = copy(&place, name, &mut buffer, &mut out)? {
            context.console.say(message);
            failed = true;
        }
    }
    if args.verbose {
        let stats = cache.stats();
        let from_cache = BinaryBytes(stats.bytes_from_cache);
        let from_origin = BinaryBytes(stats.bytes_from_origin);
        let text = format!("{from_cache} from the cache, {from_origin} read from the origin");
        context.console.say(text);
    }
    if failed { Err(Failure::told()) } else { Ok(()) }
}

/// Err: stdout is no use any more. Ok(Err): this file is not.
fn copy(
    place: &Place,
    name: &Path,
    buffer: &mut [u8],
    out: &mut File,
) -> Result<Result<(), String>, Failure> {
    let path = match place.find(name) {
        Ok(path) => path,
        Err(message) => return Ok(Err(message)),
    };
    let file = match place.open(&path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(show::text(error.message()))),
    };
    let mut offset = 0;
    loop {
        match file.read_at(buffer, offset) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => {
                out.write_all(&buffer[..count as usize])?;
                offset += count;
            }
            Err(error) => return Ok(Err(show::text(error.message()))),
        }
    }
}
