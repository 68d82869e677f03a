//! Other nodes, checked one against the other. There may be thousands of them, with a hundred thousand prefixes: what was found
//! of those that stay as they are is kept from check to check.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::HashSet;
use ipnet::IpNet;
use weft_ctl_api::spec::PeerSpec;
use weft_wire::Mac;

use super::{
    Invalid, Peer, addresses,
    check::{check_mac, check_name, two_of_a_name},
};
use crate::splice::Splice;

const NOUN: &str = "fabric.peer";

/// Peers that can be together, and what is whose. All of it follows from the specs, in whatever steps it has come about.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// As typed.
    specs: Vec<Arc<PeerSpec>>,
    /// As meant, in the same order.
    peers: Vec<Arc<Peer>>,
    names: HashSet<String>,
    /// Their own addresses.
    addresses: BTreeMap<IpAddr, Arc<Peer>>,
    /// What is routed to them: their pods' prefixes and their own addresses. What lies within a prefix follows it.
    routed: BTreeMap<IpNet, Arc<Peer>>,
}

impl Peers {
    /// Goes over to others. What can't be is told as if nothing had been known before.
    pub(super) fn become_those(&mut self, specs: &[Arc<PeerSpec>]) -> Result<(), Invalid> {
        let known = std::mem::take(self);
        *self = known.changed(specs).or_else(|_| Self::default().changed(specs))?;
        Ok(())
    }

    fn changed(mut self, specs: &[Arc<PeerSpec>]) -> Result<Self, Invalid> {
        let change = Splice::between(&self.specs, specs);
        let gone: Vec<_> = self.peers.drain(change.at..change.at + change.gone).collect();
        gone.iter().for_each(|peer| self.release(peer));
        let come: Vec<_> =
            change.come.iter().map(|spec| peer(spec).map(Arc::new)).collect::<Result<_, _>>()?;
        for peer in &come {
            self.claim_own(peer)?;
        }
        self.claim_routed(&come)?;
        self.peers.splice(change.at..change.at, come);
        self.specs = specs.to_vec(); // those that are alike, too: found alike next time by being the same
        Ok(self)
    }

    fn claim_own(&mut self, peer: &Arc<Peer>) -> Result<(), Invalid> {
        if !self.names.insert(peer.name.clone()) {
            return Err(two_of_a_name(NOUN, &peer.name));
        }
        for address in peer.own_addresses() {
            if let Some(other) = self.addresses.insert(address, peer.clone()) {
                return Err(addresses::taken(address, key_of(address, peer), key_of(address, &other)));
            }
        }
        Ok(())
    }

    fn claim_routed(&mut self, come: &[Arc<Peer>]) -> Result<(), Invalid> {
        let all = || come.iter().flat_map(|peer| routed(peer).map(move |prefix| (prefix, peer.clone())));
        if self.routed.is_empty() {
            // Many at once are put in order first, which takes a fraction of the time.
            let at_once: BTreeMap<_, _> = all().collect();
            if at_once.len() == all().count() {
                self.routed = at_once;
                return Ok(());
            }
        }
        for (prefix, peer) in all() {
            if let Some(other) = self.routed.insert(prefix, peer.clone()) {
                let problem = format!("{prefix} is peer \"{}\"'s already", other.name);
                return Err(addresses::not_one_nodes(&peer, problem));
            }
        }
        Ok(())
    }

    fn release(&mut self, peer: &Peer) {
        self.names.remove(&peer.name);
        for address in peer.own_addresses() {
            self.addresses.remove(&address);
        }
        for prefix in routed(peer) {
            self.routed.remove(&prefix);
        }
    }

    /// All of them, in the order of the configuration.
    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.peers.clone()
    }

    /// Whose own an address is, as a key of the configuration.
    pub(super) fn key_of(&self, address: IpAddr) -> Option<addresses::Key<'_>> {
        self.addresses.get(&address).map(|peer| key_of(address, peer))
    }

    /// A peer whose address in the underlay is within a prefix.
    pub(super) fn addressed_in(&self, prefix: &IpNet) -> Option<&Peer> {
        let mut inside = self.addresses.range(prefix.network()..=prefix.broadcast());
        inside.find(|(address, peer)| peer.address == **address).map(|(_, peer)| &**peer)
    }

    /// A prefix of a peer's pods that is within another, or the same.
    pub(super) fn prefix_within(&self, wider: &IpNet) -> Option<(IpNet, &Peer)> {
        let inside = self.routed.range(wider..).take_while(|(prefix, _)| wider.contains(*prefix));
        prefixes_of_pods(inside).next()
    }

    /// A prefix of a peer's pods that an address is in.
    pub(super) fn prefix_around(&self, address: IpAddr) -> Option<(IpNet, &Peer)> {
        let longest = IpNet::from(address);
        let around = std::iter::successors(Some(longest), IpNet::supernet);
        prefixes_of_pods(around.filter_map(|prefix| self.routed.get_key_value(&prefix))).next()
    }
}

fn prefixes_of_pods<'a>(
    routed: impl Iterator<Item = (&'a IpNet, &'a Arc<Peer>)>,
) -> impl Iterator<Item = (IpNet, &'a Peer)> {
    routed.filter(|(prefix, peer)| peer.prefixes.contains(prefix)).map(|(prefix, peer)| (*prefix, &**peer))
}

fn key_of(address: IpAddr, peer: &Peer) -> addresses::Key<'_> {
    let field = if peer.address == address { "address" } else { "addresses" };
    addresses::Key::of(NOUN, &peer.name, field)
}

/// A peer's own address may be within its prefixes, and even be one.
fn routed(peer: &Peer) -> impl Iterator<Item = IpNet> {
    let own = peer.own_addresses().map(IpNet::from).filter(|own| !peer.prefixes.contains(own));
    peer.prefixes.iter().copied().chain(own)
}

fn peer(spec: &PeerSpec) -> Result<Peer, Invalid> {
    check_name(NOUN, &spec.name)?;
    // As the other node makes its own gateway MAC from its name.
    let mac = spec.mac.unwrap_or_else(|| Mac::local(&format!("weft gateway {}", spec.name)));
    check_mac(format_args!("{NOUN} \"{}\".mac", spec.name), mac)?;
    let peer = Peer {
        name: spec.name.clone(),
        address: spec.address,
        addresses: spec.addresses.clone(),
        mac,
        prefixes: spec.prefixes.iter().map(|prefix| prefix.trunc()).collect(),
    };
    // Nodes on one link may have their tunnels between its IPv4 addresses. Of IPv6 ones the link would have to be said.
    let underlay = key_of(peer.address, &peer);
    match peer.address.is_ipv4() {
        true => addresses::check(underlay, peer.address)?,
        false => addresses::check_routed(underlay, peer.address)?,
    }
    for address in &peer.addresses {
        addresses::check_routed(key_of(*address, &peer), *address)?;
    }
    for prefix in &peer.prefixes {
        addresses::check_routed_prefix(addresses::Key::of(NOUN, &peer.name, "prefixes"), *prefix)?;
    }
    Ok(peer)
}
