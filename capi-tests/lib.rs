//! Helpers of the C API tests: where things are, the exports of `src/capi` as
//! the source tells them, the symbols that a release promises, and the header.

#![warn(clippy::all)]

pub mod exports;
pub mod header;
pub mod map;
pub mod paths;
pub mod program;
