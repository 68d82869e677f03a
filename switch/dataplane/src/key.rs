//! What identifies a flow.

use std::net::IpAddr;

use weft_wire::{Mac, NetworkId, PeerId, PortId, ethertype, ip};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Exact-match key of a flow: everything a decision may depend on. For frames that are neither IP nor ARP the
/// addresses, protocol and ports are zero.
///
/// In memory it lies as packets do, so that the parser makes it from their words: MACs, then addresses and ports in the
/// order of an IPv4 packet. The words in front hold all of a key that is not IPv6's: a flow table needs four words
/// rather than seven for most flows.
#[derive(Debug, Clone, Copy, Default, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Destination MAC.
    pub dst_mac: Mac,
    /// Source MAC.
    pub src_mac: Mac,
    /// EtherType behind the outer VLAN tag.
    pub ethertype: u16,
    /// The outer VLAN tag and fragment bits: [`FlowKey::TAGGED`] and so on. Through a tunnel: the network.
    pub tag: u16,
    /// Where it came in: [`PortId::index`]. Through a tunnel: the other node, [`PeerId`].
    pub ingress: u16,
    /// IPv4 and ARP: source and destination; IPv6: the source's front half.
    front: [u8; 8],
    src_port: [u8; 2],
    dst_port: [u8; 2],
    /// IP protocol behind extension headers.
    pub protocol: u8,
    /// TCP flags, where a rule asks for them; else 0, so that they do not split flows.
    pub tcp_flags: u8,
    /// IPv6: the source's back half, and the destination; else zeros.
    back: [u8; 24],
}

/// Words of a key that is not IPv6's; the others are zero.
pub const NARROW: usize = 4;
/// Words of any key.
pub const WIDE: usize = 7;

const _: () = assert!(size_of::<FlowKey>() == WIDE * 8 && cfg!(target_endian = "little"));

impl FlowKey {
    /// In `tag`: the frame has a VLAN tag, whose id is in the lower 12 bits.
    pub const TAGGED: u16 = 0x8000;
    /// In `tag`: a fragment without L4 header.
    pub const LATER_FRAGMENT: u16 = 0x4000;
    /// In `tag`: a fragment with L4 header.
    pub const FIRST_FRAGMENT: u16 = 0x2000;
    /// In `tag`: it came through a tunnel; the lower 12 bits are the network's number.
    pub const TUNNELLED: u16 = 0x1000;

    /// A key from its words in memory.
    #[inline]
    pub fn from_words(words: [u64; WIDE]) -> Self {
        zerocopy::transmute!(words)
    }

    /// The key's words in memory.
    #[inline]
    pub fn words(&self) -> &[u64; WIDE] {
        zerocopy::transmute_ref!(self)
    }

    /// The words that are not zero, unless it is wide.
    #[inline]
    pub fn narrow(&self) -> &[u64; NARROW] {
        let [words @ .., _, _, _] = self.words();
        words
    }

    /// Whether it needs all its words.
    #[inline]
    pub fn is_wide(&self) -> bool {
        self.ethertype == ethertype::IPV6
    }

    /// The VLAN id of the outer tag, if there is a tag. 0 is a priority tag (802.1Q-2018 §6.9.1).
    pub fn vlan(&self) -> Option<u16> {
        (self.tag & Self::TAGGED != 0).then_some(self.tag & 0x0fff)
    }

    /// Source address: IPv4 as `::ffff:a.b.c.d`; ARP: the sender's; zero for what has no address.
    pub fn src(&self) -> [u8; 16] {
        self.address(0)
    }

    /// Destination address: IPv4 as `::ffff:a.b.c.d`; ARP: the target's; zero for what has no address.
    pub fn dst(&self) -> [u8; 16] {
        self.address(1)
    }

    fn address(&self, which: usize) -> [u8; 16] {
        match self.ethertype {
            ethertype::IPV6 => self.v6()[which],
            ethertype::IPV4 | ethertype::ARP => {
                let v4: [u8; 4] = std::array::from_fn(|i| self.front[which * 4 + i]);
                ip::mapped(IpAddr::from(v4))
            }
            _ => [0; 16],
        }
    }

    fn v6(&self) -> [[u8; 16]; 2] {
        let byte = |i: usize| if i < 8 { self.front[i] } else { self.back[i - 8] };
        [0, 16].map(|at| std::array::from_fn(|i| byte(at + i)))
    }

    /// Sets both addresses of an IPv4 or ARP key.
    pub fn set_v4(&mut self, src: [u8; 4], dst: [u8; 4]) {
        self.front[..4].copy_from_slice(&src);
        self.front[4..].copy_from_slice(&dst);
    }

    /// Sets both addresses of an IPv6 key.
    pub fn set_v6(&mut self, src: [u8; 16], dst: [u8; 16]) {
        self.front.copy_from_slice(&src[..8]);
        self.back[..8].copy_from_slice(&src[8..]);
        self.back[8..].copy_from_slice(&dst);
    }

    /// Sets the source address; one that is not of the packet's family changes nothing.
    pub fn set_src(&mut self, address: IpAddr) {
        self.set_address(0, address);
    }

    /// Sets the destination address; one that is not of the packet's family changes nothing.
    pub fn set_dst(&mut self, address: IpAddr) {
        self.set_address(1, address);
    }

    fn set_address(&mut self, which: usize, address: IpAddr) {
        match (address, self.ethertype) {
            (IpAddr::V4(v4), ethertype::IPV4) => self.front[which * 4..][..4].copy_from_slice(&v4.octets()),
            (IpAddr::V6(v6), ethertype::IPV6) => {
                let mut addresses = self.v6();
                addresses[which] = v6.octets();
                self.set_v6(addresses[0], addresses[1]);
            }
            _ => {}
        }
    }

    /// Source port of TCP, UDP, SCTP.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes(self.src_port)
    }

    /// Destination port of TCP, UDP, SCTP; ICMP: type and code; ARP: operation.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes(self.dst_port)
    }

    /// Sets [`FlowKey::src_port`].
    pub fn set_src_port(&mut self, port: u16) {
        self.src_port = port.to_be_bytes();
    }

    /// Sets [`FlowKey::dst_port`].
    pub fn set_dst_port(&mut self, port: u16) {
        self.dst_port = port.to_be_bytes();
    }

    /// Source address.
    pub fn src_ip(&self) -> IpAddr {
        ip::unmapped(self.src())
    }

    /// Destination address.
    pub fn dst_ip(&self) -> IpAddr {
        ip::unmapped(self.dst())
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        let is_tunnelled = self.tag & Self::TUNNELLED != 0;
        Origin { ingress: self.ingress, tag: if is_tunnelled { self.tag & 0x1fff } else { 0 } }
    }

    /// The port it came in by; none for what came through a tunnel.
    pub fn ingress(&self) -> Option<PortId> {
        self.origin().port()
    }

    /// The same packet as if it had come by a port, as it is.
    #[must_use]
    pub fn arrived_by(mut self, port: PortId) -> Self {
        if self.tag & Self::TUNNELLED != 0 {
            self.tag &= Self::LATER_FRAGMENT | Self::FIRST_FRAGMENT;
        }
        self.ingress = port.index() as u16;
        self
    }
}

/// Where a packet came from: a port, or another node through a tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    ingress: u16,
    tag: u16,
}

impl Origin {
    /// Networks that tunnels may be of: as many as fit into a key.
    pub const NETWORKS_MAX: usize = 0x1000;

    /// A port.
    #[inline]
    pub const fn by_port(port: PortId) -> Self {
        Self { ingress: port.index() as u16, tag: 0 }
    }

    /// Another node, in one of the first [`Origin::NETWORKS_MAX`] networks.
    pub const fn by_tunnel(peer: PeerId, network: NetworkId) -> Self {
        Self { ingress: peer.0, tag: FlowKey::TUNNELLED | network.0 & 0xfff }
    }

    /// The port.
    pub const fn port(self) -> Option<PortId> {
        if self.tag == 0 { PortId::from_index(self.ingress) } else { None }
    }

    /// The other node, and the network.
    pub const fn tunnel(self) -> Option<(PeerId, NetworkId)> {
        if self.tag == 0 { None } else { Some((PeerId(self.ingress), NetworkId(self.tag & 0xfff))) }
    }

    /// As a number.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.tag as u64) << 16 | self.ingress as u64
    }

    /// The opposite of [`Origin::to_bits`].
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { ingress: bits as u16, tag: (bits >> 16) as u16 }
    }

    /// Its part of a key's second word.
    #[inline]
    pub(crate) const fn tag_bits(self) -> u64 {
        (self.tag as u64) << 48
    }

    /// Its part of a key's third word.
    #[inline]
    pub(crate) const fn ingress_bits(self) -> u64 {
        self.ingress as u64
    }

    /// Says in a key where its packet came from.
    pub(crate) const fn mark(self, key: &mut FlowKey) {
        key.ingress = self.ingress;
        key.tag |= self.tag;
    }
}

impl PartialEq for FlowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

/// Secret of a table's hash: an attacker who does not know it can't aim at a bucket.
#[derive(Clone, Copy)]
pub struct HashSecret([u64; 4]);

impl HashSecret {
    /// From random words.
    pub const fn new(random: [u64; 4]) -> Self {
        // A zero word would let `fold` multiply by what the attacker chose alone.
        Self([random[0] | 1, random[1] | 1, random[2] | 1, random[3] | 1])
    }

    /// The key's hash: folded 64×64→128-bit multiplications, one for every two words, independent of each other.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        if key.is_wide() { self.hash_wide(key.words()) } else { self.hash_narrow(key.narrow()) }
    }

    /// The hash of a key that is not IPv6's.
    #[inline]
    pub(crate) fn hash_narrow(&self, word: &[u64; NARROW]) -> u64 {
        let [a, b, c, d] = self.0;
        fold(word[0] ^ a, word[1] ^ b) ^ fold(word[2] ^ c, word[3] ^ d)
    }

    /// The hash of an IPv6 key.
    #[inline]
    pub(crate) fn hash_wide(&self, word: &[u64; WIDE]) -> u64 {
        let [a, b, c, d] = self.0;
        let front = fold(word[0] ^ a, word[1] ^ b) ^ fold(word[2] ^ c, word[3] ^ d);
        let back = fold(word[4] ^ b, word[5] ^ c).rotate_left(32) ^ fold(word[6] ^ d, a);
        front ^ back
    }
}

impl std::fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashSecret(..)")
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_spreads_neighbouring_flows() {
        let secret = HashSecret::new([0x1234_5678_9abc_def1, 7, 0xdead_beef_0bad_cafe, 99]);
        let mut buckets = [0_u32; 1024];
        for port in 0..=u16::MAX {
            let mut key = FlowKey::default();
            key.set_src_port(port);
            key.protocol = 17;
            buckets[secret.hash(&key) as usize % 1024] += 1;
        }
        assert!(buckets.iter().all(|&n| (20..130).contains(&n)), "{:?}", buckets.iter().minmax());
    }

    trait MinMax {
        fn minmax(self) -> (u32, u32);
    }
    impl<'a, I: Iterator<Item = &'a u32> + Clone> MinMax for I {
        fn minmax(self) -> (u32, u32) {
            (*self.clone().min().unwrap(), *self.max().unwrap())
        }
    }
}
