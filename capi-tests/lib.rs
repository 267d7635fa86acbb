//! Helpers of the C API tests: where things are, the exports of `src/capi` as
//! the source tells them, the symbols that a release promises, the header, and a
//! Redis server.

#![warn(clippy::all)]

pub mod exports;
pub mod header;
pub mod map;
pub mod paths;
pub mod program;
pub mod redis;
