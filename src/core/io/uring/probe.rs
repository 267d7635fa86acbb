//! What io_uring offers on this system, for people.

use super::Uring;
use crate::error::{Errno, describe};
use io_uring::{IoUring, Probe, opcode};
use std::sync::Arc;

/// One line of the probe: a feature, whether it is there, and what it is for.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Name of the feature.
    pub feature: &'static str,
    /// Whether this system grants it; Err says why not.
    pub granted: Result<(), String>,
    /// What the cache uses it for.
    pub purpose: &'static str,
}

/// A feature's name, the bit or code that it goes by, and its purpose.
type Row<T> = (&'static str, T, &'static str);

/// Set-up flags and the release that brought them.
const FLAGS: [Row<u32>; 4] = [
    (
        "SUBMIT_ALL",
        1 << 7,
        "a bad request does not stop its batch (5.18)",
    ),
    (
        "COOP_TASKRUN",
        1 << 8,
        "no interrupts for completions (5.19)",
    ),
    ("SINGLE_ISSUER", 1 << 12, "no locking of the queue (6.0)"),
    (
        "DEFER_TASKRUN",
        1 << 13,
        "completions run when they are asked for (6.1)",
    ),
];

/// The operations that the engine submits.
const OPERATIONS: [Row<u8>; 4] = [
    ("OP_READ", opcode::Read::CODE, "reads of cache and origin"),
    ("OP_WRITE", opcode::Write::CODE, "writes to the cache"),
    (
        "OP_STATX",
        opcode::Statx::CODE,
        "version checks that cannot hang us",
    ),
    ("OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE, "cancellation"),
];

/// Asks the kernel for each feature that the `uring` engine can use.
pub fn probe() -> Vec<Finding> {
    let purpose = "everything below; psync is used instead";
    match (IoUring::new(8), Uring::new(8, true, Arc::default())) {
        (Ok(ring), Ok(granted)) => {
            let mut findings = vec![finding("io_uring", Ok(()), "the uring engine")];
            findings.extend(features(&ring));
            findings.extend(flags(&granted));
            findings.extend(operations(&ring));
            findings
        }
        (_, Err(error)) => vec![finding("io_uring", Err(error.to_string()), purpose)],
        (Err(error), Ok(_)) => vec![finding("io_uring", Err(error.to_string()), purpose)],
    }
}

fn finding(feature: &'static str, granted: Result<(), String>, purpose: &'static str) -> Finding {
    Finding {
        feature,
        granted,
        purpose,
    }
}

fn present(has: bool) -> Result<(), String> {
    has.then_some(()).ok_or("not in this kernel".to_owned())
}

fn features(ring: &IoUring) -> [Finding; 2] {
    let parameters = ring.params();
    let nodrop = present(parameters.is_feature_nodrop());
    let ext_arg = present(parameters.is_feature_ext_arg());
    [
        finding("FEAT_NODROP", nodrop, "no completion is lost (5.5)"),
        finding("FEAT_EXT_ARG", ext_arg, "waits with a time limit (5.11)"),
    ]
}

fn flags(ring: &Uring) -> impl Iterator<Item = Finding> {
    let granted = ring.granted().0;
    FLAGS.into_iter().map(move |(name, bit, purpose)| {
        let granted = present(granted & bit != 0);
        finding(name, granted, purpose)
    })
}

fn operations(ring: &IoUring) -> Vec<Finding> {
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        return vec![finding("REGISTER_PROBE", Err(describe(errno)), "this list")];
    }
    let asked = OPERATIONS.into_iter().map(|(name, code, purpose)| {
        let supported = present(probe.is_supported(code));
        finding(name, supported, purpose)
    });
    asked.collect()
}
