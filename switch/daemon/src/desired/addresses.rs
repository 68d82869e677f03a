//! Addresses and prefixes: whose is whose, across the whole configuration.

use std::{fmt, net::IpAddr, sync::Arc};

use hashbrown::{HashMap, hash_map::Entry};
use ipnet::IpNet;
use weft_dataplane::snapshot::Mode;
use weft_wire::ip;

use super::{Endpoint, Invalid, Network, Node, Peer};

/// A key of the configuration, written only when there is something to say about it: peers come in thousands.
#[derive(Clone, Copy)]
struct Key<'a> {
    noun: &'static str,
    name: Option<&'a str>,
    field: &'static str,
}

impl<'a> Key<'a> {
    fn of(noun: &'static str, name: &'a str, field: &'static str) -> Self {
        Self { noun, name: Some(name), field }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{} \"{name}\".{}", self.noun, self.field),
            None => write!(f, "{}.{}", self.noun, self.field),
        }
    }
}

/// An address that one station can have.
pub(super) fn check(key: impl fmt::Display, address: IpAddr) -> Result<(), Invalid> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || address.is_unspecified() || address.is_loopback() || is_broadcast {
        let problem = format!("{address} is no address that a station has");
        return Err(Invalid::new(key.to_string(), problem, "use a unicast address"));
    }
    Ok(())
}

/// No prefix stands for two things: what is routed to pods is neither the node's own nor the underlay's, and no two that are
/// routed alike are the same. A peer's may be wider than this node's (the longer goes first), but not inside of it.
pub(super) fn prefixes_are_apart(
    node: &Node,
    networks: &[Network],
    peers: &[Arc<Peer>],
) -> Result<(), Invalid> {
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

fn peers_prefixes(node: &Node, networks: &[Network], peers: &[Arc<Peer>]) -> Result<(), Invalid> {
    let own: Vec<&IpNet> = networks.iter().flat_map(|network| &network.prefixes).collect();
    for peer in peers {
        for prefix in &peer.prefixes {
            let problem = if let Some(own) = own.iter().find(|own| own.contains(prefix)) {
                format!("{prefix} is this node's own ({own})")
            } else if let Some(address) = node.addresses.iter().find(|address| prefix.contains(*address)) {
                format!("{prefix} contains this node's address {address}")
            } else {
                continue;
            };
            return Err(not_one_nodes(peer, problem));
        }
    }
    match shared_prefix(peers) {
        Some((prefix, first, second)) => {
            Err(not_one_nodes(second, format!("{prefix} is peer \"{}\"'s already", first.name)))
        }
        None => Ok(()),
    }
}

fn not_one_nodes(peer: &Peer, problem: String) -> Invalid {
    let key = Key::of("fabric.peer", &peer.name, "prefixes").to_string();
    Invalid::new(key, problem, "each prefix is one node's")
}

/// A prefix that is there twice, and whose. There may be a hundred thousand, and mostly in order: what is in order is sorted
/// in one pass, and then equals are neighbours.
fn shared_prefix(peers: &[Arc<Peer>]) -> Option<(IpNet, &Peer, &Peer)> {
    let key = |prefix: IpNet, peer: usize| {
        (u128::from_be_bytes(ip::mapped(prefix.addr())), prefix.prefix_len(), peer as u32)
    };
    let mut all = Vec::with_capacity(peers.iter().map(|peer| peer.prefixes.len() + 1).sum());
    for (index, peer) in peers.iter().enumerate() {
        all.extend(peer.prefixes.iter().map(|prefix| key(*prefix, index)));
    }
    for (index, peer) in peers.iter().enumerate() {
        let own = peer.own_addresses().map(IpNet::from).filter(|own| !peer.prefixes.contains(own));
        all.extend(own.map(|own| key(own, index)));
    }
    all.sort();
    let pair = all.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1))?;
    let prefix = IpNet::new(ip::unmapped(pair[0].0.to_be_bytes()), pair[0].1).ok()?;
    Some((prefix, &*peers[pair[0].2 as usize], &*peers[pair[1].2 as usize]))
}

type Owners<'a> = HashMap<IpAddr, Key<'a>>;

fn claim<'a>(owners: &mut Owners<'a>, address: IpAddr, owner: Key<'a>) -> Result<(), Invalid> {
    match owners.entry(address) {
        Entry::Occupied(other) => Err(Invalid::new(
            owner.to_string(),
            format!("{address} is {} already", other.get()),
            "give each an address of its own",
        )),
        Entry::Vacant(free) => {
            free.insert(owner);
            Ok(())
        }
    }
}

/// Cluster-unique addresses: no two of the routed networks, the node and its peers share one.
pub(super) fn differ(
    node: &Node,
    networks: &[Network],
    endpoints: &[Endpoint],
    peers: &[Arc<Peer>],
) -> Result<(), Invalid> {
    let mut owners = Owners::with_capacity(peers.len() + endpoints.len());
    for address in &node.addresses {
        let key = Key { noun: "node", name: None, field: "addresses" };
        check(key, *address)?;
        claim(&mut owners, *address, key)?;
    }
    for network in networks {
        for gateway in &network.gateways {
            claim(&mut owners, *gateway, Key::of("network", &network.name, "gateways"))?;
        }
    }
    for endpoint in endpoints.iter().filter(|endpoint| networks[endpoint.network].mode == Mode::Routed) {
        for address in &endpoint.addresses {
            claim(&mut owners, *address, Key::of("endpoint", &endpoint.name, "addresses"))?;
        }
    }
    for peer in peers {
        let fields = ["address"].into_iter().chain(std::iter::repeat("addresses"));
        for (address, field) in peer.own_addresses().zip(fields) {
            let key = Key::of("fabric.peer", &peer.name, field);
            check(key, address)?;
            claim(&mut owners, address, key)?;
        }
    }
    Ok(())
}
