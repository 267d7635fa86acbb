//! The io_uring engine. The only place that names the crate `io_uring`.

mod inflight;
pub(crate) mod probe;
mod ring;

pub(crate) use ring::Uring;
