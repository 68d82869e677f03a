//! Addresses and prefixes: whose is whose, across the whole configuration.

use std::{collections::BTreeMap, net::IpAddr};

use hashbrown::HashMap;
use ipnet::IpNet;
use weft_dataplane::snapshot::Mode;

use super::{Endpoint, Invalid, Network, Node, Peer};

/// An address that one station can have.
pub(super) fn check(key: impl Into<String>, address: IpAddr) -> Result<(), Invalid> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || address.is_unspecified() || address.is_loopback() || is_broadcast {
        let problem = format!("{address} is no address that a station has");
        return Err(Invalid::new(key, problem, "use a unicast address"));
    }
    Ok(())
}

/// No prefix stands for two things: what is routed to pods is neither the node's own nor the underlay's, and no two that are
/// routed alike are the same. A peer's may be wider than this node's (the longer goes first), but not inside of it.
pub(super) fn prefixes_are_apart(node: &Node, networks: &[Network], peers: &[Peer]) -> Result<(), Invalid> {
    let routed = networks.iter().filter(|network| network.mode == Mode::Routed);
    let mut own: Vec<(IpNet, String)> = Vec::new();
    for network in routed {
        let key = format!("network \"{}\".prefixes", network.name);
        for prefix in &network.prefixes {
            if let Some((other, whose)) =
                own.iter().find(|(other, _)| other.contains(prefix) || prefix.contains(other))
            {
                let problem = format!("{prefix} overlaps {other} of {whose}");
                return Err(Invalid::new(key, problem, "each address is in one prefix of one network"));
            }
            let remedy = "pods have prefixes of their own";
            if let Some(address) = node.addresses.iter().find(|address| prefix.contains(*address)) {
                let problem = format!("{prefix} contains the node's address {address}");
                return Err(Invalid::new(key, problem, remedy));
            }
            if let Some(peer) = peers.iter().find(|peer| prefix.contains(&peer.address)) {
                let problem =
                    format!("{prefix} contains {}, the address of peer \"{}\"", peer.address, peer.name);
                return Err(Invalid::new(key, problem, remedy));
            }
            own.push((*prefix, key.clone()));
        }
    }
    peers_prefixes(node, networks, peers)
}

fn peers_prefixes(node: &Node, networks: &[Network], peers: &[Peer]) -> Result<(), Invalid> {
    let own: Vec<&IpNet> = networks.iter().flat_map(|network| &network.prefixes).collect();
    // There may be a hundred thousand of them.
    let mut owners: HashMap<IpNet, &str> =
        HashMap::with_capacity(peers.iter().map(|peer| peer.prefixes.len()).sum());
    for peer in peers {
        let key = format!("fabric.peer \"{}\".prefixes", peer.name);
        for prefix in &peer.prefixes {
            let problem = if let Some(own) = own.iter().find(|own| own.contains(prefix)) {
                format!("{prefix} is this node's own ({own})")
            } else if let Some(address) = node.addresses.iter().find(|address| prefix.contains(*address)) {
                format!("{prefix} contains this node's address {address}")
            } else if let Some(other) = owners.insert(*prefix, &peer.name) {
                format!("{prefix} is peer \"{other}\"'s already")
            } else {
                continue;
            };
            return Err(Invalid::new(key, problem, "each prefix is one node's"));
        }
    }
    Ok(())
}

/// Cluster-unique addresses: no two of the routed networks, the node and its peers share one.
pub(super) fn differ(
    node: &Node,
    networks: &[Network],
    endpoints: &[Endpoint],
    peers: &[Peer],
) -> Result<(), Invalid> {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut claim = |address: IpAddr, owner: String| match owners.insert(address, owner.clone()) {
        Some(other) => Err(Invalid::new(
            owner,
            format!("{address} is {other} already"),
            "give each an address of its own",
        )),
        None => Ok(()),
    };
    for address in &node.addresses {
        check("node.addresses", *address)?;
        claim(*address, "node.addresses".into())?;
    }
    for network in networks {
        for gateway in &network.gateways {
            claim(*gateway, format!("network \"{}\".gateways", network.name))?;
        }
    }
    for endpoint in endpoints.iter().filter(|endpoint| networks[endpoint.network].mode == Mode::Routed) {
        for address in &endpoint.addresses {
            claim(*address, format!("endpoint \"{}\".addresses", endpoint.name))?;
        }
    }
    for peer in peers {
        let key = format!("fabric.peer \"{}\".address", peer.name);
        check(key.clone(), peer.address)?;
        claim(peer.address, key)?;
        for address in &peer.addresses {
            check(format!("fabric.peer \"{}\".addresses", peer.name), *address)?;
            claim(*address, format!("fabric.peer \"{}\".addresses", peer.name))?;
        }
    }
    Ok(())
}
