//! Several runs of one figure.

/// What is quoted of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub runs: usize,
    /// The middle one (of an even number the lower of the two).
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// A quarter is less, interpolated.
    pub lower_quartile: f64,
    /// A quarter is more, interpolated.
    pub upper_quartile: f64,
}

impl Summary {
    /// Of one run or more.
    pub fn of(mut runs: Vec<f64>) -> Option<Self> {
        runs.sort_by(f64::total_cmp);
        let (min, max) = (*runs.first()?, *runs.last()?);
        Some(Self {
            runs: runs.len(),
            median: runs[(runs.len() - 1) / 2],
            min,
            max,
            lower_quartile: quantile(&runs, 0.25),
            upper_quartile: quantile(&runs, 0.75),
        })
    }
}

/// Between the two values nearest, as most tools do it (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_run() {
        let summary = Summary::of(vec![3.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!((summary.median, summary.min, summary.max), (2.0, 1.0, 9.0));
        assert_eq!((summary.runs, summary.lower_quartile, summary.upper_quartile), (4, 1.75, 4.5));
        assert_eq!(Summary::of(Vec::new()), None);
    }
}
