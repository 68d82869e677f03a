//! `weft-perf search`: how much a switch carries, after RFC 2544 and MLRsearch.
//!
//! A [`tester`](crate::tester) around a [`topology`] makes trials; [`bounds`] finds the loads that meet a goal; a [`case`] is all that
//! is asked of one combination. Before anything is reported, generator and sink are measured alone over a bare veth, and a result
//! that comes near theirs is refused.

pub mod bounds;
pub mod case;
pub mod options;
pub mod topology;

use std::time::Duration;

pub use options::Options;

use self::{
    case::{Case, tester},
    topology::{Topology, bare, set_up, systems},
};
use crate::{
    generator::sizes::Sizes,
    lab::{Error, Progress, watch},
    pods::{
        system::{System, missing},
        weft::Weft,
    },
    results::{self, Axes, Missing, Results, axes},
    tester::Until,
};

/// Searches, prints tables, writes files. Whether weft could be measured, and all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    let systems = systems(options)?;
    watch()?;
    let mut results = Results::new("search");
    begin(options, &systems, &mut results);
    let cases = cases(options, &systems, &mut results);
    let mut progress = Progress::new("search", u64::from(options.runs) * cases.len() as u64);
    let (mut ceilings, mut refused) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        for one in &cases {
            progress.begin(&format!("run {run} of {}, {}, {}", options.runs, one.system.name(), one.words()));
            let ceiling = ceiling(options, one, &mut ceilings, &progress)?;
            match measure(options, one, ceiling, &mut results, &progress) {
                Ok(()) => (),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(Error::Usage(error)) => return Err(Error::Usage(error)),
                Err(error) => {
                    progress.say(&error.to_string());
                    let (system, axes) = (one.system.name().to_owned(), one.axes());
                    let reason = error.to_string();
                    let failed = !matches!(error, Error::Refused(_));
                    if let Error::Refused(why) = error {
                        results
                            .measurements
                            .retain(|known| known.system != system || !covers(&known.axes, &axes));
                        refused.push(why);
                    }
                    results.missing.push(Missing { test: String::new(), system, axes, reason, failed });
                }
            }
            progress.done();
        }
    }
    progress.finish();
    if !options.output.is_for_a_program() {
        print!("{}", results.tables());
    }
    let holds = options.output.finish(&results)?;
    if refused.is_empty() { Ok(holds) } else { Err(Error::Refused(refused.join("; "))) }
}

/// Whether a figure is one of a case.
fn covers(figure: &Axes, case: &Axes) -> bool {
    case.iter().all(|(name, value)| figure.get(name) == Some(value))
}

fn begin(options: &Options, systems: &[&'static dyn System], results: &mut Results) {
    let Options { cpu_tester, cpu_switch, trial, trials, width, .. } = options;
    results.notes.push(format!(
        "Trials of {trial} s, a load is judged by most of {trials}; bounds within {width} %. Rates are frames of any length; lengths \
         are without FCS."
    ));
    let sink = options.cpu_sink.unwrap_or(*cpu_tester);
    results.limits.push(if sink == *cpu_tester {
        format!(
            "Generator and sink take turns on core {cpu_tester}, the switch's thread is on core {cpu_switch}: the generator's core also \
             does the kernel's half of sending (a veth's receiving end runs there), and what forwards in the kernel does all there."
        )
    } else {
        format!("Generator on core {cpu_tester}, sink on core {sink}, the switch's thread on core {cpu_switch}.")
    });
    results.limits.push(
        "Over veths and taps these are figures of the kernel's copies as much as of the switch; they say nothing of a NIC.".into(),
    );
    for system in systems {
        results.systems.push(results::System {
            name: system.name().into(),
            about: system.about().into(),
            version: system.version().unwrap_or_default(),
            mode: String::new(),
            is_weft: system.is_weft(),
            is_baseline: system.name() == crate::pods::system::BASELINE,
        });
    }
}

/// One combination.
struct One {
    topology: Topology,
    system: &'static dyn System,
    sizes: Sizes,
    flows: u32,
}

impl One {
    fn axes(&self) -> Axes {
        axes([
            ("topo", self.topology.name().into()),
            ("size", self.sizes.to_string().as_str().into()),
            ("flows", self.flows.into()),
        ])
    }

    fn words(&self) -> String {
        results::words(&self.axes())
    }
}

/// Every combination; what a system lacks here is noted.
fn cases(options: &Options, systems: &[&'static dyn System], results: &mut Results) -> Vec<One> {
    let mut cases = Vec::new();
    for system in systems.iter().copied() {
        if let Some(reason) = missing(system) {
            eprintln!("{} is skipped: {reason}", system.name());
            let system = system.name().to_owned();
            results.missing.push(Missing {
                test: String::new(),
                system,
                axes: Axes::new(),
                reason,
                failed: false,
            });
            continue;
        }
        for topology in &options.topologies {
            for sizes in &options.sizes {
                for flows in &options.flows {
                    cases.push(One { topology: *topology, system, sizes: sizes.clone(), flows: *flows });
                }
            }
        }
    }
    cases
}

/// What generator and sink do alone, frames a second: measured once for each length and number of flows.
fn ceiling(
    options: &Options,
    one: &One,
    known: &mut Vec<(Sizes, u32, f64)>,
    progress: &Progress,
) -> Result<f64, Error> {
    let found = known.iter().find(|(sizes, flows, _)| (sizes, *flows) == (&one.sizes, one.flows));
    if let Some((_, _, ceiling)) = found {
        return Ok(*ceiling);
    }
    let path = bare()?;
    let mut tester = tester(&path, options, &one.sizes, one.flows)?;
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let trial = tester.trial(None, Until::Time(Duration::from_secs_f64(options.trial)))?;
        best = best.max(trial.received_pps());
    }
    progress.say(&format!("generator and sink alone: {:.4} Mpps", best / 1e6));
    known.push((one.sizes.clone(), one.flows, best));
    Ok(best)
}

fn measure(
    options: &Options,
    one: &One,
    ceiling: f64,
    results: &mut Results,
    progress: &Progress,
) -> Result<(), Error> {
    let path = set_up(one.topology, one.system, options)?;
    let name = one.system.name();
    if let Some(system) = results.systems.iter_mut().find(|system| system.name == name) {
        system.mode.clone_from(&path.mode);
    }
    let mut tester = tester(&path, options, &one.sizes, one.flows)?;
    let axes = one.axes();
    let mut case =
        Case { options, system: name, axes, sizes: &one.sizes, flows: one.flows, ceiling, results, progress };
    let pdr = case.run(&path, &mut tester)?;
    drop((tester, path)); // the switch's core is wanted
    let kind = [Weft::Packet, Weft::Xsk].into_iter().find(|kind| kind.name() == name);
    match kind.filter(|_| (options.reset || options.all) && one.topology == Topology::PodPod && pdr > 0.0) {
        Some(kind) => case.reset(kind, pdr),
        None => Ok(()),
    }
}
