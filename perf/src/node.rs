//! A node of a benchmark's own: weftd with pods, for topologies of more than two pods and a switch, and for what happens to it
//! meanwhile.
//!
//! Node `n` has the address 192.0.2.n, its pods 10.244.n.5 and so on, behind the gateway 10.244.n.1.

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use weft_wire::Mac;

use crate::{
    lab::{Error, NetNs, Running, output, output_of, pause, present},
    pods::{
        topology::{GATEWAY_MAC, veth},
        weft::Weft,
    },
};

/// Of the far end of an uplink.
pub const FAR_MAC: Mac = Mac([2, 0, 0xc0, 0, 2, 2]);

/// Of the pods' network.
pub const VNI: u32 = 42;

/// What a node is like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its number, from 1.
    pub number: u8,
    /// How its pods are connected.
    pub kind: Weft,
    /// Pods.
    pub pods: u8,
    /// Cores of PMD threads.
    pub cores: Vec<usize>,
    /// Queues of each port.
    pub queues: usize,
    /// `pmd.idle`.
    pub idle: &'static str,
    /// `fabric.mode`, with an uplink `uplink0`, and the number of the other node.
    pub fabric: Option<(&'static str, u8)>,
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Its namespace; its interface is `eth0`.
    pub ns: NetNs,
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub address: String,
    /// Its port's name, and the node's end of its veth.
    pub name: String,
}

/// A node; gone when dropped.
pub struct Node {
    // Dropped in this order: weftd lets go of its ports before the namespaces go.
    running: Option<Running>,
    dir: TempDir,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Its namespace.
    pub ns: NetNs,
    shape: Shape,
}

/// How a weftd ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// SIGTERM: it tidies up.
    Planned,
    /// SIGKILL.
    Sudden,
}

impl Node {
    /// Its namespaces; `weftd` is not there yet, so that links between nodes can be made first.
    pub fn new(shape: Shape) -> Result<Self, Error> {
        let ns = NetNs::new(&format!("n{}", shape.number))?;
        let dir = TempDir::with_prefix("weft-perf-").map_err(Error::io("a temporary directory"))?;
        let mut node = Self { running: None, dir, pods: Vec::new(), ns, shape };
        for at in 0..node.shape.pods {
            let pod = node.pod(at)?;
            node.plug(&pod)?;
            node.pods.push(pod);
        }
        if node.shape.fabric.is_none() {
            node.ns.ip(&["addr", "add", &format!("{}/32", node.address()), "dev", "lo"])?; // else: the uplink's
        }
        let text = node.config();
        fs::write(node.file(), text).map_err(Error::file(&node.file()))?;
        Ok(node)
    }

    /// Namespace and names of a pod, not connected to anything.
    pub fn pod(&self, at: u8) -> Result<Pod, Error> {
        let (number, last) = (self.shape.number, 5 + at);
        Ok(Pod {
            ns: NetNs::new(&format!("n{number}p{at}"))?,
            mac: Mac([2, 0, 0x0a, 0xf4, number, last]),
            address: format!("10.244.{number}.{last}"),
            name: format!("pod{at}"),
        })
    }

    /// Connects a pod with the node's namespace, if weftd does not do that itself.
    pub fn plug(&self, pod: &Pod) -> Result<(), Error> {
        if self.shape.kind == Weft::Tap {
            return Ok(());
        }
        veth(&self.ns, &pod.name, &pod.ns, "eth0", pod.mac, self.shape.queues)?;
        pod.ns.ip(&["addr", "add", &format!("{}/32", pod.address), "dev", "eth0"])?;
        pod.ns.ip(&["link", "set", "eth0", "up"])?;
        let gateway = self.gateway();
        pod.ns.ip(&["route", "add", &gateway, "dev", "eth0", "scope", "link"])?;
        pod.ns.ip(&["route", "add", "default", "via", &gateway]).map(drop)
    }

    fn gateway(&self) -> String {
        format!("10.244.{}.1", self.shape.number)
    }

    /// What pods and the node send to, for other pods: all nodes have the same, as tunnels want it.
    pub fn gateway_mac(&self) -> Mac {
        GATEWAY_MAC
    }

    /// Of its PMD threads.
    pub fn cores(&self) -> &[usize] {
        &self.shape.cores
    }

    /// The node's own address.
    pub fn address(&self) -> String {
        format!("192.0.2.{}", self.shape.number)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("weft.toml")
    }

    fn socket(&self) -> String {
        self.dir.path().join("control.sock").display().to_string()
    }

    fn config(&self) -> String {
        let Shape { number, idle, fabric, ref cores, queues, .. } = self.shape;
        let (socket, gateway, mac) = (self.socket(), self.gateway(), self.gateway_mac());
        let mut text = format!(
            r#"
[node]
name = "node{number}"
addresses = ["192.0.2.{number}"]
control = "{socket}"
state = "{socket}.state"
gateway_mac = "{mac}"
[pmd]
cores = {cores:?}
idle = "{idle}"
memory_mib = 128
[[network]]
name = "pods"
vni = {VNI}
prefixes = ["10.244.{number}.0/24"]
gateways = ["{gateway}"]
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
"#
        );
        for pod in &self.pods {
            let place = self.place(pod).into_iter().map(|(key, value)| format!("{key} = \"{value}\"\n"));
            let (mut place, Pod { name, mac, address, .. }) = (place.collect::<String>(), pod);
            if self.shape.kind != Weft::Xsk {
                let _ = writeln!(place, "queues = {queues}"); // xsk: all that there are
            }
            let _ = write!(
                text,
                "[[port]]\nname = \"{name}\"\n{place}\
                 [[endpoint]]\nname = \"{name}\"\nnetwork = \"pods\"\nport = \"{name}\"\nmac = \"{mac}\"\naddresses = [\"{address}\"]\n"
            );
        }
        if let Some((mode, other)) = fabric {
            let kind = if self.shape.kind == Weft::Packet { "packet" } else { "xsk" };
            let _ = write!(
                text,
                "[[port]]\nname = \"uplink\"\nkind = \"{kind}\"\nrole = \"fabric\"\ndevice = \"uplink0\"\n\
                 [fabric]\nmode = \"{mode}\"\n\
                 [[fabric.peer]]\nname = \"other\"\naddress = \"192.0.2.{other}\"\nmac = \"{mac}\"\nprefixes = [\"10.244.{other}.0/24\"]\n"
            );
        }
        text
    }

    /// A pod's port: kind, device and where it is.
    pub fn place<'a>(&self, pod: &'a Pod) -> Vec<(&'static str, &'a str)> {
        match self.shape.kind {
            Weft::Tap => vec![("kind", "tap"), ("device", "eth0"), ("netns", pod.ns.name())],
            Weft::Packet => vec![("kind", "packet"), ("device", &pod.name)],
            Weft::Xsk => vec![("kind", "xsk"), ("device", &pod.name)],
        }
    }

    /// Makes the link of uplinks, `uplink0` at both ends; the far one has [`FAR_MAC`].
    pub fn connect(&self, far: &NetNs, far_address: &str) -> Result<(), Error> {
        veth(&self.ns, "uplink0", far, "uplink0", FAR_MAC, self.shape.queues)?;
        for (ns, address) in [(&self.ns, &*self.address()), (far, far_address)] {
            ns.ip(&["addr", "add", &format!("{address}/24"), "dev", "uplink0"])?;
            ns.ip(&["link", "set", "uplink0", "up"])?;
        }
        Ok(())
    }

    /// Starts weftd, and waits until it answers.
    pub fn start(&mut self) -> Result<(), Error> {
        self.spawn()?;
        self.wait_until_it_answers()
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let binary = present("weftd", "weftd")?.display().to_string();
        let mut command = self.ns.command(&binary);
        command.arg("--config").arg(self.file()).args(["--log", "warn"]).env("NO_COLOR", "1");
        self.running = Some(Running::start(&mut command, &self.dir.path().join("log"))?);
        Ok(())
    }

    /// Waits until weftd answers weftctl.
    pub fn wait_until_it_answers(&mut self) -> Result<(), Error> {
        let (program, socket) = (present("weftctl", "weftctl")?, self.socket());
        let Some(running) = &mut self.running else { return Ok(()) };
        running.until("an answer of weftd", Duration::from_secs(20), |_| {
            let mut command = Command::new(&program);
            command.args(["--socket", &socket, "--json", "status"]);
            match output_of(&mut command, None, Duration::from_secs(5)) {
                Ok(_) => Ok(true),
                Err(Error::Failed { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Ends weftd and starts it again with the same configuration.
    pub fn restart(&mut self, death: Death) -> Result<(), Error> {
        if let Some(mut running) = self.running.take() {
            let signal = if death == Death::Planned { "-TERM" } else { "-KILL" };
            output(&["kill", signal, &running.id().to_string()])?;
            running.wait(Duration::from_secs(10))?;
        }
        self.spawn()
    }

    /// `weftctl …`, which must succeed.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(present("weftctl", "weftctl")?);
        command.args(["--socket", &self.socket()]).args(arguments);
        output_of(&mut command, None, Duration::from_secs(10))
    }

    /// weftd's process.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::id)
    }

    /// Waits until an address answers a namespace's pings.
    pub fn wait_until_reachable(from: &NetNs, address: &str) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_secs(20);
        let deadline = Instant::now() + LIMIT;
        loop {
            match from.output(&["ping", "-q", "-c", "1", "-W", "1", address]) {
                Ok(_) => return Ok(()),
                Err(Error::Failed { .. }) if Instant::now() < deadline => pause(Duration::from_millis(50))?,
                Err(Error::Failed { said, .. }) => {
                    let what = format!("an answer of {address}");
                    return Err(Error::Late { what, limit: LIMIT, said: format!(": {said}") });
                }
                Err(error) => return Err(error),
            }
        }
    }
}
