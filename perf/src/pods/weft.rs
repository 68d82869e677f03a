//! weftd between two pods of a routed network.

use std::{fmt::Write, fs, process::Command, time::Duration};

use tempfile::TempDir;

use super::{
    system::{Between, Cores, System},
    topology::{GATEWAY, GATEWAY_MAC, Pods},
};
use crate::lab::{Error, Running, output_of, present};

/// By what ports the pods are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weft {
    /// Taps that weftd makes and moves into the pods.
    Tap,
    /// AF_PACKET on the switch's ends of veths.
    Packet,
    /// AF_XDP on the switch's ends of veths.
    Xsk,
}

impl System for Weft {
    fn name(&self) -> &'static str {
        match self {
            Self::Tap => "weft-tap",
            Self::Packet => "weft-packet",
            Self::Xsk => "weft-xsk",
        }
    }

    fn about(&self) -> &'static str {
        match self {
            Self::Tap => "weft, tap",
            Self::Packet => "weft, AF_PACKET on veth",
            Self::Xsk => "weft, AF_XDP on veth",
        }
    }

    fn programs(&self) -> Vec<(&'static str, &'static str)> {
        vec![("weftd", "weftd"), ("weftctl", "weftctl")]
    }

    fn version(&self) -> Result<String, Error> {
        Ok(format!("weft {}", env!("CARGO_PKG_VERSION")))
    }

    fn set_up(&self, pods: Pods, cores: Cores) -> Result<Between, Error> {
        let weftd = self.start(&pods, cores, "spin")?;
        let mode = format!("{}; PMD thread spins", weftd.mode);
        let pids = vec![weftd.daemon.id()];
        Ok(Between { switch: Some(Box::new(weftd)), pids, pods, mode, next_hop: GATEWAY_MAC })
    }

    fn is_weft(&self) -> bool {
        true
    }

    fn scales(&self) -> bool {
        true
    }
}

/// A running weftd.
#[derive(Debug)]
pub struct Weftd {
    // Dropped in this order: it ends before its directory.
    /// The daemon.
    pub daemon: Running,
    _dir: TempDir,
    /// The mode of the pods' ports.
    pub mode: String,
}

impl Weft {
    /// Starts it between pods whose interfaces it may still have to make.
    pub fn start(self, pods: &Pods, cores: Cores, idle: &str) -> Result<Weftd, Error> {
        if self != Self::Tap {
            pods.veths(cores.queues)?;
            pods.route_by_gateway()?;
        }
        let dir = TempDir::with_prefix("weft-perf-").map_err(Error::io("a temporary directory"))?;
        let (config, socket) = (dir.path().join("weft.toml"), dir.path().join("control.sock"));
        let text = self.config(pods, cores, &socket.display().to_string(), idle);
        fs::write(&config, text).map_err(Error::file(&config))?;
        let binary = present("weftd", "weftd")?.display().to_string();
        let mut command = pods.switch.command(&binary);
        command.arg("--config").arg(&config).args(["--log", "warn"]).env("NO_COLOR", "1");
        let mut daemon = Running::start(&mut command, &dir.path().join("log"))?;
        let mut mode = String::new();
        daemon.until("an answer of weftd", Duration::from_secs(20), |_| {
            mode = match ports(&socket.display().to_string()) {
                Ok(mode) => mode,
                Err(Error::Failed { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            Ok(true)
        })?;
        Ok(Weftd { daemon, _dir: dir, mode })
    }

    /// Four ports: the pods', the node's, and one that nothing comes from.
    fn config(self, pods: &Pods, cores: Cores, socket: &str, idle: &str) -> String {
        let kind = match self {
            Self::Tap => "tap",
            Self::Packet => "packet",
            Self::Xsk => "xsk",
        };
        let mut text = format!(
            r#"
[node]
name = "perf"
control = "{socket}"
state = "{socket}.state"
gateway_mac = "{GATEWAY_MAC}"
[pmd]
cores = {numbers:?}
idle = "{idle}"
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24"]
gateways = ["{GATEWAY}"]
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
[[port]]
name = "null"
kind = "null"
"#,
            numbers = cores.switches().collect::<Vec<_>>()
        );
        let queues = cores.queues;
        for (name, pod) in ["a", "b"].into_iter().zip(pods.each()) {
            let place = match self {
                Self::Tap => format!("device = \"eth0\"\nnetns = \"{}\"\nqueues = {queues}", pod.ns.name()),
                Self::Packet => format!("device = \"{}\"\nqueues = {queues}", pod.veth),
                Self::Xsk => format!("device = \"{}\"", pod.veth), // all that there are
            };
            let (mac, address) = (pod.mac, pod.address);
            let _ = write!(
                text,
                r#"
[[port]]
name = "{name}"
kind = "{kind}"
{place}
[[endpoint]]
name = "{name}"
network = "pods"
port = "{name}"
mac = "{mac}"
addresses = ["{address}"]
"#
            );
        }
        text
    }
}

/// The mode of the pods' ports, as weftd tells it.
fn ports(socket: &str) -> Result<String, Error> {
    let mut command = Command::new(present("weftctl", "weftctl")?);
    command.args(["--socket", socket, "--json", "port", "list"]);
    let said = output_of(&mut command, None, Duration::from_secs(10))?;
    let unread = || Error::unread("weftctl port list", "mode of port a", &said);
    let rows: serde_json::Value = serde_json::from_str(&said).map_err(|_| unread())?;
    let row = rows["ports"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "a"));
    row.and_then(|row| row["mode"].as_str()).map(str::to_owned).ok_or_else(unread)
}
