//! For `benches`: inner parts that nothing outside can call.

use crate::file::File;

pub use crate::evict::traces;
pub use crate::io::uring::turns::Turns;
pub use crate::request::steps::Planned;

/// How many bytes from `offset` on are in the cache, of at most `length`: what
/// every read begins with.
pub fn present(file: &File, offset: u64, length: u64) -> u64 {
    file.0.glance().present_run(offset, offset + length)
}
