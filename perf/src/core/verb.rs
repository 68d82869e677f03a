//! `weft-perf core`: cases by numbers of flows, and what comes out noted and told.

use std::sync::Arc;

use clap::Args;

use weft_dataplane::{
    capture::{Capture, Point, Spec},
    filter::{Filter, Instruction},
};

use super::{Case, Outcome, Setup, run as run_once};
use crate::{
    lab::{Error, output, pause, pin, watch},
    results::{Axes, Better, Figure, Output, Results, System, axes},
};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What the packets go through; several are measured one after the other.
    #[arg(long = "case", value_enum, value_delimiter = ',', default_value = "l3")]
    pub cases: Vec<Case>,
    /// Distinct flows, in random order; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub flows: Vec<u32>,
    /// Operators' rules (cases rules, miss and mixed).
    #[arg(long, default_value_t = 1000)]
    pub rules: usize,
    /// IPv6 rather than IPv4.
    #[arg(long)]
    pub ipv6: bool,
    /// Have a capture at both ports, received and sent, meanwhile: tcpdump's words. Nobody reads it, so that what it costs is the
    /// filter, if nothing matches.
    #[arg(long, value_name = "FILTER")]
    pub capture: Option<String>,
    /// Runs of each, in turns; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Each for so long, seconds.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Pin to this core.
    #[arg(long, default_value_t = 1)]
    pub cpu: usize,
    /// Other ways to give results.
    #[command(flatten)]
    pub output: Output,
}

/// What a path without a kernel can't tell.
const LIMITS: [&str; 2] = [
    "The path in memory: frames come from a generator and go nowhere. No card, no kernel, no wait is in these figures.",
    "Cycles are the time-stamp counter's, generator and sink included: what these cost alone stands beside.",
];

/// Results that hold weft's own path, on one core.
pub fn results(benchmark: &str, cpu: usize) -> Results {
    let mut results = Results::new(benchmark);
    results.limits = LIMITS.map(str::to_owned).into();
    results.notes.push(format!("64-byte frames, gen to null, on core {cpu}."));
    results.systems.push(System {
        name: WEFT.into(),
        about: "weft's pipeline".into(),
        version: format!("weft {}", env!("CARGO_PKG_VERSION")),
        mode: "gen to null".into(),
        is_weft: true,
        is_baseline: false,
    });
    results
}

const WEFT: &str = "weft";

/// Measures, and tells. Whether all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    watch()?;
    pin(options.cpu)?;
    let mut results = results("core", options.cpu);
    let filter = options.capture.as_deref().map(compile).transpose()?;
    if let Some(words) = &options.capture {
        results.notes.push(format!("With a capture at both ports, received and sent: `{words}`."));
    }
    for _ in 0..options.runs {
        for case in &options.cases {
            for flows in &options.flows {
                let Options { rules, ipv6, seconds, .. } = *options;
                let setup = Setup { case: *case, flows: (*flows).max(1), rules, ipv6, seconds };
                let what = || Error::io(format!("{} in memory", case.word()));
                let capture = filter.as_ref().map(|program| watcher(program)).transpose()?;
                let outcome = run_once(&setup, capture).map_err(what())?;
                add(&mut results, &setup, &outcome);
                if !options.output.is_for_a_program() {
                    print(&setup, &outcome);
                }
                pause(std::time::Duration::ZERO)?; // Ctrl-C
            }
        }
    }
    options.output.finish(&results)
}

/// A filter, compiled by tcpdump.
fn compile(words: &str) -> Result<Vec<Instruction>, Error> {
    let said = output(&["tcpdump", "-y", "EN10MB", "-ddd", words])?;
    let instruction = |line: &str| {
        let mut fields = line.split(' ').map(|field| field.parse::<u32>().ok());
        let mut next = || fields.next().flatten();
        let (code, jt, jf, k) = (next()?, next()?, next()?, next()?);
        Some(Instruction { code: code.try_into().ok()?, jt: jt.try_into().ok()?, jf: jf.try_into().ok()?, k })
    };
    let program: Option<Vec<_>> = said.lines().skip(1).map(instruction).collect(); // the first line: how many
    program.ok_or_else(|| Error::unread("tcpdump -ddd", "program", &said))
}

/// A capture of everything that it says yes to.
fn watcher(program: &[Instruction]) -> Result<Arc<Capture>, Error> {
    const MEMORY: usize = 1 << 20;
    const SNAP: usize = 256;
    let filter = Filter::load(program).map_err(|error| Error::Usage(format!("--capture: {error}")))?;
    let points = vec![Point::In, Point::Out];
    let spec = Spec { ports: None, mac: None, points, filter: Some(filter), snap: SNAP };
    Capture::new(spec, MEMORY).map(Arc::new).map_err(Error::io("a capture"))
}

impl Case {
    /// As on the command line.
    pub fn word(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn has_rules(self) -> bool {
        matches!(self, Self::Rules | Self::Miss | Self::Mixed)
    }
}

/// Notes one run.
pub fn add(results: &mut Results, setup: &Setup, outcome: &Outcome) {
    let test = setup.case.word();
    let family = if setup.ipv6 { "IPv6" } else { "IPv4" };
    let mut under: Axes = axes([("flows", setup.flows.into()), ("family", family.into())]);
    if setup.case.has_rules() {
        under.insert("rules".into(), setup.rules.into());
    }
    let mut figure = |metric: &str, words: &str, unit: &str, better, value| {
        let title = format!("{test}: {words}");
        results.add(Figure { test: &test, metric, title: &title, unit, better }, WEFT, &under, value);
    };
    let Outcome { mpps, cycles_per_packet, source_and_sink_cycles, stages, hit_percent, mixed } = outcome;
    let (more, less, neither) = (Better::More, Better::Less, Better::Neither);
    figure("cycles", "cycles per packet", "TSC cycles", less, *cycles_per_packet);
    figure("rate", "packets per second", "Mpps", more, *mpps);
    figure(
        "source-and-sink-cycles",
        "of these, generator and sink",
        "TSC cycles",
        neither,
        *source_and_sink_cycles,
    );
    figure("hits", "lookups that the flow table answered", "%", neither, *hit_percent);
    for (stage, cycles) in stages {
        let metric = format!("{stage}-cycles");
        figure(&metric, &format!("of these, {stage}"), "TSC cycles", neither, *cycles);
    }
    if let Some(mixed) = mixed {
        figure(
            "established",
            "established flows during a flood of new ones",
            "Mpps",
            more,
            mixed.established_mpps,
        );
        figure("alone", "established flows alone", "Mpps", neither, mixed.alone_mpps);
        figure("resolved", "new flows decided", "M/s", more, mixed.resolved_mpps);
    }
}

/// One line for people, and one more for the case `mixed`.
fn print(setup: &Setup, outcome: &Outcome) {
    let stages: Vec<String> =
        outcome.stages.iter().map(|(stage, cycles)| format!("{stage} {cycles:.0}")).collect();
    println!(
        "{}{} {} flows: {:.1} Mpps, {:.0} cycles/packet (source and sink {:.0}; {}), {:.1} % hits",
        setup.case.word(),
        if setup.ipv6 { " IPv6" } else { "" },
        setup.flows,
        outcome.mpps,
        outcome.cycles_per_packet,
        outcome.source_and_sink_cycles,
        stages.join(", "),
        outcome.hit_percent
    );
    if let Some(mixed) = &outcome.mixed {
        println!(
            "established flows: {:.1} Mpps, alone {:.1}: {:.0} % lost; new ones decided: {:.2} M/s",
            mixed.established_mpps,
            mixed.alone_mpps,
            100.0 * (1.0 - mixed.established_mpps / mixed.alone_mpps),
            mixed.resolved_mpps
        );
    }
}
