//! fio(1): its command line, and what it says of a run.

use super::cost::Cost;
use serde::Deserialize;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Reads of one file.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Offsets in no order; else one after the other.
    pub random: bool,
    /// Bytes of a read.
    pub block: u64,
    /// Reads in flight.
    pub depth: u32,
    /// The part of the file that is read, from its beginning, in bytes.
    pub span: u64,
    /// Reads in all.
    pub reads: u64,
}

impl Job {
    /// Arguments for the same reads by fio past the page cache, on one thread of its own.
    pub fn arguments(&self, file: &Path) -> Vec<OsString> {
        let engine = ["--ioengine=io_uring", "--registerfiles=1", "--fixedbufs=1"];
        self.arguments_with(file, &[&engine[..], &["--direct=1"]].concat())
    }

    /// The same from the page cache, which is left as it is, and one after the other.
    pub fn buffered_arguments(&self, file: &Path) -> Vec<OsString> {
        self.arguments_with(file, &["--ioengine=psync", "--invalidate=0"])
    }

    fn arguments_with(&self, file: &Path, how: &[&str]) -> Vec<OsString> {
        let order = if self.random { "randread" } else { "read" };
        let mut name = OsString::from("--filename=");
        // fio takes a colon for the end of a name.
        name.push(file.to_string_lossy().replace(':', "\\:"));
        let mut arguments = vec![name];
        let rest = [
            "--name=reference".to_owned(),
            format!("--rw={order}"),
            format!("--bs={}", self.block),
            format!("--iodepth={}", self.depth),
            format!("--size={}", self.span),
            format!("--io_size={}", self.reads * self.block),
            // Ours repeats offsets as well, and keeps no map of those it had.
            "--norandommap=1".to_owned(),
            "--thread=1".to_owned(),
            "--readonly".to_owned(),
            "--output-format=json".to_owned(),
        ];
        arguments.extend(rest.into_iter().map(OsString::from));
        arguments.extend(how.iter().map(OsString::from));
        arguments
    }
}

#[derive(Deserialize)]
struct Output {
    jobs: [JobOutput; 1],
}

#[derive(Deserialize)]
struct JobOutput {
    error: i32,
    /// Milliseconds.
    job_runtime: u64,
    /// Percent of `job_runtime`.
    usr_cpu: f64,
    /// Percent of `job_runtime`.
    sys_cpu: f64,
    read: ReadOutput,
}

#[derive(Deserialize)]
struct ReadOutput {
    io_bytes: u64,
    total_ios: u64,
    /// Milliseconds.
    runtime: u64,
}

/// What fio says that its job did and took. The CPU time is that of the thread
/// that reads: what the rest of fio takes is not counted against it.
/// `device_bytes` is known by whoever waited for it.
pub fn parse(output: &str, device_bytes: u64) -> Result<Cost, String> {
    // Notes come first.
    let begin = output.find('{').ok_or("fio wrote no JSON")?;
    let output: Output = serde_json::from_str(&output[begin..])
        .map_err(|error| format!("fio's JSON is not understood: {error}"))?;
    let [job] = output.jobs;
    if job.error != 0 {
        return Err(format!("fio's job ended with errno {}", job.error));
    }
    if job.read.total_ios == 0 {
        return Err("fio read nothing".to_owned());
    }
    let cpu_share = (job.usr_cpu + job.sys_cpu) / 100.0;
    Ok(Cost {
        operations: job.read.total_ios,
        bytes: job.read.io_bytes,
        // A run of less than one reads 0.
        elapsed: Duration::from_millis(job.read.runtime.max(1)),
        cpu: Duration::from_millis(job.job_runtime).mul_f64(cpu_share),
        device_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As fio 3.33 writes it, with most members left out.
    const OUTPUT: &str = r#"note: both iodepth >= 1 and synchronous I/O engine are selected
{
  "fio version" : "fio-3.33",
  "global options" : { },
  "jobs" : [
    {
      "jobname" : "reference",
      "error" : 0,
      "elapsed" : 3,
      "read" : {
        "io_bytes" : 409600000,
        "bw_bytes" : 204800000,
        "iops" : 50000.0,
        "runtime" : 2000,
        "total_ios" : 100000,
        "short_ios" : 0
      },
      "job_runtime" : 2000,
      "usr_cpu" : 12.5,
      "sys_cpu" : 25.0,
      "ctx" : 90000
    }
  ],
  "disk_util" : [ ]
}
"#;

    #[test]
    fn a_run_is_read_from_its_json() {
        let cost = parse(OUTPUT, 409_600_000).unwrap();
        assert_eq!((cost.operations, cost.bytes), (100_000, 409_600_000));
        assert_eq!(cost.elapsed, Duration::from_secs(2));
        assert_eq!(cost.cpu, Duration::from_millis(750));
        assert_eq!(cost.device_share(), 1.0);
    }

    #[test]
    fn a_job_that_failed_is_an_error() {
        let text = OUTPUT.replace(r#""error" : 0"#, r#""error" : 22"#);
        assert_eq!(
            parse(&text, 0).unwrap_err(),
            "fio's job ended with errno 22"
        );
        let text = OUTPUT.replace(r#""total_ios" : 100000"#, r#""total_ios" : 0"#);
        assert_eq!(parse(&text, 0).unwrap_err(), "fio read nothing");
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "fio: engine io_uring not loadable", "{ \"jobs\" : [] }"] {
            assert!(parse(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn fio_is_asked_for_the_same_reads() {
        let job = Job {
            random: true,
            block: 4096,
            depth: 32,
            span: 1 << 30,
            reads: 1000,
        };
        let arguments = job.arguments(Path::new("/a:b"));
        for expected in [
            "--filename=/a\\:b",
            "--rw=randread",
            "--bs=4096",
            "--iodepth=32",
            "--size=1073741824",
            "--io_size=4096000",
        ] {
            assert!(
                arguments.iter().any(|argument| argument == expected),
                "{expected}"
            );
        }
    }
}
