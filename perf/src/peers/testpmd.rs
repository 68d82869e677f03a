//! DPDK's testpmd, `io`: a capture in, nothing out, and no decision between: the cost of making and taking packets.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Bench, Case, Kind, Sample};
use crate::{
    lab::{Error, Running, pause, present},
    pods::testpmd::{PACKAGE, PROGRAM},
};

const LIMIT: Duration = Duration::from_secs(60);
const PROMPT: &str = "testpmd>";

/// Runs it once.
pub fn run(bench: &Bench<'_>) -> Result<Vec<(Case, Sample)>, Error> {
    let options = bench.options;
    let dir = TempDir::with_prefix("weft-perf-").map_err(Error::io("a temporary directory"))?;
    let mut testpmd = Running::start(&mut command(bench)?, &dir.path().join("log"))?;
    testpmd.until("testpmd's prompt", LIMIT, |testpmd| Ok(testpmd.said().contains(PROMPT)))?;
    testpmd.tell("start")?;
    pause(Duration::from_millis(500))?;
    testpmd.tell("stop")?;
    testpmd.tell("start")?;
    let began = Instant::now();
    pause(Duration::from_secs(options.seconds))?;
    testpmd.tell("stop")?;
    let elapsed = began.elapsed().as_secs_f64();
    testpmd.tell("quit")?;
    testpmd.wait(LIMIT)?;
    let said = testpmd.said();
    let (packets, cycles) =
        read(&said).ok_or_else(|| Error::unread("testpmd", "cycles per packet", &said))?;
    let sample = Sample { cycles, mpps: packets / elapsed / 1e6, details: BTreeMap::new() };
    Ok(vec![(Case { flows: bench.flows, kind: Kind::Wire }, sample)])
}

fn command(bench: &Bench<'_>) -> Result<Command, Error> {
    let options = bench.options;
    let mut command = Command::new(present("stdbuf", "coreutils")?);
    command.arg("-o0").arg(present(PROGRAM, PACKAGE)?).stdin(Stdio::piped()); // its prompt is waited for
    command.args(["-l", &format!("{},{}", options.cpu_control, options.cpu)]);
    command.args(["--main-lcore", &options.cpu_control.to_string(), "--no-pci", "--no-telemetry"]);
    command.args(["--file-prefix", "weft-perf"]).args(bench.pages.arguments());
    command.arg("--vdev").arg(format!("net_pcap0,rx_pcap={},infinite_rx=1", bench.capture.display()));
    command.args(["--vdev", "net_null0,size=64,no-rx=1", "--", "-i", "--nb-cores=1"]);
    command.args(["--forward-mode=io", "--total-num-mbufs=200000", "--record-core-cycles"]);
    Ok(command)
}

/// Packets and cycles per packet of the last `stop`.
fn read(said: &str) -> Option<(f64, f64)> {
    let (_, last) = said.rsplit_once("Accumulated forward statistics")?;
    let after = |words: &str| {
        let (_, rest) = last.split_once(words)?;
        rest.trim_start().split(|c: char| !c.is_ascii_digit() && c != '.').next()?.parse().ok()
    };
    Some((after("RX-packets:")?, after("CPU cycles/packet=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_last_stop() {
        let one = "+++ Accumulated forward statistics for all ports+++\n  RX-packets: 1      RX-dropped: 0\n  \
                   CPU cycles/packet=98.57 (total cycles=476303 / total io packets=4832) at 2450 MHz Clock\n";
        let two = one.replace(": 1 ", ": 200 ").replace("98.57", "25.9");
        assert_eq!(read(&(one.to_owned() + &two)), Some((200.0, 25.9)));
        assert_eq!(read("testpmd> "), None);
    }
}
