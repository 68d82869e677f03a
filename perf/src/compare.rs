//! `weft-perf compare`: what is better, worse or unchanged between two results, and how sure that is.
//!
//! Each measurement that both have is judged by itself, from all runs of both sides; see [`verdict`]. Judging many at
//! once, some come out by chance: of a hundred unchanged ones, at 95 %, about five differ "surely". The bound keeps
//! these from failing a build, as chance seldom moves a median far: set it above the machine's own noise.

pub mod verdict;

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde::Serialize;

use self::verdict::{Judged, Rules, Verdict};
use crate::{
    lab::{Error, tell},
    results::{
        Axes, Better, Measurement, Results,
        table::{short, subject},
        words,
    },
    summary::Summary,
};

/// What to compare.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exits with 0 if nothing is worse, 1 if something is, 2 if called wrongly, 3 if a file can't be used.\n\n\
    Examples:\n  weft-perf compare before.json after.json\n  \
    weft-perf compare before.json after.json --bound 2% --confidence 99% --csv"
)]
pub struct Options {
    /// Results from before.
    pub before: PathBuf,
    /// Results from after.
    pub after: PathBuf,
    /// Changes up to here are none, percent.
    #[arg(long, default_value = "5%", value_parser = percent, value_name = "PERCENT")]
    pub bound: f64,
    /// A larger change counts from this confidence on, percent.
    #[arg(long, default_value = "95%", value_parser = confidence, value_name = "PERCENT")]
    pub confidence: f64,
    /// Compare measurements of this system only.
    #[arg(long)]
    pub system: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV.
    #[arg(long)]
    pub csv: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse::<f64>();
    let share = number.map_err(|_| format!("{text} is no number of percent"))? / 100.0;
    if (0.0..10.0).contains(&share) { Ok(share) } else { Err("it must be between 0 and 1000 %".into()) }
}

fn confidence(text: &str) -> Result<f64, String> {
    let share = percent(text)?;
    if (0.5..1.0).contains(&share) {
        Ok(share)
    } else {
        Err("it must be at least 50 % and less than 100 %".into())
    }
}

/// Two results, side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What both have.
    pub rows: Vec<Row>,
    /// What only one has, in words.
    pub alone: Vec<String>,
    /// Why they may not be comparable, in words.
    pub warnings: Vec<String>,
}

/// One measurement of both.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// See [`Measurement::test`].
    pub test: String,
    /// See [`Measurement::metric`].
    pub metric: String,
    /// What it is, for people.
    #[serde(skip)]
    pub title: String,
    /// Whose.
    pub system: String,
    /// Under which circumstances.
    pub axes: Axes,
    /// The unit.
    pub unit: String,
    /// Which way is good.
    pub better: Better,
    /// Medians before and after.
    pub medians: (f64, f64),
    /// How many runs of each.
    pub runs: (usize, usize),
    /// The judgement.
    #[serde(flatten)]
    pub judged: Judged,
}

/// Compares two files, and tells. Whether nothing is worse.
pub fn run(options: &Options) -> Result<bool, Error> {
    let (before, after) = (Results::read(&options.before)?, Results::read(&options.after)?);
    let rules = Rules { bound: options.bound, confidence: options.confidence };
    let mut comparison = compare(&before, &after, rules);
    if let Some(system) = &options.system {
        comparison.rows.retain(|row| row.system == *system);
    }
    if comparison.rows.is_empty() {
        let why = format!("it has no measurement in common with {}", options.before.display());
        return Err(Error::Unreadable { file: options.after.clone(), why });
    }
    let text = if options.json {
        let json = serde_json::to_string_pretty(&comparison);
        json.map_err(|error| Error::Io { what: "a comparison as JSON".into(), source: error.into() })? + "\n"
    } else if options.csv {
        comparison.csv()?
    } else {
        comparison.text(rules)
    };
    tell(&text);
    Ok(!comparison.rows.iter().any(|row| row.judged.verdict == Verdict::Worse))
}

/// Judges everything that both have.
pub fn compare(before: &Results, after: &Results, rules: Rules) -> Comparison {
    let is_same = |one: &Measurement, other: &Measurement| {
        one.what() == other.what() && one.system == other.system && one.unit == other.unit
    };
    let compared = |results: &'_ Results| -> Vec<Measurement> {
        results.measurements.iter().filter(|one| one.better != Better::Neither).cloned().collect()
    };
    let (before_all, after_all) = (compared(before), compared(after));
    let (mut rows, mut alone) = (Vec::new(), Vec::new());
    for one in &before_all {
        match after_all.iter().find(|other| is_same(one, other)).and_then(|other| row(one, other, rules)) {
            Some(row) => rows.push(row),
            None => alone.push(format!("only before: {}, {}", one.system, subject(one))),
        }
    }
    let is_new = |other: &&Measurement| !before_all.iter().any(|one| is_same(one, other));
    alone.extend(
        after_all.iter().filter(is_new).map(|one| format!("only after: {}, {}", one.system, subject(one))),
    );
    Comparison { rows, alone, warnings: warnings(before, after) }
}

fn warnings(before: &Results, after: &Results) -> Vec<String> {
    let rows = before.testbed.rows().into_iter().zip(after.testbed.rows());
    let differ =
        rows.filter(|((_, one), (_, other))| one != other && one != "not known" && other != "not known");
    differ.map(|((name, one), (_, other))| format!("{name} was {one}, is {other}")).collect()
}

fn row(before: &Measurement, after: &Measurement, rules: Rules) -> Option<Row> {
    let medians: (Summary, Summary) = (before.summary()?, after.summary()?);
    Some(Row {
        test: before.test.clone(),
        metric: before.metric.clone(),
        title: before.title.clone(),
        system: before.system.clone(),
        axes: before.axes.clone(),
        unit: before.unit.clone(),
        better: before.better,
        medians: (medians.0.median, medians.1.median),
        runs: (before.runs.len(), after.runs.len()),
        judged: rules.judge(&before.runs, &after.runs, before.better),
    })
}

impl Comparison {
    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.judged.verdict == verdict).count()
    }

    /// For people: what changed first, then the rest in the order of the file.
    fn text(&self, rules: Rules) -> String {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.judged.verdict);
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "not the same testbed: {warning}");
        }
        for row in rows {
            let Judged { verdict, change, interval, confidence } = row.judged;
            let axes = words(&row.axes);
            let title = if axes.is_empty() { row.title.clone() } else { format!("{}; {axes}", row.title) };
            let _ = writeln!(
                text,
                "{:<9} {:+6.1} %  [{:+.1}, {:+.1}]  confidence {:>4.1} %  {:>9} → {:<9} {:<10} {}, {title}",
                verdict.word(),
                100.0 * change,
                100.0 * interval.0,
                100.0 * interval.1,
                100.0 * confidence,
                short(row.medians.0),
                short(row.medians.1),
                row.unit,
                row.system,
            );
        }
        for alone in &self.alone {
            let _ = writeln!(text, "{alone}");
        }
        let unclear = self.count(Verdict::Unclear);
        let _ = writeln!(
            text,
            "{} worse, {} better, {} unchanged, {unclear} unclear (bound {:.1} %, confidence {:.0} %; [..]: 95 % of \
             resampled ratios of medians)",
            self.count(Verdict::Worse),
            self.count(Verdict::Better),
            self.count(Verdict::Unchanged),
            100.0 * rules.bound,
            100.0 * rules.confidence
        );
        if unclear > 0 {
            text += "unclear: the medians differ by more than the bound, and so few or so scattered runs can't tell \
                     whether by chance: run again, more often\n";
        }
        text
    }

    /// A line for each row.
    fn csv(&self) -> Result<String, Error> {
        let failed =
            |error: csv::Error| Error::Io { what: "a comparison as CSV".into(), source: error.into() };
        let mut rows = csv::Writer::from_writer(Vec::new());
        let head = [
            "verdict",
            "test",
            "metric",
            "system",
            "axes",
            "unit",
            "before",
            "after",
            "change",
            "low",
            "high",
            "confidence",
            "runs before",
            "runs after",
        ];
        rows.write_record(head).map_err(failed)?;
        for row in &self.rows {
            let Judged { verdict, change, interval, confidence } = row.judged;
            let numbers = [row.medians.0, row.medians.1, change, interval.0, interval.1, confidence];
            let mut cells: Vec<String> =
                [verdict.word(), &row.test, &row.metric, &row.system, &words(&row.axes), &row.unit]
                    .map(str::to_owned)
                    .into();
            cells.extend(numbers.map(|number| number.to_string()));
            cells.extend([row.runs.0.to_string(), row.runs.1.to_string()]);
            rows.write_record(cells).map_err(failed)?;
        }
        let bytes = rows.into_inner().map_err(|error| failed(error.into_error().into()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Figure;

    fn results(rates: &[f64], delays: &[f64]) -> Results {
        let mut results = Results::new("test");
        let figure =
            |metric, unit, better| Figure { test: "udp64", metric, title: "UDP, 64 bytes", unit, better };
        let axes = Axes::new();
        for rate in rates {
            results.add(figure("rate", "Mpps", Better::More), "weft-xsk", &axes, *rate);
            results.add(figure("offered", "Mpps", Better::Neither), "weft-xsk", &axes, 2.0 * rate);
        }
        delays
            .iter()
            .for_each(|delay| results.add(figure("p99", "µs", Better::Less), "weft-xsk", &axes, *delay));
        results
    }

    const RULES: Rules = Rules { bound: 0.05, confidence: 0.95 };
    const EIGHT: [f64; 8] = [1.0, 1.01, 0.99, 1.02, 0.98, 1.03, 0.97, 1.005];

    #[test]
    fn each_measurement_is_judged_by_its_own_good_way() {
        let more = EIGHT.map(|value| value * 1.2);
        let comparison = compare(&results(&EIGHT, &EIGHT), &results(&more, &more), RULES);
        let verdicts: Vec<_> = comparison.rows.iter().map(|row| (&*row.metric, row.judged.verdict)).collect();
        assert_eq!(verdicts, [("rate", Verdict::Better), ("p99", Verdict::Worse)]);
        let text = comparison.text(RULES);
        assert!(text.starts_with("worse"), "{text}");
        assert!(text.contains("1 worse, 1 better, 0 unchanged, 0 unclear"), "{text}");
        assert_eq!(comparison.csv().unwrap().lines().count(), 3);
    }

    #[test]
    fn what_only_one_has_is_named_and_other_testbeds_too() {
        let mut after = results(&EIGHT, &[]);
        after.testbed.kernel = "7.0".into();
        let comparison = compare(&results(&EIGHT, &EIGHT), &after, RULES);
        assert_eq!(comparison.alone, ["only before: weft-xsk, UDP, 64 bytes"]);
        assert!(comparison.warnings[0].contains("is 7.0"), "{:?}", comparison.warnings);
    }

    #[test]
    fn percentages_are_read_with_and_without_their_sign() {
        assert_eq!((percent("5%"), percent("2.5")), (Ok(0.05), Ok(0.025)));
        assert!(percent("x").is_err() && percent("-1").is_err() && confidence("100%").is_err());
    }
}
