//! `--expect`: what a median must reach.

use std::{fmt, str::FromStr};

use super::{Measurement, Results, axis};

/// One condition: `[SYSTEM/][TEST/]METRIC>=VALUE`, where the value may be a factor of another system's: `0.95*bridge`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    text: String,
    /// The last is the metric; any other names a system or a test.
    path: Vec<String>,
    at_least: bool,
    value: f64,
    of: Option<String>,
}

impl FromStr for Expect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("{text} is no condition: METRIC>=NUMBER, SYSTEM/TEST/METRIC<=NUMBER*SYSTEM");
        let split = |sign: &str| text.split_once(sign);
        let (at_least, (path, value)) = match (split(">="), split("<=")) {
            (Some(parts), None) => (true, parts),
            (None, Some(parts)) => (false, parts),
            _ => return Err(usage()),
        };
        let (value, of) = match value.split_once('*') {
            Some((value, of)) => (value, Some(of.trim().to_owned())),
            None => (value, None),
        };
        let value: f64 = value.trim().parse().map_err(|_| usage())?;
        let path: Vec<String> = path.split('/').map(|part| part.trim().to_owned()).collect();
        let is_whole = path.len() <= 3 && path.iter().all(|part| !part.is_empty());
        if !is_whole || of.as_deref() == Some("") || !value.is_finite() {
            return Err(usage());
        }
        Ok(Self { text: text.to_owned(), path, at_least, value, of })
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expect {
    fn matches(&self, measurement: &Measurement) -> bool {
        let Some((metric, before)) = self.path.split_last() else { return false };
        let is_part = |part: &String| [&measurement.system, &measurement.test].contains(&part);
        *metric == measurement.metric && before.iter().all(is_part)
    }

    /// What does not hold, in words: each measurement that it names is held to it, and there must be one.
    pub fn check(&self, results: &Results) -> Vec<String> {
        let named: Vec<_> =
            results.measurements.iter().filter(|measurement| self.matches(measurement)).collect();
        if named.is_empty() {
            return vec![format!("{self}: nothing of that name was measured")];
        }
        named.into_iter().filter_map(|measurement| self.broken(measurement, results)).collect()
    }

    fn broken(&self, measurement: &Measurement, results: &Results) -> Option<String> {
        let median = measurement.summary()?.median;
        let bound = match &self.of {
            None => self.value,
            Some(system) => {
                if *system == measurement.system {
                    return None;
                }
                let is_same =
                    |other: &&Measurement| other.system == *system && other.what() == measurement.what();
                let other = results.measurements.iter().find(is_same).and_then(Measurement::summary);
                match other {
                    Some(other) => self.value * other.median,
                    None => return Some(format!("{self}: {system} was not measured")),
                }
            }
        };
        let holds = if self.at_least { median >= bound } else { median <= bound };
        let Measurement { system, test, metric, unit, axes, .. } = measurement;
        let axes = axis::words(axes);
        (!holds)
            .then(|| format!("{self}: {system} {test} {metric} {axes} is {median:.4} {unit}, not {bound:.4}"))
    }
}
