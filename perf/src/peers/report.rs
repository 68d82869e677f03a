//! What was measured in memory: noted, and drawn.

use std::{collections::BTreeSet, fs, path::Path};

use super::{CONTENDERS, Case, Contender, Kind, Options, Sample, hugepages::Pages, weft::SOURCE_AND_SINK};
use crate::{
    lab::{Error, Progress, present},
    ovs,
    plot::Bars,
    pods::testpmd,
    results::{self, Axes, Better, Figure, Measurement, Missing, Results, axes},
};

/// What a path without a kernel can't tell.
const LIMITS: [&str; 3] = [
    "Frames come from memory and go nowhere: no card, no kernel, no wait. It is what deciding costs, and nothing else.",
    "Making and taking frames is not the same work for weft and its peers: `net` is without it, by what each of them costs \
     alone.",
    "Cycles are the time-stamp counter's: a core that runs faster than it does more in each.",
];

/// What there is so far.
#[derive(Debug)]
pub struct Notebook {
    /// All of it.
    pub results: Results,
    skipped: BTreeSet<Contender>,
}

impl Notebook {
    /// Nothing yet: who can be measured, and why others can't.
    pub fn new(options: &Options, pages: Pages) -> Self {
        let mut results = Results::new("peers");
        results.limits = LIMITS.map(str::to_owned).into();
        results.notes.push(format!(
            "{} runs of {} s each, in turns, on core {}; {} rules in the case with many; the peers' memory is made of {} pages.",
            options.runs,
            options.seconds,
            options.cpu,
            options.rules,
            if pages == Pages::Huge { "huge" } else { "small" }
        ));
        let mut notebook = Self { results, skipped: BTreeSet::new() };
        let peers = [
            (Contender::OvsDpdk, &ovs::PROGRAMS[..], ovs::PACKAGE),
            (Contender::Testpmd, &[testpmd::PROGRAM], testpmd::PACKAGE),
        ];
        for (contender, programs, package) in peers {
            if let Some(error) = programs.iter().find_map(|program| present(program, package).err()) {
                eprintln!("{} is skipped: {error}", contender.name());
                notebook.skipped.insert(contender);
                notebook.miss(contender, error.to_string(), false);
            }
        }
        for contender in CONTENDERS {
            notebook.results.systems.push(system(contender));
        }
        notebook
    }

    fn miss(&mut self, contender: Contender, reason: String, failed: bool) {
        let (test, system) = (String::new(), contender.name().into());
        self.results.missing.push(Missing { test, system, axes: Axes::new(), reason, failed });
    }

    /// Whether it can't be measured here.
    pub fn skips(&self, contender: Contender) -> bool {
        self.skipped.contains(&contender)
    }

    /// One run of one contender; passes an interruption on.
    pub fn take(
        &mut self,
        progress: &Progress,
        contender: Contender,
        outcome: Result<Vec<(Case, Sample)>, Error>,
    ) -> Result<(), Error> {
        match outcome {
            Ok(samples) => {
                for (case, sample) in samples {
                    progress.say(&format!("{case}: {:.1} cycles, {:.1} Mpps", sample.cycles, sample.mpps));
                    self.add(case, contender, &sample);
                }
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                progress.say(&format!("failed: {error}"));
                self.miss(contender, format!("failed: {error}"), true);
            }
        }
        Ok(())
    }

    fn add(&mut self, case: Case, contender: Contender, sample: &Sample) {
        self.figure(case, contender, CYCLES, sample.cycles);
        self.figure(case, contender, RATE, sample.mpps);
        for (name, value) in &sample.details {
            self.figure(case, contender, (name, name, "", Better::Neither), *value);
        }
    }

    fn figure(
        &mut self,
        case: Case,
        contender: Contender,
        (metric, words, unit, better): (&str, &str, &str, Better),
        value: f64,
    ) {
        let test = case.kind.name();
        let title = format!("{test}, 64 bytes: {words}");
        let figure = Figure { test, metric, title: &title, unit, better };
        self.results.add(figure, contender.name(), &flows(case), value);
    }

    fn runs(&self, case: Case, contender: Contender, metric: &str) -> Vec<f64> {
        let axes = flows(case);
        let is_it = |one: &&Measurement| {
            (&*one.test, &*one.metric, &*one.system) == (case.kind.name(), metric, contender.name())
                && one.axes == axes
        };
        self.results.measurements.iter().find(is_it).map(|one| one.runs.clone()).unwrap_or_default()
    }

    /// Adds cycles of the decision alone, run by run: less weft's own source and sink, or less testpmd with as many flows.
    pub fn add_net(&mut self, cases: &[Case]) {
        for case in cases {
            let wire = Case { kind: Kind::Wire, ..*case };
            let rests = [
                (Contender::Weft, self.runs(*case, Contender::Weft, SOURCE_AND_SINK)),
                (Contender::OvsDpdk, self.runs(wire, Contender::Testpmd, CYCLES.0)),
            ];
            for (contender, rest) in rests {
                for (all, rest) in self.runs(*case, contender, CYCLES.0).into_iter().zip(rest) {
                    self.figure(*case, contender, NET, all - rest);
                }
            }
        }
    }

    /// Writes `peers.json` and `peers.svg`.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        self.results.write(&dir.join("peers.json"))?;
        let path = dir.join("peers.svg");
        fs::write(&path, chart(&self.results).svg()).map_err(Error::file(&path))?;
        eprintln!("written: {0}/peers.json {0}/peers.svg", dir.display());
        Ok(())
    }
}

const CYCLES: (&str, &str, &str, Better) =
    ("cycles", "cycles per packet, source and sink included", "TSC cycles", Better::Less);
const RATE: (&str, &str, &str, Better) = ("rate", "packets per second", "Mpps", Better::More);
const NET: (&str, &str, &str, Better) =
    ("net-cycles", "cycles per packet without source and sink", "TSC cycles", Better::Less);

fn flows(case: Case) -> Axes {
    axes([("flows", case.flows.into())])
}

fn system(contender: Contender) -> results::System {
    let (about, version) = match contender {
        Contender::Weft => ("weft's pipeline", Ok(format!("weft {}", env!("CARGO_PKG_VERSION")))),
        Contender::OvsDpdk => ("Open vSwitch, userspace datapath", ovs::version()),
        Contender::Testpmd => ("DPDK testpmd, io: decides nothing", testpmd::version()),
    };
    results::System {
        name: contender.name().into(),
        about: about.into(),
        version: version.unwrap_or_default(),
        mode: if contender == Contender::Weft { "gen to null" } else { "net_pcap to net_null" }.into(),
        is_weft: contender == Contender::Weft,
        is_baseline: contender == Contender::Weft,
    }
}

/// Cycles, cases beside each other.
fn chart(results: &Results) -> Bars {
    let is_it = |one: &&Measurement| one.metric == CYCLES.0;
    let chosen: Vec<_> = results.measurements.iter().filter(is_it).collect();
    let title = "From memory to memory, one core, 64-byte frames (less is better)";
    let x = "TSC cycles per packet, source and sink included (testpmd decides nothing)";
    Bars { x: x.into(), ..Bars::by_system(title, results, &chosen) }
}
