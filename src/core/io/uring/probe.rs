//! What io_uring offers on this system, for people.

use super::Uring;
use super::features::ROWS;
use super::setup::Plan;
use crate::io::metrics::Metrics;
use crate::io::{EngineOptions, Owner};
use std::sync::Arc;

/// One line of the probe: a feature, whether it is there, and what it is for.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Name of the feature.
    pub feature: &'static str,
    /// The mainline release that brought it.
    pub since: &'static str,
    /// Whether this system grants it; Err says why not.
    pub granted: Result<(), String>,
    /// What the cache uses it for.
    pub purpose: &'static str,
}

/// Asks the kernel for each feature that the `uring` engine can use, those that
/// the options do not ask for included. The first finding is io_uring itself.
pub fn probe(options: &EngineOptions) -> Vec<Finding> {
    let itself = |granted, purpose| Finding {
        feature: "io_uring",
        since: "5.11",
        granted,
        purpose,
    };
    let ring = match make(options) {
        Ok(ring) => ring,
        Err(reason) => {
            return vec![itself(
                Err(reason),
                "everything below; psync is used instead",
            )];
        }
    };
    // A submitting thread and polling exclude some of the rest, so they are
    // asked for apart.
    let polling = EngineOptions {
        sq_poll: Some(options.sq_poll.unwrap_or_default()),
        io_poll: true,
        ..options.clone()
    };
    let polling = make(&polling);
    let mut findings = vec![itself(Ok(()), "the uring engine")];
    for row in &ROWS {
        let rings = [Some(&ring), polling.as_ref().ok()];
        let granted = rings
            .iter()
            .flatten()
            .any(|ring| ring.granted().has(row.feature));
        let refusal = rings
            .iter()
            .flatten()
            .flat_map(|ring| ring.refused())
            .find(|one| one.feature == row.feature);
        let reason = || match (refusal, &polling) {
            (Some(refusal), _) => refusal.reason.clone(),
            (None, Err(reason)) => reason.clone(),
            (None, Ok(_)) => "not in this kernel".to_owned(),
        };
        findings.push(Finding {
            feature: row.name,
            since: row.since,
            granted: if granted { Ok(()) } else { Err(reason()) },
            purpose: row.purpose,
        });
    }
    findings
}

fn make(options: &EngineOptions) -> Result<Uring, String> {
    let metrics: Arc<Metrics> = Arc::default();
    let owner = Owner::Program { movable: false };
    let plan = Plan::new(options);
    Uring::new(&plan, 8, owner, Arc::default(), metrics.meter()).map_err(|error| error.to_string())
}
