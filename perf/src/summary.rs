//! Several runs of one figure.

use serde::Serialize;

/// Each run, and what is quoted of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// In the order of the runs.
    pub runs: Vec<f64>,
    /// The middle one (of an even number the lower of the two).
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Summary {
    /// Of one run or more.
    pub fn of(runs: Vec<f64>) -> Option<Self> {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { runs, median: sorted[(sorted.len() - 1) / 2], min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_run() {
        let summary = Summary::of(vec![3.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!((summary.median, summary.min, summary.max), (2.0, 1.0, 9.0));
        assert_eq!(summary.runs, [3.0, 1.0, 2.0, 9.0]);
        assert_eq!(Summary::of(Vec::new()), None);
    }
}
