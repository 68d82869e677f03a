//! `weft-perf search`: how much a switch carries, after RFC 2544 and MLRsearch.
//!
//! A [`tester`](crate::tester) around a [`topology`] makes trials; [`bounds`] finds the loads that meet a goal; a [`case`] is all that
//! is asked of one combination. A result is reported only if the tester is known to be faster: at full rate what is between must lose
//! frames that the sink had room for.

pub mod bounds;
pub mod case;
pub mod options;
pub mod topology;

use std::time::Duration;

pub use options::Options;

use self::{
    case::{Case, tester},
    topology::{Dut, Scale, Topology, bare, set_up},
};
use crate::{
    generator::sizes::Sizes,
    lab::{Error, Progress, watch},
    pods::{
        system::{System, by_names, missing},
        weft::Weft,
    },
    results::{self, Axes, Measurement, Missing, Results, axes},
    tester::Until,
};

/// Searches, prints tables, writes files. Whether weft could be measured, and all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    let duts = duts(options)?;
    options.check()?;
    watch()?;
    let mut results = Results::new("search");
    begin(options, &duts, &mut results);
    let cases = cases(options, &duts, &mut results);
    let mut progress = Progress::new("search", u64::from(options.runs) * cases.len() as u64);
    let mut known = Vec::new();
    for run in 1..=options.runs {
        for one in &cases {
            progress.begin(&format!("run {run} of {}, {}, {}", options.runs, one.dut.name(), one.words()));
            let alone = alone(options, one, &mut known, &mut results, &progress)?;
            let before = (results.measurements.clone(), results.series.clone());
            match measure(options, one, alone, &mut results, &progress) {
                Ok(()) => (),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(Error::Usage(error)) => return Err(Error::Usage(error)),
                Err(error) => {
                    progress.say(&error.to_string());
                    (results.measurements, results.series) = before; // nothing of a run that is none
                    let reason = format!("run {run}: {error}");
                    let failed = !matches!(error, Error::Refused(_));
                    let (system, axes) = (one.dut.name().to_owned(), one.axes());
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
    let unknown = cases.iter().filter(|one| !results.measurements.iter().any(|figure| one.is_of(figure)));
    let unknown: Vec<String> = unknown.map(|one| format!("{}, {}", one.dut.name(), one.words())).collect();
    if unknown.is_empty() || !holds {
        return Ok(holds);
    }
    Err(Error::Refused(format!("there is no figure of {}; why is told above", unknown.join("; "))))
}

/// Who is measured: systems, unless all there is are the user's own devices.
fn duts(options: &Options) -> Result<Vec<Dut>, Error> {
    let mut duts: Vec<Dut> = Vec::new();
    if options.topologies.iter().any(|topology| *topology != Topology::P2p) {
        duts.extend(by_names(&options.systems)?.into_iter().map(Dut::System));
    }
    if options.topologies.contains(&Topology::P2p) {
        duts.push(Dut::Given(options.dut.clone()));
    }
    Ok(duts)
}

fn begin(options: &Options, duts: &[Dut], results: &mut Results) {
    let Options { cpu_switch, trial, trials, width, .. } = options;
    let cores = options.tester_cores();
    results.notes.push(format!(
        "Trials of {trial} s, a load is judged by most of {trials}; bounds within {width} %. Rates are frames of any length; lengths \
         are without FCS."
    ));
    let (generator, sink) = (&cores.generator, cores.sink);
    results.limits.push(if *generator == [sink] {
        format!(
            "Generator and sink take turns on core {sink}, the switch's thread is on core {cpu_switch}: the generator's core also \
             does the kernel's half of sending (a veth's receiving end runs there), and what forwards in the kernel does all there."
        )
    } else {
        format!("Generator on cores {generator:?}, sink on core {sink}, the switch's first thread on core {cpu_switch}.")
    });
    results.limits.push(
        "Over veths and taps these are figures of the kernel's copies as much as of the switch; they say nothing of a NIC.".into(),
    );
    for dut in duts {
        let system = if let Dut::System(system) = dut { Some(system) } else { None };
        results.systems.push(results::System {
            name: dut.name().into(),
            about: system.map_or("what is between the given devices", |system| system.about()).into(),
            version: system.and_then(|system| system.version().ok()).unwrap_or_default(),
            mode: String::new(),
            is_weft: system.is_some_and(|system| system.is_weft()),
            is_baseline: dut.name() == crate::pods::system::BASELINE,
        });
    }
}

/// One combination.
struct One {
    topology: Topology,
    dut: Dut,
    sizes: Sizes,
    flows: u32,
    scale: Scale,
    /// Whether the number of threads is one of several.
    tells_cores: bool,
}

impl One {
    fn axes(&self) -> Axes {
        let mut axes = axes([
            ("topo", self.topology.name().into()),
            ("size", self.sizes.to_string().as_str().into()),
            ("flows", self.flows.into()),
        ]);
        if self.tells_cores {
            axes.insert("cores".into(), (self.scale.threads as u64).into());
        }
        axes
    }

    fn is_of(&self, figure: &Measurement) -> bool {
        let axes = self.axes();
        figure.system == self.dut.name()
            && axes.iter().all(|(name, value)| figure.axes.get(name) == Some(value))
    }

    fn words(&self) -> String {
        results::words(&self.axes())
    }
}

/// Every combination; what a system lacks here is noted.
fn cases(options: &Options, duts: &[Dut], results: &mut Results) -> Vec<One> {
    let mut cases = Vec::new();
    let tells_cores = options.cores != [1];
    let mut skip = |dut: &Dut, axes: Axes, reason: String| {
        eprintln!("{} {} is skipped: {reason}", dut.name(), results::words(&axes));
        let system = dut.name().to_owned();
        results.missing.push(Missing { test: String::new(), system, axes, reason, failed: false });
    };
    for dut in duts {
        let system = if let Dut::System(system) = dut { Some(*system) } else { None };
        if let Some(reason) = system.and_then(missing) {
            skip(dut, Axes::new(), reason);
            continue;
        }
        let fits = |topology: &&Topology| (**topology == Topology::P2p) == system.is_none();
        for topology in options.topologies.iter().filter(fits) {
            for cores in &options.cores {
                if *cores > 1 && system.is_some_and(|system| !system.scales()) {
                    skip(dut, axes([("cores", (*cores).into())]), "it forwards in one thread".into());
                    continue;
                }
                let (dut, threads) = (dut.clone(), *cores as usize);
                let scale = Scale { threads, queues: threads.max(options.cpu_tester.len()) };
                let each = options
                    .sizes
                    .iter()
                    .flat_map(|sizes| options.flows.iter().map(move |flows| (sizes, *flows)));
                let one = |(sizes, flows): (&Sizes, u32)| One {
                    topology: *topology,
                    dut: dut.clone(),
                    sizes: sizes.clone(),
                    flows,
                    scale,
                    tells_cores,
                };
                cases.extend(each.map(one));
            }
        }
    }
    cases
}

/// What generator and sink do alone, frames a second, measured once for each length, number of flows and of queues. Most of the time
/// something between them takes work off their core: it is no bound, only what a reader may want to know.
fn alone(
    options: &Options,
    one: &One,
    known: &mut Vec<(Sizes, u32, usize, f64)>,
    results: &mut Results,
    progress: &Progress,
) -> Result<f64, Error> {
    let is_same = |known: &&(Sizes, u32, usize, f64)| {
        (&known.0, known.1, known.2) == (&one.sizes, one.flows, one.scale.queues)
    };
    if let Some((.., rate)) = known.iter().find(is_same) {
        return Ok(*rate);
    }
    let path = bare(one.scale.queues)?;
    let mut tester = tester(&path, options, &one.sizes, one.flows, one.scale.queues)?;
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let trial = tester.trial(None, Until::Time(Duration::from_secs_f64(options.trial)))?;
        best = best.max(trial.received_pps());
    }
    let said = format!(
        "Generator and sink alone, over a bare veth of {} queues, {} bytes, {} flows: {:.4} Mpps.",
        one.scale.queues,
        one.sizes,
        one.flows,
        best / 1e6
    );
    progress.say(&said);
    results.notes.push(said);
    known.push((one.sizes.clone(), one.flows, one.scale.queues, best));
    Ok(best)
}

fn measure(
    options: &Options,
    one: &One,
    alone: f64,
    results: &mut Results,
    progress: &Progress,
) -> Result<(), Error> {
    let path = set_up(one.topology, &one.dut, one.scale, options)?;
    let name = one.dut.name();
    if let Some(system) = results.systems.iter_mut().find(|system| system.name == name) {
        system.mode.clone_from(&path.mode);
    }
    let mut tester = tester(&path, options, &one.sizes, one.flows, one.scale.queues)?;
    let axes = one.axes();
    let mut case =
        Case { options, system: name, axes, sizes: &one.sizes, flows: one.flows, alone, results, progress };
    let pdr = case.run(&path, &mut tester)?;
    drop((tester, path)); // the switch's core is wanted
    let kind = [Weft::Packet, Weft::Xsk].into_iter().find(|kind| kind.name() == name);
    match kind.filter(|_| (options.reset || options.all) && one.topology == Topology::PodPod && pdr > 0.0) {
        Some(kind) => case.reset(kind, pdr),
        None => Ok(()),
    }
}
