//! What is sent from pod a to pod b, and what is counted.

use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::TempDir;

use super::{
    system::{Between, Cores},
    topology::Pod,
};
use crate::lab::{Error, Running, find, myself, output_of, pause};

/// A test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
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

/// A figure that a test gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Metric {
    /// Of this test.
    pub test: Test,
    /// Its name in files.
    pub name: &'static str,
    /// For tables.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether less is better.
    pub less_is_better: bool,
}

/// Every figure, in the order in which they are shown.
pub const METRICS: [Metric; 8] = [
    rate(Test::Udp64, "udp64", "UDP, 64-byte frames, delivered", "Mpps"),
    rate(Test::Udp1514, "udp1514", "UDP, 1514-byte frames, delivered", "Mpps"),
    rate(Test::Tcp1, "tcp1", "TCP, one stream", "Gb/s"),
    rate(Test::Tcp4, "tcp4", "TCP, four streams", "Gb/s"),
    delay(Test::RrUdp, "rr-udp-p50", "UDP round trip, median"),
    delay(Test::RrTcp, "rr-tcp-p50", "TCP round trip, median"),
    delay(Test::RrUdp, "rr-udp-p99", "UDP round trip, 99th percentile"),
    delay(Test::RrTcp, "rr-tcp-p99", "TCP round trip, 99th percentile"),
];

const fn rate(test: Test, name: &'static str, title: &'static str, unit: &'static str) -> Metric {
    Metric { test, name, title, unit, less_is_better: false }
}

const fn delay(test: Test, name: &'static str, title: &'static str) -> Metric {
    Metric { test, name, title, unit: "µs", less_is_better: true }
}

/// What a test gave: figures by the names of [`METRICS`], and what else is worth keeping.
pub type Figures = Vec<(&'static str, f64)>;

impl Test {
    /// Its name in `--tests`.
    pub fn name(self) -> &'static str {
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
    pub fn run(self, between: &Between, cores: Cores, seconds: u64) -> Result<Figures, Error> {
        match self {
            Self::Udp64 => udp(between, cores, seconds, ["udp64", "udp64 offered"], 64),
            Self::Udp1514 => udp(between, cores, seconds, ["udp1514", "udp1514 offered"], 1514),
            Self::Tcp1 => tcp(between, cores, seconds, ["tcp1", "tcp1 retransmits"], 1),
            Self::Tcp4 => tcp(between, cores, seconds, ["tcp4", "tcp4 retransmits"], 4),
            Self::RrUdp => round_trips(between, cores, seconds, ["rr-udp-p50", "rr-udp-p99"], false),
            Self::RrTcp => round_trips(between, cores, seconds, ["rr-tcp-p50", "rr-tcp-p99"], true),
        }
    }
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

fn udp(
    between: &Between,
    cores: Cores,
    seconds: u64,
    names: [&'static str; 2],
    size: u16,
) -> Result<Figures, Error> {
    let (a, b) = (&between.pods.a, &between.pods.b);
    output_of(b.ns.command("nft").args(["-f", "-"]), Some(SINK), Duration::from_secs(10))?;
    between.pods.napi(true)?;
    let mut command = a.ns.pinned(cores.pods, &myself()?);
    command.args(["blast", "--device", "eth0", "--src-mac", &a.mac.to_string()]);
    command.args(["--dst-mac", &between.next_hop.to_string(), "--src", a.address, "--dst", b.address]);
    command.args(["--size", &size.to_string(), "--seconds", &seconds.to_string()]);
    // A call into the kernel's generator takes its time, so that the run is longer than asked for: the clock counts.
    let began = Instant::now();
    let said = output_of(&mut command, None, Duration::from_secs(seconds + 30))?;
    let elapsed = began.elapsed().as_secs_f64();
    pause(Duration::from_millis(50))?; // what is on its way
    let delivered = arrived(b)? as f64 / elapsed / 1e6;
    between.pods.napi(false)?;
    let offered = said.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let offered = offered.ok_or_else(|| Error::unread("weft-perf blast", "rate", &said))?;
    Ok(vec![(names[0], delivered), (names[1], offered)])
}

/// Waits until somebody listens in a pod.
fn wait_for_server(server: &mut Running, pod: &Pod, tcp: bool, port: u16) -> Result<(), Error> {
    let (kind, filter) = (if tcp { "-Htln" } else { "-Huln" }, format!("sport = :{port}"));
    server.until("a listening server", Duration::from_secs(10), |_| {
        Ok(!pod.ns.output(&["ss", kind, &filter])?.trim().is_empty())
    })
}

fn tcp(
    between: &Between,
    cores: Cores,
    seconds: u64,
    names: [&'static str; 2],
    streams: u32,
) -> Result<Figures, Error> {
    let (a, b) = (&between.pods.a, &between.pods.b);
    let dir = TempDir::new().map_err(Error::io("a temporary directory"))?;
    let mut command = b.ns.pinned(cores.pods, "iperf3");
    let mut server = Running::start(command.args(["-s", "-1"]), &dir.path().join("log"))?;
    wait_for_server(&mut server, b, true, 5201)?;
    let mut command = a.ns.pinned(cores.pods, "iperf3");
    command.args(["-J", "-c", b.address, "-P", &streams.to_string(), "-t", &seconds.to_string()]);
    let said =
        output_of(command.args(["--connect-timeout", "3000"]), None, Duration::from_secs(seconds + 20))?;
    let unread = || Error::unread("iperf3", "rate at the receiver", &said);
    let end: serde_json::Value = serde_json::from_str(&said).map_err(|_| unread())?;
    let rate = end["end"]["sum_received"]["bits_per_second"].as_f64().ok_or_else(unread)?;
    let again = end["end"]["sum_sent"]["retransmits"].as_f64().unwrap_or(0.0);
    Ok(vec![(names[0], rate / 1e9), (names[1], again)])
}

fn round_trips(
    between: &Between,
    cores: Cores,
    seconds: u64,
    names: [&'static str; 2],
    tcp: bool,
) -> Result<Figures, Error> {
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
    let said = output_of(&mut command, None, Duration::from_secs(seconds + 20))?;
    let percentile = |words| percentile(&said, words);
    Ok(vec![(names[0], percentile("percentile 50.000")?), (names[1], percentile("percentile 99.000")?)])
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
        assert!(TESTS.into_iter().all(|test| METRICS.iter().any(|metric| metric.test == test)));
    }
}
