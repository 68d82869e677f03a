//! Answers to punted packets: ARP, neighbour discovery, ping to a gateway, ICMP errors. And what is said unasked:
//! [`announce`].
//!
//! [`answer`] is pure: a packet and a snapshot in, the frames to send out. [`desk`] does so for one packet after the other and
//! keeps what must be kept: halves of datagrams, and what each sender has had of what is everybody's. [`thread`] is the loop
//! around it, off the packet path: PMD threads leave punts in a bounded ring and never wait for it. Replies are built with
//! etherparse.
//!
//! # Whose share is what
//! [`weft_dataplane::share`] tells senders apart. Of each, a thousand packets a second come here, and no more wait than leave
//! room for others; their order is that of their coming. ICMP errors are limited where they are made, by whom they tell, so
//! that whatever asks for one counts. What is flooded from here counts as what PMD threads flood does. Answers leave by rings of
//! their own, gathered by thread. Learnt addresses wait by sender, too ([`learnt`]).

pub mod announce;
mod arp;
pub mod desk;
mod fragment;
mod icmp;
pub mod learnt;
mod nd;
pub mod path_mtu;
pub mod reassemble;
pub mod thread;

use std::net::IpAddr;

use weft_dataplane::{
    key::{FlowKey, Origin},
    parse::{Headers, L3, parse_packet},
    reason::PuntReason,
    snapshot::{Mode, NetworkView, Role, Snapshot},
    table::routes::Route,
};
use weft_wire::{
    Mac, NetworkId, PortId, Scope, ethertype,
    ip::{self, Ipv6},
};

/// A frame to send, and the port to send it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The port.
    pub port: PortId,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// A punted packet, read.
struct Packet<'a> {
    bytes: &'a [u8],
    key: FlowKey,
    headers: Headers,
    ingress: PortId,
    /// Where it came from.
    origin: Origin,
    /// The packet's network, where its tunnel, or its port and tag say one.
    network: Option<(NetworkId, &'a NetworkView)>,
}

/// What to send for a punted packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The frames; often none.
    pub replies: Vec<Reply>,
    /// What they are.
    pub kind: AnswerKind,
}

/// What an answer is, as far as limits go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnswerKind {
    /// An answer to whoever asked.
    #[default]
    Reply,
    /// An ICMP error.
    Error,
    /// Copies for the members of a bridged network, and for other nodes: so many of the last.
    Flood {
        /// The network.
        network: NetworkId,
        /// Copies for other nodes: the last of the replies.
        remote: usize,
    },
}

impl From<Vec<Reply>> for Answer {
    fn from(replies: Vec<Reply>) -> Self {
        Self { replies, kind: AnswerKind::Reply }
    }
}

/// What to send for a punted packet; often nothing.
pub fn answer(
    bytes: &[u8],
    ingress: PortId,
    origin: Origin,
    reason: PuntReason,
    snapshot: &Snapshot,
) -> Answer {
    let Ok((key, headers)) = parse_packet(bytes) else { return Answer::default() };
    let network =
        network_of(&key, ingress, origin, snapshot).and_then(|id| Some((id, snapshot.network(id)?)));
    let packet = Packet { bytes, key, headers, ingress, origin, network };
    let answer = match reason {
        PuntReason::Arp => arp::answer(&packet, snapshot),
        PuntReason::Nd => match nd::answer(&packet, snapshot) {
            nd::Answer::Reply(bytes) => Some(bytes),
            nd::Answer::Silence => None,
            nd::Answer::Flood => return flood(&packet, snapshot),
        },
        PuntReason::Local => icmp::answer_local(&packet, snapshot),
        PuntReason::TtlExpired => icmp::error(&packet, icmp::Error::TimeExceeded, snapshot),
        PuntReason::Unreachable => icmp::error(&packet, icmp::Error::HostUnreachable, snapshot),
        PuntReason::TooBig => egress_mtu(&packet, snapshot)
            .and_then(|mtu| icmp::error(&packet, icmp::Error::TooBig { mtu }, snapshot)),
        PuntReason::PathMtu => None, // nobody is answered: see [`path_mtu`]
    };
    let Some(bytes) = answer else { return Answer::default() };
    let kind = if icmp::is_error(&bytes) { AnswerKind::Error } else { AnswerKind::Reply };
    Answer { replies: replies(&packet, bytes, snapshot), kind }
}

/// An answer, in as many pieces as the way back needs.
fn replies(packet: &Packet<'_>, bytes: Vec<u8>, snapshot: &Snapshot) -> Vec<Reply> {
    let mtu = match packet.origin.tunnel() {
        Some((peer, network)) => snapshot.mtu_to(peer, Some(network)),
        None => snapshot.port(packet.ingress).map(|port| port.caps.mtu),
    };
    let mtu = mtu.map_or(usize::MAX, |mtu| mtu as usize);
    // ICMP's second word tells echo replies of one sender apart.
    let at = usize::from(packet.headers.l4) + 4;
    let id =
        packet.bytes.get(at..).and_then(|word| word.first_chunk()).map_or(0, |id| u32::from_be_bytes(*id));
    let pieces = fragment::fragments(bytes, mtu, id ^ (id >> 16));
    pieces.into_iter().filter_map(|bytes| reply(packet, bytes, snapshot)).collect()
}

/// Back the way it came: by the port, with the tag it came with (and its priority), or through the tunnel.
fn reply(packet: &Packet<'_>, bytes: Vec<u8>, snapshot: &Snapshot) -> Option<Reply> {
    if let Some((peer, network)) = packet.origin.tunnel() {
        let (_, tunnel) = snapshot.tunnel_to(peer, Some(network))?;
        return wrapped(tunnel, &bytes, snapshot);
    }
    /// Drop eligibility is of the packet that came, not of its answer.
    const DEI: u16 = 0x1000;
    let bytes = match tag(packet) {
        Some(tci) => with_tag(&bytes, tci & !DEI),
        None => bytes,
    };
    Some(Reply { port: packet.ingress, bytes })
}

/// Through a tunnel.
fn wrapped(tunnel: u16, bytes: &[u8], snapshot: &Snapshot) -> Option<Reply> {
    let (port, tunnel) = (snapshot.unwraps.as_ref()?.port, snapshot.tunnels.get(usize::from(tunnel))?);
    let mut wrapped = vec![0; tunnel.outer().len()];
    wrapped.extend(bytes);
    tunnel.write(&mut wrapped, 0, 0);
    Some(Reply { port, bytes: wrapped })
}

/// To every other member of a bridged network.
fn flood(packet: &Packet<'_>, snapshot: &Snapshot) -> Answer {
    let Some((id, network)) = packet.network else { return Answer::default() };
    let mut untagged = packet.bytes.to_vec();
    let priority = tag(packet).map_or(0, |tci| {
        untagged.drain(12..16);
        tci & 0xf000
    });
    let is_local = packet.origin.tunnel().is_none();
    let replies = copies(&untagged, priority, network, Some(packet.ingress), is_local, snapshot);
    let local = network.members.iter().filter(|(port, _)| *port != packet.ingress).count();
    let remote = replies.len() - local;
    Answer { replies, kind: AnswerKind::Flood { network: id, remote } }
}

/// An untagged frame for every member of a network but one, and for the other nodes that have it. Tags get the priority given
/// (PCP and DEI, in their place).
fn copies(
    untagged: &[u8],
    priority: u16,
    network: &NetworkView,
    except: Option<PortId>,
    to_nodes: bool,
    snapshot: &Snapshot,
) -> Vec<Reply> {
    let others = network.members.iter().filter(|(port, _)| Some(*port) != except);
    let copy = |&(port, vlan): &(PortId, Option<weft_wire::VlanId>)| Reply {
        port,
        bytes: vlan.map_or_else(|| untagged.to_vec(), |vlan| with_tag(untagged, priority | vlan.get())),
    };
    let remotes = network.remotes.iter().filter(|_| to_nodes);
    others.map(copy).chain(remotes.filter_map(|tunnel| wrapped(*tunnel, untagged, snapshot))).collect()
}

/// The tag that a packet came with: PCP, DEI and VLAN id.
fn tag(packet: &Packet<'_>) -> Option<u16> {
    packet.key.vlan()?;
    packet.bytes.get(14..16).map(|tci| u16::from_be_bytes([tci[0], tci[1]]))
}

fn with_tag(bytes: &[u8], tci: u16) -> Vec<u8> {
    let [tci, protocol] = [tci.to_be_bytes(), ethertype::VLAN.to_be_bytes()];
    [&bytes[..12], &protocol, &tci, &bytes[12..]].concat()
}

fn network_of(key: &FlowKey, ingress: PortId, origin: Origin, snapshot: &Snapshot) -> Option<NetworkId> {
    if let Some((_, network)) = origin.tunnel() {
        return Some(network);
    }
    let port = snapshot.port(ingress)?;
    match &port.role {
        Role::Pod => port.network,
        Role::Access(network) => Some(*network),
        Role::Trunk(vlans) => {
            vlans.iter().find(|(id, _)| Some(id.get()) == key.vlan()).map(|(_, network)| *network)
        }
        Role::Host | Role::Fabric => None,
    }
}

/// The MTU that the packet was too big for: that of the way to its destination. No IPv6 packet is too big at
/// [`Ipv6::MTU_MIN`] or below, nor would its sender believe it (RFC 8201 §4).
fn egress_mtu(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<u32> {
    let mtu = way_mtu(packet, snapshot)?;
    Some(if packet.headers.kind == L3::Ipv6 { mtu.max(Ipv6::MTU_MIN as u32) } else { mtu })
}

fn way_mtu(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<u32> {
    let port = match snapshot.route(packet.key.dst()) {
        Some(Route::Endpoint { port, .. }) => port,
        Some(Route::Peer(peer)) => return snapshot.mtu_to(peer, packet.network.map(|(id, _)| id)),
        Some(Route::Node) | None => snapshot.host?.0,
        Some(Route::Gateway { .. } | Route::Unreachable) => return None,
    };
    snapshot.port(port).map(|port| port.caps.mtu)
}

/// The MAC to answer with for `target`, asked for by whoever sent `packet`; none: keep silent.
fn known_as(target: IpAddr, packet: &Packet<'_>, snapshot: &Snapshot) -> Option<Mac> {
    // With routes to everywhere (a peer's 0.0.0.0/0) every address would be somebody's.
    if !Scope::of(target).is_a_stations() {
        return None;
    }
    let asker = packet.key.src_mac;
    let Some((id, network)) = packet.network else {
        // The node asks for pods (host port). On the fabric the kernel answers for itself.
        let is_host = snapshot.port(packet.ingress).is_some_and(|port| port.role == Role::Host);
        let route = snapshot.route(ip::mapped(target))?;
        let reachable = matches!(route, Route::Endpoint { .. } | Route::Gateway { .. } | Route::Peer(_));
        let gateway = snapshot.networks.iter().find(|network| network.mode == Mode::Routed)?;
        return (is_host && reachable).then_some(gateway.gateway_mac);
    };
    let owner = snapshot.owners.get(&(id, target)).copied();
    match (network.mode, owner) {
        // An address of the asker's own: duplicate address detection, or an announcement.
        (_, Some(mac)) if mac == asker => None,
        (Mode::Bridged, owner) => owner,
        (Mode::Routed, Some(_)) => Some(network.gateway_mac),
        (Mode::Routed, None) => match snapshot.route(ip::mapped(target))? {
            Route::Gateway { network: other } => (other == id).then_some(network.gateway_mac),
            Route::Node => Some(network.gateway_mac),
            Route::Peer(_) => (Scope::of(target) == Scope::Unicast).then_some(network.gateway_mac),
            // Another network's pods are not there for this one.
            Route::Endpoint { .. } | Route::Unreachable => None,
        },
    }
}
