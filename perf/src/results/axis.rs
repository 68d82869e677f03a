//! Circumstances of a measurement: how large, how many, by which port.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// One circumstance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axis {
    /// A number of things.
    Count(u64),
    /// A quantity.
    Number(f64),
    /// A kind of thing.
    Word(String),
}

/// Circumstances by their names: `size`, `flows`, `cores`, `load`, `port` …
pub type Axes = BTreeMap<String, Axis>;

/// Circumstances, few of them.
pub fn axes<const N: usize>(pairs: [(&str, Axis); N]) -> Axes {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

impl Axis {
    /// As a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(*count as f64),
            Self::Number(number) => Some(*number),
            Self::Word(_) => None,
        }
    }

    /// Numbers by size, before words.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self.number(), other.number()) {
            (Some(own), Some(others)) => own.total_cmp(&others),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.to_string().cmp(&other.to_string()),
        }
    }

    /// For programs: in figures, all of them.
    fn plain(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count @ 1_000_000..) if count % 100_000 == 0 => {
                write!(f, "{} M", *count as f64 / 1e6)
            }
            Self::Count(count @ 1_000..) if count % 1000 == 0 => write!(f, "{} k", count / 1000),
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl From<u32> for Axis {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<u64> for Axis {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Axis {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Axis {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Axis {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

/// `size 64, flows 10 k`.
pub fn words(axes: &Axes) -> String {
    axes.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// `flows=10000 size=64`.
pub(super) fn pairs(axes: &Axes) -> String {
    axes.iter().map(|(name, value)| format!("{name}={}", value.plain())).collect::<Vec<_>>().join(" ")
}
