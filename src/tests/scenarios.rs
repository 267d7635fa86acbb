//! The scenarios: one behaviour each, named after it.

pub(crate) mod alignment;
pub(crate) mod bypass;
pub(crate) mod copying;
pub(crate) mod direct_copy;
pub(crate) mod environment;
pub(crate) mod failing;
pub(crate) mod filling;
pub(crate) mod leasing;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod places;
pub(crate) mod readahead;
pub(crate) mod reading;
pub(crate) mod reboots;
pub(crate) mod sharing;
pub(crate) mod unreachable;
pub(crate) mod validation;
pub(crate) mod verifying;
pub(crate) mod versions;
pub(crate) mod waiting;
