//! `weft-perf report`: results as one HTML page that stands alone: no script, nothing loaded from elsewhere (its own policy
//! forbids a browser to), light or dark as the reader likes, and fit for paper.

mod page;
mod plots;
mod tables;

use std::{fs, path::PathBuf};

use clap::Args;

use crate::{
    lab::{Error, tell},
    results::Results,
};

/// What to show.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  weft-perf report pods.json core.json -o report.html")]
pub struct Options {
    /// Results, as --json and --out write them. Those of one benchmark, made alike, are shown as one.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to write the page.
    #[arg(short, long, default_value = "report.html")]
    pub output: PathBuf,
    /// Its title.
    #[arg(long, default_value = "weft: measured")]
    pub title: String,
}

/// Reads, writes, and tells where.
pub fn run(options: &Options) -> Result<(), Error> {
    let results = options.files.iter().map(|file| Results::read(file)).collect::<Result<Vec<_>, _>>()?;
    let results = joined(results);
    let page = page::page(&options.title, &results)?;
    if let Some(folder) = options.output.parent() {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    fs::write(&options.output, page).map_err(Error::file(&options.output))?;
    for one in &results {
        let commit = one.commit.as_deref().unwrap_or("not known");
        tell(&format!("{}, {} (commit {commit})\n", one.benchmark, one.date));
        tell(&(one.overview() + &one.gaps()));
    }
    tell(&format!("report: {}\n", options.output.display()));
    Ok(())
}

/// Results of one benchmark on one testbed and of one commit are one: parts of it that ran by themselves.
fn joined(all: Vec<Results>) -> Vec<Results> {
    let mut joined: Vec<Results> = Vec::new();
    for results in all {
        let is_same = |other: &&mut Results| {
            other.benchmark == results.benchmark
                && other.commit == results.commit
                && (&other.testbed.cpu, &other.testbed.kernel)
                    == (&results.testbed.cpu, &results.testbed.kernel)
        };
        match joined.iter_mut().find(is_same) {
            Some(other) => other.join(results),
            None => joined.push(results),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Axes, Better, Figure};

    fn results(benchmark: &str, value: f64) -> Results {
        let mut results = Results::new(benchmark);
        let figure = Figure { test: "t", metric: "m", title: "T <i>", unit: "Mpps", better: Better::More };
        results.add(figure, "weft", &Axes::new(), value);
        results.limits.push("A & B".into());
        results
    }

    #[test]
    fn parts_of_one_benchmark_are_one() {
        let all = joined(vec![results("core", 1.0), results("pods", 2.0), results("core", 3.0)]);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].measurements[0].runs, [1.0, 3.0]);
        assert_eq!(all[0].limits, ["A & B"]);
    }

    #[test]
    fn the_page_loads_nothing_and_escapes_everything() {
        let page = page::page("weft <3", &[results("core", 1.0)]).unwrap();
        for loaded in ["src=", "<link", "@import", "url(", "<iframe", "<object"] {
            assert!(!page.contains(loaded), "{loaded}");
        }
        assert!(!page.contains("<i>") && page.contains("A &amp; B") && page.contains("weft &lt;3"));
        let scripts = page.matches("<script").count();
        assert_eq!(
            scripts,
            page.matches("<script type=\"application/json\"").count(),
            "no script, only data"
        );
    }
}
