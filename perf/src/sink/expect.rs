//! `--expect`: what a run must have come to. Exit code 1 says that it did not.

use std::str::FromStr;

use crate::lab::Error;

/// One condition on a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    name: String,
    relation: Relation,
    value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    AtLeast,
    AtMost,
    Equal,
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let relations = [(">=", Relation::AtLeast), ("<=", Relation::AtMost), ("=", Relation::Equal)];
        let found = relations.iter().find_map(|(sign, relation)| {
            let (name, value) = text.split_once(sign)?;
            Some((name.trim().to_owned(), *relation, value.trim().parse::<f64>().ok()?))
        });
        let found = found.filter(|(name, _, value)| !name.is_empty() && value.is_finite());
        let (name, relation, value) =
            found.ok_or_else(|| format!("`{text}` expects nothing: give FIGURE>=NUMBER, <= or ="))?;
        Ok(Self { name, relation, value })
    }
}

/// A figure's name and value.
pub type Figure = (&'static str, f64);

/// Fails if there is no figure of an expectation's name, and names those that there are.
pub fn check_names(expectations: &[Expectation], figures: &[Figure]) -> Result<(), Error> {
    expectations.iter().try_for_each(|expectation| value(expectation, figures).map(drop))
}

fn value(expectation: &Expectation, figures: &[Figure]) -> Result<f64, Error> {
    let found = figures.iter().find(|(name, _)| *name == expectation.name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
        let (name, known) = (&expectation.name, known.join(", "));
        Error::Usage(format!("--expect: there is no figure {name}; choose of {known}"))
    })
}

/// Whether all hold; those that don't are told.
pub fn all_hold(expectations: &[Expectation], figures: &[Figure]) -> Result<bool, Error> {
    let mut hold = true;
    for expectation in expectations {
        let is = value(expectation, figures)?;
        let (holds, sign) = match expectation.relation {
            Relation::AtLeast => (is >= expectation.value, ">="),
            Relation::AtMost => (is <= expectation.value, "<="),
            Relation::Equal => ((is - expectation.value).abs() < f64::EPSILON * is.abs().max(1.0), "="),
        };
        if !holds {
            eprintln!("expected {}{sign}{}, and it is {is}", expectation.name, expectation.value);
        }
        hold &= holds;
    }
    Ok(hold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read_and_checked() {
        let figures = [("lost", 3.0), ("mpps", 0.5)];
        let check = |text: &str| {
            let all: Vec<Expectation> = text.split(',').map(|one| one.parse().unwrap()).collect();
            all_hold(&all, &figures)
        };
        assert!(check("lost=3,mpps>=0.5,mpps<=0.5").unwrap());
        assert!(!check("lost=3,mpps>=0.6").unwrap());
        assert!(!check("lost<=2").unwrap());
        assert!(check("loss=0").unwrap_err().to_string().contains("lost, mpps"));
        for bad in ["", "lost", "lost>3", "=3", "lost=x", "lost>=nan"] {
            assert!(bad.parse::<Expectation>().is_err(), "{bad}");
        }
    }
}
