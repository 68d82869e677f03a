//! Plots of results.

use super::{Bars, Line, Plot, Series};
use crate::results::{self, Axes, Better, Dimension, Measurement, Point, Results, Scale, words};

/// Measurements over one of their axes: a line for each system, test and rest of the circumstances.
pub fn over(results: &Results, measurements: &[&Measurement], axis: &str, title: &str) -> Plot {
    let rest = |one: &Measurement| -> Axes {
        one.axes
            .iter()
            .filter(|(name, _)| *name != axis)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let mut groups: Vec<(&Measurement, Axes, Vec<Point>)> = Vec::new();
    for one in measurements {
        let (Some(x), Some(summary)) = (one.axes.get(axis).and_then(results::Axis::number), one.summary())
        else {
            continue;
        };
        let spread = (summary.runs > 1).then_some((summary.min, summary.max));
        let point = Point { x, y: summary.median, spread };
        let rest = rest(one);
        let is_same = |(other, others, _): &&mut (&Measurement, Axes, Vec<Point>)| {
            (&other.test, &other.system) == (&one.test, &one.system) && *others == rest
        };
        match groups.iter_mut().find(is_same) {
            Some((.., points)) => points.push(point),
            None => groups.push((one, rest, vec![point])),
        }
    }
    groups.sort_by_key(|(one, ..)| results.rank(&one.system));
    for (.., points) in &mut groups {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let xs = || groups.iter().flat_map(|(.., points)| points.iter().map(|point| point.x));
    let is_wide = xs().all(|x| x > 0.0) && xs().fold(0.0, f64::max) >= 50.0 * xs().fold(f64::MAX, f64::min);
    let mut lines = lines(&groups);
    if axis == "cores" {
        lines.extend(wished(&groups));
    }
    let unit = measurements.first().map_or("", |one| &one.unit);
    let scale = if is_wide { Scale::Log } else { Scale::Linear };
    Plot {
        title: title.into(),
        x: Dimension { name: axis.into(), unit: unit_of(axis).into(), scale },
        y: Dimension { name: unit.into(), unit: String::new(), scale: Scale::Linear },
        lines,
        marks: Vec::new(),
    }
}

fn unit_of(axis: &str) -> &'static str {
    match axis {
        "size" => "bytes",
        "load" => "Mpps",
        _ => "",
    }
}

/// Names tell lines apart, and no more than that.
fn lines(groups: &[(&Measurement, Axes, Vec<Point>)]) -> Vec<Line> {
    let several =
        |part: fn(&Measurement) -> &str| groups.iter().any(|(one, ..)| part(one) != part(groups[0].0));
    let (tests, systems) = (several(|one| &one.test), several(|one| &one.system));
    let name = |(one, rest, _): &(&Measurement, Axes, Vec<Point>)| {
        let same = |name: &String| groups.iter().all(|(_, other, _)| other.get(name) == rest.get(name));
        let rest: Axes =
            rest.iter().filter(|(name, _)| !same(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        let parts = [
            if systems || !tests { &*one.system } else { "" },
            if tests { &*one.test } else { "" },
            &words(&rest),
        ]
        .map(str::to_owned);
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    };
    groups.iter().map(|group| Line { name: name(group), points: group.2.clone(), is_dashed: false }).collect()
}

/// What as many cores would do if each did what one does.
fn wished(groups: &[(&Measurement, Axes, Vec<Point>)]) -> Option<Line> {
    let (one, _, points) = groups.iter().find(|(.., points)| points.len() > 1)?;
    if one.better != Better::More {
        return None;
    }
    let (first, last) = (points.first()?, points.last()?);
    let end = Point::from((last.x, first.y * last.x / first.x));
    let points = vec![Point::from((first.x, first.y)), end];
    Some(Line { name: "if each core did as much".into(), points, is_dashed: true })
}

/// Series of one plot.
pub fn series(series: &[&results::Series]) -> Option<Plot> {
    let first = series.first()?;
    let line = |one: &&results::Series| Line {
        name: one.name.clone(),
        points: one.points.clone(),
        is_dashed: false,
    };
    let mut marks: Vec<_> = series.iter().flat_map(|one| one.marks.clone()).collect();
    marks.sort_by(|a, b| a.x.total_cmp(&b.x));
    marks.dedup();
    Some(Plot {
        title: first.plot.clone(),
        x: first.x.clone(),
        y: first.y.clone(),
        lines: series.iter().map(line).collect(),
        marks,
    })
}

impl Bars {
    /// A group of bars for each system, a bar in it for each thing measured.
    pub fn of(title: &str, results: &Results, chosen: &[&Measurement]) -> Self {
        let (systems, subjects) = sides(results, chosen);
        let value = |system: &str, subject: &Measurement| {
            find(chosen, system, subject).and_then(|one| one.summary()).map(|s| (s.median, s.min, s.max))
        };
        let series = subjects.iter().zip(names(&subjects)).map(|(subject, name)| Series {
            name,
            values: systems.iter().map(|system| value(system, subject)).collect(),
        });
        Self {
            title: title.into(),
            x: chosen.first().map_or("", |one| &one.unit).into(),
            groups: systems.iter().map(|&system| system.to_owned()).collect(),
            series: series.collect(),
        }
    }

    /// A group of bars for each thing measured, a bar in it for each system.
    pub fn by_system(title: &str, results: &Results, chosen: &[&Measurement]) -> Self {
        let (systems, subjects) = sides(results, chosen);
        let value = |system: &str, subject: &Measurement| {
            find(chosen, system, subject).and_then(|one| one.summary()).map(|s| (s.median, s.min, s.max))
        };
        let series = systems.iter().map(|&system| Series {
            name: system.to_owned(),
            values: subjects.iter().map(|subject| value(system, subject)).collect(),
        });
        let label = |one: &&Measurement| match &*words(&one.axes) {
            "" => one.test.clone(),
            axes => format!("{}, {axes}", one.test),
        };
        Self {
            title: title.into(),
            x: chosen.first().map_or("", |one| &one.unit).into(),
            groups: subjects.iter().map(label).collect(),
            series: series.collect(),
        }
    }
}

/// What tells subjects apart: titles are "what: of it", and what they share is in the chart's own title.
fn names(subjects: &[&Measurement]) -> Vec<String> {
    let tail = |one: &Measurement| one.title.split_once(": ").map(|(_, tail)| tail.to_owned());
    let is_shared = |one: &&Measurement| tail(one).is_some() && tail(one) == tail(subjects[0]);
    let is_tail_shared = subjects.len() > 1 && subjects.iter().all(is_shared);
    let name = |one: &&Measurement| {
        let head =
            one.title.split_once(": ").filter(|_| is_tail_shared).map_or(&*one.title, |(head, _)| head);
        match &*words(&one.axes) {
            "" => head.to_owned(),
            axes => format!("{head}; {axes}"),
        }
    };
    subjects.iter().map(name).collect()
}

/// Systems in their order, and one measurement for each thing measured.
fn sides<'a>(results: &Results, chosen: &[&'a Measurement]) -> (Vec<&'a str>, Vec<&'a Measurement>) {
    let (mut systems, mut subjects): (Vec<&str>, Vec<&Measurement>) = (Vec::new(), Vec::new());
    for one in chosen {
        if !systems.contains(&&*one.system) {
            systems.push(&one.system);
        }
        if !subjects.iter().any(|other| other.what() == one.what()) {
            subjects.push(one);
        }
    }
    systems.sort_by_key(|name| results.rank(name));
    (systems, subjects)
}

fn find<'a>(chosen: &[&'a Measurement], system: &str, subject: &Measurement) -> Option<&'a Measurement> {
    chosen.iter().find(|one| one.system == system && one.what() == subject.what()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Figure, axes};

    fn results() -> Results {
        let mut results = Results::new("test");
        let figure = Figure { test: "l3", metric: "rate", title: "l3", unit: "Mpps", better: Better::More };
        for (flows, family, value) in
            [(10_000_u32, "IPv4", 3.0), (1, "IPv4", 1.0), (1, "IPv4", 2.0), (1, "IPv6", 5.0)]
        {
            let under = axes([("flows", flows.into()), ("family", family.into())]);
            results.add(figure, "weft", &under, value);
        }
        results
    }

    #[test]
    fn lines_are_told_apart_by_what_differs() {
        let results = results();
        let all: Vec<_> = results.measurements.iter().collect();
        let plot = over(&results, &all, "flows", "t");
        let names: Vec<_> = plot.lines.iter().map(|line| &*line.name).collect();
        assert_eq!(names, ["weft, family IPv4", "weft, family IPv6"]);
        assert_eq!(plot.x.scale, Scale::Log);
        let first = plot.lines[0].points[0];
        assert_eq!((first.x, first.y, first.spread), (1.0, 1.0, Some((1.0, 2.0))));
    }

    #[test]
    fn a_gap_is_no_bar() {
        let results = results();
        let all: Vec<_> = results.measurements.iter().collect();
        let bars = Bars::by_system("t", &results, &all);
        assert_eq!(
            bars.groups,
            ["l3, family IPv4, flows 10 k", "l3, family IPv4, flows 1", "l3, family IPv6, flows 1"]
        );
        assert_eq!(Bars::of("t", &results, &all).groups, ["weft"]);
    }
}
