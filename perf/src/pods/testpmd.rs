//! DPDK's testpmd as a wire between two AF_XDP ports: what the ports cost with no switch behind them.

use std::time::Duration;

use tempfile::TempDir;

use super::{
    system::{Between, Cores, System},
    topology::Pods,
};
use crate::lab::{Error, Running, output, present};

/// Debian's package with the program.
pub(crate) const PACKAGE: &str = "dpdk-dev";
pub(crate) const PROGRAM: &str = "dpdk-testpmd";

/// The wire.
#[derive(Debug)]
pub struct Testpmd;

impl System for Testpmd {
    fn name(&self) -> &'static str {
        "testpmd"
    }

    fn about(&self) -> &'static str {
        "DPDK testpmd, AF_XDP on veth (a wire: no lookup)"
    }

    fn programs(&self) -> Vec<(&'static str, &'static str)> {
        vec![(PROGRAM, PACKAGE)]
    }

    fn version(&self) -> Result<String, Error> {
        version()
    }

    fn set_up(&self, pods: Pods, cores: Cores) -> Result<Between, Error> {
        pods.veths(cores.queues)?;
        pods.share_subnet()?;
        pods.send_plain_frames()?;
        let dir = TempDir::with_prefix("weft-perf-").map_err(Error::io("a temporary directory"))?;
        let binary = present(PROGRAM, PACKAGE)?.display().to_string();
        let mut command = pods.switch.command(&binary);
        let lcores = [cores.pods].into_iter().chain(cores.switches()).map(|core| core.to_string());
        let (lcores, Cores { threads, queues, .. }) = (lcores.collect::<Vec<_>>().join(","), cores);
        command.args(["-l", &lcores, "--main-lcore", &cores.pods.to_string(), "--no-pci", "--no-telemetry"]);
        command.args(["--no-huge", "-m", "512", "--file-prefix", pods.switch.name()]);
        for (i, pod) in pods.each().iter().enumerate() {
            command.arg("--vdev").arg(format!("net_af_xdp{i},iface={},queue_count={queues}", pod.veth));
        }
        command.args(["--", "--forward-mode=io", "--total-num-mbufs=16384"]);
        command.args(
            [("nb-cores", threads), ("rxq", queues), ("txq", queues)].map(|(k, v)| format!("--{k}={v}")),
        );
        command.args(["--auto-start", "--stats-period", "3600"]);
        let mut running = Running::start(&mut command, &dir.path().join("log"))?;
        // Its output, which would tell, is buffered.
        running.until("forwarding by testpmd", Duration::from_secs(40), |_| pods.reachable())?;
        let (mode, next_hop) = ("AF_XDP, PMD thread spins".into(), pods.b.mac);
        let pids = vec![running.id()];
        Ok(Between { switch: Some(Box::new((running, dir))), pids, pods, mode, next_hop })
    }

    fn scales(&self) -> bool {
        true
    }
}

/// DPDK's version: testpmd tells it to nobody, so that of the package.
pub(crate) fn version() -> Result<String, Error> {
    let version = output(&["dpkg-query", "-W", "-f", "${Version}", PACKAGE])?;
    Ok(format!("DPDK {version}"))
}
