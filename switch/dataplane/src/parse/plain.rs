//! The shape that nearly every packet has, read a word at a time: untagged, IPv4 without options or IPv6 without extension
//! headers, not a fragment, TCP or UDP. Says the same as [`super::parse_packet`], or nothing; a test holds that.

use weft_wire::{ethertype, ip::proto};

use super::{Headers, L3};
use crate::key::{FlowKey, HashSecret, Origin};

const L3_AT: usize = 14;
const UDP_LEN: usize = 8;
const TCP_LEN: usize = 20;
/// The longest headers of IPv4: Ethernet, IP, TCP.
const HEAD: usize = 54;

/// What all packets of a burst have in common.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    origin: Origin,
    /// The TCP flags that are part of the key.
    flags_mask: u8,
    secret: &'a HashSecret,
}

impl<'a> Parser<'a> {
    #[inline]
    pub(super) fn new(origin: Origin, flags_mask: u8, secret: &'a HashSecret) -> Self {
        Self { origin, flags_mask, secret }
    }

    /// Fills in the key, its hash, and where the headers are. False: not of this shape, or not sound; nothing is said.
    #[inline(always)]
    pub(super) fn parse(
        &self,
        packet: &[u8],
        key: &mut FlowKey,
        headers: &mut Headers,
        hash: &mut u64,
    ) -> bool {
        let Some(head) = packet.first_chunk() else { return false };
        // EtherType, version and (IPv4) header length, as they lie.
        let shape = half(head, 12);
        if shape & 0xff_ffff == 0x45_0008 {
            self.ipv4(head, packet.len(), key, headers, hash)
        } else if shape & 0xf0_ffff == 0x60_dd86 {
            self.ipv6(head, packet, key, headers, hash)
        } else {
            false
        }
    }

    #[inline(always)]
    fn ipv4(
        &self,
        head: &[u8; HEAD],
        len: usize,
        key: &mut FlowKey,
        headers: &mut Headers,
        hash: &mut u64,
    ) -> bool {
        const L4_AT: usize = L3_AT + 20;
        // The IP header: version to fragment; TTL to source; destination. Its sum: ones' complement does not mind the
        // order of bytes (RFC 1071 §2).
        let (front, middle, dst) = (word(head, L3_AT), word(head, L3_AT + 8), half(head, L3_AT + 16));
        let sum = low(front) + high(front) + low(middle) + high(middle) + u64::from(dst);
        let total_len = usize::from(((front >> 16) as u16).swap_bytes());
        let protocol = head[L3_AT + 9];
        let is_tcp = protocol == proto::TCP;
        let macs = word(head, 0);
        // All that `parse_packet` checks: more fragments and offset; a source that is a group; lengths, of which the
        // least fits into `head`.
        let least = 20 + if is_tcp { TCP_LEN } else { UDP_LEN };
        let fits = total_len.wrapping_sub(least) <= len - L3_AT - least;
        let wrong = (front >> 48 & 0xff3f) | (macs & GROUP);
        if (wrong != 0) | !(is_tcp | (protocol == proto::UDP)) | !fits | !is_all_ones(sum) {
            return false;
        }
        let tcp_flags = if is_tcp { head[L4_AT + 13] } else { 0 };
        let words = [
            macs,
            u64::from(half(head, 8)) | u64::from(ethertype::IPV4) << 32 | self.origin.tag_bits(),
            word(head, L3_AT + 10) & !0xffff | self.origin.ingress_bits(),
            self.ports(word(head, L3_AT + 18), protocol, tcp_flags),
        ];
        *hash = self.secret.hash_narrow(&words);
        let [a, b, c, d] = words;
        *key = FlowKey::from_words([a, b, c, d, 0, 0, 0]);
        *headers = Headers { l3: L3_AT as u16, l4: L4_AT as u16, kind: L3::Ipv4, tcp_flags };
        true
    }

    #[inline(always)]
    fn ipv6(
        &self,
        head: &[u8; HEAD],
        packet: &[u8],
        key: &mut FlowKey,
        headers: &mut Headers,
        hash: &mut u64,
    ) -> bool {
        const L4_AT: usize = L3_AT + 40;
        let payload_len = usize::from(u16::from_be_bytes([head[L3_AT + 4], head[L3_AT + 5]]));
        let protocol = head[L3_AT + 6];
        let is_tcp = protocol == proto::TCP;
        let macs = word(head, 0);
        let least = if is_tcp { TCP_LEN } else { UDP_LEN };
        let Some(l4) = packet.get(L4_AT..).filter(|l4| l4.len() >= least) else { return false };
        let fits = payload_len.wrapping_sub(least) <= l4.len() - least;
        if (macs & GROUP != 0) | !(is_tcp | (protocol == proto::UDP)) | !fits {
            return false;
        }
        let Some(ports) = l4.first_chunk() else { return false };
        let tcp_flags = if is_tcp { l4[13] } else { 0 };
        // The source's last two bytes of its front half, and the ports behind them.
        let src_and_ports =
            u64::from(half(head, L3_AT + 14) & 0xffff) | u64::from(u32::from_le_bytes(*ports)) << 16;
        let words = [
            macs,
            u64::from(half(head, 8)) | u64::from(ethertype::IPV6) << 32 | self.origin.tag_bits(),
            word(head, L3_AT + 6) & !0xffff | self.origin.ingress_bits(),
            self.ports(src_and_ports, protocol, tcp_flags),
            word(head, L3_AT + 16),
            word(head, L3_AT + 24),
            word(head, L3_AT + 32),
        ];
        *hash = self.secret.hash_wide(&words);
        *key = FlowKey::from_words(words);
        *headers = Headers { l3: L3_AT as u16, l4: L4_AT as u16, kind: L3::Ipv6, tcp_flags };
        true
    }

    /// The key's word 3: the rest of an address and the ports, as they lie in `front`; protocol and flags.
    #[inline(always)]
    fn ports(&self, front: u64, protocol: u8, tcp_flags: u8) -> u64 {
        (front & 0xffff_ffff_ffff) | u64::from(protocol) << 48 | u64::from(tcp_flags & self.flags_mask) << 56
    }
}

/// The group bit of the source MAC, in an Ethernet header's first word.
const GROUP: u64 = 1 << 48;

#[inline]
fn word(head: &[u8; HEAD], at: usize) -> u64 {
    head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline]
fn half(head: &[u8; HEAD], at: usize) -> u32 {
    head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[inline]
fn low(word: u64) -> u64 {
    word & 0xffff_ffff
}

#[inline]
fn high(word: u64) -> u64 {
    word >> 32
}

/// Whether a sum of 32-bit words that is not zero folds to 0xffff: whether 65535 divides it, 2^16 being 1 modulo that.
/// Divisible is what gives a small number when multiplied by the divisor's inverse modulo 2^64 (Granlund and Montgomery
/// 1994, §9).
#[inline]
fn is_all_ones(sum: u64) -> bool {
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const _: () = assert!(INVERSE.wrapping_mul(0xffff) == 1);
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_wire::PortId;

    use super::*;
    use crate::parse::parse_packet;

    fn parse(packet: &[u8], flags_mask: u8) -> Option<(FlowKey, Headers)> {
        let secret = HashSecret::new([3, 5, 7, 11]);
        let (mut key, mut headers, mut hash) = (FlowKey::from_words([!0; 7]), Headers::default(), 0);
        let parser = Parser::new(Origin::by_port(PortId::from_index(7).unwrap()), flags_mask, &secret);
        parser.parse(packet, &mut key, &mut headers, &mut hash).then(|| {
            assert_eq!(hash, secret.hash(&key));
            (key, headers)
        })
    }

    /// A packet of this shape, or nearly so.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let payload = proptest::collection::vec(any::<u8>(), 0..60);
        let shape = (any::<bool>(), any::<bool>(), any::<[u8; 6]>(), any::<[u8; 32]>(), any::<[u8; 20]>());
        let spoil = proptest::option::of((0_usize..70, any::<u8>()));
        (shape, payload, spoil, 0_i32..4).prop_map(|((v6, tcp, mac, addresses, l4), payload, spoil, cut)| {
            let l4_len = if tcp { TCP_LEN } else { UDP_LEN };
            let body: Vec<u8> = l4[..l4_len].iter().chain(&payload).copied().collect();
            let protocol = if tcp { proto::TCP } else { proto::UDP };
            let mut packet = vec![2, 0, 0, 0, 0, 1];
            packet.extend(mac);
            if v6 {
                packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                packet.extend((body.len() as u16).to_be_bytes());
                packet.extend([protocol, 64]);
                packet.extend(addresses);
            } else {
                packet.extend([0x08, 0, 0x45, 0]);
                packet.extend((20 + body.len() as u16).to_be_bytes());
                packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
                packet.extend(&addresses[..8]);
                let sum = weft_wire::checksum::finish(weft_wire::checksum::sum(&packet[14..34], 0));
                packet[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            packet.extend(body);
            if let Some((at, byte)) = spoil
                && let Some(place) = packet.get_mut(at)
            {
                *place = byte;
            }
            packet.truncate(packet.len() - if cut == 3 { 5.min(packet.len()) } else { 0 });
            packet
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        /// What this parser finds, the whole one finds, too.
        #[test]
        fn agrees_with_the_whole_parser(packet in packet()) {
            if let Some((mut key, headers)) = parse(&packet, 0xff) {
                prop_assert_eq!((key.ingress, key.tcp_flags), (7, headers.tcp_flags));
                (key.ingress, key.tcp_flags) = (0, 0);
                prop_assert_eq!(Ok((key, headers)), parse_packet(&packet));
            }
        }

        /// It does find what has its shape.
        #[test]
        fn finds_what_is_plain(packet in packet()) {
            let (found, whole) = (parse(&packet, 0), parse_packet(&packet));
            let Ok((key, headers)) = whole else { return Ok(()) };
            let l4_at = if headers.kind == L3::Ipv4 { 34 } else { 54 };
            if headers.l4 == l4_at && key.tag == 0 && matches!(key.protocol, proto::TCP | proto::UDP) && packet.len() >= 80 {
                let inside = match headers.kind {
                    L3::Ipv4 => u16::from_be_bytes([packet[16], packet[17]]) >= 40,
                    _ => u16::from_be_bytes([packet[18], packet[19]]) >= 20,
                };
                prop_assert!(found.is_some() || !inside, "{packet:02x?}");
            }
        }
    }
}
