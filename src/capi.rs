//! The only place with exported symbols: check, convert, call core, convert back.
pub mod types;
