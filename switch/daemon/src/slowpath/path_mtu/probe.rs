//! A packet that asks the routers on the way to another node whether they take it. It is as long as one that some router
//! is said to have found too large, and goes the way that one went: from the same port, with the same flow label. The other
//! node drops it.
//!
//! Whoever quotes it has seen it: it carries numbers that nobody can guess, in those bytes that every router quotes (the
//! IPv4 id and the UDP checksum, 32 bits) and behind them (64 bits, which IPv6's routers quote).

use std::net::IpAddr;

use weft_dataplane::{
    snapshot::{Hop, Snapshot},
    tunnel::{Encapsulation, SRC_PORT_MIN},
};
use weft_pmd::offload::outer::{self, Outer};
use weft_wire::{
    checksum,
    eth::Ethernet,
    ip::{self, Ipv4, Ipv6, proto},
    l4::Udp,
    tunnel,
};
use zerocopy::FromBytes;

use crate::slowpath::Reply;

/// What a probe is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// IPv4 id; IPv6: 0.
    pub id: u16,
    /// UDP checksum.
    pub checksum: u16,
    /// What follows the tunnel's header, as far as it is quoted.
    pub nonce: Option<[u8; 8]>,
}

impl Mark {
    /// Whether a quoted packet is the probe. Over IPv6, whose routers quote all that fits, the nonce must be there.
    pub fn is_in(&self, quoted: &Self, is_v4: bool) -> bool {
        let has_nonce = quoted.nonce.map_or(is_v4, |nonce| Some(nonce) == self.nonce);
        self.id == quoted.id && self.checksum == quoted.checksum && has_nonce
    }
}

/// What is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The other node's address.
    pub peer: IpAddr,
    /// Length of the IP packet, bytes.
    pub len: u32,
    /// UDP source port.
    pub src_port: u16,
    /// Flow label (IPv6).
    pub label: u32,
    /// Two numbers that nobody can guess.
    pub random: [u64; 2],
}

/// The frame, and what it is known by; none: there is no tunnel to the other node (now).
pub fn build(question: &Question, snapshot: &Snapshot) -> Option<(Reply, Mark)> {
    let tunnels = snapshot.unwraps.as_ref()?;
    let peer = *tunnels.peers.get(&ip::mapped(question.peer))?;
    let Hop::Tunnel { port, first } = snapshot.peer(peer)?.hop? else { return None };
    let tunnel = snapshot.tunnels.get(usize::from(first))?;
    let outer = tunnel.outer();
    let mut bytes = vec![0; size_of::<Ethernet>() + question.len as usize];
    let [nonce, id] = question.random;
    let entropy = u64::from(question.label) << 32 | u64::from(question.src_port & !SRC_PORT_MIN) << 40;
    bytes.get_mut(outer.len()..outer.len() + 8)?.copy_from_slice(&nonce.to_be_bytes());
    tunnel.write(&mut bytes, 0, entropy);
    let shim: [u8; tunnel::LEN] = match tunnels.encapsulation {
        // Without a VNI it is for nobody (RFC 7348 §5).
        Encapsulation::Vxlan => [0; tunnel::LEN],
        Encapsulation::Geneve => zerocopy::transmute!(tunnel::Geneve::probe()),
    };
    bytes[outer.len() - tunnel::LEN..outer.len()].copy_from_slice(&shim);
    let mut mark = Mark { id: 0, checksum: 0, nonce: Some(nonce.to_be_bytes()) };
    if outer == Outer::V4 {
        mark.id = id as u16;
        let (ip, _) = Ipv4::mut_from_prefix(&mut bytes[size_of::<Ethernet>()..]).ok()?;
        ip.id.set(mark.id);
    }
    outer::finish(&mut bytes, outer);
    mark.checksum = sum(&mut bytes, outer)?;
    Some((Reply { port, bytes }, mark))
}

/// Makes the UDP checksum, which over IPv4 tunnels do without.
fn sum(bytes: &mut [u8], outer: Outer) -> Option<u16> {
    let (head, l4) = bytes.split_at_mut(outer.l4());
    let l3 = &head[size_of::<Ethernet>()..];
    let pseudo = match outer {
        Outer::V4 => {
            let (ip, _) = Ipv4::ref_from_prefix(l3).ok()?;
            checksum::pseudo(&ip.src, &ip.dst, proto::UDP, l4.len())
        }
        Outer::V6 => {
            let (ip, _) = Ipv6::ref_from_prefix(l3).ok()?;
            checksum::pseudo(&ip.src, &ip.dst, proto::UDP, l4.len())
        }
    };
    Udp::mut_from_prefix(l4).ok()?.0.checksum.set(0);
    let sum = checksum::finish(checksum::sum(l4, pseudo));
    let sum = if sum == 0 { 0xffff } else { sum };
    Udp::mut_from_prefix(l4).ok()?.0.checksum.set(sum);
    Some(sum)
}
