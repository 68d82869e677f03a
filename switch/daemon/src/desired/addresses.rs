//! Addresses and prefixes: whose is whose, across the whole configuration.

use std::{fmt, net::IpAddr};

use hashbrown::{HashMap, hash_map::Entry};
use ipnet::IpNet;
use weft_dataplane::snapshot::Mode;
use weft_wire::Scope;

use super::{Endpoint, Invalid, Network, Node, Peer, peers::Peers};

/// A key of the configuration, written only when there is something to say about it: peers come in thousands.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    noun: &'static str,
    name: Option<&'a str>,
    field: &'static str,
}

impl<'a> Key<'a> {
    pub(super) fn of(noun: &'static str, name: &'a str, field: &'static str) -> Self {
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
    let scope = Scope::of(address);
    if scope.is_a_stations() {
        return Ok(());
    }
    let problem = format!("{address} is no address that a station has, but {}", scope.text());
    Err(Invalid::new(key.to_string(), problem, remedy(address)))
}

/// One that packets are routed to and from.
pub(super) fn check_routed(key: impl fmt::Display, address: IpAddr) -> Result<(), Invalid> {
    check(&key, address)?;
    if Scope::of(address) != Scope::LinkLocal {
        return Ok(());
    }
    let problem = format!("{address} is link-local, and never forwarded (RFC 3927 §7, RFC 4291 §2.5.6)");
    Err(Invalid::new(key.to_string(), problem, "use an address of another prefix"))
}

/// A prefix with addresses that stations can have.
pub(super) fn check_prefix(key: impl fmt::Display, prefix: IpNet) -> Result<(), Invalid> {
    let scope = Scope::of_prefix(prefix.network(), prefix.prefix_len());
    if scope.is_a_stations() {
        return Ok(());
    }
    let problem = format!("no station has an address of {prefix}: each is {}", scope.text());
    Err(Invalid::new(key.to_string(), problem, remedy(prefix.network())))
}

/// A prefix that packets are routed to and from.
pub(super) fn check_routed_prefix(key: impl fmt::Display, prefix: IpNet) -> Result<(), Invalid> {
    check_prefix(&key, prefix)?;
    match Scope::of_prefix(prefix.network(), prefix.prefix_len()) {
        Scope::LinkLocal => check_routed(key, prefix.network()),
        _ => Ok(()),
    }
}

/// What to do instead of using an address that is no station's.
pub(super) fn remedy(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) if address.is_ipv6() => format!("write it as IPv4, such as {v4}"),
        _ => "use a unicast address".into(),
    }
}

/// No prefix stands for two things: what is routed to pods is neither the node's own nor the underlay's. A peer's may be wider
/// than this node's (the longer goes first), but not inside of it. That peers' are apart is found where they are.
pub(super) fn prefixes_are_apart(node: &Node, networks: &[Network], peers: &Peers) -> Result<(), Invalid> {
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
            if let Some(peer) = peers.addressed_in(prefix) {
                let problem =
                    format!("{prefix} contains {}, the address of peer \"{}\"", peer.address, peer.name);
                return Err(Invalid::new(key, problem, remedy));
            }
            own.push((*prefix, key.clone()));
        }
    }
    for own in networks.iter().flat_map(|network| &network.prefixes) {
        if let Some((prefix, peer)) = peers.prefix_within(own) {
            return Err(not_one_nodes(peer, format!("{prefix} is this node's own ({own})")));
        }
    }
    for address in &node.addresses {
        if let Some((prefix, peer)) = peers.prefix_around(*address) {
            return Err(not_one_nodes(peer, format!("{prefix} contains this node's address {address}")));
        }
    }
    Ok(())
}

pub(super) fn not_one_nodes(peer: &Peer, problem: String) -> Invalid {
    let key = Key::of("fabric.peer", &peer.name, "prefixes").to_string();
    Invalid::new(key, problem, "each prefix is one node's")
}

pub(super) fn taken(address: IpAddr, by: Key<'_>, already: Key<'_>) -> Invalid {
    let problem = format!("{address} is {already} already");
    Invalid::new(by.to_string(), problem, "give each an address of its own")
}

/// Cluster-unique addresses: no two of the routed networks, the node and its peers share one. That peers don't among themselves
/// is found where they are.
pub(super) fn differ(
    node: &Node,
    networks: &[Network],
    endpoints: &[Endpoint],
    peers: &Peers,
) -> Result<(), Invalid> {
    let mut owners: HashMap<IpAddr, Key<'_>> = HashMap::with_capacity(endpoints.len());
    let mut claim = |address: IpAddr, owner| {
        if let Some(peer) = peers.key_of(address) {
            return Err(taken(address, peer, owner));
        }
        match owners.entry(address) {
            Entry::Occupied(other) => Err(taken(address, owner, *other.get())),
            Entry::Vacant(free) => {
                free.insert(owner);
                Ok(())
            }
        }
    };
    for address in &node.addresses {
        let key = Key { noun: "node", name: None, field: "addresses" };
        // Link-local IPv4 ones are reached by this node's pods, such as that of a DNS cache.
        if address.is_ipv4() {
            check(key, *address)?
        } else {
            check_routed(key, *address)?
        }
        claim(*address, key)?;
    }
    for network in networks {
        for gateway in &network.gateways {
            claim(*gateway, Key::of("network", &network.name, "gateways"))?;
        }
    }
    for endpoint in endpoints.iter().filter(|endpoint| networks[endpoint.network].mode == Mode::Routed) {
        for address in &endpoint.addresses {
            claim(*address, Key::of("endpoint", &endpoint.name, "addresses"))?;
        }
    }
    Ok(())
}
