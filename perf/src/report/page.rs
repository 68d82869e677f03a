//! The page as a whole.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{plots, tables};
use crate::{
    lab::Error,
    results::{Better, Measurement, Results, by_what},
};

const STYLE: &str = include_str!("style.css");
/// What a browser may load: the style sheet that is in the page, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole document.
pub(super) fn page(title: &str, all: &[Results]) -> Result<String, Error> {
    let raw = all.iter().map(raw).collect::<Result<Vec<_>, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.sub { (subtitle(all)) }
                }
                (limits(all))
                nav {
                    a href="#summary" { "Summary" }
                    @for (i, results) in all.iter().enumerate() { a href={ "#part-" (i) } { (results.benchmark) } }
                    a href="#testbed" { "Testbed" }
                    a href="#missing" { "Not measured" }
                    a href="#raw" { "Raw figures" }
                }
                main {
                    h2 id="summary" { "Summary" }
                    @for results in all {
                        @if all.len() > 1 { h3 { (results.benchmark) } }
                        @if is_long(results) {
                            details { summary { "Medians of " (results.benchmark) } (tables::overview(results)) }
                        } @else {
                            (tables::overview(results))
                        }
                    }
                    @for (i, results) in all.iter().enumerate() { (part(i, results)) }
                    (tables::testbeds(all))
                    (tables::missing(all))
                    h2 id="raw" { "Raw figures" }
                    p { "Every run of every figure, as " code { "weft-perf report" } " and " code { "weft-perf compare" } " read them." }
                    @for raw in raw { (raw) }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// Too long to be looked at before the plots.
fn is_long(results: &Results) -> bool {
    by_what(&results.measurements).iter().filter(|group| group[0].better != Better::Neither).count() > 24
}

fn subtitle(all: &[Results]) -> String {
    let Some(first) = all.first() else { return String::new() };
    let commit = first.commit.as_deref().map_or_else(String::new, |commit| format!(", commit {commit}"));
    format!("{}; {} {}{commit}; {}", first.date, "weft", first.version, first.testbed.short())
}

/// What the figures can't tell comes before them.
fn limits(all: &[Results]) -> Markup {
    let mut limits: Vec<String> = Vec::new();
    limits.extend(few_runs(all));
    for limit in all.iter().flat_map(|results| &results.limits) {
        if !limits.contains(limit) {
            limits.push(limit.clone());
        }
    }
    if all.iter().any(|results| results.testbed.virtualised.as_deref().is_some_and(|text| text != "no")) {
        limits.push(
            "A virtual machine: what its host and its neighbours do is in every figure. Ratios of one run hold better \
             than absolute figures."
                .into(),
        );
    }
    html! {
        section.limits {
            h2 { "What these figures can't tell" }
            ul { @for limit in limits { li { (limit) } } }
        }
    }
}

/// Ten runs are the least that a median and its spread should stand on.
fn few_runs(all: &[Results]) -> Option<String> {
    const ENOUGH: usize = 10;
    let runs = |one: &Measurement| Some(one.runs.len()).filter(|_| one.better != Better::Neither);
    let counts: Vec<usize> =
        all.iter().flat_map(|results| results.measurements.iter().filter_map(runs)).collect();
    let few = counts.iter().filter(|count| **count < ENOUGH).count();
    let least = counts.iter().min().filter(|_| few > 0)?;
    Some(format!(
        "{few} of {} figures stand on fewer than {ENOUGH} runs (the least: {least}): their medians and spreads are \
         first impressions.",
        counts.len()
    ))
}

fn part(i: usize, results: &Results) -> Markup {
    html! {
        h2 id={ "part-" (i) } { (results.benchmark) }
        p { @for note in &results.notes { (note) " " } }
        div.command { @for command in &results.commands { code { (command) } br; } }
        div.plots {
            @for plot in plots::plots(results) { figure { (PreEscaped(plot)) } }
        }
        (tables::figures(results))
    }
}

/// As data that a program finds in the page, and as a link that saves it.
fn raw(results: &Results) -> Result<Markup, Error> {
    let json = results.json()?;
    let link = format!("data:application/json;base64,{}", BASE64_STANDARD.encode(&json));
    let file = format!("{}.json", results.benchmark);
    // No text in JSON ends a script element, then.
    let data = json.replace('<', "\\u003c");
    Ok(html! {
        p { a download=(file) href=(link) { (file) } " (" (json.len() / 1024 + 1) " KiB), " (results.date) }
        script type="application/json" data-benchmark=(results.benchmark) { (PreEscaped(data)) }
    })
}
