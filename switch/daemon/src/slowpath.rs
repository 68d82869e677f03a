//! Answers to punted packets: ARP, neighbour discovery, ping to a gateway, ICMP errors.
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

mod arp;
pub mod desk;
mod fragment;
mod icmp;
pub mod learnt;
mod nd;
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
    Mac, NetworkId, PortId, ethertype,
    ip::{self, Ipv4, Ipv6},
};
use zerocopy::FromBytes;

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
        PuntReason::PathMtu => None, // it is the answer: see `path_mtu`
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

/// Back the way it came: by the port, with the tag it came with, or through the tunnel.
fn reply(packet: &Packet<'_>, bytes: Vec<u8>, snapshot: &Snapshot) -> Option<Reply> {
    if let Some((peer, network)) = packet.origin.tunnel() {
        let (_, tunnel) = snapshot.tunnel_to(peer, Some(network))?;
        return wrapped(tunnel, &bytes, snapshot);
    }
    let bytes = match packet.key.vlan() {
        Some(vlan) => with_tag(&bytes, vlan),
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
    if packet.key.vlan().is_some() {
        untagged.drain(12..16);
    }
    let others = network.members.iter().filter(|(port, _)| *port != packet.ingress);
    let copy = |&(port, vlan): &(PortId, Option<weft_wire::VlanId>)| Reply {
        port,
        bytes: vlan.map_or_else(|| untagged.clone(), |vlan| with_tag(&untagged, vlan.get())),
    };
    let remotes = network.remotes.iter().filter(|_| packet.origin.tunnel().is_none());
    let mut replies: Vec<Reply> = others.map(copy).collect();
    let local = replies.len();
    replies.extend(remotes.filter_map(|tunnel| wrapped(*tunnel, &untagged, snapshot)));
    let remote = replies.len() - local;
    Answer { replies, kind: AnswerKind::Flood { network: id, remote } }
}

fn with_tag(bytes: &[u8], vlan: u16) -> Vec<u8> {
    let [vlan, protocol] = [vlan.to_be_bytes(), ethertype::VLAN.to_be_bytes()];
    [&bytes[..12], &protocol, &vlan, &bytes[12..]].concat()
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

/// What a router in the underlay says of the way to another node: the node's address, and the largest packet, bytes. The
/// quoted packet must be one that this node could have sent (RFC 5927 §7).
pub fn path_mtu(bytes: &[u8], snapshot: &Snapshot) -> Option<(IpAddr, u32)> {
    let tunnels = snapshot.unwraps.as_ref()?;
    let (_, headers) = parse_packet(bytes).ok()?;
    let message = bytes.get(headers.l4.into()..)?;
    let (quoted, mtu) = (message.get(8..)?, u32::from_be_bytes(*message.get(4..)?.first_chunk()?));
    let (src, dst, ports) = match headers.kind {
        L3::Ipv4 => {
            let (ip, rest) = Ipv4::ref_from_prefix(quoted).ok()?;
            (IpAddr::from(ip.src), IpAddr::from(ip.dst), rest.first_chunk::<4>()?)
        }
        L3::Ipv6 => {
            let (ip, rest) = Ipv6::ref_from_prefix(quoted).ok()?;
            (IpAddr::from(ip.src), IpAddr::from(ip.dst), rest.first_chunk::<4>()?)
        }
        L3::Arp | L3::Other => return None,
    };
    // RFC 1191 §4: the upper half of the word is unused.
    let mtu = if headers.kind == L3::Ipv4 { mtu & 0xffff } else { mtu };
    let is_own = match src {
        IpAddr::V4(v4) => tunnels.v4 == Some(v4.octets()),
        IpAddr::V6(v6) => tunnels.v6 == Some(v6.octets()),
    };
    let is_tunnel = u16::from_be_bytes([ports[2], ports[3]]) == tunnels.udp_port;
    (is_own && is_tunnel && tunnels.peers.contains_key(&ip::mapped(dst))).then_some((dst, mtu))
}

/// The MTU that the packet was too big for: that of the port its destination is behind.
fn egress_mtu(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<u32> {
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
    let asker = packet.key.src_mac;
    let Some((id, network)) = packet.network else {
        // The node asks for pods (host port). On the fabric the kernel answers for itself.
        let is_host = snapshot.port(packet.ingress).is_some_and(|port| port.role == Role::Host);
        let route = snapshot.route(ip::mapped(target))?;
        let reachable = matches!(route, Route::Endpoint { .. } | Route::Gateway { .. } | Route::Peer(_));
        let gateway = snapshot.networks.iter().find(|network| network.mode == Mode::Routed)?;
        return (is_host && reachable).then_some(gateway.gateway_mac);
    };
    match (network.mode, snapshot.addresses.get(&(id, target))) {
        // An address of the asker's own: duplicate address detection, or an announcement.
        (_, Some(mac)) if *mac == asker => None,
        (Mode::Bridged, owner) => owner.copied(),
        (Mode::Routed, Some(_)) => Some(network.gateway_mac),
        (Mode::Routed, None) => match snapshot.route(ip::mapped(target))? {
            Route::Gateway { network: other } => (other == id).then_some(network.gateway_mac),
            Route::Node | Route::Peer(_) => Some(network.gateway_mac),
            // Another network's pods are not there for this one.
            Route::Endpoint { .. } | Route::Unreachable => None,
        },
    }
}
