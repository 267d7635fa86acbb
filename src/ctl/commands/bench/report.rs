//! What was measured, for people and as JSON.

use super::cost::Cost;
use super::pairs::Spread;
use crate::show;
use indicatif::BinaryBytes;
use serde::Serialize;
use std::fmt::Write;

/// Where and how it was measured.
#[derive(Serialize)]
pub struct Setting {
    /// Release of the kernel.
    pub kernel: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Where the files were.
    pub directory: String,
    /// Of that directory.
    pub file_system: String,
    /// What the library runs on, and why.
    pub engine: String,
    /// Measurements of each side.
    pub pairs: u16,
}

/// A row: what it is, and what came of it.
#[derive(Serialize)]
pub struct RowReport {
    /// As on the command line.
    pub name: &'static str,
    /// What is compared with what.
    pub title: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: RowOutcome,
}

/// What came of a row.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RowOutcome {
    /// Figures.
    Measured(Measured),
    /// None, for a reason of this system.
    NotRun {
        /// In words.
        reason: String,
    },
    /// None, for an error.
    Failed {
        /// In words.
        reason: String,
    },
}

/// The figures of one row.
#[derive(Default, Serialize)]
pub struct Measured {
    /// What is to be reached.
    pub checks: Vec<Check>,
    /// What each side took.
    pub sides: Vec<Side>,
    /// What makes the figures mean less than they seem to.
    pub notes: Vec<String>,
}

/// A figure of both sides, which may have to be reached.
#[derive(Serialize)]
pub struct Check {
    /// What it is, ours divided by the other's unless it is a count.
    pub figure: &'static str,
    /// As measured.
    #[serde(flatten)]
    pub spread: Spread,
    /// What is to be reached; None if it is only shown.
    pub target: Option<Target>,
    /// Whether the median reaches it.
    pub reached: Option<bool>,
}

/// What a figure should be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// What one side took, each by the median of its runs.
#[derive(Serialize)]
pub struct Side {
    /// Who.
    pub name: &'static str,
    /// What is counted as one operation.
    pub operation: &'static str,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Nanoseconds from one operation to the next.
    pub ns_per_operation: f64,
    /// Nanoseconds of user and system time for each.
    pub cpu_ns_per_operation: f64,
    /// For each, in a run of their own; None if they could not be counted.
    pub system_calls_per_operation: Option<f64>,
}

impl Check {
    /// Compares the median with the target.
    pub fn new(figure: &'static str, spread: Spread, target: Target) -> Self {
        Self {
            figure,
            spread,
            target: Some(target),
            reached: Some(match target {
                Target::AtLeast(least) => spread.median >= least,
                Target::AtMost(most) => spread.median <= most,
            }),
        }
    }

    /// Shows a figure that nothing is asked of.
    pub fn shown(figure: &'static str, spread: Spread) -> Self {
        Self {
            figure,
            spread,
            target: None,
            reached: None,
        }
    }
}

impl Side {
    /// From the runs of one side; at least one.
    pub fn new<'a>(
        name: &'static str,
        operation: &'static str,
        costs: impl Iterator<Item = &'a Cost> + Clone,
        system_calls_per_operation: Option<f64>,
    ) -> Self {
        let median = |figure: fn(&Cost) -> f64| Spread::of(costs.clone().map(figure)).median;
        Self {
            name,
            operation,
            bytes_per_second: median(Cost::throughput),
            ns_per_operation: median(Cost::time_per_operation),
            cpu_ns_per_operation: median(Cost::cpu_per_operation),
            system_calls_per_operation,
        }
    }
}

impl Setting {
    /// Lines for people.
    pub fn text(&self) -> String {
        format!(
            "kernel {}, {}, {} in {}, {}\n{}\n",
            self.kernel,
            show::count(self.processors as u64, "processor"),
            self.file_system,
            self.directory,
            show::count(self.pairs.into(), "pair"),
            self.engine,
        )
    }
}

impl RowReport {
    /// Lines for people.
    pub fn text(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.name, self.title);
        match &self.outcome {
            RowOutcome::Measured(measured) => text + &measured.text(),
            RowOutcome::NotRun { reason } => {
                text.push_str(&format!("  not run: {}\n", show::text(reason)));
                text
            }
            RowOutcome::Failed { reason } => {
                text.push_str(&format!("  failed: {}\n", show::text(reason)));
                text
            }
        }
    }
}

impl Measured {
    fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let Spread { median, min, max } = check.spread;
            let range = match min == max {
                true => String::new(),
                false => format!(" ({min:.3} to {max:.3})"),
            };
            let target = match check.target {
                Some(Target::AtLeast(least)) => format!(">= {least}"),
                Some(Target::AtMost(most)) => format!("<= {most}"),
                None => String::new(),
            };
            let verdict = match check.reached {
                Some(true) => "reached",
                Some(false) => "missed",
                None => "",
            };
            let figure = format!("{median:.3}{range}");
            let name = check.figure;
            let line = format!("  {name:<26} {figure:<26} {target:<8} {verdict}");
            writeln!(text, "{}", line.trim_end()).expect(TAKES_ALL);
        }
        for side in &self.sides {
            let calls = match side.system_calls_per_operation {
                Some(calls) => format!("{calls:.3}"),
                None => "?".to_owned(),
            };
            writeln!(
                text,
                "  {:<10} {:>12}/s, for each {}: {:>9.2} us, {:>9.2} us of CPU, \
                 {calls} system calls",
                side.name,
                BinaryBytes(side.bytes_per_second as u64).to_string(),
                side.operation,
                side.ns_per_operation / 1e3,
                side.cpu_ns_per_operation / 1e3,
            )
            .expect(TAKES_ALL);
        }
        for note in &self.notes {
            writeln!(text, "  note: {}", show::text(note)).expect(TAKES_ALL);
        }
        text
    }
}

const TAKES_ALL: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread {
            median,
            min: 0.5,
            max: 2.0,
        }
    }

    #[test]
    fn the_median_decides_whether_a_target_is_reached() {
        for (target, median, reached) in [
            (Target::AtLeast(0.97), 0.97, true),
            (Target::AtLeast(0.97), 0.96, false),
            (Target::AtMost(0.75), 0.75, true),
            (Target::AtMost(0.75), 0.76, false),
        ] {
            let check = Check::new("x", spread(median), target);
            assert_eq!(check.reached, Some(reached));
        }
    }

    #[test]
    fn a_row_tells_figures_targets_and_what_could_not_be_counted() {
        let cost = Cost {
            operations: 1000,
            bytes: 4_096_000,
            elapsed: std::time::Duration::from_millis(2),
            cpu: std::time::Duration::from_millis(1),
            device_bytes: 0,
        };
        let report = RowReport {
            name: "row",
            title: "this against that",
            outcome: RowOutcome::Measured(Measured {
                checks: vec![Check::new("time", spread(0.7), Target::AtMost(0.75))],
                sides: vec![Side::new("pread", "read", [cost].iter(), None)],
                notes: vec!["cold".to_owned()],
            }),
        };
        let text = report.text();
        for part in [
            "row: this against that",
            "0.700 (0.500 to 2.000)",
            "<= 0.75",
            "reached",
            "2.00 us,",
            "1.00 us of CPU",
            "? system calls",
            "note: cold",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["outcome"], "measured");
        assert_eq!(json["checks"][0]["target"]["at_most"], 0.75);
        assert_eq!(json["sides"][0]["ns_per_operation"], 2000.0);
    }
}
