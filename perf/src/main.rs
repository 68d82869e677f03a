//! `weft-perf`: benchmarks, and the generators they use.
#![deny(unsafe_code)]

use std::{net::Ipv4Addr, process::ExitCode, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand};
use weft_perf::{
    blast::{self, Blast},
    compare, core, curve, disrupt, generator,
    lab::Error,
    peers, pods, report, scale, search, sink,
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
    /// Print the manual page (roff).
    #[command(hide = true)]
    Man,
    /// Run the packet's path in memory on one pinned core; print packets per second and cycles per packet.
    Core(core::verb::Options),
    /// Cycles per packet over the number of flows: `curve.json` and `curve.svg`.
    Curve(curve::Options),
    /// Run the packet's path on several cores at once, beside each alone; and handed over from one to another.
    Scale(scale::Options),
    /// Put weft and other switches between two pods, in turn; print tables, write `pods.json` and charts.
    Pods(pods::Options),
    /// Tell what weftd costs while nothing happens, and how soon it is back.
    Idle(pods::idle::Options),
    /// Run the packet's path in memory beside Open vSwitch with DPDK and testpmd, in turn; print a table, write
    /// `peers.json` and a chart.
    Peers(peers::Options),
    /// Make one HTML page of results: tables, plots, testbed, raw figures. It loads nothing from elsewhere.
    Report(report::Options),
    /// Tell what is better, worse or unchanged between two results, with what confidence; exit with 1 if anything is worse.
    Compare(compare::Options),
    /// Offer UDP frames to a veth from the kernel's XDP, at several times what sockets reach.
    Blast(Traffic),
    /// Send frames over AF_XDP (xsk-rs), or have the kernel's pktgen send.
    Gen(Box<generator::Options>),
    /// Receive them over AF_XDP: loss, order, duplicates, damage, latency.
    Sink(sink::Options),
    /// Search how much a switch carries: NDR, PDR, latency, bursts, recovery (RFC 2544, MLRsearch).
    Search(Box<search::Options>),
    /// Tell for how long traffic stops while a configuration changes, and while weftd restarts.
    Disrupt(disrupt::Options),
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
            ExitCode::from(error.exit_code())
        }
    }
}

/// Whether all that had to succeed did, and what was expected holds.
fn run(verb: Verb) -> Result<bool, Error> {
    match verb {
        Verb::Man => clap_mangen::Man::new(Arguments::command())
            .render(&mut std::io::stdout())
            .map_err(Error::io("the manual page"))?,
        Verb::Core(options) => return core::verb::run(&options),
        Verb::Curve(options) => return curve::run(&options),
        Verb::Scale(options) => return scale::run(&options),
        Verb::Pods(options) => return pods::run(&options),
        Verb::Idle(options) => return pods::idle::run(&options),
        Verb::Peers(options) => return peers::run(&options),
        Verb::Report(options) => report::run(&options)?,
        Verb::Compare(options) => return compare::run(&options),
        Verb::Blast(traffic) => {
            let blast = Blast {
                size: traffic.size.max(60),
                flows: traffic.flows,
                macs: (traffic.src_mac, traffic.dst_mac),
                addresses: (traffic.src, traffic.dst),
                time: Duration::from_secs(traffic.seconds),
            };
            println!(
                "offered {:.3} Mpps",
                blast::run(&traffic.device, &blast).map_err(Error::io(&traffic.device))? / 1e6
            );
        }
        Verb::Gen(options) => generator::run(&options)?,
        Verb::Sink(options) => return sink::run(&options),
        Verb::Search(options) => return search::run(&options),
        Verb::Disrupt(options) => return disrupt::run(&options),
    }
    Ok(true)
}
