//! The fabric, as people and programs read and change it.

use std::{net::IpAddr, sync::Arc};

use weft_ctl_api::{
    Code, Done, Error,
    fabric::{FabricReply, PENDING, PathMtuMessages, PathMtuSource, PeerDetails, PeerRow, PeerRows},
    spec::{FabricMode, FabricSpec, PeerSpec},
};
use weft_dataplane::{
    snapshot::{Mode, PeerView},
    stats::PeerCounters,
};
use weft_wire::Mac;

use super::{Session, must_be_new, not_found, take};
use crate::{
    desired::{Fabric, Peer, Role},
    slowpath::path_mtu::Refused,
};

impl Session {
    pub(super) fn show_fabric(&self) -> FabricReply {
        let (switch, desired) = (&self.switch, &self.switch.desired);
        let uplink = desired.ports.iter().find(|port| port.role == Role::Fabric);
        let open = uplink.and_then(|port| switch.ports.get(&port.name));
        let overhead = |any: IpAddr| desired.fabric.overhead(any);
        let routed = desired.networks.iter().find(|network| network.mode == Mode::Routed);
        FabricReply {
            mode: switch.config.fabric.as_ref().map_or(FabricMode::Native, |fabric| fabric.mode),
            uplink: uplink.map(|port| port.name.clone()),
            uplink_mtu: open.map_or(0, |open| open.info.caps.mtu),
            overhead: [overhead([0; 4].into()), overhead([0; 16].into())],
            queues: open.and_then(|open| Some(open.spread.as_ref()?.text().to_owned())),
            udp_port: if let Fabric::Tunnels { udp_port, .. } = desired.fabric {
                Some(udp_port)
            } else {
                None
            },
            addresses: desired.node.addresses.clone(),
            mac: routed.map_or(Mac::ZERO, |network| network.gateway_mac),
            peers: desired.peers.len(),
            reachable: switch
                .runtime
                .snapshot()
                .peers
                .iter()
                .flatten()
                .filter(|peer| peer.hop.is_some())
                .count(),
            pending: desired.peers.iter().filter(|peer| switch.is_being_resolved(peer.address)).count(),
            path_mtu_messages: self.path_mtu_messages(),
        }
    }

    fn path_mtu_messages(&self) -> PathMtuMessages {
        let counts = self.switch.path_mtu_counts();
        let refused = Refused::ALL.into_iter().zip(counts.refused);
        PathMtuMessages {
            believed: counts.believed,
            proven: counts.proven,
            disproved: counts.disproved,
            refused: refused.map(|(why, count)| (why.word().into(), count)).collect(),
        }
    }

    pub(super) fn add_peer(&mut self, peer: PeerSpec) -> Result<Done, Error> {
        let (name, address) = (peer.name.clone(), peer.address);
        self.change(
            |_| format!("peer {name} added at {address}"),
            |config| {
                let no_fabric = || {
                    Error::new(Code::Invalid, "the configuration has no [fabric]")
                        .remedy("say how other nodes are reached: [fabric] mode = \"vxlan\"")
                };
                let fabric: &mut FabricSpec = config.fabric.as_mut().ok_or_else(no_fabric)?;
                must_be_new(&fabric.peer, "fabric peer", &peer.name, |peer| &peer.name)?;
                fabric.peer.push(Arc::new(peer));
                Ok(())
            },
        )
    }

    pub(super) fn del_peer(&mut self, name: &str) -> Result<Done, Error> {
        self.change(
            |_| format!("peer {name} removed"),
            |config| {
                let peers = config.fabric.as_mut().map(|fabric| &mut fabric.peer);
                take(peers.unwrap_or(&mut Vec::new()), "peer", name, |peer| &peer.name).map(drop)
            },
        )
    }

    pub(super) fn peer_rows(&self) -> PeerRows {
        let peers = &self.switch.desired.peers;
        PeerRows { peers: peers.iter().map(|peer| self.peer_row(peer)).collect() }
    }

    pub(super) fn peer_details(&self, name: &str) -> Result<PeerDetails, Error> {
        let peers = &self.switch.desired.peers;
        let found = peers.iter().find(|peer| peer.name == name);
        let peer =
            found.ok_or_else(|| not_found("peer", name, peers.iter().map(|peer| peer.name.as_str())))?;
        let learnt = self.switch.path_mtu(peer.address);
        Ok(PeerDetails {
            peer: self.peer_row(peer),
            mac: peer.mac,
            addresses: peer.addresses.clone(),
            prefixes: peer.prefixes.clone(),
            path_mtu: learnt.map(|learnt| learnt.mtu),
            path_mtu_source: learnt.map(|learnt| PathMtuSource {
                router: learnt.router,
                since_ms: learnt.since.elapsed().as_millis() as u64,
                state: learnt.state.word().into(),
            }),
        })
    }

    fn peer_row(&self, peer: &Peer) -> PeerRow {
        let snapshot = self.switch.runtime.snapshot();
        let id = self.switch.peer_id(&peer.name);
        let view: Option<&PeerView> = id.and_then(|id| snapshot.peer(id));
        let stats = self.switch.peer_stats(&peer.name);
        let sum = |count: fn(&PeerCounters) -> u64| stats.map_or(0, |stats| stats.threads().map(count).sum());
        let is_reachable = view.is_some_and(|view| view.hop.is_some());
        let session = self.switch.bfd_session(peer.address);
        PeerRow {
            name: peer.name.clone(),
            address: peer.address,
            state: match is_reachable {
                true => "up",
                false if self.switch.is_being_resolved(peer.address) => PENDING,
                false => "unresolved",
            }
            .into(),
            next_hop: self.switch.next_hop(peer.address),
            mtu: id.and_then(|id| snapshot.mtu_to(id, None)).unwrap_or(0),
            bfd: session.map(|(state, _)| state.map_or(PENDING.into(), |state| state.to_string())),
            bfd_since_ms: session.and_then(|(_, since)| Some(since?.as_millis() as u64)),
            heard_ms: self.switch.heard_of(&peer.name).map(|ago| ago.as_millis() as u64),
            tx_packets: sum(|row| row.tx_packets.get()),
            tx_bytes: sum(|row| row.tx_bytes.get()),
            rx_packets: sum(|row| row.rx_packets.get()),
            rx_bytes: sum(|row| row.rx_bytes.get()),
        }
    }
}
