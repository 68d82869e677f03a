//! Where a packet that is only asked about comes from, and what its sender would fill in.

use std::net::IpAddr;

use weft_ctl_api::{
    Code, Error,
    name::PEER,
    packet::{Body, PacketSpec},
    trace::TracePacket,
};
use weft_dataplane::snapshot::Mode;
use weft_wire::{Mac, PortId};

use crate::{
    desired::{Endpoint, Fabric, Peer, Role},
    packet::{self, Defaults},
    switch::View,
};

/// Where a packet comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The port.
    pub port: PortId,
    /// Its place in the configuration.
    index: usize,
    who: Who<'a>,
}

/// Who was named.
#[derive(Debug, Clone, Copy)]
enum Who<'a> {
    /// The port itself: whoever is behind it.
    Port,
    /// A pod.
    Endpoint(&'a Endpoint),
    /// Another node.
    Peer(&'a Peer),
}

impl<'a> Sender<'a> {
    /// The other node, if it is one.
    pub fn peer(&self) -> Option<&'a Peer> {
        match self.who {
            Who::Peer(peer) => Some(peer),
            Who::Port | Who::Endpoint(_) => None,
        }
    }
}

pub(super) fn destination(spec: &PacketSpec) -> Option<IpAddr> {
    match &spec.body {
        Body::Ip(ip) => Some(ip.dst),
        Body::Arp { target, .. } => Some((*target).into()),
        Body::Other(_) => None,
    }
}

fn source(spec: &PacketSpec) -> Option<IpAddr> {
    match &spec.body {
        Body::Ip(ip) => Some(ip.src),
        Body::Arp { sender, .. } => Some((*sender).into()),
        Body::Other(_) => None,
    }
}

impl<'a> View<'a> {
    /// The endpoint or port of that name, or, with `peer:` before it, the other node.
    pub fn sender(&self, name: &str) -> Result<Sender<'a>, Error> {
        let desired = self.desired;
        let endpoint = desired.endpoints.iter().find(|endpoint| endpoint.name == name);
        let port = desired.ports.iter().position(|port| port.name == name);
        let (index, who) = match (endpoint, port, name.strip_prefix(PEER)) {
            (Some(endpoint), ..) => (endpoint.port, Who::Endpoint(endpoint)),
            (None, Some(port), _) => (port, Who::Port),
            (None, None, Some(name)) => {
                let peer = desired.peers.iter().find(|peer| peer.name == name);
                let names = desired.peers.iter().map(|peer| &*peer.name);
                let peer = peer.ok_or_else(|| nobody("peer", name, names))?;
                (self.uplink()?, Who::Peer(peer))
            }
            (None, None, None) => {
                let endpoints = desired.endpoints.iter().map(|endpoint| &*endpoint.name);
                let ports = desired.ports.iter().map(|port| &*port.name);
                return Err(nobody("endpoint or port", name, endpoints.chain(ports)));
            }
        };
        Ok(Sender { port: self.open(index)?, index, who })
    }

    /// The port that a packet of another configuration's sender comes in by here. A node that sends it need not be known
    /// here: its packets come all the same.
    pub fn same_sender(&self, name: &str, sender: &Sender<'_>) -> Result<PortId, Error> {
        match sender.peer() {
            Some(_) => self.open(self.uplink()?),
            None => self.sender(name).map(|sender| sender.port),
        }
    }

    fn uplink(&self) -> Result<usize, Error> {
        let uplink = self.desired.ports.iter().position(|port| port.role == Role::Fabric);
        uplink.ok_or_else(|| Error::new(Code::NotFound, "no port leads to other nodes"))
    }

    fn open(&self, index: usize) -> Result<PortId, Error> {
        let name = &self.desired.ports[index].name;
        self.names.port_id(name).ok_or_else(|| {
            Error::new(Code::Unavailable, format!("port \"{name}\" is not open"))
                .remedy("weftctl port list says why")
        })
    }

    /// A packet's bytes as they come in by the sender's port. `network`: the one that another node sends it in, if that is
    /// said.
    pub fn frame(
        &self,
        from: &Sender<'a>,
        packet: &TracePacket,
        network: Option<&str>,
    ) -> Result<Vec<u8>, Error> {
        let tunnelled = from.peer().filter(|_| self.desired.fabric != Fabric::Native);
        if let Some(peer) = tunnelled {
            return self.tunnelled(peer, packet, network);
        }
        if network.is_some() {
            let message = "a network is said only of what another node sends through a tunnel";
            return Err(invalid(message).remedy("leave it out"));
        }
        match packet {
            TracePacket::Words(spec) => packet::build(spec, self.defaults(from, spec)?).map_err(invalid),
            TracePacket::Hex(hex) => packet::unhex(hex).map_err(invalid),
        }
    }

    /// The MACs that the sender of a packet would use.
    fn defaults(&self, from: &Sender<'a>, spec: &PacketSpec) -> Result<Defaults, Error> {
        if let Some((src, dst)) = spec.macs {
            return Ok(Defaults { src, dst });
        }
        let own = self.snapshot.port(from.port).map_or(Mac::ZERO, |view| view.mac);
        match &self.desired.ports[from.index].role {
            Role::Pod => {
                let endpoint =
                    self.endpoint(from, spec).ok_or_else(|| needs_macs("the port has no endpoint"))?;
                let dst = self.towards(endpoint.network, spec)?;
                Ok(Defaults { src: endpoint.mac, dst })
            }
            Role::Host => {
                let routed = self.desired.networks.iter().find(|network| network.mode == Mode::Routed);
                let dst = routed.map(|network| network.gateway_mac);
                Ok(Defaults { src: own, dst: dst.ok_or_else(|| needs_macs("there is no routed network"))? })
            }
            Role::Fabric => Ok(Defaults { src: self.next_hop(from.peer()), dst: own }),
            Role::Access(_) | Role::Trunk(_) => Err(needs_macs("addresses are learnt on this port")),
        }
    }

    fn endpoint(&self, from: &Sender<'a>, spec: &PacketSpec) -> Option<&'a Endpoint> {
        let mut own = self.desired.endpoints.iter().filter(|endpoint| endpoint.port == from.index);
        let speaks = |endpoint: &&Endpoint| source(spec).is_some_and(|src| endpoint.addresses.contains(&src));
        match from.who {
            Who::Endpoint(endpoint) => Some(endpoint),
            Who::Port | Who::Peer(_) => own.clone().find(speaks).or_else(|| own.next()),
        }
    }

    /// The MAC that a packet is sent to in a network.
    fn towards(&self, index: usize, spec: &PacketSpec) -> Result<Mac, Error> {
        let network = &self.desired.networks[index];
        if network.mode == Mode::Routed {
            return Ok(network.gateway_mac);
        }
        let dst = destination(spec);
        let is_it = |endpoint: &&Endpoint| {
            endpoint.network == index && dst.is_some_and(|dst| endpoint.addresses.contains(&dst))
        };
        let known = self.desired.endpoints.iter().find(is_it).map(|endpoint| endpoint.mac);
        // An ARP request goes to all, and never asks.
        let is_broadcast = matches!(spec.body, Body::Arp { reply: false, .. });
        let known = known.or(is_broadcast.then_some(Mac::BROADCAST));
        known.ok_or_else(|| {
            needs_macs(&format!("no endpoint of network {} has the destination", network.name))
        })
    }
}

fn nobody<'n>(noun: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Error {
    const SHOWN: usize = 20;
    let known: Vec<&str> = known.take(SHOWN).collect();
    let remedy = if known.is_empty() {
        format!("there is no {noun} at all")
    } else {
        format!("there is {}", known.join(", "))
    };
    Error::new(Code::NotFound, format!("there is no {noun} \"{name}\"")).remedy(remedy)
}

pub(super) fn invalid(problem: impl Into<String>) -> Error {
    Error::new(Code::Invalid, problem)
}

pub(super) fn needs_macs(why: &str) -> Error {
    invalid(format!("the packet's MACs are not known: {why}"))
        .remedy("begin the packet with `mac SOURCE > DESTINATION`")
}
