//! `weft-perf peers`: the packet's path in memory beside Open vSwitch's userspace datapath and DPDK's testpmd.
//!
//! All three make nothing but decisions: frames come from memory and go nowhere. What making and taking them costs is
//! measured, too: weft's own generator and sink alone; testpmd, which only passes on, for the peers. The same flows, the
//! same rules, one core each, in turn.

pub mod capture;
pub mod hugepages;
pub mod openflow;
pub mod ovs;
pub mod report;
pub mod testpmd;
pub mod weft;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::Args;
use tempfile::TempDir;

use self::{
    hugepages::{Hugepages, Pages},
    report::Notebook,
};
use crate::{
    lab::{Error, Progress, tell, watch},
    results::Output,
};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Each for so long.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Operators' rules in the case with many.
    #[arg(long, default_value_t = 1000)]
    pub rules: usize,
    /// The core that forwards.
    #[arg(long, default_value_t = 1)]
    pub cpu: usize,
    /// The core of everything else.
    #[arg(long, default_value_t = 0)]
    pub cpu_control: usize,
    /// Leave vm.nr_hugepages as it is: the peers run on small pages, and lose by it.
    #[arg(long)]
    pub small_pages: bool,
    /// Where to write peers.json and the chart.
    #[arg(long, default_value = "perf/results")]
    pub out: PathBuf,
    /// Other ways to give results.
    #[command(flatten)]
    pub output: Output,
}

/// What is asked of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// From port to port.
    Wire,
    /// By destination MAC, learnt.
    L2,
    /// By destination address; MACs and TTL are rewritten.
    L3,
    /// The same behind many rules, none of which matches.
    Rules,
}

/// What is measured of every contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// Distinct flows.
    pub flows: u32,
    /// What is asked.
    pub kind: Kind,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::L2 => "l2",
            Self::L3 => "l3",
            Self::Rules => "rules",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.name();
        match self.flows {
            1 => write!(f, "{kind}, 1 flow"),
            flows if flows % 1000 == 0 => write!(f, "{kind}, {} k flows", flows / 1000),
            flows => write!(f, "{kind}, {flows} flows"),
        }
    }
}

/// The cases, by numbers of flows: from what any cache holds to what needs a table.
const CASES: [(u32, &[Kind]); 3] = [
    (1, &[Kind::Wire, Kind::L2, Kind::L3]),
    (10_000, &[Kind::L2, Kind::L3, Kind::Rules]),
    (100_000, &[Kind::L2, Kind::L3]),
];

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// The switch of this repository.
    Weft,
    /// Open vSwitch with DPDK, userspace datapath.
    OvsDpdk,
    /// DPDK's testpmd, `io`: the burst loop alone.
    Testpmd,
}

/// Every contender.
pub const CONTENDERS: [Contender; 3] = [Contender::Weft, Contender::OvsDpdk, Contender::Testpmd];

impl Contender {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::OvsDpdk => "ovs-dpdk",
            Self::Testpmd => "testpmd",
        }
    }
}

/// One run of one case.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Time-stamp-counter cycles per packet, source and sink included.
    pub cycles: f64,
    /// Packets per second, millions.
    pub mpps: f64,
    /// What else it tells of itself.
    pub details: BTreeMap<String, f64>,
}

/// What a benchmark of one number of flows needs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// Distinct flows.
    pub flows: u32,
    /// The capture that holds a frame of each.
    pub capture: PathBuf,
    /// What the peers' memory is made of.
    pub pages: Pages,
}

/// Measures, prints tables, writes files. Whether weft did everything, and all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    watch()?;
    let dir = TempDir::with_prefix("weft-perf-").map_err(Error::io("a temporary directory"))?;
    let hugepages = Hugepages::reserve(!options.small_pages)?;
    let mut notebook = Notebook::new(options, hugepages.pages());
    let mut benches = Vec::new();
    for (flows, kinds) in CASES {
        let capture = capture::write(dir.path(), flows)?;
        benches.push((Bench { options, flows, capture, pages: hugepages.pages() }, kinds));
    }
    let contenders: Vec<_> = CONTENDERS.into_iter().filter(|one| !notebook.skips(*one)).collect();
    let steps = options.runs as usize * benches.len() * contenders.len();
    let mut progress = Progress::new("peers", steps as u64);
    for run in 1..=options.runs {
        for (bench, kinds) in &benches {
            for contender in &contenders {
                progress.begin(&format!("run {run} of {}, {}", options.runs, contender.name()));
                notebook.take(&progress, *contender, measure(*contender, bench, kinds))?;
                progress.done();
            }
        }
    }
    progress.finish();
    notebook.add_net(&cases());
    if !options.output.is_for_a_program() {
        tell(&notebook.results.tables());
    }
    notebook.write(&options.out)?;
    options.output.finish(&notebook.results)
}

/// Every case.
fn cases() -> Vec<Case> {
    CASES
        .iter()
        .flat_map(|(flows, kinds)| kinds.iter().map(|kind| Case { flows: *flows, kind: *kind }))
        .collect()
}

fn measure(contender: Contender, bench: &Bench<'_>, kinds: &[Kind]) -> Result<Vec<(Case, Sample)>, Error> {
    match contender {
        Contender::Weft => weft::run(bench, kinds),
        Contender::OvsDpdk => ovs::run(bench, kinds),
        Contender::Testpmd => testpmd::run(bench),
    }
}
