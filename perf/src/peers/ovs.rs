//! Open vSwitch with DPDK: a capture in, nothing out, one poll-mode thread.

use std::{collections::BTreeMap, time::Duration};

use super::{Bench, Case, Kind, Sample, capture::DST, openflow};
use crate::{
    lab::{Error, NetNs, pause},
    ovs::{Cores, Ovs},
};

/// Runs every case once; they share one daemon.
pub fn run(bench: &Bench<'_>, kinds: &[Kind]) -> Result<Vec<(Case, Sample)>, Error> {
    let ns = NetNs::new("ovs")?;
    let options = bench.options;
    let lcores = format!("{:x}", 1_u64 << options.cpu_control);
    // It adds --in-memory itself.
    let memory = bench.pages.arguments().iter().filter(|word| **word != "--in-memory");
    let words = ["--no-pci", "--no-telemetry", "--file-prefix=weft-perf"];
    let extra: Vec<&str> = words.iter().chain(memory).copied().collect();
    let settings =
        [("dpdk-init", "true"), ("dpdk-lcore-mask", lcores.as_str()), ("dpdk-extra", &extra.join(" "))];
    let cores = Cores { main: options.cpu_control, pmd: 1 << options.cpu };
    let ovs = Ovs::start(&ns, cores, &settings)?;
    let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", bench.capture.display());
    add_port(&ovs, "p1", 1, &source)?;
    add_port(&ovs, "p2", 2, "net_null0,size=64,no-rx=1")?;
    kinds.iter().map(|kind| one(&ovs, bench, Case { flows: bench.flows, kind: *kind })).collect()
}

fn add_port(ovs: &Ovs, name: &str, number: u32, device: &str) -> Result<(), Error> {
    let (number, device) = (format!("ofport_request={number}"), format!("options:dpdk-devargs=\"{device}\""));
    ovs.add_port(name, &["type=dpdk", &number, &device])
}

fn one(ovs: &Ovs, bench: &Bench<'_>, case: Case) -> Result<(Case, Sample), Error> {
    let flows = openflow::flows(case.kind, bench.options.rules);
    ovs.replace_flows(&flows)?;
    if case.kind == Kind::L2 {
        ovs.tell(&["fdb/add", "br0", "p2", "0", &DST.to_string()])?;
    }
    // What was decided under other rules is forgotten, and everything decided again, before counting begins.
    pause(Duration::from_millis(500))?;
    ovs.tell(&["revalidator/purge"])?;
    pause(Duration::from_secs(2))?;
    ovs.tell(&["dpif-netdev/pmd-stats-clear"])?;
    pause(Duration::from_secs(bench.options.seconds))?;
    let said = ovs.tell(&["dpif-netdev/pmd-perf-show"])?;
    let sample = read(&said).ok_or_else(|| Error::unread("pmd-perf-show", "cycles per packet", &said));
    let mut sample = sample?;
    sample.details.insert("OpenFlow flows".into(), flows.lines().count() as f64);
    Ok((case, sample))
}

/// `Rx packets: 6425152 (3110 Kpps, 786 cycles/pkt)`, and which cache answered.
fn read(said: &str) -> Option<Sample> {
    let line = |words: &str| said.lines().find(|line| line.contains(words));
    let (_, rx) = line("Rx packets:")?.split_once('(')?;
    let (rate, rest) = rx.split_once(" Kpps, ")?;
    let cycles = rest.split_whitespace().next()?.parse().ok()?;
    let percent = |words| {
        let (_, share) = line(words)?.split_once('(')?;
        share.split_whitespace().next()?.parse::<f64>().ok()
    };
    let shares = ["Simple Match hits", "EMC hits", "Megaflow hits", "- Upcalls"];
    let named = |words: &str| words.trim_start_matches("- ").to_owned() + " percent";
    let mut details: BTreeMap<String, f64> =
        shares.into_iter().filter_map(|words| Some((named(words), percent(words)?))).collect();
    let subtables = line("Megaflow hits").and_then(|line| line.split_once("%, "));
    let subtables = subtables.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    details.extend(subtables.map(|count| ("subtables per megaflow hit".to_owned(), count)));
    Some(Sample { cycles, mpps: rate.trim().parse::<f64>().ok()? / 1e3, details })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let said = "  Rx packets:        52012345  (26005 Kpps, 99 cycles/pkt)\n  \
                    - EMC hits:        51000000  ( 98.1 %)\n  \
                    - Megaflow hits:   1000000  (  1.9 %, 1.50 subtbl lookups/hit)\n  - Upcalls:   0  (  0.0 %, 0.0 us/upcall)\n";
        let sample = read(said).unwrap();
        assert_eq!((sample.cycles, sample.mpps), (99.0, 26.005));
        assert_eq!(sample.details["EMC hits percent"], 98.1);
        assert_eq!(sample.details["subtables per megaflow hit"], 1.5);
        assert_eq!(sample.details["Upcalls percent"], 0.0);
        assert!(read("  Rx packets: 0  (0 Kpps)\n").is_none());
    }
}
