//! The only place with exported symbols: check, convert, call core, convert back.
//!
//! One file per section of the header, in the header's order.

/// What only C uses of it is not dead.
#[allow(dead_code)]
pub mod types;

pub mod version;

pub mod error;

pub mod options;

pub mod cache;

pub mod origin_options;

pub mod origin;

pub mod file;

pub mod read;

pub mod fill;

pub mod verify;

pub mod lease;

pub mod batch;

pub mod queue;

pub mod buffer;

pub mod stats;

mod extensible;
mod fork;
mod guard;
mod handle;
mod leases;
mod log;
mod pointer;
mod request;
