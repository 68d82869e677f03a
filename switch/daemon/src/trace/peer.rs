//! What another node sends, as it comes in by the uplink.

use std::{net::IpAddr, sync::Arc};

use weft_ctl_api::{Code, Error, trace::TracePacket};
use weft_dataplane::{
    snapshot::{Hop, Mode},
    stats::PeerStats,
    trace::live::Wants,
    tunnel::{Tunnel, Way, ecn},
};
use weft_wire::{Mac, eth::Ethernet, ethertype, ip};

use super::sender::{destination, invalid, needs_macs};
use crate::{
    desired::{Fabric, Network, Peer},
    packet::{self, Defaults},
    switch::View,
};

/// The hash that an outer header's UDP source port is made of: any will do.
const ENTROPY: u64 = 0;

impl View<'_> {
    /// The MAC that what comes over the fabric has come from.
    pub(super) fn next_hop(&self, peer: Option<&Peer>) -> Mac {
        let known = peer.and_then(|peer| match self.snapshot.peer(self.names.peer_id(&peer.name)?)?.hop? {
            Hop::Native { rewrite, .. } => self.snapshot.rewrites.get(usize::from(rewrite)),
            Hop::Tunnel { .. } => None, // inside of it nobody sees that MAC
        });
        known.map_or_else(|| Mac::local("next hop"), |rewrite| rewrite.dst())
    }

    /// A tunnel packet of another node: as it wraps up what one of its pods sends, or the node itself.
    pub(super) fn tunnelled(
        &self,
        peer: &Peer,
        packet: &TracePacket,
        network: Option<&str>,
    ) -> Result<Vec<u8>, Error> {
        let (inner, network) = match packet {
            TracePacket::Words(spec) => {
                let mac = spec.macs.map(|(_, dst)| dst);
                let index = self.network_of(network, destination(spec), mac)?;
                let network = &self.desired.networks[index];
                let defaults = match (spec.macs, network.mode) {
                    (Some((src, dst)), _) => Defaults { src, dst },
                    (None, Mode::Routed) => Defaults { src: peer.mac, dst: network.gateway_mac },
                    (None, Mode::Bridged) => {
                        let why =
                            format!("addresses of node {} in network {} are learnt", peer.name, network.name);
                        return Err(needs_macs(&why));
                    }
                };
                (packet::build(spec, defaults).map_err(invalid)?, network)
            }
            TracePacket::Hex(hex) => {
                let inner = packet::unhex(hex).map_err(invalid)?;
                let mac = inner.first_chunk().copied().map(Mac);
                let address = packet::addresses(&inner).map(|(_, dst)| dst);
                let index = self.network_of(network, address, mac)?;
                (inner, &self.desired.networks[index])
            }
        };
        self.wrap(peer, network, &inner)
    }

    /// The network that a packet to here is sent in: the one that is said, or its destination's; of several, the first
    /// routed one, as for what a node itself sends.
    fn network_of(&self, said: Option<&str>, to: Option<IpAddr>, mac: Option<Mac>) -> Result<usize, Error> {
        let networks = &self.desired.networks;
        if let Some(name) = said {
            let spans = |network: &Network| network.name == name && network.vni.is_some();
            return networks.iter().position(spans).ok_or_else(|| {
                Error::new(Code::NotFound, format!("there is no network \"{name}\" that spans nodes"))
                    .remedy("weftctl network list says which have a VNI")
            });
        }
        let endpoint = self.desired.endpoints.iter().find(|endpoint| {
            mac.is_some_and(|mac| mac == endpoint.mac)
                || to.is_some_and(|to| endpoint.addresses.contains(&to))
        });
        if let Some(endpoint) = endpoint.filter(|endpoint| networks[endpoint.network].vni.is_some()) {
            return Ok(endpoint.network);
        }
        // A frame that is not for the gateway is switched, not routed.
        let is_bridged = mac.is_some_and(|mac| networks.iter().all(|network| network.gateway_mac != mac));
        let mode = if is_bridged { Mode::Bridged } else { Mode::Routed };
        let mut spanning = networks.iter().enumerate().filter(|(_, network)| network.vni.is_some());
        let mut alike = spanning.clone().filter(|(_, network)| network.mode == mode);
        match (alike.next(), alike.next(), mode) {
            (Some((index, _)), _, Mode::Routed) | (Some((index, _)), None, Mode::Bridged) => Ok(index),
            (Some(_), Some(_), Mode::Bridged) => {
                Err(invalid("it may be in any of several networks").remedy("say which: --network NAME"))
            }
            (None, ..) => spanning
                .next()
                .map(|(index, _)| index)
                .ok_or_else(|| invalid("no network spans nodes").remedy("give it a VNI")),
        }
    }

    fn wrap(&self, peer: &Peer, network: &Network, inner: &[u8]) -> Result<Vec<u8>, Error> {
        let closed =
            || Error::new(Code::Unavailable, "tunnel packets are not unwrapped: the uplink is not open");
        let own = self.desired.node.source(peer.address.is_ipv4());
        let (&Fabric::Tunnels { encapsulation, udp_port, dscp, .. }, Some(vni), Some(own), Some(unwraps)) =
            (&self.desired.fabric, network.vni, own, &self.snapshot.unwraps)
        else {
            return Err(closed());
        };
        let way = Way {
            macs: (unwraps.mac, self.next_hop(Some(peer))),
            addresses: (peer.address, own),
            udp_port,
            encapsulation,
            vni,
            dscp,
        };
        let tunnel = Tunnel::new(&way, 0, Arc::new(PeerStats::new(1))).ok_or_else(closed)?;
        let mut packet = vec![0; tunnel.outer().len()];
        packet.extend(inner);
        if packet.len() - size_of::<Ethernet>() > usize::from(u16::MAX) {
            return Err(invalid("it is larger than what fits into a tunnel"));
        }
        tunnel.write(&mut packet, traffic_class(inner), ENTROPY);
        Ok(packet)
    }

    /// Tells packets of another node from others that come by the uplink: by their tunnel, or by their source address.
    pub fn sent_by(&self, peer: &Peer) -> Wants {
        match &self.snapshot.unwraps {
            Some(unwraps) => {
                let (unwraps, address) = (unwraps.clone(), ip::mapped(peer.address));
                Box::new(
                    move |packet| matches!(unwraps.read(packet), Some(Ok(wrapped)) if wrapped.src == address),
                )
            }
            None => {
                let (prefixes, own) = (peer.prefixes.clone(), peer.own_addresses().collect::<Vec<_>>());
                Box::new(move |packet| {
                    packet::addresses(packet).is_some_and(|(src, _)| {
                        own.contains(&src) || prefixes.iter().any(|prefix| prefix.contains(&src))
                    })
                })
            }
        }
    }
}

/// DSCP and ECN of a frame; 0 for what has none.
fn traffic_class(frame: &[u8]) -> u8 {
    match frame.get(12..).and_then(|bytes| bytes.first_chunk()) {
        Some(&[a, b, c, d]) => match u16::from_be_bytes([a, b]) {
            ethertype::IPV4 => d,
            ethertype::IPV6 => ecn::class_v6([c, d]),
            _ => 0,
        },
        None => 0,
    }
}
