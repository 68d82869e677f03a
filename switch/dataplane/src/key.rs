//! What identifies a flow.

use std::net::IpAddr;

use weft_wire::{Mac, PortId, ip};
use zerocopy::{Immutable, IntoBytes};

/// Exact-match key of a flow: everything a decision may depend on. For frames that are neither IP nor ARP the
/// addresses, protocol and ports are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub struct FlowKey {
    /// Source address, IPv4 as `::ffff:a.b.c.d`; ARP: the sender's.
    pub src: [u8; 16],
    /// Destination address; ARP: the target's.
    pub dst: [u8; 16],
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
}

const _: () = assert!(size_of::<FlowKey>() == 56);

impl FlowKey {
    /// In `tag`: the frame has a VLAN tag, whose id is in the lower 12 bits.
    pub const TAGGED: u16 = 0x8000;
    /// In `tag`: a fragment without L4 header.
    pub const LATER_FRAGMENT: u16 = 0x4000;
    /// In `tag`: a fragment with L4 header.
    pub const FIRST_FRAGMENT: u16 = 0x2000;

    /// The VLAN id of the outer tag, if there is a tag. 0 is a priority tag (802.1Q-2018 §6.9.1).
    pub fn vlan(&self) -> Option<u16> {
        (self.tag & Self::TAGGED != 0).then_some(self.tag & 0x0fff)
    }

    /// Source address.
    pub fn src_ip(&self) -> IpAddr {
        ip::unmapped(self.src)
    }

    /// Destination address.
    pub fn dst_ip(&self) -> IpAddr {
        ip::unmapped(self.dst)
    }

    /// The port it came in by.
    pub fn ingress(&self) -> Option<PortId> {
        PortId::from_index(self.ingress)
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

    /// The key's hash: four folded 64×64→128-bit multiplications, in two independent chains.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let mut word = [0_u64; 7];
        for (word, bytes) in word.iter_mut().zip(key.as_bytes().chunks_exact(8)) {
            *word = u64::from_ne_bytes([
                bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
            ]);
        }
        let [a, b, c, d] = self.0;
        let addresses = fold(word[0] ^ a, word[1] ^ b) ^ fold(word[2] ^ c, word[3] ^ d);
        let rest = fold(word[4] ^ b, word[5] ^ c);
        fold(addresses ^ word[6] ^ d, rest ^ a)
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
            let key = FlowKey { src_port: port, dst_port: 80, protocol: 17, ..FlowKey::default() };
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
