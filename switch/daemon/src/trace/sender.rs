//! Where a packet that is only asked about comes from, and what its sender would fill in.

use std::net::IpAddr;

use weft_ctl_api::{
    Code, Error,
    packet::{Body, PacketSpec},
};
use weft_dataplane::snapshot::Mode;
use weft_wire::{Mac, PortId};

use crate::{
    desired::{Endpoint, Network, Role},
    packet::Defaults,
    switch::View,
};

/// Where a packet comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The port.
    pub port: PortId,
    /// Its place in the configuration.
    index: usize,
    /// The endpoint, if one was named.
    endpoint: Option<&'a Endpoint>,
}

fn destination(spec: &PacketSpec) -> Option<IpAddr> {
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
    /// The endpoint or port of that name.
    pub fn sender(&self, name: &str) -> Result<Sender<'a>, Error> {
        let desired = self.desired;
        let endpoint = desired.endpoints.iter().find(|endpoint| endpoint.name == name);
        let port = || desired.ports.iter().position(|port| port.name == name);
        let index = endpoint.map(|endpoint| endpoint.port).or_else(port).ok_or_else(|| {
            let endpoints = desired.endpoints.iter().map(|endpoint| endpoint.name.as_str());
            let names: Vec<&str> =
                endpoints.chain(desired.ports.iter().map(|port| port.name.as_str())).take(20).collect();
            Error::new(Code::NotFound, format!("there is no endpoint or port \"{name}\""))
                .remedy(format!("there is {}", names.join(", ")))
        })?;
        let port = self.names.port_id(&desired.ports[index].name).ok_or_else(|| {
            Error::new(Code::Unavailable, format!("port \"{}\" is not open", desired.ports[index].name))
                .remedy("weftctl port list says why")
        })?;
        Ok(Sender { port, index, endpoint })
    }

    /// The MACs that the sender of a packet would use.
    pub fn defaults(&self, from: &Sender<'a>, spec: &PacketSpec) -> Result<Defaults, Error> {
        if let Some((src, dst)) = spec.macs {
            return Ok(Defaults { src, dst });
        }
        let view = self.snapshot.port(from.port);
        let own = view.map_or(Mac::ZERO, |view| view.mac);
        let network = |index: usize| &self.desired.networks[index];
        match &self.desired.ports[from.index].role {
            Role::Pod => {
                let endpoint =
                    self.endpoint(from, spec).ok_or_else(|| needs_macs("the port has no endpoint"))?;
                let dst = self.towards(network(endpoint.network), endpoint.network, spec)?;
                Ok(Defaults { src: endpoint.mac, dst })
            }
            Role::Host => {
                let routed = self.desired.networks.iter().find(|network| network.mode == Mode::Routed);
                let dst = routed.map(|network| network.gateway_mac);
                Ok(Defaults { src: own, dst: dst.ok_or_else(|| needs_macs("there is no routed network"))? })
            }
            // Whoever is the next hop: its MAC is not looked at.
            Role::Fabric => Ok(Defaults { src: Mac::local("next hop"), dst: own }),
            Role::Access(_) | Role::Trunk(_) => Err(needs_macs("addresses are learnt on this port")),
        }
    }

    fn endpoint(&self, from: &Sender<'a>, spec: &PacketSpec) -> Option<&'a Endpoint> {
        let mut own = self.desired.endpoints.iter().filter(|endpoint| endpoint.port == from.index);
        let speaks = |endpoint: &&Endpoint| source(spec).is_some_and(|src| endpoint.addresses.contains(&src));
        from.endpoint.or_else(|| own.clone().find(speaks)).or_else(|| own.next())
    }

    fn towards(&self, network: &Network, index: usize, spec: &PacketSpec) -> Result<Mac, Error> {
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

fn needs_macs(why: &str) -> Error {
    Error::new(Code::Invalid, format!("the packet's MACs are not known: {why}"))
        .remedy("begin the packet with `mac SOURCE > DESTINATION`")
}
