//! Tables of the page.

use maud::{Markup, html};

use crate::results::{
    Better, Measurement, Results, by_what,
    table::{Row, heading, ratio, short, subject},
    words,
};

/// Medians: a line for each figure, a column for each system.
pub(super) fn overview(results: &Results) -> Markup {
    let mut names: Vec<&str> = Vec::new();
    let good = |one: &&Measurement| one.better != Better::Neither;
    for one in results.measurements.iter().filter(good) {
        if !names.contains(&&*one.system) {
            names.push(&one.system);
        }
    }
    names.sort_by_key(|name| results.rank(name));
    html! {
        div.scroll { table {
            thead { tr {
                th { "median" } th { "unit" }
                @for name in &names { th.number { (name) } }
            } }
            tbody {
                @for group in by_what(&results.measurements).iter().filter(|group| good(&group[0])) {
                    @let rows = results.rows(group);
                    tr {
                        td { (subject(group[0])) }
                        td { (group[0].unit) (arrow(group[0].better)) }
                        @for name in &names { (cell(&rows, name)) }
                    }
                }
            }
        } }
        p.note { "↑ more is better, ↓ less is better; the best of a line is set bold." }
    }
}

fn cell(rows: &[Row<'_>], name: &str) -> Markup {
    let Some(row) = rows.iter().find(|row| row.measurement.system == name) else {
        return html! { td.number { "–" } };
    };
    let is_less = row.measurement.better == Better::Less;
    let median = row.summary.median;
    let beats = |other: &Row<'_>| {
        if is_less { median <= other.summary.median } else { median >= other.summary.median }
    };
    if rows.len() > 1 && rows.iter().all(beats) {
        html! { td.number { b { (short(median)) } } }
    } else {
        html! { td.number { (short(median)) } }
    }
}

fn arrow(better: Better) -> &'static str {
    match better {
        Better::More => " ↑",
        Better::Less => " ↓",
        Better::Neither => "",
    }
}

/// Every figure with its spread; what only describes others is folded away.
pub(super) fn figures(results: &Results) -> Markup {
    let groups = by_what(&results.measurements);
    let (good, beside): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| group[0].better != Better::Neither);
    html! {
        details open { summary { "Every figure, with its spread" } (spreads(results, &good)) }
        @if !beside.is_empty() {
            details { summary { "What stands beside: offered load, CPU time, shares of stages …" } (spreads(results, &beside)) }
        }
    }
}

fn spreads(results: &Results, groups: &[Vec<&Measurement>]) -> Markup {
    let baseline = results.baseline();
    html! {
        div.scroll { table {
            thead { tr {
                th { "system" } th.number { "median" } th.number { "quartiles" } th.number { "least – most" } th.number { "runs" }
                @if let Some(name) = baseline { th.number { "÷ " (name) } th.number { "÷ best peer" } }
            } }
            @for group in groups {
                tbody {
                    tr.group { th colspan="7" scope="rowgroup" { (heading(group[0])) } }
                    @for row in results.rows(group) { tr {
                        @let Row { measurement, summary, by_baseline, by_best_peer } = row;
                        td { (measurement.system) }
                        td.number { b { (short(summary.median)) } }
                        td.number { (short(summary.lower_quartile)) " – " (short(summary.upper_quartile)) }
                        td.number { (short(summary.min)) " – " (short(summary.max)) }
                        td.number { (summary.runs) @if summary.runs < 10 { span.few title="fewer than 10" { " !" } } }
                        @if baseline.is_some() { td.number { (ratio(by_baseline)) } td.number { (ratio(by_best_peer)) } }
                    } }
                }
            }
        } }
    }
}

type Facts = Vec<(&'static str, String)>;

/// What it was measured on: machines that are the same are shown once.
pub(super) fn testbeds(all: &[Results]) -> Markup {
    let mut machines: Vec<(Facts, Vec<&str>)> = Vec::new();
    for results in all {
        let rows = results.testbed.rows();
        match machines.iter_mut().find(|(known, _)| *known == rows) {
            Some((_, benchmarks)) => benchmarks.push(&results.benchmark),
            None => machines.push((rows, vec![&results.benchmark])),
        }
    }
    html! {
        h2 id="testbed" { "Testbed" }
        @for (rows, benchmarks) in &machines {
            @if machines.len() > 1 { h3 { (benchmarks.join(", ")) } }
            div.scroll { table.facts { tbody {
                @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
            } } }
        }
        (systems(all))
        (ports(all))
    }
}

fn systems(all: &[Results]) -> Markup {
    html! {
        @if all.iter().any(|results| !results.systems.is_empty()) {
            h3 { "Systems" }
            div.scroll { table {
                thead { tr { th { "benchmark" } th { "system" } th { "what" } th { "version" } th { "ports" } } }
                tbody { @for results in all { @for system in &results.systems { tr {
                    td { (results.benchmark) } td { (system.name) } td { (system.about) }
                    td { (system.version) } td { (system.mode) }
                } } } }
            } }
        }
    }
}

fn ports(all: &[Results]) -> Markup {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".into());
    html! {
        @if all.iter().any(|results| !results.testbed.ports.is_empty()) {
            h3 { "Ports" }
            div.scroll { table {
                thead { tr {
                    th { "system" } th { "device" } th { "driver" } th { "mode" } th.number { "MTU" } th { "queues" }
                    th { "rings" } th { "offloads that are on" }
                } }
                tbody { @for port in all.iter().flat_map(|results| &results.testbed.ports) { tr {
                    td { (port.system) } td { (port.device) } td { (port.driver) } td { (port.mode) }
                    td.number { (known(&port.mtu.map(|mtu| mtu.to_string()))) }
                    td { (known(&port.queues)) } td { (known(&port.rings)) }
                    td { @if port.offloads.is_empty() { "none" } @else { (port.offloads.join(", ")) } }
                } } }
            } }
        }
    }
}

/// Gaps, with their reasons.
pub(super) fn missing(all: &[Results]) -> Markup {
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    html! {
        h2 id="missing" { "Not measured" }
        @if all.iter().all(|results| results.missing.is_empty()) { p { "Nothing was left out." } } @else {
            div.scroll { table {
                thead { tr { th { "benchmark" } th { "system" } th { "test" } th { "why" } } }
                tbody { @for results in all { @for missing in &results.missing { tr {
                    td { (results.benchmark) }
                    td { (or(&missing.system, "all")) }
                    td { (or(&missing.test, "all")) " " (words(&missing.axes)) }
                    td { (missing.reason) }
                } } } }
            } }
        }
    }
}
