//! `weft-perf curve`: cycles per packet over the number of flows, each figure the median of several runs; as JSON with
//! the machine beside it, and as a plot.

use std::{fs, io, path::Path};

use serde::Serialize;

use crate::{
    core::{self, Case, Outcome, Setup},
    plot::{Line, Plot},
    testbed::{cpu, kernel},
};

/// Numbers of flows: from what stays in the core's own cache to what no cache holds.
const FLOWS: [u32; 7] = [1, 100, 1_000, 10_000, 100_000, 1_000_000, 4_000_000];

/// What is measured.
const CASES: [(&str, Case, bool); 3] =
    [("l2, IPv4", Case::L2, false), ("l3, IPv4", Case::L3, false), ("l3, IPv6", Case::L3, true)];

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Which line of the plot.
    pub case: &'static str,
    /// Distinct flows.
    pub flows: u32,
    /// Cycles per packet, each run.
    pub runs: Vec<f64>,
    /// The median run.
    pub median: Outcome,
}

/// Everything that was measured, and on what.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// The processor, as it calls itself.
    pub cpu: String,
    /// The kernel.
    pub kernel: String,
    /// Every figure.
    pub points: Vec<Point>,
}

/// Measures all, and writes `curve.json` and `curve.svg` into a directory. `progress` is told of each figure.
pub fn run(dir: &Path, runs: usize, seconds: f64, mut progress: impl FnMut(&Point)) -> io::Result<Results> {
    let mut results = Results { cpu: cpu(), kernel: kernel(), points: Vec::new() };
    for (name, case, ipv6) in CASES {
        for flows in FLOWS {
            let setup = Setup { case, flows, rules: 0, ipv6, seconds };
            let mut outcomes =
                (0..runs.max(1)).map(|_| core::run(&setup)).collect::<io::Result<Vec<Outcome>>>()?;
            let runs = outcomes.iter().map(|outcome| outcome.cycles_per_packet).collect();
            outcomes.sort_by(|a, b| a.cycles_per_packet.total_cmp(&b.cycles_per_packet));
            let point = Point { case: name, flows, runs, median: outcomes.swap_remove(outcomes.len() / 2) };
            progress(&point);
            results.points.push(point);
        }
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join("curve.json"), serde_json::to_string_pretty(&results)? + "\n")?;
    fs::write(dir.join("curve.svg"), plot(&results).svg())?;
    Ok(results)
}

fn plot(results: &Results) -> Plot {
    let line = |(name, ..): (&'static str, Case, bool)| {
        let own = results.points.iter().filter(|point| point.case == name);
        let points = own.map(|point| (f64::from(point.flows), point.median.cycles_per_packet)).collect();
        Line { name: name.into(), points }
    };
    Plot {
        title: "One core, 64-byte frames: generator → weft → null".into(),
        x: "distinct flows, in random order".into(),
        y: "TSC cycles per packet".into(),
        lines: CASES.into_iter().map(line).collect(),
    }
}
