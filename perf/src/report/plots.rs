//! Which plots results give: what was written as series, what was measured over an axis, and systems beside each other.

use crate::{
    plot::{self, Bars},
    results::{Axes, Axis, Better, Measurement, Results, Series},
};

/// Axes that a line makes sense over, and how many points it needs.
const AXES: [(&str, usize); 6] =
    [("load", 3), ("flows", 3), ("cores", 2), ("size", 3), ("rules", 3), ("endpoints", 3)];
/// More are not told apart.
const LINES: usize = 8;

/// SVG documents, in the order in which to show them.
pub(super) fn plots(results: &Results) -> Vec<String> {
    let mut plots = of_series(results);
    let mut shown: Vec<&Measurement> = Vec::new();
    for (axis, least) in AXES {
        for group in by_metric(results, is_plotted) {
            let on_line: Vec<_> =
                group.into_iter().filter(|one| is_on_line(results, one, axis, least)).collect();
            for part in parts(&on_line) {
                let title = format!("{}, over {axis}{}", subject(&part), way(&part));
                plots.push(plot::over(results, &part, axis, &title).svg());
                shown.extend(part);
            }
        }
    }
    for group in by_metric(results, |one| one.better != Better::Neither) {
        let rest: Vec<_> =
            group.into_iter().filter(|one| !shown.iter().any(|other| std::ptr::eq(*other, *one))).collect();
        plots.extend(bars(results, &rest));
    }
    plots.extend(of_cycles(results));
    plots
}

fn is_plotted(one: &Measurement) -> bool {
    one.better != Better::Neither || one.metric.starts_with("cpu")
}

fn of_series(results: &Results) -> Vec<String> {
    let mut groups: Vec<Vec<&Series>> = Vec::new();
    for series in &results.series {
        match groups.iter_mut().find(|group| group[0].plot == series.plot) {
            Some(group) => group.push(series),
            None => groups.push(vec![series]),
        }
    }
    groups.iter().filter_map(|group| plot::series(group)).map(|plot| plot.svg()).collect()
}

fn by_metric(results: &Results, wanted: impl Fn(&Measurement) -> bool) -> Vec<Vec<&Measurement>> {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for one in results.measurements.iter().filter(|one| wanted(one)) {
        let is_same =
            |group: &&mut Vec<&Measurement>| (&group[0].metric, &group[0].unit) == (&one.metric, &one.unit);
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Whether it has enough neighbours that differ by this axis alone.
fn is_on_line(results: &Results, one: &Measurement, axis: &str, least: usize) -> bool {
    let rest = |axes: &Axes| -> Vec<(String, Axis)> {
        axes.iter()
            .filter(|(name, _)| *name != axis)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let number = |one: &Measurement| one.axes.get(axis).and_then(Axis::number);
    let is_neighbour = |other: &&Measurement| {
        (&other.test, &other.metric, &other.system) == (&one.test, &one.metric, &one.system)
            && rest(&other.axes) == rest(&one.axes)
            && number(other).is_some()
    };
    number(one).is_some() && results.measurements.iter().filter(is_neighbour).count() >= least
}

/// So few lines each that they can be told apart: by test, if all are too many.
fn parts<'a>(all: &[&'a Measurement]) -> Vec<Vec<&'a Measurement>> {
    let mut tests: Vec<&str> = all.iter().map(|one| &*one.test).collect();
    tests.dedup();
    tests.sort_unstable();
    tests.dedup();
    let mut lines: Vec<(&str, &str, usize)> =
        all.iter().map(|one| (&*one.test, &*one.system, one.axes.len())).collect();
    lines.sort_unstable();
    lines.dedup();
    match all {
        [] => Vec::new(),
        _ if lines.len() <= LINES => vec![all.to_vec()],
        _ => tests.iter().map(|test| all.iter().copied().filter(|one| one.test == *test).collect()).collect(),
    }
}

/// Systems beside each other; or, if there is but one, its cases.
fn bars(results: &Results, chosen: &[&Measurement]) -> Option<String> {
    let mut systems: Vec<&str> = chosen.iter().map(|one| &*one.system).collect();
    systems.sort_unstable();
    systems.dedup();
    let subjects = chosen.len().div_ceil(systems.len().max(1));
    if chosen.len() < 2 {
        return None;
    }
    let title = format!("{}{}", subject(chosen), way(chosen));
    let bars = if systems.len() > 1 && subjects <= 3 {
        Bars::of(&title, results, chosen)
    } else {
        Bars::by_system(&title, results, chosen)
    };
    Some(bars.svg())
}

/// Where the cycles of a packet go: user and kernel apart.
fn of_cycles(results: &Results) -> Vec<String> {
    let is_part = |one: &&Measurement| {
        ["cycles-user", "cycles-kernel", "cycles-softirq", "cycles-switch-user", "cycles-switch-kernel"]
            .contains(&&*one.metric)
    };
    let mut tests: Vec<&str> = results.measurements.iter().filter(is_part).map(|one| &*one.test).collect();
    tests.dedup();
    tests.sort_unstable();
    tests.dedup();
    let of_test = |test: &&str| {
        let parts: Vec<_> =
            results.measurements.iter().filter(|one| is_part(one) && one.test == **test).collect();
        let mut bars = Bars::of(&format!("{test}: where the cycles of a packet go"), results, &parts);
        bars.x =
            "cycles per packet; softirqs are part of the kernel's, the switch's threads part of both".into();
        bars.svg()
    };
    tests.iter().map(of_test).collect()
}

/// What all of these measure: what their titles have in common.
fn subject(all: &[&Measurement]) -> String {
    let mut titles: Vec<&str> = all.iter().map(|one| &*one.title).collect();
    titles.dedup();
    titles.sort_unstable();
    titles.dedup();
    if let [title] = titles[..] {
        return title.to_owned();
    }
    let behind = |title: &str| title.split_once(": ").map(|(_, rest)| rest.to_owned());
    let ends: Vec<_> = titles.iter().map(|title| behind(title)).collect();
    match &ends[..] {
        [Some(first), rest @ ..] if rest.iter().all(|end| end.as_ref() == Some(first)) => first.clone(),
        _ => {
            let mut tests: Vec<&str> = Vec::new();
            for one in all {
                if !tests.contains(&&*one.test) {
                    tests.push(&one.test);
                }
            }
            let more = if tests.len() > 4 { " and others" } else { "" };
            tests.truncate(4);
            format!("{}{more}: {}", tests.join(", "), all.first().map_or("", |one| &one.metric))
        }
    }
}

fn way(all: &[&Measurement]) -> &'static str {
    match all.first().map(|one| one.better) {
        Some(Better::More) => " (more is better)",
        Some(Better::Less) => " (less is better)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Figure, axes};

    fn figure(test: &'static str, metric: &'static str) -> Figure<'static> {
        Figure { test, metric, title: "l3: packets", unit: "Mpps", better: Better::More }
    }

    #[test]
    fn what_was_measured_over_an_axis_is_a_line_and_the_rest_are_bars() {
        let mut results = Results::new("test");
        for flows in [1_u32, 100, 10_000] {
            results.add(figure("l3", "rate"), "weft", &axes([("flows", flows.into())]), 1.0);
        }
        assert_eq!(plots(&results).len(), 1);
        assert!(plots(&results)[0].contains("<polyline"));
        results.add(figure("rules", "rate"), "weft", &Axes::new(), 1.0);
        results.add(figure("rules", "rate"), "bridge", &Axes::new(), 2.0);
        let all = plots(&results);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].matches("class=\"bar\"").count(), 2);
    }

    #[test]
    fn two_points_are_no_line() {
        let mut results = Results::new("test");
        for flows in [1_u32, 100] {
            results.add(figure("l3", "rate"), "weft", &axes([("flows", flows.into())]), 1.0);
        }
        assert!(plots(&results)[0].contains("class=\"bar\""));
    }

    #[test]
    fn nothing_gives_no_plot() {
        assert!(plots(&Results::new("test")).is_empty());
    }
}
