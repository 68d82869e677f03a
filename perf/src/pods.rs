//! `weft-perf pods`: two pods with one switch after the other between them: weft's kinds of port, and its peers.
//!
//! Systems take turns: the second run of the first comes after the first run of the last, so that a slow hour of the
//! machine is everybody's. A system that can't be measured here is left out and named, with what to install.

pub mod bridge;
pub mod idle;
pub mod ovs;
pub mod report;
pub mod routing;
pub mod system;
pub mod testpmd;
pub mod topology;
pub mod traffic;
pub mod weft;

use std::path::PathBuf;

use clap::Args;

use self::{
    system::{Between, Cores, System},
    topology::Pods,
    traffic::{Outcome, TESTS, Test},
};
use crate::{
    lab::{Error, Progress, tell, watch},
    results::{Missing, Output, Results},
};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Systems (all), of: weft-tap,weft-packet,weft-xsk,bridge,bridge-rps,routing,routing-rps,ovs-afxdp,ovs-tap,ovs-tap-tso,ovs-packet,testpmd.
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
    /// Other ways to give results.
    #[command(flatten)]
    pub output: Output,
}

/// Measures, prints tables, writes files. Whether weft, in all its forms that were asked for, did everything, and all that
/// is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    let systems = match &options.systems[..] {
        [] => system::ALL.to_vec(),
        names => system::by_names(names)?,
    };
    let tests = if options.tests.is_empty() { TESTS.to_vec() } else { options.tests.clone() };
    let cores = Cores { pods: options.cpu_pods, switch: options.cpu_switch, threads: 1, queues: 1 };
    watch()?;
    let mut results = Results::new("pods");
    report::begin(&systems, &mut results);
    results.notes.push(format!(
        "{} runs of {} s each, in turns; pods on core {}, the switch's thread on core {}.",
        options.runs, options.seconds, cores.pods, cores.switch
    ));
    let systems: Vec<_> = systems
        .into_iter()
        .filter(|system| !results.missing.iter().any(|missing| missing.system == system.name()))
        .collect();
    let mut lab = Lab { tests: available(tests, &mut results), cores, seconds: options.seconds, results };
    let mut progress = Progress::new("pods", u64::from(options.runs) * systems.len() as u64);
    for run in 1..=options.runs {
        for system in &systems {
            progress.begin(&format!("run {run} of {}, {}", options.runs, system.name()));
            lab.measure(*system, &mut progress)?;
            progress.done();
        }
    }
    progress.finish();
    if !options.output.is_for_a_program() {
        tell(&lab.results.tables());
    }
    report::write(&lab.results, &options.out)?;
    options.output.finish(&lab.results)
}

/// The tests whose programs are there; the others are named.
fn available(tests: Vec<Test>, results: &mut Results) -> Vec<Test> {
    let is_there = |test: &Test| match test.missing() {
        None => true,
        Some(why) => {
            eprintln!("{} is skipped: {why}", test.name());
            results.missing.push(report::gap(test.name(), "", why));
            false
        }
    };
    tests.into_iter().filter(is_there).collect()
}

struct Lab {
    tests: Vec<Test>,
    cores: Cores,
    seconds: u64,
    results: Results,
}

impl Lab {
    /// One run of one system: set up, measured, torn down. Only an interruption ends the whole benchmark.
    fn measure(&mut self, system: &dyn System, progress: &mut Progress) -> Result<(), Error> {
        let between = match set_up(system, self.cores) {
            Ok(between) => between,
            Err(error) => return self.failed(system, "", error, progress),
        };
        report::note(&mut self.results, system.name(), &between);
        for test in self.tests.clone() {
            match test.run(&between, self.cores, self.seconds) {
                Ok(outcome) => {
                    progress.say(&format!("{}: {}", test.name(), words(&outcome)));
                    report::add(&mut self.results, system.name(), test, &outcome);
                }
                Err(error) => self.failed(system, test.name(), error, progress)?,
            }
        }
        Ok(())
    }

    /// A run that gave nothing; passes an interruption on.
    fn failed(
        &mut self,
        system: &dyn System,
        test: &str,
        error: Error,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        if matches!(error, Error::Interrupted) {
            return Err(error);
        }
        let what = if test.is_empty() { "set-up" } else { test };
        progress.say(&format!("{what} failed: {error}"));
        let reason = format!("failed: {error}");
        self.results.missing.push(Missing { failed: true, ..report::gap(test, system.name(), reason) });
        Ok(())
    }
}

fn set_up(system: &dyn System, cores: Cores) -> Result<Between, Error> {
    let between = system.set_up(Pods::new()?, cores)?;
    between.pods.wait_until_reachable()?;
    Ok(between)
}

fn words(outcome: &Outcome) -> String {
    let figures = outcome.figures.iter().map(|(name, value)| format!("{name} {value:.3}"));
    let per_packet = outcome.packets.and_then(|packets| outcome.usage.per_packet(packets));
    let cycles = per_packet.map(|cost| {
        format!("{:.0} cycles a packet in user space, {:.0} in the kernel", cost.user, cost.kernel)
    });
    figures.chain(cycles).collect::<Vec<_>>().join(", ")
}
