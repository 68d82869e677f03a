//! What every benchmark of weft-perf writes, and `report` and `compare` read: one format.
//!
//! A [`Measurement`] is one figure of one system under one set of axes, with the value of every run: whoever reads it makes
//! medians of its own. A [`Series`] is a line of a plot. What was to be measured and wasn't is a [`Missing`], with the
//! reason: a gap is a result, too.
//!
//! **Invariants.** (`test`, `metric`, `system`, `axes`) names a measurement: there is one of each. Values are in the unit
//! that stands beside them; what is unknown is absent, never zero.

mod axis;
mod expect;
mod file;
mod output;
pub mod table;

use std::{env, time::SystemTime};

use serde::{Deserialize, Serialize};

pub use axis::{Axes, Axis, axes, words};
pub use expect::Expect;
pub use output::Output;

use crate::{summary::Summary, testbed::Testbed};

/// The format's number: raised when an older reader would misread a newer file.
pub const FORMAT: u32 = 1;

/// One benchmark's results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: u32,
    /// The verb that made it, `pods` for instance.
    pub benchmark: String,
    /// weft-perf's version.
    pub version: String,
    /// The commit that it was built from; ends with `+` if files had been changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The command line that made it, the program's directory left out; several, if parts were joined.
    pub commands: Vec<String>,
    /// When it began, RFC 3339, UTC.
    pub date: String,
    /// What it ran on.
    pub testbed: Testbed,
    /// What the figures can't tell, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// What else a reader should know, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Who was measured, in the order in which to show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<System>,
    /// Every figure, in the order in which to show them.
    pub measurements: Vec<Measurement>,
    /// Lines of plots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
    /// What was to be measured, and was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// A switch that was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its name, as in [`Measurement::system`].
    pub name: String,
    /// What it is.
    pub about: String,
    /// Its version.
    pub version: String,
    /// The mode that its ports are in.
    pub mode: String,
    /// Whether it is weft, rather than a peer.
    pub is_weft: bool,
    /// Whether others are compared with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_baseline: bool,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Throughput.
    More,
    /// Delay, loss, cycles.
    Less,
    /// Neither: it describes another figure (the offered load, say), and is not compared.
    Neither,
}

/// One figure, and all runs of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was done, `udp64` for instance.
    pub test: String,
    /// What of it, `rate` or `p99` for instance.
    pub metric: String,
    /// Both, for people.
    pub title: String,
    /// By whom.
    pub system: String,
    /// Under which circumstances: size, flows, cores, load …
    #[serde(default, skip_serializing_if = "Axes::is_empty")]
    pub axes: Axes,
    /// The unit of the values.
    pub unit: String,
    /// Which way is good.
    pub better: Better,
    /// The value of every run, in their order.
    pub runs: Vec<f64>,
}

/// How an axis of a plot is divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By powers of ten.
    Log,
    /// Percentiles, by powers of ten of what is left of 100 %: 90, 99, 99.9 … are equally far apart.
    Percentile,
}

/// An axis of a plot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    /// What it shows.
    pub name: String,
    /// In this unit; may be empty.
    pub unit: String,
    /// How it is divided.
    #[serde(default)]
    pub scale: Scale,
}

/// A line of a plot. Lines of one `plot` are drawn together, their axes are the first one's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The plot's title.
    pub plot: String,
    /// The line's name.
    pub name: String,
    /// To the right.
    pub x: Dimension,
    /// Upwards.
    pub y: Dimension,
    /// x ascending.
    pub points: Vec<Point>,
    /// What happened at some x: a restart during a time series.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

/// A point of a line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Upwards: the median, if there were several runs.
    pub y: f64,
    /// The least and the most of several runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<(f64, f64)>,
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self { x, y, spread: None }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// What, in few words.
    pub label: String,
}

/// What was to be measured, and was not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The test; empty: all of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub test: String,
    /// By whom; empty: nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Under which circumstances.
    #[serde(default, skip_serializing_if = "Axes::is_empty")]
    pub axes: Axes,
    /// Why.
    pub reason: String,
    /// Whether it should have worked: else something that it needs is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// A [`Measurement`] without its runs: what a benchmark knows before.
#[derive(Debug, Clone, Copy)]
pub struct Figure<'a> {
    /// See [`Measurement::test`].
    pub test: &'a str,
    /// See [`Measurement::metric`].
    pub metric: &'a str,
    /// See [`Measurement::title`].
    pub title: &'a str,
    /// See [`Measurement::unit`].
    pub unit: &'a str,
    /// See [`Measurement::better`].
    pub better: Better,
}

impl Results {
    /// Nothing yet: what began now, on this machine, by this command line.
    pub fn new(benchmark: &str) -> Self {
        let mut command: Vec<String> = env::args().collect();
        if let Some(program) = command.first_mut() {
            *program = env!("CARGO_PKG_NAME").to_owned();
        }
        Self {
            format: FORMAT,
            benchmark: benchmark.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("WEFT_COMMIT").filter(|commit| !commit.is_empty()).map(str::to_owned),
            commands: vec![command.join(" ")],
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            testbed: Testbed::this(),
            limits: Vec::new(),
            notes: Vec::new(),
            systems: Vec::new(),
            measurements: Vec::new(),
            series: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// One run's value: beside those of earlier runs of the same figure, system and axes.
    pub fn add(&mut self, figure: Figure<'_>, system: &str, axes: &Axes, value: f64) {
        let is_same = |known: &&mut Measurement| {
            (&*known.test, &*known.metric, &*known.system) == (figure.test, figure.metric, system)
                && known.axes == *axes
        };
        if let Some(known) = self.measurements.iter_mut().find(is_same) {
            return known.runs.push(value);
        }
        self.measurements.push(Measurement {
            test: figure.test.into(),
            metric: figure.metric.into(),
            title: figure.title.into(),
            system: system.into(),
            axes: axes.clone(),
            unit: figure.unit.into(),
            better: figure.better,
            runs: vec![value],
        });
    }

    /// Takes in what another part of the same benchmark gave; the date stays the first part's.
    pub fn join(&mut self, other: Self) {
        for one in other.measurements {
            let is_same = |known: &&mut Measurement| known.what() == one.what() && known.system == one.system;
            match self.measurements.iter_mut().find(is_same) {
                Some(known) => known.runs.extend(one.runs),
                None => self.measurements.push(one),
            }
        }
        add_new(&mut self.limits, other.limits);
        add_new(&mut self.notes, other.notes);
        self.commands.extend(other.commands);
        add_new(&mut self.systems, other.systems);
        add_new(&mut self.testbed.ports, other.testbed.ports);
        add_new(&mut self.missing, other.missing);
        self.series.extend(other.series);
    }

    /// A system by its name.
    pub fn system(&self, name: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// Where a system stands in the order to show them; those that nobody listed come last.
    pub fn rank(&self, name: &str) -> usize {
        self.systems.iter().position(|system| system.name == name).unwrap_or(usize::MAX)
    }

    /// Whether weft, in any form, could not be measured.
    pub fn weft_failed(&self) -> bool {
        let is_weft = |name: &str| name.is_empty() || self.system(name).is_some_and(|system| system.is_weft);
        self.missing.iter().any(|missing| missing.failed && is_weft(&missing.system))
    }
}

impl Measurement {
    /// Its runs, summed up; `None` without one.
    pub fn summary(&self) -> Option<Summary> {
        Summary::of(self.runs.clone())
    }

    /// What tells it from others, but for the system.
    pub fn what(&self) -> (&str, &str, &Axes) {
        (&self.test, &self.metric, &self.axes)
    }
}

fn add_new<T: PartialEq>(known: &mut Vec<T>, others: Vec<T>) {
    for other in others {
        if !known.contains(&other) {
            known.push(other);
        }
    }
}

/// Measurements by what was measured, in their order; each with those who did it.
pub fn by_what(measurements: &[Measurement]) -> Vec<Vec<&Measurement>> {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for measurement in measurements {
        let is_same = |group: &&mut Vec<&Measurement>| group[0].what() == measurement.what();
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(measurement),
            None => groups.push(vec![measurement]),
        }
    }
    groups
}

#[cfg(test)]
mod tests;
