//! What is sent from pod a to pod b, and what is counted.

use std::{process::Command, time::Duration};

use tempfile::TempDir;

use super::{
    system::{Between, Cores},
    topology::Pod,
};
use crate::{
    cpu::{Meter, Usage},
    lab::{Error, Running, find, myself, output_of, pause},
    results::{Better, Figure},
};

/// A test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Test {
    /// UDP frames of 64 bytes, more than any switch takes.
    Udp64,
    /// UDP frames of 1514 bytes, more than any switch takes.
    Udp1514,
    /// TCP, one stream.
    Tcp1,
    /// TCP, four streams.
    Tcp4,
    /// UDP, one message at a time, back and forth.
    RrUdp,
    /// TCP, one message at a time, back and forth.
    RrTcp,
}

/// Every test.
pub const TESTS: [Test; 6] = [Test::Udp64, Test::Udp1514, Test::Tcp1, Test::Tcp4, Test::RrUdp, Test::RrTcp];

/// Every figure, in the order in which they are shown.
pub const FIGURES: [Figure<'static>; 12] = [
    rate(Test::Udp64, "UDP, 64-byte frames, delivered", "Mpps"),
    rate(Test::Udp1514, "UDP, 1514-byte frames, delivered", "Mpps"),
    rate(Test::Tcp1, "TCP, one stream", "Gb/s"),
    rate(Test::Tcp4, "TCP, four streams", "Gb/s"),
    delay(Test::RrUdp, "p50", "UDP round trip, median"),
    delay(Test::RrTcp, "p50", "TCP round trip, median"),
    delay(Test::RrUdp, "p99", "UDP round trip, 99th percentile"),
    delay(Test::RrTcp, "p99", "TCP round trip, 99th percentile"),
    beside(Test::Udp64, "offered", "UDP, 64-byte frames, offered", "Mpps"),
    beside(Test::Udp1514, "offered", "UDP, 1514-byte frames, offered", "Mpps"),
    beside(Test::Tcp1, "retransmits", "TCP, one stream, segments sent again", ""),
    beside(Test::Tcp4, "retransmits", "TCP, four streams, segments sent again", ""),
];

const fn rate(test: Test, title: &'static str, unit: &'static str) -> Figure<'static> {
    Figure { test: test.name(), metric: "rate", title, unit, better: Better::More }
}

const fn delay(test: Test, metric: &'static str, title: &'static str) -> Figure<'static> {
    Figure { test: test.name(), metric, title, unit: "µs", better: Better::Less }
}

const fn beside(
    test: Test,
    metric: &'static str,
    title: &'static str,
    unit: &'static str,
) -> Figure<'static> {
    Figure { test: test.name(), metric, title, unit, better: Better::Neither }
}

/// What one run of a test gave.
#[derive(Debug)]
pub struct Outcome {
    /// By the names of metrics.
    pub figures: Vec<(&'static str, f64)>,
    /// What the processor did meanwhile.
    pub usage: Usage,
    /// Packets that arrived, where they are counted.
    pub packets: Option<u64>,
}

impl Test {
    /// Its name in `--tests`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp64 => "udp64",
            Self::Udp1514 => "udp1514",
            Self::Tcp1 => "tcp1",
            Self::Tcp4 => "tcp4",
            Self::RrUdp => "rr-udp",
            Self::RrTcp => "rr-tcp",
        }
    }

    /// Its programs, and their packages.
    pub fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Udp64 | Self::Udp1514 => &[("nft", "nftables"), ("ethtool", "ethtool")],
            Self::Tcp1 | Self::Tcp4 => &[("iperf3", "iperf3")],
            Self::RrUdp | Self::RrTcp => &[("sockperf", "sockperf")],
        }
    }

    /// Why it can't be made here, if it can't.
    pub fn missing(self) -> Option<String> {
        let (program, package) = self.programs().iter().find(|(program, _)| find(program).is_none())?;
        Some(format!("{program} is not there: apt-get install {package}"))
    }

    /// Runs it once.
    pub fn run(self, between: &Between, cores: Cores, seconds: u64) -> Result<Outcome, Error> {
        match self {
            Self::Udp64 => udp(between, cores, seconds, 64),
            Self::Udp1514 => udp(between, cores, seconds, 1514),
            Self::Tcp1 => tcp(between, cores, seconds, 1),
            Self::Tcp4 => tcp(between, cores, seconds, 4),
            Self::RrUdp => round_trips(between, cores, seconds, false),
            Self::RrTcp => round_trips(between, cores, seconds, true),
        }
    }
}

/// Runs what makes the traffic; what it printed, and what the processor did meanwhile.
fn metered(between: &Between, command: &mut Command, limit_s: u64) -> Result<(String, Usage), Error> {
    let meter = Meter::start(&between.pids)?;
    let said = output_of(command, None, Duration::from_secs(limit_s))?;
    Ok((said, meter.stop()?))
}

/// Counts the generator's frames as they enter pod b, and drops them there: what sockets cost is not the question.
const SINK: &str = r#"
table netdev weft_perf { }
delete table netdev weft_perf
table netdev weft_perf {
  counter arrived { }
  chain in {
    type filter hook ingress device "eth0" priority 0; policy accept;
    udp dport 9 counter name arrived drop
  }
}
"#;

fn arrived(pod: &Pod) -> Result<u64, Error> {
    let said = pod.ns.output(&["nft", "-j", "list", "counter", "netdev", "weft_perf", "arrived"])?;
    let unread = || Error::unread("nft list counter", "number of packets", &said);
    let value: serde_json::Value = serde_json::from_str(&said).map_err(|_| unread())?;
    let entries = value["nftables"].as_array().ok_or_else(unread)?;
    entries.iter().find_map(|entry| entry["counter"]["packets"].as_u64()).ok_or_else(unread)
}

fn udp(between: &Between, cores: Cores, seconds: u64, size: u16) -> Result<Outcome, Error> {
    let (a, b) = (&between.pods.a, &between.pods.b);
    output_of(b.ns.command("nft").args(["-f", "-"]), Some(SINK), Duration::from_secs(10))?;
    between.pods.napi(true)?;
    let mut command = a.ns.pinned(cores.pods, &myself()?);
    command.args(["blast", "--device", "eth0", "--src-mac", &a.mac.to_string()]);
    command.args(["--dst-mac", &between.next_hop.to_string(), "--src", a.address, "--dst", b.address]);
    command.args(["--size", &size.to_string(), "--seconds", &seconds.to_string()]);
    let (said, usage) = metered(between, &mut command, seconds + 30)?;
    pause(Duration::from_millis(50))?; // what is on its way
    // A call into the kernel's generator takes its time, so that the run is longer than asked for: the clock counts.
    let packets = arrived(b)?;
    let delivered = packets as f64 / usage.elapsed.as_secs_f64() / 1e6;
    between.pods.napi(false)?;
    let offered = said.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let offered = offered.ok_or_else(|| Error::unread("weft-perf blast", "rate", &said))?;
    Ok(Outcome { figures: vec![("rate", delivered), ("offered", offered)], usage, packets: Some(packets) })
}

/// Waits until somebody listens in a pod.
fn wait_for_server(server: &mut Running, pod: &Pod, tcp: bool, port: u16) -> Result<(), Error> {
    let (kind, filter) = (if tcp { "-Htln" } else { "-Huln" }, format!("sport = :{port}"));
    server.until("a listening server", Duration::from_secs(10), |_| {
        Ok(!pod.ns.output(&["ss", kind, &filter])?.trim().is_empty())
    })
}

fn tcp(between: &Between, cores: Cores, seconds: u64, streams: u32) -> Result<Outcome, Error> {
    let (a, b) = (&between.pods.a, &between.pods.b);
    let dir = TempDir::new().map_err(Error::io("a temporary directory"))?;
    let mut command = b.ns.pinned(cores.pods, "iperf3");
    let mut server = Running::start(command.args(["-s", "-1"]), &dir.path().join("log"))?;
    wait_for_server(&mut server, b, true, 5201)?;
    let mut command = a.ns.pinned(cores.pods, "iperf3");
    command.args(["-J", "-c", b.address, "-P", &streams.to_string(), "-t", &seconds.to_string()]);
    let (said, usage) = metered(between, command.args(["--connect-timeout", "3000"]), seconds + 20)?;
    let unread = || Error::unread("iperf3", "rate at the receiver", &said);
    let end: serde_json::Value = serde_json::from_str(&said).map_err(|_| unread())?;
    let rate = end["end"]["sum_received"]["bits_per_second"].as_f64().ok_or_else(unread)?;
    let again = end["end"]["sum_sent"]["retransmits"].as_f64().unwrap_or(0.0);
    Ok(Outcome { figures: vec![("rate", rate / 1e9), ("retransmits", again)], usage, packets: None })
}

fn round_trips(between: &Between, cores: Cores, seconds: u64, tcp: bool) -> Result<Outcome, Error> {
    const PORT: &str = "11111";
    let (a, b) = (&between.pods.a, &between.pods.b);
    let dir = TempDir::new().map_err(Error::io("a temporary directory"))?;
    let kind = tcp.then_some("--tcp");
    let mut command = b.ns.pinned(cores.pods, "sockperf");
    command.args(["server", "-i", b.address, "-p", PORT]).args(kind);
    let mut server = Running::start(&mut command, &dir.path().join("log"))?;
    wait_for_server(&mut server, b, tcp, 11111)?;
    let mut command = a.ns.pinned(cores.pods, "sockperf");
    command.args(["ping-pong", "-i", b.address, "-p", PORT, "-m", "64", "-t", &seconds.to_string()]);
    command.arg("--full-rtt").args(kind); // its default is half of it
    let (said, usage) = metered(between, &mut command, seconds + 20)?;
    let percentile = |words| percentile(&said, words);
    let figures = vec![("p50", percentile("percentile 50.000")?), ("p99", percentile("percentile 99.000")?)];
    Ok(Outcome { figures, usage, packets: None })
}

/// Microseconds, of `sockperf: ---> percentile 50.000 =   14.700`.
fn percentile(said: &str, words: &'static str) -> Result<f64, Error> {
    let line = said.lines().find(|line| line.contains(words));
    let value = line.and_then(|line| line.rsplit('=').next()?.trim().parse().ok());
    value.ok_or_else(|| Error::unread("sockperf", words, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read() {
        let said =
            "sockperf: ---> <MAX> observation =  161.010\nsockperf: ---> percentile 99.000 =   19.250\n";
        assert_eq!(percentile(said, "percentile 99.000").unwrap(), 19.25);
        assert!(percentile(said, "percentile 50.000").is_err());
    }

    #[test]
    fn every_test_has_figures() {
        assert!(TESTS.into_iter().all(|test| FIGURES.iter().any(|figure| figure.test == test.name())));
    }
}
