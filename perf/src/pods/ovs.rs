//! Open vSwitch's userspace datapath between two pods, as a learning switch.

use std::time::Duration;

use super::{
    system::{Between, Cores, System},
    topology::Pods,
};
use crate::{
    lab::{Error, pause},
    ovs::{self, Ovs},
};

/// By what ports the pods are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// AF_XDP on the switch's ends of veths, native XDP, polled by a thread.
    Afxdp,
    /// Open vSwitch's own taps, moved into the pods; served by its main thread.
    Tap,
    /// The same, with segments larger than the MTU and partial checksums passed through.
    TapTso,
    /// AF_PACKET on the switch's ends of veths; served by its main thread.
    Packet,
}

impl System for Ports {
    fn name(&self) -> &'static str {
        match self {
            Self::Afxdp => "ovs-afxdp",
            Self::Tap => "ovs-tap",
            Self::TapTso => "ovs-tap-tso",
            Self::Packet => "ovs-packet",
        }
    }

    fn about(&self) -> &'static str {
        match self {
            Self::Afxdp => "Open vSwitch, AF_XDP on veth",
            Self::Tap => "Open vSwitch, tap",
            Self::TapTso => "Open vSwitch, tap, userspace TSO",
            Self::Packet => "Open vSwitch, AF_PACKET on veth",
        }
    }

    fn programs(&self) -> Vec<(&'static str, &'static str)> {
        ovs::PROGRAMS.map(|program| (program, ovs::PACKAGE)).into()
    }

    fn version(&self) -> Result<String, Error> {
        ovs::version()
    }

    fn set_up(&self, pods: Pods, cores: Cores) -> Result<Between, Error> {
        // Without a poll-mode thread the main thread is the switch, and gets the switch's core.
        let main = if *self == Self::Afxdp { cores.pods } else { cores.switch };
        let tso = [("userspace-tso-enable", "true")];
        let settings = if *self == Self::TapTso { &tso[..] } else { &[] };
        let ovs = Ovs::start(&pods.switch, ovs::Cores { main, pmd: cores.mask() }, settings)?;
        let mode = match self {
            Self::Afxdp => afxdp(&ovs, &pods, cores.queues)?,
            Self::Tap | Self::TapTso => taps(&ovs, &pods)?,
            Self::Packet => packet(&ovs, &pods)?,
        };
        pods.share_subnet()?;
        if *self != Self::TapTso {
            pods.send_plain_frames()?;
        }
        ovs.replace_flows("actions=NORMAL")?;
        let next_hop = pods.b.mac;
        let pids = vec![ovs.daemon()];
        Ok(Between { switch: Some(Box::new(ovs)), pids, pods, mode, next_hop })
    }

    fn scales(&self) -> bool {
        *self == Self::Afxdp
    }
}

fn afxdp(ovs: &Ovs, pods: &Pods, queues: usize) -> Result<String, Error> {
    pods.veths(queues)?;
    let queues = format!("options:n_rxq={queues}");
    for pod in pods.each() {
        ovs.add_port(pod.veth, &["type=afxdp", &queues, "options:xdp-mode=native"])?;
    }
    // Asked for native, it would rather fail than take another mode.
    Ok("native, copy; PMD thread spins".into())
}

fn packet(ovs: &Ovs, pods: &Pods) -> Result<String, Error> {
    pods.veths(1)?;
    for pod in pods.each() {
        ovs.add_port(pod.veth, &[])?;
    }
    Ok("the main thread polls, and sleeps when idle".into())
}

fn taps(ovs: &Ovs, pods: &Pods) -> Result<String, Error> {
    for (tap, pod) in ["tapa", "tapb"].into_iter().zip(pods.each()) {
        ovs.add_port(tap, &["type=internal"])?;
        wait_for_link(pods, tap)?;
        pods.switch.ip(&["link", "set", tap, "address", &pod.mac.to_string()])?;
        pods.switch.ip(&["link", "set", tap, "netns", pod.ns.name(), "name", "eth0"])?;
    }
    Ok("the main thread polls, and sleeps when idle".into())
}

fn wait_for_link(pods: &Pods, name: &str) -> Result<(), Error> {
    for _ in 0..50 {
        if pods.switch.ip(&["link", "show", "dev", name]).is_ok() {
            return Ok(());
        }
        pause(Duration::from_millis(100))?;
    }
    let what = format!("Open vSwitch's tap {name}");
    Err(Error::Late { what, limit: Duration::from_secs(5), said: String::new() })
}
