//! From values to places on an axis, and where its ticks are.

use crate::results::Scale;

/// An axis with its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    scale: Scale,
    /// Ends, in the scale's own measure.
    ends: (f64, f64),
    /// The least step between ticks: things that are counted have no halves.
    least: f64,
}

/// More nines than any measurement has packets for.
const NINES: f64 = 6.0;

impl Range {
    /// One that holds all values; a linear one begins at zero if `from_zero`.
    pub(super) fn of(scale: Scale, values: impl Iterator<Item = f64>, from_zero: bool) -> Self {
        let finite = values.filter(|value| value.is_finite() && (scale != Scale::Log || *value > 0.0));
        let (mut low, mut high, mut least) = (f64::MAX, f64::MIN, 1.0);
        for value in finite {
            (low, high) = (low.min(value), high.max(value));
            least = if value.fract() == 0.0 { least } else { 0.0 };
        }
        if low > high {
            (low, high) = (1.0, 1.0);
        }
        let ends = match scale {
            Scale::Linear => {
                let low = if from_zero { low.min(0.0) } else { low };
                let step = step(high - low).max(least);
                let low = (low / step).floor() * step;
                let high = (high / step).ceil() * step;
                (low, if high > low { high } else { low + 1.0 })
            }
            Scale::Log => {
                let (low, high) = (low.log10(), high.log10());
                // Whole decades to the left; to the right as far as values go, with room for the last point.
                let low = low.floor();
                (low, (high + 0.03).max(low + 1.0))
            }
            Scale::Percentile => {
                // 100 % is endlessly far away: it is drawn behind the last nine.
                let most = if high >= 100.0 { NINES } else { (nines(high) - 1e-6).ceil() };
                (0.0, most.clamp(1.0, NINES))
            }
        };
        Self { scale, ends, least }
    }

    /// Between 0 and 1; a value outside of the range is at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let measure = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Percentile => nines(value),
        };
        ((measure - self.ends.0) / (self.ends.1 - self.ends.0)).clamp(0.0, 1.0)
    }

    /// Values worth a label.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.ends.1 - self.ends.0).max(self.least);
                let count = ((self.ends.1 - self.ends.0) / step).round() as usize;
                let tick = |i: usize| self.ends.0 + step * i as f64;
                (0..=count).map(tick).map(|value| (value, label(value, step))).collect()
            }
            Scale::Log => {
                let (low, high) = (self.ends.0.ceil() as i32, self.ends.1.floor() as i32);
                let each = ((high - low) / 8 + 1) as usize;
                let decades = (low..=high).step_by(each).map(|power| 10_f64.powi(power));
                decades.map(|value| (value, label(value, value))).collect()
            }
            Scale::Percentile => {
                let all = [0.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
                let shown = all.into_iter().take(self.ends.1 as usize + 1);
                shown.map(|value| (value, format!("{value} %"))).collect()
            }
        }
    }
}

/// 90 % is one, 99 % is two.
fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).max(1e-9).log10()
}

/// 1, 2, 2.5 or 5 times a power of ten, so that four to eight of it make up the whole.
fn step(whole: f64) -> f64 {
    if !whole.is_finite() || whole <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((whole / 8.0).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| whole / step <= 8.0)
        .unwrap_or(whole)
}

/// As many digits as a step of this size needs.
fn label(value: f64, step: f64) -> String {
    match step.abs() {
        _ if value == 0.0 => "0".into(),
        size if size >= 1e6 || value.abs() >= 1e7 => format!("{} M", round(value / 1e6)),
        size if size >= 1e3 || value.abs() >= 1e5 => format!("{} k", round(value / 1e3)),
        _ => round(value),
    }
}

/// Without noise behind the sixth digit.
fn round(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        Range::of(scale, values.iter().copied(), true).ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(Scale::Linear, &[0.3, 0.93]), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(Scale::Linear, &[1.0, 171.0]).last().unwrap(), "175");
        assert_eq!(labels(Scale::Log, &[1.0, 4e6]).join(" "), "1 10 100 1 k 10 k 100 k 1 M");
        assert_eq!(labels(Scale::Percentile, &[50.0, 99.9]).join(" "), "0 % 90 % 99 % 99.9 %");
        assert_eq!(labels(Scale::Linear, &[1.0, 2.0, 4.0]), ["0", "1", "2", "3", "4"]);
        assert_eq!(labels(Scale::Linear, &[26e3, 46e3])[..2], ["0", "10 k"]);
        assert_eq!(labels(Scale::Linear, &[]).len(), labels(Scale::Linear, &[1.0]).len());
    }

    #[test]
    fn places_are_inside_and_ascending() {
        for (scale, values) in [
            (Scale::Linear, [-5.0, 0.0, 3.0, 8.0]),
            (Scale::Log, [0.001, 1.0, 40.0, 4e6]),
            (Scale::Percentile, [0.0, 50.0, 99.9, 100.0]),
        ] {
            let range = Range::of(scale, values.into_iter(), true);
            let places = values.map(|value| range.place(value));
            assert!(places.is_sorted() && places[0] >= 0.0 && places[3] <= 1.0, "{places:?}");
        }
        assert_eq!(Range::of(Scale::Log, [1.0, 10.0].into_iter(), true).place(0.0), 0.0);
        assert_eq!(Range::of(Scale::Linear, [4.0, 4.0].into_iter(), false).place(4.0), 0.0);
    }
}
