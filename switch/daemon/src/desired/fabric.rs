//! How other nodes are reached: what `[fabric]` says, checked.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use weft_ctl_api::spec::{Config, FabricMode, FabricSpec, ModeSpec, NetworkSpec, PeerSpec, RoleSpec};
use weft_dataplane::{
    key::Origin,
    snapshot::Mode,
    tunnel::{Dscp, Encapsulation},
};
use weft_wire::tunnel::{Geneve, Vxlan};

use crate::bfd;

use super::{Fabric, Invalid, Network};

pub(super) fn fabric(config: &Config, networks: &[Network]) -> Result<Fabric, Invalid> {
    let Some(spec) = &config.fabric else { return Ok(Fabric::Native) };
    if !config.port.iter().any(|port| port.role == RoleSpec::Fabric) && !spec.peer.is_empty() {
        let remedy = "add a port with role = \"fabric\"";
        return Err(Invalid::new("fabric.peer", "no port leads to other nodes", remedy));
    }
    let fabric = match spec.mode {
        FabricMode::Native => native(spec)?,
        FabricMode::Vxlan => tunnels(spec, Encapsulation::Vxlan, Vxlan::PORT)?,
        FabricMode::Geneve => tunnels(spec, Encapsulation::Geneve, Geneve::PORT)?,
    };
    if fabric != Fabric::Native {
        gateway_macs_are_the_nodes(config)?;
        networks_have_vnis(networks, spec.peer.len())?;
        families_agree(&spec.peer, &config.node.addresses)?;
    }
    Ok(fabric)
}

/// How other nodes are watched.
pub(super) fn bfd(config: &Config) -> Result<Option<bfd::Settings>, Invalid> {
    let Some(spec) = config.fabric.as_ref().and_then(|fabric| fabric.bfd) else { return Ok(None) };
    if !(10..=60_000).contains(&spec.interval_ms) {
        let problem = format!("{} ms", spec.interval_ms);
        return Err(Invalid::new("fabric.bfd.interval_ms", problem, "use 10 to 60000"));
    }
    if spec.multiplier == 0 {
        let problem = "every packet would come too late";
        return Err(Invalid::new("fabric.bfd.multiplier", problem, "use 1 to 255, such as 3"));
    }
    if config.node.addresses.is_empty() {
        let remedy = "add node.addresses, or leave [fabric.bfd] out";
        return Err(Invalid::new("fabric.bfd", "this node has no address to be watched at", remedy));
    }
    Ok(Some(bfd::Settings { interval: Duration::from_millis(spec.interval_ms), multiplier: spec.multiplier }))
}

fn native(spec: &FabricSpec) -> Result<Fabric, Invalid> {
    for (key, is_set) in [("fabric.udp_port", spec.udp_port.is_some()), ("fabric.dscp", spec.dscp.is_some())]
    {
        if is_set {
            let remedy = "leave it out, or use mode = \"vxlan\" or \"geneve\"";
            return Err(Invalid::new(key, "a native fabric has no tunnels", remedy));
        }
    }
    Ok(Fabric::Native)
}

fn tunnels(spec: &FabricSpec, encapsulation: Encapsulation, assigned: u16) -> Result<Fabric, Invalid> {
    let dscp = match spec.dscp {
        None => Dscp::Inherit,
        Some(dscp @ 0..64) => Dscp::Fixed(dscp),
        Some(dscp) => return Err(Invalid::new("fabric.dscp", format!("{dscp}"), "use 0 to 63 (RFC 2474)")),
    };
    match spec.udp_port {
        Some(0) => {
            let remedy = format!("leave it out for {assigned}");
            Err(Invalid::new("fabric.udp_port", "there is no port 0", remedy))
        }
        port => Ok(Fabric::Tunnels {
            encapsulation,
            udp_port: port.unwrap_or(assigned),
            dscp,
            flood_rate: spec.flood_rate.max(1),
        }),
    }
}

/// Other nodes know one MAC of this one, which frames for it have inside of tunnels.
fn gateway_macs_are_the_nodes(config: &Config) -> Result<(), Invalid> {
    let own = |network: &&NetworkSpec| network.mode == ModeSpec::Routed && network.gateway_mac.is_some();
    match config.network.iter().find(own) {
        Some(network) => {
            let key = format!("network \"{}\".gateway_mac", network.name);
            let problem = "with tunnels, all routed networks have the node's";
            Err(Invalid::new(key, problem, "leave it out, or set node.gateway_mac"))
        }
        None => Ok(()),
    }
}

/// A packet's network is told by its VNI. Bridged networks without one stay on this node.
fn networks_have_vnis(networks: &[Network], peers: usize) -> Result<(), Invalid> {
    let mut seen = BTreeMap::new();
    for network in networks {
        let key = format!("network \"{}\".vni", network.name);
        let Some(vni) = network.vni else {
            if network.mode == Mode::Bridged {
                continue;
            }
            return Err(Invalid::new(
                key,
                "a routed network needs one in tunnels",
                "add vni = …, 1 to 16777215",
            ));
        };
        if let Some(other) = seen.insert(vni, &network.name) {
            let problem = format!("network \"{other}\" has VNI {vni} already");
            return Err(Invalid::new(
                key,
                problem,
                "give each network a VNI of its own, the same on every node",
            ));
        }
    }
    if networks.len() > Origin::NETWORKS_MAX {
        let remedy = format!("use {} at most", Origin::NETWORKS_MAX);
        return Err(Invalid::new("network", format!("{} networks with tunnels", networks.len()), remedy));
    }
    let tunnels = peers * seen.len();
    if tunnels > usize::from(u16::MAX) {
        let problem = format!("{peers} peers and {} networks need {tunnels} tunnels", seen.len());
        return Err(Invalid::new("fabric.peer", problem, format!("use {} at most", u16::MAX)));
    }
    Ok(())
}

/// The outer header's source is the node's own address of the peer's family.
fn families_agree(peers: &[Arc<PeerSpec>], own: &[IpAddr]) -> Result<(), Invalid> {
    match peers.iter().find(|peer| !own.iter().any(|own| own.is_ipv4() == peer.address.is_ipv4())) {
        Some(peer) => {
            let family = if peer.address.is_ipv4() { "IPv4" } else { "IPv6" };
            let key = format!("fabric.peer \"{}\".address", peer.name);
            let problem = format!("{} is {family}, and this node has no {family} address", peer.address);
            Err(Invalid::new(key, problem, "add one to node.addresses"))
        }
        None => Ok(()),
    }
}
