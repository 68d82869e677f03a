//! A packet in one line: what `weftctl trace` takes, and what dropped and traced packets are shown as.
//!
//! ```text
//! [mac SRC > DST] [vlan ID] WHAT [ttl N] [dscp N] [df] [fragment OFFSET[+]] [size BYTES]
//!
//! WHAT   tcp SRC:PORT > DST:PORT [flags syn,ack]      udp SRC:PORT > DST:PORT      sctp SRC:PORT > DST:PORT
//!        icmp SRC > DST [echo | echo-reply | type N code N]      the same with IPv6 addresses: icmp6
//!        icmp6 SRC > DST solicit TARGET                          neighbour solicitation
//!        ip PROTOCOL SRC > DST                                   any other protocol, by number
//!        arp who-has TARGET tell SENDER      arp reply SENDER to TARGET
//!        ethertype 0x88cc                                        neither IP nor ARP
//! ```
//! IPv6 addresses with a port are in brackets. `size` is the whole frame without FCS. What is left out is filled in by
//! weftd: MACs as whoever sends it would, TCP flags `syn`, TTL 64 (solicitations 255).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::{FromStr, SplitWhitespace},
};

use serde::{Deserialize, Serialize};
use weft_wire::{Mac, ip::proto, l4::tcp_flags};

use crate::spec::TcpFlags;

/// A packet in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PacketSpec {
    /// Source and destination MAC.
    pub macs: Option<(Mac, Mac)>,
    /// VLAN id; 0 is a priority tag.
    pub vlan: Option<u16>,
    /// What is in the frame.
    pub body: Body,
    /// Length of the frame, bytes.
    pub size: Option<usize>,
}

/// What is in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// IPv4 or IPv6.
    Ip(Ip),
    /// An ARP request or reply.
    Arp {
        /// It is a reply.
        reply: bool,
        /// Who speaks.
        sender: Ipv4Addr,
        /// Who is asked for, or answered.
        target: Ipv4Addr,
    },
    /// Neither, by EtherType.
    Other(u16),
}

/// An IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// What it carries.
    pub l4: L4,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP.
    pub dscp: u8,
    /// IPv4: don't fragment.
    pub df: bool,
    /// It is a fragment: payload offset in bytes, and whether more follow. No `l4` header is there behind offset 0.
    pub fragment: Option<(u16, bool)>,
}

/// What an IP packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4 {
    /// TCP: source port, destination port, flags.
    Tcp(u16, u16, u8),
    /// UDP: source port, destination port.
    Udp(u16, u16),
    /// SCTP: source port, destination port.
    Sctp(u16, u16),
    /// ICMP or ICMPv6: type, code.
    Icmp(u8, u8),
    /// A neighbour solicitation.
    Solicit(Ipv6Addr),
    /// Another protocol.
    Other(u8),
}

impl L4 {
    /// Its IP protocol in a packet of a family.
    pub const fn protocol(self, is_v4: bool) -> u8 {
        match self {
            Self::Tcp(..) => proto::TCP,
            Self::Udp(..) => proto::UDP,
            Self::Sctp(..) => proto::SCTP,
            Self::Icmp(..) if is_v4 => proto::ICMP,
            Self::Icmp(..) | Self::Solicit(_) => proto::ICMPV6,
            Self::Other(protocol) => protocol,
        }
    }

    const fn ports(self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp(src, dst, _) | Self::Udp(src, dst) | Self::Sctp(src, dst) => Some((src, dst)),
            _ => None,
        }
    }
}

/// What a sender sets if nothing is said.
pub const TTL: u8 = 64;

impl From<PacketSpec> for String {
    fn from(packet: PacketSpec) -> Self {
        packet.to_string()
    }
}

impl TryFrom<String> for PacketSpec {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for PacketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((src, dst)) = self.macs {
            write!(f, "mac {src} > {dst} ")?;
        }
        if let Some(vlan) = self.vlan {
            write!(f, "vlan {vlan} ")?;
        }
        match &self.body {
            Body::Ip(ip) => ip.fmt(f)?,
            Body::Arp { reply: false, sender, target } => write!(f, "arp who-has {target} tell {sender}")?,
            Body::Arp { reply: true, sender, target } => write!(f, "arp reply {sender} to {target}")?,
            Body::Other(ethertype) => write!(f, "ethertype 0x{ethertype:04x}")?,
        }
        self.size.map_or(Ok(()), |size| write!(f, " size {size}"))
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, l4, ttl, dscp, df, fragment } = self;
        let end = |address: &IpAddr, port: u16| match address {
            IpAddr::V4(v4) => format!("{v4}:{port}"),
            IpAddr::V6(v6) => format!("[{v6}]:{port}"),
        };
        let word = match l4 {
            L4::Tcp(..) => "tcp",
            L4::Udp(..) => "udp",
            L4::Sctp(..) => "sctp",
            L4::Icmp(..) | L4::Solicit(_) if src.is_ipv4() => "icmp",
            L4::Icmp(..) | L4::Solicit(_) => "icmp6",
            L4::Other(_) => "ip",
        };
        f.write_str(word)?;
        if let L4::Other(protocol) = l4 {
            write!(f, " {protocol}")?;
        }
        match l4.ports() {
            Some((from, to)) => write!(f, " {} > {}", end(src, from), end(dst, to))?,
            None => write!(f, " {src} > {dst}")?,
        }
        let (echo, reply) = if src.is_ipv4() { (8, 0) } else { (128, 129) };
        match *l4 {
            L4::Tcp(_, _, flags) => write!(f, " flags {}", flag_words(flags))?,
            L4::Icmp(kind, 0) if kind == echo => f.write_str(" echo")?,
            L4::Icmp(kind, 0) if kind == reply => f.write_str(" echo-reply")?,
            L4::Icmp(kind, code) => write!(f, " type {kind} code {code}")?,
            L4::Solicit(target) => write!(f, " solicit {target}")?,
            _ => {}
        }
        write!(f, " ttl {ttl}")?;
        if *dscp != 0 {
            write!(f, " dscp {dscp}")?;
        }
        if *df {
            f.write_str(" df")?;
        }
        match fragment {
            Some((offset, more)) => write!(f, " fragment {offset}{}", if *more { "+" } else { "" }),
            None => Ok(()),
        }
    }
}

fn flag_words(flags: u8) -> String {
    if flags == 0 { "none".into() } else { TcpFlags { mask: flags, value: flags }.to_string() }
}

/// The words of a packet, one after the other.
struct Words<'a>(std::iter::Peekable<SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing at the end"))
    }

    /// Takes the next word, if it is this one.
    fn takes(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.next(&format!("`{word}`"))? {
            found if found == word => Ok(()),
            found => Err(format!("`{found}` is where `{word}` should be")),
        }
    }

    fn read<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("`{word}` is no {what}"))
    }

    /// `SRC > DST`.
    fn pair<T>(&mut self, read: impl Fn(&'a str) -> Result<T, String>) -> Result<(T, T), String> {
        let src = read(self.next("the source")?)?;
        self.expect(">")?;
        Ok((src, read(self.next("the destination")?)?))
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("`{text}` is no IP address"))
}

fn socket(text: &str) -> Result<(IpAddr, u16), String> {
    let wrong = || format!("`{text}` is no address with a port: write 10.0.0.1:80 or [fd00::1]:80");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(wrong());
    }
    Ok((address(host)?, port.parse().map_err(|_| wrong())?))
}

fn mac(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|error| format!("{error}"))
}

const KINDS: &str =
    "begin with tcp, udp, sctp, icmp, icmp6, ip, arp or ethertype, as in `tcp 10.0.0.1:33000 > 10.0.0.2:80`";

impl FromStr for PacketSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Words(text.split_whitespace().peekable());
        let mut packet = Self { macs: None, vlan: None, body: Body::Other(0), size: None };
        if words.takes("mac") {
            packet.macs = Some(words.pair(mac)?);
        }
        if words.takes("vlan") {
            packet.vlan = Some(words.read("VLAN id")?);
            if packet.vlan > Some(4095) {
                return Err("a VLAN id is 0 to 4095".into());
            }
        }
        packet.body = match words.next("the protocol (tcp, udp, icmp, arp …)")? {
            "arp" => arp(&mut words)?,
            "ethertype" => Body::Other(ethertype(words.next("the EtherType")?)?),
            kind => Body::Ip(ip(kind, &mut words)?),
        };
        while let Some(word) = words.0.next() {
            match (word, &mut packet.body) {
                ("size", _) => packet.size = Some(words.read("size in bytes")?),
                ("ttl", Body::Ip(ip)) => ip.ttl = words.read("TTL of 0 to 255")?,
                ("dscp", Body::Ip(ip)) => ip.dscp = words.read("DSCP of 0 to 63")?,
                ("df", Body::Ip(ip)) => ip.df = true,
                ("fragment", Body::Ip(ip)) => ip.fragment = Some(fragment(words.next("the offset")?)?),
                ("flags", Body::Ip(Ip { l4: L4::Tcp(_, _, flags), .. })) => {
                    *flags = read_flags(words.next("the flags")?)?;
                }
                (word, _) => return Err(format!("`{word}` is not known here; {ENDS}")),
            }
        }
        packet.check()?;
        Ok(packet)
    }
}

const ENDS: &str = "a packet may end with ttl, dscp, df, fragment, size, and TCP's flags";

impl PacketSpec {
    fn check(&self) -> Result<(), String> {
        /// The largest IP packet, Ethernet and a tag.
        const FRAME_MAX: usize = 65_535 + 18;
        if self.size.is_some_and(|size| size > FRAME_MAX) {
            return Err(format!("size: a frame has {FRAME_MAX} bytes at most"));
        }
        let Body::Ip(ip) = &self.body else { return Ok(()) };
        if ip.src.is_ipv4() != ip.dst.is_ipv4() {
            return Err(format!("{} and {} are not of one family", ip.src, ip.dst));
        }
        if ip.dscp > 63 {
            return Err("dscp: use 0 to 63".into());
        }
        if ip.df && ip.src.is_ipv6() {
            return Err("df: IPv6 packets are never fragmented on the way".into());
        }
        Ok(())
    }
}

fn ethertype(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("0x").ok_or_else(|| format!("`{text}`: write an EtherType as 0x88cc"))?;
    u16::from_str_radix(digits, 16).map_err(|_| format!("`{text}` is no EtherType"))
}

fn fragment(text: &str) -> Result<(u16, bool), String> {
    let (offset, more) = text.strip_suffix('+').map_or((text, false), |offset| (offset, true));
    match offset.parse::<u16>() {
        Ok(offset) if offset.is_multiple_of(8) => Ok((offset, more)),
        _ => Err(format!("`{text}`: a fragment's offset is a multiple of 8, with + where more follow")),
    }
}

fn read_flags(text: &str) -> Result<u8, String> {
    if text == "none" {
        return Ok(0);
    }
    let flags: TcpFlags = text.parse()?;
    if flags.value == flags.mask {
        Ok(flags.value)
    } else {
        Err(format!("`{text}`: name the flags that are set"))
    }
}

fn arp(words: &mut Words<'_>) -> Result<Body, String> {
    match words.next("who-has or reply")? {
        "who-has" => {
            let target = words.read("IPv4 address")?;
            words.expect("tell")?;
            Ok(Body::Arp { reply: false, sender: words.read("IPv4 address")?, target })
        }
        "reply" => {
            let sender = words.read("IPv4 address")?;
            words.expect("to")?;
            Ok(Body::Arp { reply: true, sender, target: words.read("IPv4 address")? })
        }
        word => {
            Err(format!("`{word}`: write `arp who-has TARGET tell SENDER` or `arp reply SENDER to TARGET`"))
        }
    }
}

fn ip(kind: &str, words: &mut Words<'_>) -> Result<Ip, String> {
    let of = |src, dst, l4| Ip { src, dst, l4, ttl: TTL, dscp: 0, df: false, fragment: None };
    match kind {
        "tcp" | "udp" | "sctp" => {
            let ((src, from), (dst, to)) = words.pair(socket)?;
            let l4 = match kind {
                "tcp" => L4::Tcp(from, to, tcp_flags::SYN),
                "udp" => L4::Udp(from, to),
                _ => L4::Sctp(from, to),
            };
            Ok(of(src, dst, l4))
        }
        "icmp" | "icmp6" => {
            let (src, dst) = words.pair(address)?;
            if src.is_ipv4() != (kind == "icmp") {
                return Err(format!("{kind} does not go with {src}: icmp is IPv4's, icmp6 IPv6's"));
            }
            let (echo, reply) = if src.is_ipv4() { (8, 0) } else { (128, 129) };
            let l4 = if words.takes("echo-reply") {
                L4::Icmp(reply, 0)
            } else if words.takes("type") {
                let kind = words.read("ICMP type of 0 to 255")?;
                words.expect("code")?;
                L4::Icmp(kind, words.read("ICMP code of 0 to 255")?)
            } else if words.takes("solicit") {
                L4::Solicit(words.read("IPv6 address")?)
            } else {
                words.takes("echo");
                L4::Icmp(echo, 0)
            };
            match (l4, src) {
                (L4::Solicit(_), IpAddr::V4(_)) => Err("solicit is IPv6's: IPv4 has arp".into()),
                // Less is what was routed, and not valid (RFC 4861 §7.1.1).
                (L4::Solicit(_), IpAddr::V6(_)) => Ok(Ip { ttl: u8::MAX, ..of(src, dst, l4) }),
                _ => Ok(of(src, dst, l4)),
            }
        }
        "ip" => {
            let protocol = words.read("IP protocol of 0 to 255")?;
            let (src, dst) = words.pair(address)?;
            Ok(of(src, dst, L4::Other(protocol)))
        }
        other => Err(format!("`{other}` is no kind of packet: {KINDS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "tcp 10.1.0.5:33000 > 10.1.2.7:80 flags syn ttl 64",
            "mac 02:00:00:00:00:0a > 02:00:00:00:00:01 vlan 10 udp 10.0.0.1:1 > 10.0.0.2:2 ttl 1 dscp 46 df size 1400",
            "tcp [fd00::1]:1 > [fd00::2]:2 flags fin,psh,ack ttl 64 size 90",
            "tcp 10.0.0.1:1 > 10.0.0.2:2 flags none ttl 64",
            "sctp 10.0.0.1:1 > 10.0.0.2:2 ttl 64 fragment 0+",
            "icmp 10.0.0.1 > 10.0.0.2 echo ttl 64",
            "icmp 10.0.0.1 > 10.0.0.2 type 3 code 4 ttl 64",
            "icmp6 fd00::1 > fd00::2 echo-reply ttl 255",
            "icmp6 fe80::1 > ff02::1:ff00:2 solicit fd00::2 ttl 255",
            "ip 47 10.0.0.1 > 10.0.0.2 ttl 64 fragment 1480",
            "arp who-has 10.0.0.1 tell 10.0.0.2",
            "arp reply 10.0.0.1 to 10.0.0.2 size 60",
            "ethertype 0x88cc size 60",
        ] {
            assert_eq!(text.parse::<PacketSpec>().expect(text).to_string(), text);
        }
        let short = "icmp 10.0.0.1 > 10.0.0.2".parse::<PacketSpec>().expect("an echo request");
        assert_eq!(short.to_string(), "icmp 10.0.0.1 > 10.0.0.2 echo ttl 64");
        let short = "icmp6 fe80::1 > ff02::1:ff00:2 solicit fd00::2".parse::<PacketSpec>().expect("one");
        assert_eq!(short.to_string(), "icmp6 fe80::1 > ff02::1:ff00:2 solicit fd00::2 ttl 255");
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, says) in [
            ("", "the protocol (tcp, udp, icmp, arp …) is missing"),
            ("tpc 10.0.0.1:1 > 10.0.0.2:2", "begin with tcp"),
            ("tcp 10.0.0.1 > 10.0.0.2:2", "no address with a port"),
            ("tcp fd00::1:80 > [fd00::2]:80", "[fd00::1]:80"),
            ("tcp 10.0.0.1:1 10.0.0.2:2", "where `>` should be"),
            ("udp 10.0.0.1:1 > [fd00::2]:2", "one family"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 flags syn", "not known here"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 ttl 300", "no TTL"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 fragment 7", "multiple of 8"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 flags sin", "is not a TCP flag"),
            ("icmp fd00::1 > fd00::2", "icmp6 IPv6's"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 size 70000", "at most"),
            ("vlan 5000 arp who-has 10.0.0.1 tell 10.0.0.2", "0 to 4095"),
            ("arp 10.0.0.1", "arp who-has TARGET"),
            ("ethertype 88cc", "as 0x88cc"),
            ("mac 02:00 > 02:01 arp who-has 10.0.0.1 tell 10.0.0.2", "is not a MAC address"),
        ] {
            let error = text.parse::<PacketSpec>().expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
