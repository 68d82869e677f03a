//! `weft-perf curve`: cycles per packet over the number of flows, each figure the median of several runs.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    core::{self, Case, Setup, verb},
    lab::{Error, Progress, pause, pin, tell, watch},
    plot,
    results::Output,
};

/// Numbers of flows: from what stays in the core's own cache to what no cache holds.
const FLOWS: [u32; 7] = [1, 100, 1_000, 10_000, 100_000, 1_000_000, 4_000_000];

/// What is measured: a case, and whether it is IPv6.
const CASES: [(Case, bool); 3] = [(Case::L2, false), (Case::L3, false), (Case::L3, true)];

/// How to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to write curve.json and curve.svg.
    #[arg(long, default_value = "perf/results")]
    pub out: PathBuf,
    /// Runs of each figure; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Each for so long, seconds.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Pin to this core.
    #[arg(long, default_value_t = 1)]
    pub cpu: usize,
    /// Other ways to give results.
    #[command(flatten)]
    pub output: Output,
}

/// Measures all; writes `curve.json` and `curve.svg`. Whether all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    watch()?;
    pin(options.cpu)?;
    let mut results = verb::results("curve", options.cpu);
    let points = || CASES.into_iter().flat_map(|(case, ipv6)| FLOWS.map(|flows| (case, ipv6, flows)));
    let mut progress = Progress::new("curve", u64::from(options.runs) * points().count() as u64);
    for run in 1..=options.runs {
        for (case, ipv6, flows) in points() {
            progress.begin(&format!("run {run} of {}, {}, {flows} flows", options.runs, case.word()));
            let setup = Setup { case, flows, rules: 0, ipv6, seconds: options.seconds };
            let outcome = core::run(&setup, None).map_err(Error::io("the path in memory"))?;
            progress.say(&format!("{:.1} cycles a packet", outcome.cycles_per_packet));
            verb::add(&mut results, &setup, &outcome);
            progress.done();
            pause(Duration::ZERO)?; // Ctrl-C
        }
    }
    progress.finish();
    if !options.output.is_for_a_program() {
        tell(&results.tables());
    }
    let dir = &options.out;
    fs::create_dir_all(dir).map_err(Error::file(dir))?;
    results.write(&dir.join("curve.json"))?;
    let cycles: Vec<_> = results.measurements.iter().filter(|one| one.metric == "cycles").collect();
    let title = "One core, 64-byte frames: generator → weft → null";
    let path = dir.join("curve.svg");
    let svg = plot::over(&results, &cycles, "flows", title).svg();
    fs::write(&path, svg).map_err(Error::file(&path))?;
    eprintln!("written: {0}/curve.json {0}/curve.svg", dir.display());
    options.output.finish(&results)
}
