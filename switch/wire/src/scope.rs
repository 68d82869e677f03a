//! Where an address may be used: the special-purpose ones (RFC 6890 and the IANA registries that it set up), as far as an
//! RFC forbids them to whoever forwards packets. Documentation and benchmarking prefixes are ordinary addresses here, and so
//! is the discard prefix 100::/64, which is forwardable by its registration (RFC 6666 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// An ordinary unicast address: routed wherever the routes lead.
    Unicast,
    /// 169.254.0.0/16 (RFC 3927 §7) and fe80::/10 (RFC 4291 §2.5.6): good on its link, never forwarded.
    LinkLocal,
    /// 224.0.0.0/4, 255.255.255.255 and ff00::/8: many stations; never a source (RFC 1122 §3.2.1.3, RFC 4291 §2.7).
    Group,
    /// 0.0.0.0 and `::`: a source that has no address yet; never a destination (RFC 4291 §2.5.2).
    Unspecified,
    /// 127.0.0.0/8 (RFC 1122 §3.2.1.3 g) and `::1` (RFC 4291 §2.5.3): never outside of a host.
    Loopback,
    /// The rest of 0.0.0.0/8, "this network" (RFC 1122 §3.2.1.3 a, b), and of 240.0.0.0/4 (RFC 1112 §4).
    Reserved,
    /// `::ffff:0:0/96`, an IPv4 address in the form of an IPv6 one (RFC 4291 §2.5.5.2): in no packet. Flow keys hold IPv4
    /// addresses in this form ([`crate::ip::mapped`]), so such a packet would be taken for one of IPv4.
    Mapped,
    /// The rest of `::/96`, addresses of automatic tunnels: given up (RFC 4291 §2.5.5.1, RFC 4213 §1).
    Compatible,
}

impl Scope {
    /// Of an address as it is in a packet or in a configuration.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0, 0, 0, 0] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [224..=239, ..] | [255, 255, 255, 255] => Self::Group,
            [0, ..] | [240..=255, ..] => Self::Reserved,
            _ => Self::Unicast,
        }
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0, 0, 0, 0, 0, 0, ..] => Self::Compatible,
            [0, 0, 0, 0, 0, 0xffff, ..] => Self::Mapped,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Group,
            _ => Self::Unicast,
        }
    }

    /// Of a prefix: what all its addresses are. One that holds ordinary addresses beside others, as 0.0.0.0/0 does, is
    /// ordinary.
    pub const fn of_prefix(first: IpAddr, len: u8) -> Self {
        let block = match first {
            IpAddr::V4(v4) => match v4.octets() {
                [0 | 127, ..] => 8,
                [169, 254, ..] => 16,
                _ => 4,
            },
            IpAddr::V6(v6) => match v6.segments() {
                [0, 0, 0, 0, 0, 0 | 0xffff, ..] => 96,
                [0xfe80..=0xfebf, ..] => 10,
                _ => 8,
            },
        };
        if len < block { Self::Unicast } else { Self::of(first) }
    }

    /// Whether one station can have such an address.
    pub const fn is_a_stations(self) -> bool {
        matches!(self, Self::Unicast | Self::LinkLocal)
    }

    /// Whether a packet may come from such an address.
    pub const fn may_be_source(self) -> bool {
        matches!(self, Self::Unicast | Self::LinkLocal | Self::Unspecified)
    }

    /// Whether a packet may be for such an address.
    pub const fn may_be_destination(self) -> bool {
        matches!(self, Self::Unicast | Self::LinkLocal | Self::Group)
    }

    /// What it is, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unicast => "a unicast address",
            Self::LinkLocal => "a link-local address",
            Self::Group => "a multicast or broadcast address",
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::Reserved => "a reserved address",
            Self::Mapped => "an IPv4-mapped address",
            Self::Compatible => "an IPv4-compatible address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_special_where_all_of_it_is() {
        for (prefix, len, scope) in [
            ("0.0.0.0", 0, Scope::Unicast),
            ("0.0.0.0", 8, Scope::Unspecified),
            ("0.1.0.0", 16, Scope::Reserved),
            ("127.0.0.0", 7, Scope::Unicast),
            ("127.0.0.0", 8, Scope::Loopback),
            ("169.254.0.0", 15, Scope::Unicast),
            ("169.254.20.10", 32, Scope::LinkLocal),
            ("224.0.0.0", 3, Scope::Unicast),
            ("224.0.0.0", 4, Scope::Group),
            ("240.0.0.0", 4, Scope::Reserved),
            ("10.0.0.0", 8, Scope::Unicast),
            ("::", 0, Scope::Unicast),
            ("::", 95, Scope::Unicast),
            ("::", 96, Scope::Unspecified),
            ("::1", 128, Scope::Loopback),
            ("::ffff:10.0.0.0", 104, Scope::Mapped),
            ("::ffff:0.0.0.0", 95, Scope::Unicast),
            ("fe80::", 10, Scope::LinkLocal),
            ("fe00::", 8, Scope::Unicast),
            ("ff00::", 8, Scope::Group),
            ("2001:db8::", 32, Scope::Unicast),
        ] {
            assert_eq!(Scope::of_prefix(prefix.parse().expect("an address"), len), scope, "{prefix}/{len}");
        }
    }

    /// The first and the last address of each block, and their neighbours.
    #[test]
    fn blocks_begin_and_end_where_the_registries_say() {
        for (address, scope) in [
            ("0.0.0.0", Scope::Unspecified),
            ("0.0.0.1", Scope::Reserved),
            ("0.255.255.255", Scope::Reserved),
            ("1.0.0.0", Scope::Unicast),
            ("126.255.255.255", Scope::Unicast),
            ("127.0.0.0", Scope::Loopback),
            ("127.255.255.255", Scope::Loopback),
            ("128.0.0.0", Scope::Unicast),
            ("169.253.255.255", Scope::Unicast),
            ("169.254.0.0", Scope::LinkLocal),
            ("169.254.255.255", Scope::LinkLocal),
            ("169.255.0.0", Scope::Unicast),
            ("198.51.100.1", Scope::Unicast),
            ("223.255.255.255", Scope::Unicast),
            ("224.0.0.0", Scope::Group),
            ("239.255.255.255", Scope::Group),
            ("240.0.0.0", Scope::Reserved),
            ("255.255.255.254", Scope::Reserved),
            ("255.255.255.255", Scope::Group),
            ("::", Scope::Unspecified),
            ("::1", Scope::Loopback),
            ("::2", Scope::Compatible),
            ("::255.255.255.255", Scope::Compatible),
            ("::1:0:0", Scope::Unicast),
            ("::fffe:ffff:ffff", Scope::Unicast),
            ("::ffff:0.0.0.0", Scope::Mapped),
            ("::ffff:127.0.0.1", Scope::Mapped),
            ("::ffff:255.255.255.255", Scope::Mapped),
            ("::1:0:0:0", Scope::Unicast),
            ("64:ff9b::10.0.0.1", Scope::Unicast),
            ("100::1", Scope::Unicast),
            ("fd00::1", Scope::Unicast),
            ("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Scope::Unicast),
            ("fe80::", Scope::LinkLocal),
            ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Scope::LinkLocal),
            ("fec0::", Scope::Unicast),
            ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Scope::Unicast),
            ("ff00::", Scope::Group),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Scope::Group),
        ] {
            assert_eq!(Scope::of(address.parse().expect("an address")), scope, "{address}");
        }
    }
}
