//! Whether two sets of runs differ, and how sure that is.
//!
//! - **Change**: the ratio of the medians, less 1.
//! - **Confidence** that the two differ at all: 1 − p of the two-sided Mann–Whitney U test (Wilcoxon's rank sum), which asks for
//!   no distribution; exact for few runs. Three runs of each can't give more than 90 %, four 97 %: that much is chance.
//! - **Interval**: 95 % of the ratios of medians of resampled runs (the percentile bootstrap). Of few runs it is too narrow;
//!   it is shown, and decides nothing.

use serde::Serialize;
use statrs::stats_tests::{
    Alternative,
    mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu},
};

use crate::{results::Better, summary::Summary};

/// What came of it; what needs looking at comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// By more than the bound, surely.
    Worse,
    /// By more than the bound, but perhaps by chance.
    Unclear,
    /// By more than the bound, surely.
    Better,
    /// The medians differ by no more than the bound.
    Unchanged,
}

impl Verdict {
    /// For tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Unclear => "unclear",
            Self::Better => "better",
            Self::Unchanged => "unchanged",
        }
    }
}

/// When a difference counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Changes up to this share of the median are none.
    pub bound: f64,
    /// Larger ones count from this confidence on.
    pub confidence: f64,
}

/// A judgement, and what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged {
    /// What came of it.
    pub verdict: Verdict,
    /// The ratio of the medians, less 1; endless if something came out of nothing.
    pub change: f64,
    /// Where 95 % of resampled changes are.
    pub interval: (f64, f64),
    /// That the two differ.
    pub confidence: f64,
}

impl Rules {
    /// Judges two sets of runs, neither of them empty.
    pub fn judge(self, before: &[f64], after: &[f64], better: Better) -> Judged {
        let (change, confidence) = (change(before, after), confidence(before, after));
        let verdict = match change {
            change if change.abs() <= self.bound => Verdict::Unchanged,
            _ if confidence < self.confidence => Verdict::Unclear,
            change if (change > 0.0) == (better == Better::More) => Verdict::Better,
            _ => Verdict::Worse,
        };
        Judged { verdict, change, interval: interval(before, after), confidence }
    }
}

fn change(before: &[f64], after: &[f64]) -> f64 {
    let median = |runs: &[f64]| Summary::of(runs.to_vec()).map_or(f64::NAN, |summary| summary.median);
    let (before, after) = (median(before), median(after));
    // Nothing that stays nothing is no change; a loss that was zero and is not is one without end.
    if before == after { 0.0 } else { (after - before) / before.abs() }
}

fn confidence(before: &[f64], after: &[f64]) -> f64 {
    // Exact as long as counts fit a float exactly; else by the normal distribution, with its correction for ties.
    const MOST: usize = 20;
    let is_few = before.len().max(after.len()) <= MOST;
    let p = exact(before, after).filter(|_| is_few).unwrap_or_else(|| {
        let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
        mannwhitneyu(before, after, method, Alternative::TwoSided).map_or(1.0, |(_, p)| p)
    });
    // All runs of both alike: it divides by zero. Nothing differs, then.
    if p.is_finite() { (1.0 - p).clamp(0.0, 1.0) } else { 0.0 }
}

/// p of all orders in which runs can stand, each as likely as the other; `None` if two are alike. (statrs 0.19 has it, too, but
/// returns the complement if the first set is not the larger one.)
fn exact(before: &[f64], after: &[f64]) -> Option<f64> {
    let pairs = || before.iter().flat_map(|one| after.iter().map(move |other| (one, other)));
    if pairs().any(|(one, other)| one == other) {
        return None;
    }
    let (m, n) = (before.len(), after.len());
    let above = pairs().filter(|(one, other)| one > other).count();
    let u = above.max(m * n - above);
    // How many of the orders have each U: the Gaussian binomial's coefficients.
    let mut orders = vec![0.0; m * n + 1];
    orders[0] = 1.0;
    for i in 1..=m {
        for u in (n + i..=m * n).rev() {
            orders[u] -= orders[u - n - i];
        }
        for u in i..=m * n {
            orders[u] += orders[u - i];
        }
    }
    let tail: f64 = orders[u..].iter().sum();
    Some((2.0 * tail / orders.iter().sum::<f64>()).min(1.0))
}

fn interval(before: &[f64], after: &[f64]) -> (f64, f64) {
    const SAMPLES: usize = 2000;
    let mut random = fastrand::Rng::with_seed(0x3eed); // the same files give the same answer
    let mut again =
        |runs: &[f64]| -> Vec<f64> { runs.iter().map(|_| runs[random.usize(..runs.len())]).collect() };
    let mut changes: Vec<f64> = (0..SAMPLES).map(|_| change(&again(before), &again(after))).collect();
    changes.sort_by(f64::total_cmp);
    (changes[SAMPLES / 40], changes[SAMPLES - 1 - SAMPLES / 40])
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { bound: 0.05, confidence: 0.95 };

    /// Runs of a normal distribution (the sum of twelve uniform ones, less six), of mean 1 and this deviation.
    fn normal(seed: u64, count: usize, mean: f64, deviation: f64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut one = || mean + deviation * ((0..12).map(|_| random.f64()).sum::<f64>() - 6.0);
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn shifts_of_known_distributions_are_found() {
        let before = normal(1, 10, 1.0, 0.02);
        for (mean, better, verdict) in [
            (1.2, Better::More, Verdict::Better),
            (1.2, Better::Less, Verdict::Worse),
            (0.8, Better::More, Verdict::Worse),
            (0.8, Better::Less, Verdict::Better),
            (1.0, Better::More, Verdict::Unchanged),
            (1.02, Better::Less, Verdict::Unchanged),
        ] {
            let judged = RULES.judge(&before, &normal(2, 10, mean, 0.02), better);
            assert_eq!(judged.verdict, verdict, "{mean}: {judged:?}");
            let (low, high) = judged.interval;
            assert!(low <= judged.change && judged.change <= high, "{judged:?}");
        }
    }

    #[test]
    fn equal_distributions_seldom_differ_surely() {
        let surely = (0..200)
            .filter(|seed| {
                confidence(&normal(2 * seed, 10, 1.0, 0.1), &normal(2 * seed + 1, 10, 1.0, 0.1)) > 0.95
            })
            .count();
        assert!((2..=20).contains(&surely), "{surely} of 200, where 10 are expected");
    }

    #[test]
    fn confidence_is_that_of_the_tables() {
        // p of U = 0 is 2 / C(m + n, m): 0.1 for three of each, 2/70 for four (Mann and Whitney 1947, table I).
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(confidence(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.9));
        assert!(close(confidence(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]), 1.0 - 2.0 / 70.0));
        // U = 2 of three and four: 2 · 4 of 35 orders (the same table).
        assert!(close(confidence(&[1.0, 2.0, 5.0], &[3.0, 4.0, 6.0, 7.0]), 1.0 - 8.0 / 35.0));
        assert!(close(confidence(&[1.0, 1.0], &[1.0, 1.0]), 0.0));
    }

    #[test]
    fn few_runs_are_unclear_and_more_of_the_same_are_not() {
        let judge =
            |count: usize| RULES.judge(&vec_of(1.0, count), &vec_of(2.0, count), Better::Less).verdict;
        assert_eq!(judge(1), Verdict::Unclear);
        assert_eq!(judge(3), Verdict::Unclear);
        assert_eq!(judge(4), Verdict::Worse);
    }

    fn vec_of(mean: f64, count: usize) -> Vec<f64> {
        (0..count).map(|i| mean + 0.001 * i as f64).collect()
    }

    #[test]
    fn noise_does_not_hide_behind_the_median() {
        let judged = RULES.judge(&normal(7, 4, 1.0, 0.5), &normal(9, 4, 1.3, 0.5), Better::More);
        assert!(matches!(judged.verdict, Verdict::Unclear | Verdict::Unchanged), "{judged:?}");
    }

    #[test]
    fn loss_that_was_zero_is_a_change_without_end() {
        let judged = RULES.judge(&[0.0; 8], &vec_of(3.0, 8), Better::Less);
        assert_eq!((judged.verdict, judged.change), (Verdict::Worse, f64::INFINITY));
        assert_eq!(RULES.judge(&[0.0; 8], &[0.0; 8], Better::Less).verdict, Verdict::Unchanged);
    }
}
