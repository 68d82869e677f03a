//! What identifies a flow.

use std::net::IpAddr;

use weft_wire::{Mac, PortId, ethertype, ip};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Exact-match key of a flow: everything a decision may depend on. For frames that are neither IP nor ARP the
/// addresses, protocol and ports are zero.
///
/// In memory it begins as an Ethernet header does, and the words in front hold all of a key that is not IPv6: so the
/// parser makes it from a packet's words, and a flow table needs four words rather than seven for most flows.
#[derive(Debug, Clone, Copy, Default, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Destination MAC.
    pub dst_mac: Mac,
    /// Source MAC.
    pub src_mac: Mac,
    /// EtherType behind the outer VLAN tag.
    pub ethertype: u16,
    /// The outer VLAN tag and fragment bits: [`FlowKey::TAGGED`] and so on.
    pub tag: u16,
    /// Source port of TCP, UDP, SCTP.
    pub src_port: u16,
    /// Destination port of TCP, UDP, SCTP; ICMP: type and code; ARP: operation.
    pub dst_port: u16,
    /// Where it came in: [`PortId::index`].
    pub ingress: u16,
    /// IP protocol behind extension headers.
    pub protocol: u8,
    /// TCP flags, where a rule asks for them; else 0, so that they do not split flows.
    pub tcp_flags: u8,
    /// Source and destination: IPv6 16 bytes each; IPv4 and ARP 4 bytes each, then zeros.
    addresses: [u8; 32],
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
        let mut address = [0; 16];
        match self.ethertype {
            ethertype::IPV6 => address.copy_from_slice(&self.addresses[which * 16..][..16]),
            ethertype::IPV4 | ethertype::ARP => {
                address[10..12].fill(0xff);
                address[12..].copy_from_slice(&self.addresses[which * 4..][..4]);
            }
            _ => {}
        }
        address
    }

    /// Sets both addresses of an IPv4 or ARP key.
    pub fn set_v4(&mut self, src: [u8; 4], dst: [u8; 4]) {
        self.addresses[..4].copy_from_slice(&src);
        self.addresses[4..8].copy_from_slice(&dst);
    }

    /// Sets both addresses of an IPv6 key.
    pub fn set_v6(&mut self, src: [u8; 16], dst: [u8; 16]) {
        self.addresses[..16].copy_from_slice(&src);
        self.addresses[16..].copy_from_slice(&dst);
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
            (IpAddr::V4(v4), ethertype::IPV4) => {
                self.addresses[which * 4..][..4].copy_from_slice(&v4.octets());
            }
            (IpAddr::V6(v6), ethertype::IPV6) => {
                self.addresses[which * 16..][..16].copy_from_slice(&v6.octets());
            }
            _ => {}
        }
    }

    /// Source address.
    pub fn src_ip(&self) -> IpAddr {
        ip::unmapped(self.src())
    }

    /// Destination address.
    pub fn dst_ip(&self) -> IpAddr {
        ip::unmapped(self.dst())
    }

    /// The port it came in by.
    pub fn ingress(&self) -> Option<PortId> {
        PortId::from_index(self.ingress)
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

    /// The key's hash: folded 64×64→128-bit multiplications in independent chains, one for every two words, and one
    /// over their results.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let word = key.words();
        let [a, b, c, d] = self.0;
        let mut mixed = fold(word[0] ^ a, word[1] ^ b) ^ fold(word[2] ^ c, word[3] ^ d);
        if key.is_wide() {
            mixed ^= fold(word[4] ^ b, word[5] ^ c).rotate_left(32) ^ fold(word[6] ^ d, a);
        }
        fold(mixed, b)
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
            (key.src_port, key.dst_port, key.protocol) = (port, 80, 17);
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
