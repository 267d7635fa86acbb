//! What io_uring offers on this system, for people.

use super::Uring;
use crate::error::Errno;
use io_uring::{IoUring, Probe, opcode};

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

/// Asks the kernel for each feature that the `uring` engine can use.
pub fn probe() -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |feature, granted, purpose| {
        findings.push(Finding {
            feature,
            granted,
            purpose,
        });
    };
    let ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(_) => {
            let why = match Uring::new(8, true) {
                Err(error) => error.to_string(),
                Ok(_) => "refused once, then granted: try again".to_owned(),
            };
            add(
                "io_uring",
                Err(why),
                "everything below; psync is used instead",
            );
            return findings;
        }
    };
    add("io_uring", Ok(()), "the uring engine");
    let old = |has: bool| has.then_some(()).ok_or("not in this kernel".to_owned());
    let parameters = ring.params();
    add(
        "FEAT_NODROP",
        old(parameters.is_feature_nodrop()),
        "no completion is lost (5.5)",
    );
    add(
        "FEAT_EXT_ARG",
        old(parameters.is_feature_ext_arg()),
        "waits with a time limit (5.11)",
    );
    for (name, bit, purpose) in [
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
    ] {
        let granted = match Uring::new(8, true) {
            Ok(uring) => old(uring.granted().0 & bit != 0),
            Err(error) => Err(error.to_string()),
        };
        add(name, granted, purpose);
    }
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe) {
        Ok(()) => {
            for (name, code, purpose) in [
                ("OP_READ", opcode::Read::CODE, "reads of cache and origin"),
                ("OP_WRITE", opcode::Write::CODE, "writes to the cache"),
                (
                    "OP_STATX",
                    opcode::Statx::CODE,
                    "version checks that cannot hang us",
                ),
                ("OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE, "cancellation"),
            ] {
                add(name, old(probe.is_supported(code)), purpose);
            }
        }
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            add(
                "REGISTER_PROBE",
                Err(crate::error::describe(errno)),
                "this list",
            );
        }
    }
    findings
}
