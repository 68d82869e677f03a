//! The path's MTU to other nodes, as routers in the underlay tell it (RFC 1191, RFC 8201).
//!
//! Anybody who may send to this node, and from any address, can say that a path takes little (RFC 5927 §7). So a message
//! is [`read()`] first: it must be whole and sound, quote a packet that this node could have sent, and claim what a path may
//! carry. That much a liar can do, too: he has to know two nodes' addresses, nothing more. So whatever is learnt is asked
//! for again ([`probe`]): packets of the old size are sent that only a router on the way has seen and can quote. What nobody
//! repeats is forgotten ([`Paths`]), and that peer's next claim is not used before it is proven.
//!
//! What remains to a liar who is not on the way: packets to one node of at most the least a path may carry, for
//! [`paths::PROBE_EVERY`] × [`paths::PROBES_MAX`] in each [`paths::LIFETIME`]; of a pod's IPv6, never less than 1280 bytes.

pub mod paths;
pub mod probe;

use std::net::IpAddr;

use weft_dataplane::{
    key::FlowKey,
    parse::{L3, parse_packet},
    snapshot::Snapshot,
    tunnel::Tunnels,
};
use weft_wire::{
    checksum,
    ip::{self, Ipv4, Ipv6, proto},
    l4::{Icmp, Udp},
    tunnel,
};
use zerocopy::FromBytes;

pub use paths::{Learnt, PathMtus, Paths, State};

/// Less than this is not believed of an IPv4 path. A link may take as little as 68 bytes, but none does that nodes are
/// joined by, and every host takes 576 (RFC 791 §3.1, §3.2); Linux doesn't go below 552 (net.ipv4.route.min_pmtu).
const MTU_MIN_V4: u32 = 576;
/// What paths carry, in steps (RFC 1191 §7.1), for routers that don't say what theirs does.
const PLATEAUS: [u32; 6] = [8166, 4352, 2002, 1492, 1006, MTU_MIN_V4];

/// Why a message about a path is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refused {
    /// Cut short, in fragments, or its checksum is wrong.
    Malformed,
    /// What it quotes is no packet of a tunnel of this node's to another.
    NotSent,
    /// It claims less than a path may carry.
    BelowMinimum,
    /// The quoted packet would have passed, or is longer than any that is sent.
    Implausible,
    /// More than is looked at in a second.
    Limited,
    /// Of a path that was lied about: it waits for proof.
    Unproven,
}

impl Refused {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::NotSent,
        Self::BelowMinimum,
        Self::Implausible,
        Self::Limited,
        Self::Unproven,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotSent => "not_sent",
            Self::BelowMinimum => "below_minimum",
            Self::Implausible => "implausible",
            Self::Limited => "limited",
            Self::Unproven => "unproven",
        }
    }
}

/// What a router says of the way to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The other node's address.
    pub peer: IpAddr,
    /// The largest packet, bytes.
    pub mtu: u32,
    /// Who says so.
    pub router: IpAddr,
    /// Of the packet that was too large.
    pub quoted: Quoted,
    /// What was the largest packet before anybody said anything: the uplink's MTU, bytes.
    pub uplink_mtu: u32,
}

/// What is read of a quoted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// Its length, bytes.
    pub len: u32,
    /// UDP source port, which chose the path together with the flow label (IPv6; else 0).
    pub src_port: u16,
    /// The flow label.
    pub label: u32,
    /// What tells probes from each other and from what anybody could quote.
    pub mark: probe::Mark,
}

/// Reads a message. What it quotes must be a packet that this node could have sent (RFC 5927 §7, RFC 8201 §4).
///
/// That the quoted packet has DF set is not asked for, though ours have: some routers clear it before they find the packet
/// too large, and to a liar it is nothing.
pub fn read(bytes: &[u8], snapshot: &Snapshot) -> Result<Claim, Refused> {
    let tunnels = snapshot.unwraps.as_ref().ok_or(Refused::NotSent)?;
    let uplink_mtu = snapshot.port(tunnels.port).ok_or(Refused::NotSent)?.caps.mtu;
    let (key, headers) = parse_packet(bytes).map_err(|_| Refused::Malformed)?;
    let message = message(bytes, headers.l3.into(), headers.l4.into(), headers.kind);
    let is_fragment = key.tag & (FlowKey::FIRST_FRAGMENT | FlowKey::LATER_FRAGMENT) != 0;
    let message = message.filter(|_| !is_fragment).ok_or(Refused::Malformed)?;
    let (icmp, quote) = Icmp::ref_from_prefix(message).map_err(|_| Refused::Malformed)?;
    let (mtu, min, (peer, quoted)) = match headers.kind {
        // RFC 1191 §4: the upper half of the word is unused.
        L3::Ipv4 => (
            u32::from(u16::from_be_bytes([icmp.rest[2], icmp.rest[3]])),
            MTU_MIN_V4,
            read_v4(quote, tunnels)?,
        ),
        // RFC 8201 §4: what claims less must be discarded.
        _ => (u32::from_be_bytes(icmp.rest), Ipv6::MTU_MIN as u32, read_v6(quote, tunnels)?),
    };
    // RFC 1191 §5: an old router does not say; what is next below the packet's length is as good a guess as any.
    let guess = || PLATEAUS.into_iter().find(|plateau| *plateau < quoted.len).unwrap_or(MTU_MIN_V4);
    let mtu = if mtu == 0 && headers.kind == L3::Ipv4 { guess() } else { mtu };
    if mtu < min {
        return Err(Refused::BelowMinimum);
    }
    if mtu >= quoted.len || quoted.len > uplink_mtu {
        return Err(Refused::Implausible);
    }
    Ok(Claim { peer, mtu, router: key.src_ip(), quoted, uplink_mtu })
}

/// The ICMP message, if it is all there and its checksum is right.
fn message(bytes: &[u8], l3: usize, l4: usize, kind: L3) -> Option<&[u8]> {
    let (end, pseudo) = match kind {
        L3::Ipv4 => {
            let (ip, _) = Ipv4::ref_from_prefix(bytes.get(l3..)?).ok()?;
            (l3 + usize::from(ip.total_len.get()), 0)
        }
        L3::Ipv6 => {
            let (ip, _) = Ipv6::ref_from_prefix(bytes.get(l3..)?).ok()?;
            let end = l3 + size_of::<Ipv6>() + usize::from(ip.payload_len.get());
            (end, checksum::pseudo(&ip.src, &ip.dst, proto::ICMPV6, end.checked_sub(l4)?))
        }
        L3::Arp | L3::Other => return None,
    };
    let message = bytes.get(l4..end)?;
    (checksum::finish(checksum::sum(message, pseudo)) == 0).then_some(message)
}

fn read_v4(quote: &[u8], tunnels: &Tunnels) -> Result<(IpAddr, Quoted), Refused> {
    let (ip, rest) = Ipv4::ref_from_prefix(quote).map_err(|_| Refused::NotSent)?;
    let is_ours = ip.version_ihl == 0x45
        && ip.protocol == proto::UDP
        && ip.fragment.get() & !Ipv4::DF == 0
        && tunnels.v4 == Some(ip.src);
    let len = u32::from(ip.total_len.get());
    let (peer, udp_len) = (IpAddr::from(ip.dst), len.wrapping_sub(size_of::<Ipv4>() as u32));
    let (src_port, mut mark) =
        read_udp(rest, (peer, udp_len), tunnels).filter(|_| is_ours).ok_or(Refused::NotSent)?;
    mark.id = ip.id.get();
    Ok((peer, Quoted { len, src_port, label: 0, mark }))
}

fn read_v6(quote: &[u8], tunnels: &Tunnels) -> Result<(IpAddr, Quoted), Refused> {
    let (ip, rest) = Ipv6::ref_from_prefix(quote).map_err(|_| Refused::NotSent)?;
    let word = ip.version_class_label.get();
    let is_ours = word >> 28 == 6 && ip.next_header == proto::UDP && tunnels.v6 == Some(ip.src);
    let udp_len = u32::from(ip.payload_len.get());
    let (peer, len) = (IpAddr::from(ip.dst), udp_len + size_of::<Ipv6>() as u32);
    let (src_port, mark) =
        read_udp(rest, (peer, udp_len), tunnels).filter(|_| is_ours).ok_or(Refused::NotSent)?;
    Ok((peer, Quoted { len, src_port, label: word & 0xf_ffff, mark }))
}

/// UDP from the range that [`weft_dataplane::tunnel::Tunnel::write`] takes its source ports from, to a tunnel of a peer's.
fn read_udp(quote: &[u8], (peer, len): (IpAddr, u32), tunnels: &Tunnels) -> Option<(u16, probe::Mark)> {
    let (udp, payload) = Udp::ref_from_prefix(quote).ok()?;
    let is_ours = udp.src.get() >= weft_dataplane::tunnel::SRC_PORT_MIN
        && udp.dst.get() == tunnels.udp_port
        && u32::from(udp.len.get()) == len
        && tunnels.peers.contains_key(&ip::mapped(peer));
    let nonce = payload.get(tunnel::LEN..).and_then(|payload| payload.first_chunk());
    let mark = probe::Mark { id: 0, checksum: udp.checksum.get(), nonce: nonce.copied() };
    is_ours.then_some((udp.src.get(), mark))
}
