//! The search for a load: the highest that meets a goal, between a lower and an upper bound (RFC 2544 §26.1; the
//! judging of loads after MLRsearch).
//!
//! A load is judged by several trials, and by most of them: one stall of the machine is not the switch's loss. From a first guess the
//! bounds are moved apart until they hold the goal between them, then halved (geometrically) until they are close enough.

/// What to find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Its name.
    pub name: &'static str,
    /// The share of frames that may be lost.
    pub loss: f64,
}

/// No frame lost.
pub const NDR: Goal = Goal { name: "ndr", loss: 0.0 };
/// Half a percent.
pub const PDR: Goal = Goal { name: "pdr", loss: 0.005 };

/// Loads in frames a second: the lower meets the goal, the upper does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The result; 0 if nothing met the goal.
    pub lower: f64,
    /// Infinite if nothing failed.
    pub upper: f64,
}

/// How far apart bounds may be at the end, and how low a load is worth a trial.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the upper bound.
    pub width: f64,
    /// Frames a second.
    pub least: f64,
    /// Frames a second: more can't be offered.
    pub most: f64,
}

/// Finds the bounds; `meets` judges a load. `guess` is where to begin.
pub fn find<E>(
    guess: f64,
    limits: Limits,
    mut meets: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Bounds, E> {
    let mut bounds = Bounds { lower: 0.0, upper: f64::INFINITY };
    let (mut load, mut step) = (guess.clamp(limits.least, limits.most), 0.04);
    // Outwards, in steps that double, until the goal is between.
    while bounds.lower == 0.0 || bounds.upper.is_infinite() {
        if meets(load)? {
            bounds.lower = load;
            if load >= limits.most {
                return Ok(bounds);
            }
        } else {
            bounds.upper = load;
            if load <= limits.least {
                return Ok(bounds);
            }
        }
        let next = if bounds.lower == 0.0 { load * (1.0 - step) } else { load * (1.0 + step) };
        load = next.clamp(limits.least, limits.most);
        step = (step * 2.0).min(0.64);
    }
    while bounds.upper - bounds.lower > limits.width * bounds.upper {
        let middle = (bounds.lower * bounds.upper).sqrt();
        if meets(middle)? {
            bounds.lower = middle;
        } else {
            bounds.upper = middle;
        }
    }
    Ok(bounds)
}

/// Whether most of an odd number of trials meet a goal; it ends as soon as that is sure.
pub fn most<E>(trials: usize, mut one: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
    let (mut good, mut bad, enough) = (0, 0, trials / 2 + 1);
    while good < enough && bad < enough {
        if one()? { good += 1 } else { bad += 1 }
    }
    Ok(good >= enough)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const LIMITS: Limits = Limits { width: 0.01, least: 100.0, most: 2e6 };

    fn found(guess: f64, truth: f64) -> (Bounds, usize) {
        let mut trials = 0;
        let meets = |load| {
            trials += 1;
            Ok::<_, Infallible>(load <= truth)
        };
        let bounds = find(guess, LIMITS, meets).unwrap();
        (bounds, trials)
    }

    #[test]
    fn the_truth_is_between_the_bounds_whatever_the_guess() {
        for truth in [150.0, 1e3, 12_345.0, 1e6, 1.99e6] {
            for guess in [1.0, 1e3, 9e5, 1e6, 5e6] {
                let (bounds, trials) = found(guess, truth);
                assert!(bounds.lower <= truth && truth < bounds.upper, "{guess} {truth}: {bounds:?}");
                assert!(bounds.upper - bounds.lower <= 0.01 * bounds.upper, "{guess} {truth}: {bounds:?}");
                assert!(trials < 50, "{guess} {truth}: {trials}");
            }
        }
        assert!(found(1e6, 0.97e6).1 <= 8, "a good guess is worth much");
    }

    #[test]
    fn what_never_or_always_meets_the_goal_is_told() {
        assert_eq!(found(1e6, 0.0).0, Bounds { lower: 0.0, upper: 100.0 });
        assert_eq!(found(1e6, 1e9).0, Bounds { lower: 2e6, upper: f64::INFINITY });
    }

    #[test]
    fn one_bad_trial_of_three_is_forgiven() {
        let judged = |outcomes: &[bool]| {
            let mut outcomes = outcomes.iter().copied();
            most(3, || Ok::<_, Infallible>(outcomes.next().unwrap())).unwrap()
        };
        assert!(judged(&[true, false, true]) && judged(&[true, true]));
        assert!(!judged(&[false, true, false]) && !judged(&[false, false]));
    }
}
