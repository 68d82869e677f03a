//! `weft-perf pods`: two pods with one switch after the other between them: weft's kinds of port, and its peers.
//!
//! Systems take turns: the second run of the first comes after the first run of the last, so that a slow hour of the
//! machine is everybody's. A system that can't be measured here is left out and named, with what to install.

pub mod bridge;
pub mod idle;
pub mod ovs;
pub mod report;
pub mod system;
pub mod testpmd;
pub mod topology;
pub mod traffic;
pub mod weft;

use std::path::PathBuf;

use clap::Args;

use self::{
    report::{Measured, Results},
    system::{Between, Cores, System},
    topology::Pods,
    traffic::{Figures, TESTS, Test},
};
use crate::lab::{Error, watch};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Systems (all), of: weft-tap,weft-packet,weft-xsk,bridge,ovs-afxdp,ovs-tap,ovs-tap-tso,ovs-packet,testpmd.
    #[arg(long, value_delimiter = ',')]
    pub systems: Vec<String>,
    /// Tests (all).
    #[arg(long, value_enum, value_delimiter = ',')]
    pub tests: Vec<Test>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Each for so long.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// The core of both pods' programs.
    #[arg(long, default_value_t = 0)]
    pub cpu_pods: usize,
    /// The core of the switch's thread.
    #[arg(long, default_value_t = 1)]
    pub cpu_switch: usize,
    /// Where to write pods.json and the charts.
    #[arg(long, default_value = "perf/results")]
    pub out: PathBuf,
    /// Write the results to this file, too.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Measures, prints tables, writes files. Whether weft, in all its forms that were asked for, did everything.
pub fn run(options: &Options) -> Result<bool, Error> {
    let systems = match &options.systems[..] {
        [] => system::ALL.to_vec(),
        names => system::by_names(names)?,
    };
    let tests = if options.tests.is_empty() { TESTS.to_vec() } else { options.tests.clone() };
    let cores = Cores { pods: options.cpu_pods, switch: options.cpu_switch };
    watch()?;
    let mut measured: Vec<Measured> = systems.iter().map(|system| Measured::new(*system)).collect();
    let tests = available(tests);
    for run in 1..=options.runs {
        for (system, measured) in systems.iter().zip(&mut measured) {
            if measured.skipped.is_none() {
                let progress = format!("run {run} of {}, {}", options.runs, system.name());
                measure(*system, &tests, cores, options.seconds, measured, &progress)?;
            }
        }
    }
    let results = Results::new(cores, options, measured);
    print!("{}", results.tables());
    results.write(&options.out, options.json.as_deref())?;
    Ok(!results.weft_failed())
}

/// The tests whose programs are there; the others are named.
fn available(tests: Vec<Test>) -> Vec<Test> {
    let is_there = |test: &Test| match test.missing() {
        None => true,
        Some(why) => {
            eprintln!("{} is skipped: {why}", test.name());
            false
        }
    };
    tests.into_iter().filter(is_there).collect()
}

/// One run of one system: set up, measured, torn down. Only an interruption ends the whole benchmark.
fn measure(
    system: &dyn System,
    tests: &[Test],
    cores: Cores,
    seconds: u64,
    measured: &mut Measured,
    progress: &str,
) -> Result<(), Error> {
    let between = match set_up(system, cores) {
        Ok(between) => between,
        Err(error) => return measured.failed(progress, "set-up", error),
    };
    measured.mode.clone_from(&between.mode);
    for test in tests {
        match test.run(&between, cores, seconds) {
            Ok(figures) => {
                eprintln!("{progress}: {}", words(&figures));
                measured.add(figures);
            }
            Err(error) => measured.failed(progress, test.name(), error)?,
        }
    }
    Ok(())
}

fn set_up(system: &dyn System, cores: Cores) -> Result<Between, Error> {
    let between = system.set_up(Pods::new()?, cores)?;
    between.pods.wait_until_reachable()?;
    Ok(between)
}

fn words(figures: &Figures) -> String {
    figures.iter().map(|(name, value)| format!("{name} {value:.3}")).collect::<Vec<_>>().join(", ")
}
