//! What was measured: as tables, as JSON, as charts.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use serde::Serialize;

use super::{
    Options,
    system::{BASELINE, Cores, System, missing},
    traffic::{Figures, METRICS, Metric},
};
use crate::{
    lab::Error,
    plot::{Bars, Series},
    summary::Summary,
    testbed::Testbed,
};

/// One system's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Its name in `--systems`.
    pub system: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whether it is weft.
    pub is_weft: bool,
    /// Its version.
    pub version: String,
    /// The mode of its ports.
    pub mode: String,
    /// Why it was not measured.
    pub skipped: Option<String>,
    /// What went wrong.
    pub errors: Vec<String>,
    /// Every run of every figure, by its name.
    pub runs: BTreeMap<&'static str, Vec<f64>>,
    /// The same, summed up and compared.
    pub figures: Vec<Compared>,
}

/// A figure beside the peers'.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether less is better.
    pub less_is_better: bool,
    /// All runs.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its median, divided by the Linux bridge's.
    pub by_bridge: Option<f64>,
    /// Its median, divided by the best median of all that is not weft.
    pub by_best_peer: Option<f64>,
}

impl Measured {
    /// Nothing yet.
    pub fn new(system: &dyn System) -> Self {
        let skipped = missing(system);
        if let Some(why) = &skipped {
            eprintln!("{} is skipped: {why}", system.name());
        }
        let version = if skipped.is_none() { system.version().unwrap_or_default() } else { String::new() };
        Self {
            system: system.name(),
            about: system.about(),
            is_weft: system.is_weft(),
            version,
            mode: String::new(),
            skipped,
            errors: Vec::new(),
            runs: BTreeMap::new(),
            figures: Vec::new(),
        }
    }

    /// One run of one test.
    pub fn add(&mut self, figures: Figures) {
        for (name, value) in figures {
            self.runs.entry(name).or_default().push(value);
        }
    }

    /// A run that gave nothing; passes an interruption on.
    pub fn failed(&mut self, progress: &str, what: &str, error: Error) -> Result<(), Error> {
        if matches!(error, Error::Interrupted) {
            return Err(error);
        }
        eprintln!("{progress}: {what} failed: {error}");
        self.errors.push(format!("{what}: {error}"));
        Ok(())
    }

    fn median(&self, name: &str) -> Option<f64> {
        Some(self.summary(name)?.median)
    }

    fn summary(&self, name: &str) -> Option<Summary> {
        self.runs.get(name).cloned().and_then(Summary::of)
    }
}

/// Everything, and what it was made on.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// The machine.
    pub machine: Testbed,
    /// Which core did what.
    pub cores: Cores,
    /// How many runs.
    pub runs: u32,
    /// How long each was, seconds.
    pub seconds: u64,
    /// The systems.
    pub systems: Vec<Measured>,
}

impl Results {
    /// Sums up.
    pub fn new(cores: Cores, options: &Options, mut systems: Vec<Measured>) -> Self {
        let (runs, seconds) = (options.runs, options.seconds);
        let compared: Vec<Vec<Compared>> = systems.iter().map(|system| compare(system, &systems)).collect();
        for (system, figures) in systems.iter_mut().zip(compared) {
            system.figures = figures;
        }
        Self { machine: Testbed::this(), cores, runs, seconds, systems }
    }

    /// Whether a form of weft that was asked for could not be measured, or not whole.
    pub fn weft_failed(&self) -> bool {
        let has_failed = |system: &Measured| system.skipped.is_some() || !system.errors.is_empty();
        self.systems.iter().any(|system| system.is_weft && has_failed(system))
    }

    /// One table for each figure.
    pub fn tables(&self) -> String {
        let mut text = format!(
            "{}, {} cores, Linux {}. Medians of {} runs of {} s (least–most); pods on core {}, switch on core {}\n",
            self.machine.cpu,
            self.machine.cores,
            self.machine.kernel,
            self.runs,
            self.seconds,
            self.cores.pods,
            self.cores.switch
        );
        for metric in METRICS {
            self.table(&metric, &mut text);
        }
        for system in &self.systems {
            if let Some(why) = &system.skipped {
                let _ = writeln!(text, "{} was skipped: {why}", system.system);
            }
            for error in &system.errors {
                let _ = writeln!(text, "{} failed: {error}", system.system);
            }
        }
        text
    }

    fn table(&self, metric: &Metric, text: &mut String) {
        let figures = |system: &Measured| {
            let found = system.figures.iter().find(|figure| figure.name == metric.name)?;
            Some((system.system, found.clone()))
        };
        let rows: Vec<_> = self.systems.iter().filter_map(figures).collect();
        if rows.is_empty() {
            return;
        }
        let better = if metric.less_is_better { "less" } else { "more" };
        let title = format!("{}, {} ({better} is better)", metric.title, metric.unit);
        let _ = writeln!(text, "\n{title:<52} {:>9} {:>11}", "÷ bridge", "÷ best peer");
        for (system, Compared { summary, by_bridge, by_best_peer, .. }) in rows {
            let spread = format!("({}–{})", short(summary.min), short(summary.max));
            let _ = writeln!(
                text,
                "  {system:<16} {:>9} {spread:<23} {:>9} {:>11}",
                short(summary.median),
                ratio(by_bridge),
                ratio(by_best_peer)
            );
        }
    }

    /// Writes `pods.json` and the charts.
    pub fn write(&self, dir: &Path, also: Option<&Path>) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Io { what: "pods.json".into(), source: error.into() })?
            + "\n";
        let main = dir.join("pods.json");
        for path in [Some(main.as_path()), also].into_iter().flatten() {
            fs::write(path, &json).map_err(Error::file(path))?;
        }
        let charts = [
            ("pods-udp.svg", "UDP from pod to pod, offered more than any takes", &METRICS[..2]),
            ("pods-tcp.svg", "TCP from pod to pod", &METRICS[2..4]),
            ("pods-rr.svg", "Round trips between pods, 64 bytes: medians (less is better)", &METRICS[4..6]),
            (
                "pods-rr-p99.svg",
                "Round trips between pods, 64 bytes: 99th percentiles (less is better)",
                &METRICS[6..],
            ),
        ];
        for (file, title, metrics) in charts {
            let path = dir.join(file);
            fs::write(&path, self.chart(title, metrics).svg()).map_err(Error::file(&path))?;
        }
        eprintln!("written: pods.json and pods-*.svg in {}", dir.display());
        Ok(())
    }

    fn chart(&self, title: &str, metrics: &[Metric]) -> Bars {
        let shown = || self.systems.iter().filter(|system| system.skipped.is_none());
        let series = |metric: &Metric| {
            let range = |summary: Summary| (summary.median, summary.min, summary.max);
            let values = shown().map(|system| system.summary(metric.name).map(range)).collect();
            Series { name: metric.title.into(), values }
        };
        Bars {
            title: title.into(),
            x: metrics.first().map_or("", |metric| metric.unit).into(),
            groups: shown().map(|system| system.system.to_owned()).collect(),
            series: metrics.iter().map(series).collect(),
        }
    }
}

fn compare(system: &Measured, all: &[Measured]) -> Vec<Compared> {
    let figure = |metric: &Metric| {
        let summary = system.summary(metric.name)?;
        let peers = all.iter().filter(|other| !other.is_weft);
        let medians = peers.filter_map(|peer| Some((peer.system, peer.median(metric.name)?)));
        let medians: Vec<(&str, f64)> = medians.collect();
        let bridge = medians.iter().find(|(name, _)| *name == BASELINE).map(|(_, median)| *median);
        let best = if metric.less_is_better { f64::min } else { f64::max };
        let best = medians.iter().map(|(_, median)| *median).reduce(best);
        let by = |other: f64| summary.median / other;
        let (by_bridge, by_best_peer) = (bridge.map(by), best.map(by));
        let (name, unit, less_is_better) = (metric.name, metric.unit, metric.less_is_better);
        Some(Compared { name, unit, less_is_better, summary, by_bridge, by_best_peer })
    };
    METRICS.iter().filter_map(figure).collect()
}

/// Three figures that count.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(system: &'static str, is_weft: bool, runs: &[f64], name: &'static str) -> Measured {
        Measured {
            system,
            about: "",
            is_weft,
            version: String::new(),
            mode: String::new(),
            skipped: None,
            errors: Vec::new(),
            runs: BTreeMap::from([(name, runs.to_vec())]),
            figures: Vec::new(),
        }
    }

    #[test]
    fn the_best_peer_is_the_fastest_or_the_quickest() {
        for (name, best) in [("tcp1", 4.0), ("rr-udp-p50", 1.0)] {
            let all = [
                measured("weft-tap", true, &[3.0, 2.0, 2.0], name),
                measured("bridge", false, &[1.0], name),
                measured("testpmd", false, &[4.0], name),
            ];
            let figures = compare(&all[0], &all);
            assert_eq!(figures[0].by_bridge, Some(2.0));
            assert_eq!(figures[0].by_best_peer, Some(2.0 / best));
        }
    }
}
