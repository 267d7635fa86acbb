//! `libcachefs`: the C API of the cache. Everything is in [`capi`]; the product
//! itself is the package `cachefs-core`.

#![warn(clippy::all)]

mod capi;

#[cfg(test)]
mod tests;
