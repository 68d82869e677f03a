//! weft's own path, as `weft-perf core` runs it, in a process of its own: as fresh as the peers'.

use std::{collections::BTreeMap, process::Command, time::Duration};

use super::{Bench, Case, Kind, Sample};
use crate::{
    lab::{Error, myself, output_of},
    results::Results,
};

/// Runs every case once.
pub fn run(bench: &Bench<'_>, kinds: &[Kind]) -> Result<Vec<(Case, Sample)>, Error> {
    kinds.iter().map(|kind| one(bench, Case { flows: bench.flows, kind: *kind })).collect()
}

fn one(bench: &Bench<'_>, case: Case) -> Result<(Case, Sample), Error> {
    let word = match case.kind {
        Kind::Wire => "xconnect",
        Kind::L2 => "l2",
        Kind::L3 => "l3",
        Kind::Rules => "rules",
    };
    let options = bench.options;
    let mut command = Command::new(myself()?);
    command.args(["core", "--json", "--case", word, "--flows", &case.flows.to_string()]);
    command.args(["--rules", &options.rules.to_string(), "--cpu", &options.cpu.to_string()]);
    command.args(["--seconds", &options.seconds.to_string()]);
    let said = output_of(&mut command, None, Duration::from_secs(options.seconds + 60))?;
    let unread = || Error::unread("weft-perf core", "cycles per packet", &said);
    let results: Results = serde_json::from_str(&said).map_err(|_| unread())?;
    let run = |metric: &str| {
        let found = results.measurements.iter().find(|one| one.metric == metric);
        found.and_then(|one| one.runs.first().copied()).ok_or_else(unread)
    };
    let details = BTreeMap::from([
        (SOURCE_AND_SINK.to_owned(), run("source-and-sink-cycles")?),
        ("hit percent".to_owned(), run("hits")?),
    ]);
    Ok((case, Sample { cycles: run("cycles")?, mpps: run("rate")?, details }))
}

/// The detail that says what making and taking packets costs.
pub const SOURCE_AND_SINK: &str = "source and sink cycles";
