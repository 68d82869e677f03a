//! `weft-perf`: benchmarks, and the generators they use.
#![deny(unsafe_code)]

use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use weft_perf::{
    blast::{self, Blast},
    core::{self, Case, Setup},
    curve, generator,
    lab::Error,
    peers, pods, scale, sink,
};
use weft_wire::Mac;

/// Benchmarks of weft. `make bench` runs the usual ones.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, and as expected; 1 below what was expected; 2 bad options; 3 something is missing here, or failed.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the packet's path in memory on one pinned core; print packets per second and cycles per packet.
    Core {
        /// What the packets go through.
        #[arg(long, value_enum, default_value = "l3")]
        case: Case,
        /// Distinct flows, in random order.
        #[arg(long, default_value_t = 1)]
        flows: u32,
        /// Operators' rules (cases rules and miss).
        #[arg(long, default_value_t = 1000)]
        rules: usize,
        /// IPv6 rather than IPv4.
        #[arg(long)]
        ipv6: bool,
        /// For so long.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Pin to this core.
        #[arg(long, default_value_t = 1)]
        cpu: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Cycles per packet over the number of flows: `curve.json` and `curve.svg`.
    Curve {
        /// Where to write them.
        #[arg(long, default_value = "perf/results")]
        out: PathBuf,
        /// Runs of each figure; the median counts.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// Each for so long.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Pin to this core.
        #[arg(long, default_value_t = 1)]
        cpu: usize,
    },
    /// Run the packet's path on several cores at once, beside each alone; and handed over from one to another.
    Scale {
        /// What the packets go through.
        #[arg(long, value_enum, default_value = "l3")]
        case: Case,
        /// Distinct flows, in random order, of each thread.
        #[arg(long, default_value_t = 100_000)]
        flows: u32,
        /// Each run for so long.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// The cores.
        #[arg(long, value_delimiter = ',', default_value = "0,1")]
        cpus: Vec<usize>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put weft and other switches between two pods, in turn; print tables, write `pods.json` and charts.
    Pods(pods::Options),
    /// Tell what weftd costs while nothing happens, and how soon it is back.
    Idle(pods::idle::Options),
    /// Run the packet's path in memory beside Open vSwitch with DPDK and testpmd, in turn; print a table, write
    /// `peers.json` and a chart.
    Peers(peers::Options),
    /// Offer UDP frames to a veth from the kernel's XDP, at several times what sockets reach.
    Blast(Traffic),
    /// Send frames over AF_XDP (xsk-rs), or have the kernel's pktgen send.
    Gen(Box<generator::Options>),
    /// Receive them over AF_XDP: loss, order, duplicates, damage, latency.
    Sink(sink::Options),
}

#[derive(Debug, Args)]
struct Traffic {
    /// The device, in this namespace.
    #[arg(long)]
    device: String,
    /// Source MAC.
    #[arg(long)]
    src_mac: Mac,
    /// Destination MAC.
    #[arg(long)]
    dst_mac: Mac,
    /// Source address.
    #[arg(long)]
    src: Ipv4Addr,
    /// Destination address.
    #[arg(long)]
    dst: Ipv4Addr,
    /// Frame length without FCS, bytes.
    #[arg(long, default_value_t = 64)]
    size: u16,
    /// Distinct flows.
    #[arg(long, default_value_t = 64)]
    flows: u16,
    /// For so long.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("weft-perf: {error}");
            // What is no error of the command line's is one of the environment's.
            ExitCode::from(error.downcast_ref().map_or(3, Error::exit_code))
        }
    }
}

/// One line for people, and one more for the case `mixed`.
fn print_outcome(case: Case, flows: u32, outcome: &core::Outcome) {
    let stages: Vec<String> =
        outcome.stages.iter().map(|(stage, cycles)| format!("{stage} {cycles:.0}")).collect();
    println!(
        "{case:?} {flows} flows: {:.1} Mpps, {:.0} cycles/packet (source and sink {:.0}; {}), {:.1} % hits",
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

fn print_scaling(scaling: &scale::Scaling) {
    let sum: f64 = scaling.alone_mpps.iter().sum();
    for (cpu, mpps) in scaling.cpus.iter().zip(&scaling.alone_mpps) {
        println!("core {cpu} alone: {mpps:.1} Mpps");
    }
    let together = scaling.together_mpps;
    println!("all together: {together:.1} Mpps, {:.0} % of what they do alone", 100.0 * together / sum);
    if let Some(mpps) = scaling.handed_over_mpps {
        println!("handed over from core {} to core {}: {mpps:.1} Mpps", scaling.cpus[0], scaling.cpus[1]);
    }
}

fn pin(cpu: usize) -> Result<(), Box<dyn std::error::Error>> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        Ok(())
    } else {
        Err(format!("this process may not run on core {cpu}: choose another with --cpu").into())
    }
}

/// Whether all that had to succeed did.
fn run(verb: Verb) -> Result<bool, Box<dyn std::error::Error>> {
    match verb {
        Verb::Core { case, flows, rules, ipv6, seconds, cpu, json } => {
            pin(cpu)?;
            let outcome = core::run(&Setup { case, flows: flows.max(1), rules, ipv6, seconds })?;
            if json {
                println!("{}", serde_json::to_string(&outcome)?);
            } else {
                print_outcome(case, flows, &outcome);
            }
        }
        Verb::Curve { out, runs, seconds, cpu } => {
            pin(cpu)?;
            curve::run(&out, runs, seconds, |point| {
                let spread =
                    |pick: fn(f64, f64) -> f64| point.runs.iter().copied().reduce(pick).unwrap_or(0.0);
                println!(
                    "{:<9} {:>8} flows {:>6.1} cycles/packet ({:.1}–{:.1})",
                    point.case,
                    point.flows,
                    point.median.cycles_per_packet,
                    spread(f64::min),
                    spread(f64::max)
                );
            })?;
            println!("written: {0}/curve.json {0}/curve.svg", out.display());
        }
        Verb::Scale { case, flows, seconds, cpus, json } => {
            let setup = Setup { case, flows: flows.max(1), rules: 0, ipv6: false, seconds };
            let scaling = scale::run(&setup, &cpus)?;
            if json {
                println!("{}", serde_json::to_string(&scaling)?);
            } else {
                print_scaling(&scaling);
            }
        }
        Verb::Pods(options) => return Ok(pods::run(&options)?),
        Verb::Idle(options) => pods::idle::run(&options)?,
        Verb::Peers(options) => return Ok(peers::run(&options)?),
        Verb::Blast(traffic) => {
            let blast = Blast {
                size: traffic.size.max(60),
                flows: traffic.flows,
                macs: (traffic.src_mac, traffic.dst_mac),
                addresses: (traffic.src, traffic.dst),
                time: Duration::from_secs(traffic.seconds),
            };
            println!("offered {:.3} Mpps", blast::run(&traffic.device, &blast)? / 1e6);
        }
        Verb::Gen(options) => generator::run(&options)?,
        Verb::Sink(options) => return Ok(sink::run(&options)?),
    }
    Ok(true)
}
