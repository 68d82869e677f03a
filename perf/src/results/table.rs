//! Results for a terminal: a table of each figure, systems beside each other; or all in one.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::{Better, Measurement, Results, by_what, words};
use crate::summary::Summary;

/// A system's figure, beside the others' of the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// Whose.
    pub measurement: &'a Measurement,
    /// Of all runs.
    pub summary: Summary,
    /// Its median, divided by the baseline's.
    pub by_baseline: Option<f64>,
    /// Its median, divided by the best median of all that is not weft.
    pub by_best_peer: Option<f64>,
}

impl Results {
    /// The system that others are compared with.
    pub fn baseline(&self) -> Option<&str> {
        self.systems.iter().find(|system| system.is_baseline).map(|system| &*system.name)
    }

    /// Figures of the same, one for each system, in the order of the systems.
    pub fn rows<'a>(&self, group: &[&'a Measurement]) -> Vec<Row<'a>> {
        let mut rows: Vec<(&Measurement, Summary)> =
            group.iter().filter_map(|one| Some((*one, one.summary()?))).collect();
        rows.sort_by_key(|(measurement, _)| self.rank(&measurement.system));
        let is_peer = |name: &str| self.system(name).is_some_and(|system| !system.is_weft);
        let medians = |wanted: &dyn Fn(&str) -> bool| -> Vec<f64> {
            let of = rows.iter().filter(|(measurement, _)| wanted(&measurement.system));
            of.map(|(_, summary)| summary.median).collect()
        };
        let baseline = medians(&|name| self.baseline() == Some(name)).first().copied();
        let is_less = group.first().is_some_and(|one| one.better == Better::Less);
        let best = medians(&is_peer).into_iter().reduce(if is_less { f64::min } else { f64::max });
        let by =
            |median: f64, other: Option<f64>| other.filter(|other| *other != 0.0).map(|other| median / other);
        let row = |(measurement, summary): &(&'a Measurement, Summary)| Row {
            measurement,
            summary: *summary,
            by_baseline: by(summary.median, baseline),
            by_best_peer: by(summary.median, best),
        };
        rows.iter().map(row).collect()
    }

    /// One table for each figure that has a good way, and what is missing.
    pub fn tables(&self) -> String {
        let mut text = format!("{}\n{}\n", self.testbed.short(), self.notes.join(" "));
        let baseline = self.baseline().map_or_else(String::new, |name| format!("÷ {name}"));
        let groups: Vec<_> = by_what(&self.measurements)
            .into_iter()
            .filter(|group| group[0].better != Better::Neither)
            .collect();
        let widest = groups.iter().map(|group| heading(group[0]).chars().count()).max().unwrap_or(0).max(56);
        let best = if baseline.is_empty() { "" } else { "÷ best peer" };
        for group in groups {
            let title = heading(group[0]);
            let _ = writeln!(text, "\n{title:<widest$} {baseline:>11} {best:>11}");
            for Row { measurement, summary, by_baseline, by_best_peer } in self.rows(&group) {
                let spread = format!("({}–{})", short(summary.min), short(summary.max));
                let ratios = match self.baseline() {
                    Some(_) => [ratio(by_baseline), ratio(by_best_peer)],
                    None => [String::new(), String::new()],
                };
                let row = format!("  {:<16} {:>9} {spread}", measurement.system, short(summary.median));
                let row = format!("{row:<widest$} {:>11} {:>11}", ratios[0], ratios[1]);
                let _ = writeln!(text, "{}", row.trim_end());
            }
        }
        text + "\n" + &self.gaps()
    }

    /// A line for each thing that was not measured.
    pub fn gaps(&self) -> String {
        let mut text = String::new();
        for missing in &self.missing {
            let what = [&*missing.system, &missing.test, &words(&missing.axes)]
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(", ");
            let _ = writeln!(text, "not measured: {what}: {}", missing.reason);
        }
        text
    }

    /// All medians in one table: a line for each figure, a column for each system.
    pub fn overview(&self) -> String {
        let mut names: Vec<&str> = self.measurements.iter().map(|one| &*one.system).collect();
        names.sort_by_key(|name| self.rank(name));
        names.dedup();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([&["", "unit"], &names[..]].concat());
        for group in by_what(&self.measurements) {
            let first = group[0];
            if first.better == Better::Neither {
                continue;
            }
            let rows = self.rows(&group);
            let median = |name: &&str| {
                let row = rows.iter().find(|row| row.measurement.system == **name);
                row.map_or_else(|| "–".into(), |row| short(row.summary.median))
            };
            let mut cells = vec![subject(first), first.unit.clone()];
            cells.extend(names.iter().map(median));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n", table.trim_fmt())
    }
}

/// What was measured, and under which circumstances.
pub fn subject(measurement: &Measurement) -> String {
    match &*words(&measurement.axes) {
        "" => measurement.title.clone(),
        axes => format!("{}; {axes}", measurement.title),
    }
}

/// The same, with its unit and which way is good.
pub fn heading(measurement: &Measurement) -> String {
    let unit = match &*measurement.unit {
        "" => String::new(),
        unit => format!(", {unit}"),
    };
    let better = match measurement.better {
        Better::More => " (more is better)",
        Better::Less => " (less is better)",
        Better::Neither => "",
    };
    subject(measurement) + &unit + better
}

/// Three or four figures that count.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.3}"),
        size if size >= 0.01 => format!("{value:.4}"),
        size if size >= 1e-4 => format!("{value:.5}"),
        _ => format!("{value:.1e}"),
    }
}

/// Two digits, or a dash.
pub fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Axes, Figure, System};

    fn results(better: Better) -> Results {
        let mut results = Results::new("test");
        let figure = Figure { test: "t", metric: "m", title: "The test", unit: "Mpps", better };
        for (name, runs) in [("bridge", &[1.0][..]), ("weft-tap", &[3.0, 2.0, 2.0]), ("testpmd", &[4.0])] {
            runs.iter().for_each(|value| results.add(figure, name, &Axes::new(), *value));
        }
        let system = |name: &str, is_weft, is_baseline| System {
            name: name.into(),
            is_weft,
            is_baseline,
            ..System::default()
        };
        results.systems = vec![
            system("weft-tap", true, false),
            system("bridge", false, true),
            system("testpmd", false, false),
        ];
        results
    }

    #[test]
    fn the_best_peer_is_the_fastest_or_the_quickest() {
        for (better, best) in [(Better::More, 4.0), (Better::Less, 1.0)] {
            let results = results(better);
            let groups = by_what(&results.measurements);
            let rows = results.rows(&groups[0]);
            assert_eq!(rows[0].measurement.system, "weft-tap");
            assert_eq!((rows[0].by_baseline, rows[0].by_best_peer), (Some(2.0), Some(2.0 / best)));
        }
    }

    #[test]
    fn tables_name_everybody_and_every_gap() {
        let mut results = results(Better::More);
        results.missing.push(crate::results::Missing {
            test: String::new(),
            system: "ovs-tap".into(),
            axes: Axes::new(),
            reason: "not there".into(),
            failed: false,
        });
        let text = results.tables();
        for words in
            ["weft-tap", "(2.000–3.000)", "÷ bridge", "not measured: ovs-tap: not there", "The test, Mpps"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        let text = results.overview();
        assert!(text.contains("testpmd") && text.contains("4.000"), "{text}");
    }
}
