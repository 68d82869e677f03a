//! What was measured in memory: as a table, as JSON, as a chart.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use serde::Serialize;

use super::{
    CASES, CONTENDERS, Case, Contender, Kind, Options, Sample, Samples, hugepages::Pages,
    weft::SOURCE_AND_SINK,
};
use crate::{
    lab::{Error, present},
    ovs,
    plot::{Bars, Series},
    pods::testpmd,
    summary::Summary,
    testbed::Testbed,
};

/// Everything, and what it was made on.
#[derive(Debug, Clone)]
pub struct Results {
    /// Who can't be measured here, and why.
    pub skipped: BTreeMap<Contender, String>,
    samples: Samples,
    errors: Vec<(Contender, String)>,
    head: Head,
}

#[derive(Debug, Clone, Serialize)]
struct Head {
    machine: Testbed,
    versions: BTreeMap<Contender, String>,
    /// What the peers' memory is made of.
    pages: Pages,
    runs: u32,
    seconds: u64,
    cpu: usize,
    rules: usize,
}

/// One contender's figures in one case.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    contender: Contender,
    #[serde(flatten)]
    case: Case,
    /// Cycles per packet, source and sink included.
    cycles: Summary,
    /// The median without source and sink.
    net_cycles: Option<f64>,
    mpps: Summary,
    /// Median cycles divided by weft's in the same case.
    by_weft: Option<f64>,
    /// The same without source and sink.
    net_by_weft: Option<f64>,
    /// What it told of itself in the last run.
    details: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    head: &'a Head,
    figures: Vec<Figure>,
    skipped: &'a BTreeMap<Contender, String>,
    errors: &'a [(Contender, String)],
}

impl Results {
    /// Nothing yet.
    pub fn new(options: &Options, pages: Pages) -> Self {
        let mut skipped = BTreeMap::new();
        let peers = [
            (Contender::OvsDpdk, &ovs::PROGRAMS[..], ovs::PACKAGE),
            (Contender::Testpmd, &[testpmd::PROGRAM], testpmd::PACKAGE),
        ];
        for (contender, programs, package) in peers {
            if let Some(error) = programs.iter().find_map(|program| present(program, package).err()) {
                eprintln!("{} is skipped: {error}", contender.name());
                skipped.insert(contender, error.to_string());
            }
        }
        let mut versions = BTreeMap::from([(Contender::Weft, format!("weft {}", env!("CARGO_PKG_VERSION")))]);
        versions.extend(ovs::version().ok().map(|version| (Contender::OvsDpdk, version)));
        versions.extend(testpmd::version().ok().map(|version| (Contender::Testpmd, version)));
        let Options { runs, seconds, cpu, rules, .. } = *options;
        let head = Head { machine: Testbed::this(), versions, pages, runs, seconds, cpu, rules };
        Self { skipped, samples: Samples::new(), errors: Vec::new(), head }
    }

    /// One run of one contender; passes an interruption on.
    pub fn take(
        &mut self,
        progress: &str,
        contender: Contender,
        outcome: Result<Vec<(Case, Sample)>, Error>,
    ) -> Result<(), Error> {
        match outcome {
            Ok(samples) => {
                for (case, sample) in samples {
                    eprintln!("{progress}, {case}: {:.1} cycles, {:.1} Mpps", sample.cycles, sample.mpps);
                    self.samples.entry((case, contender)).or_default().push(sample);
                }
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                eprintln!("{progress}: failed: {error}");
                self.errors.push((contender, error.to_string()));
            }
        }
        Ok(())
    }

    /// Whether weft could not be measured.
    pub fn weft_failed(&self) -> bool {
        self.errors.iter().any(|(contender, _)| *contender == Contender::Weft)
    }

    fn summary(&self, case: Case, contender: Contender, pick: fn(&Sample) -> f64) -> Option<Summary> {
        let samples = self.samples.get(&(case, contender))?;
        Summary::of(samples.iter().map(pick).collect())
    }

    fn cycles(&self, case: Case, contender: Contender) -> Option<f64> {
        Some(self.summary(case, contender, |sample| sample.cycles)?.median)
    }

    /// Cycles of the decision alone: less weft's own source and sink, or less testpmd with as many flows.
    fn net(&self, case: Case, contender: Contender) -> Option<f64> {
        let all = self.cycles(case, contender)?;
        let rest = match contender {
            Contender::Weft => {
                let rest = |sample: &Sample| sample.details.get(SOURCE_AND_SINK).copied().unwrap_or(0.0);
                self.summary(case, contender, rest)?.median
            }
            Contender::OvsDpdk => self.cycles(Case { kind: Kind::Wire, ..case }, Contender::Testpmd)?,
            Contender::Testpmd => return None,
        };
        Some(all - rest)
    }

    fn figure(&self, case: Case, contender: Contender) -> Option<Figure> {
        let cycles = self.summary(case, contender, |sample| sample.cycles)?;
        let net_cycles = self.net(case, contender);
        let by_weft = self.cycles(case, Contender::Weft).map(|weft| cycles.median / weft);
        let net_by_weft = net_cycles.zip(self.net(case, Contender::Weft)).map(|(own, weft)| own / weft);
        let last = self.samples.get(&(case, contender)).and_then(|samples| samples.last());
        Some(Figure {
            contender,
            case,
            cycles,
            net_cycles,
            mpps: self.summary(case, contender, |sample| sample.mpps)?,
            by_weft,
            net_by_weft,
            details: last.map(|sample| sample.details.clone()).unwrap_or_default(),
        })
    }

    fn figures(&self) -> Vec<Figure> {
        let of_case = |case| CONTENDERS.into_iter().filter_map(move |contender| self.figure(case, contender));
        cases().into_iter().flat_map(of_case).collect()
    }

    /// One line for each case and contender.
    pub fn table(&self) -> String {
        let Head { machine, runs, seconds, cpu, .. } = &self.head;
        let mut text = format!(
            "{}, {} cores, Linux {}. 64-byte frames from memory to memory on core {cpu}; TSC cycles per packet, \
             medians of {runs} runs of {seconds} s (least–most)\n\n{:<20} {:<9} {:>7} {:<17} {:>7} {:>7} {:>7} {:>7}\n",
            machine.cpu,
            machine.cores,
            machine.kernel,
            "case",
            "",
            "cycles",
            "",
            "Mpps",
            "÷ weft",
            "net",
            "÷ weft"
        );
        for figure in self.figures() {
            let Figure { case, contender, cycles, mpps, by_weft, net_cycles, net_by_weft, .. } = figure;
            let spread = format!("({:.1}–{:.1})", cycles.min, cycles.max);
            let (case, name) = (case.to_string(), contender.name());
            let optional = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
            };
            let _ = writeln!(
                text,
                "{case:<20} {name:<9} {:>7.1} {spread:<17} {:>7.1} {:>7} {:>7} {:>7}",
                cycles.median,
                mpps.median,
                optional(by_weft, 2),
                optional(net_cycles, 1),
                optional(net_by_weft, 2)
            );
        }
        text += "\nnet: without weft's own source and sink, or without testpmd's cycles with as many flows\n";
        for (contender, why) in &self.skipped {
            let _ = writeln!(text, "{} was skipped: {why}", contender.name());
        }
        for (contender, error) in &self.errors {
            let _ = writeln!(text, "{} failed: {error}", contender.name());
        }
        text
    }

    /// Writes `peers.json` and `peers.svg`.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let file =
            File { head: &self.head, figures: self.figures(), skipped: &self.skipped, errors: &self.errors };
        let json = serde_json::to_string_pretty(&file)
            .map_err(|error| Error::Io { what: "peers.json".into(), source: error.into() })?;
        for (name, text) in [("peers.json", json + "\n"), ("peers.svg", self.chart().svg())] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
        eprintln!("written: {0}/peers.json {0}/peers.svg", dir.display());
        Ok(())
    }

    /// Where weft is, testpmd with as many flows beside it: the floor.
    fn chart(&self) -> Bars {
        let shown =
            || cases().into_iter().filter(|case| self.samples.contains_key(&(*case, Contender::Weft)));
        let series = |contender: Contender| {
            let value = |case: Case| {
                let kind = if contender == Contender::Testpmd { Kind::Wire } else { case.kind };
                let summary = self.summary(Case { kind, ..case }, contender, |sample| sample.cycles)?;
                Some((summary.median, summary.min, summary.max))
            };
            Series { name: contender.name().into(), values: shown().map(value).collect() }
        };
        Bars {
            title: "From memory to memory, one core, 64-byte frames (less is better)".into(),
            x: "TSC cycles per packet, source and sink included (testpmd decides nothing)".into(),
            groups: shown().map(|case| case.to_string()).collect(),
            series: CONTENDERS.map(series).into(),
        }
    }
}

/// Every case, those of testpmd alone included.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (flows, kinds) in CASES {
        let all = [Kind::Wire].iter().chain(kinds.iter().filter(|kind| **kind != Kind::Wire));
        cases.extend(all.map(|kind| Case { flows, kind: *kind }));
    }
    cases
}
