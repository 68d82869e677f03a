//! A routed network against an oracle that reads the configuration anew for every packet.

use std::net::IpAddr;

use proptest::prelude::*;
use weft_dataplane::reason::DropReason;
use weft_tests::{
    packets::{Eth, describe},
    sim::{DEVICE_MAC, Sim},
};
use weft_wire::Mac;

const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Pods 0..n with 10.244.0.(10+i) and fd00:244::(16+i); every other one takes super-frames.
pub(crate) fn config(pods: usize) -> String {
    let pod = |i: usize| {
        let kind = if i.is_multiple_of(2) { "tap" } else { "xsk" };
        format!(
            "[[port]]\nname = \"p{i}\"\nkind = \"{kind}\"\ndevice = \"p{i}\"\n[[endpoint]]\nname = \"p{i}\"\n\
             network = \"pods\"\nport = \"p{i}\"\nmac = \"{}\"\naddresses = [\"{}\", \"{}\"]\n",
            mac(i),
            address(i, true),
            address(i, false)
        )
    };
    let pods: String = (0..pods).map(pod).collect();
    format!(
        r#"
[node]
name = "model"
addresses = ["192.0.2.1", "2001:db8::1"]
gateway_mac = "{GATEWAY}"
[pmd]
cores = [0]
flows = 256
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24", "fd00:244::/64"]
gateways = ["10.244.0.1", "fd00:244::1"]
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
{pods}
[fabric]
mode = "native"
[[fabric.peer]]
name = "peer"
address = "192.0.2.2"
prefixes = ["10.244.1.0/24"]
[[fabric.peer]]
name = "peer6"
address = "2001:db8::2"
prefixes = ["fd00:244:1::/64"]
"#
    )
}

fn mac(pod: usize) -> Mac {
    Mac([2, 0, 0, 0, 1, pod as u8])
}

fn address(pod: usize, is_v4: bool) -> IpAddr {
    let text = if is_v4 { format!("10.244.0.{}", 10 + pod) } else { format!("fd00:244::{:x}", 16 + pod) };
    text.parse().expect("an address")
}

/// Somebody a packet can be from or to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Pod(usize),
    Node,
    Gateway,
    PodOfPeer,
    Peer,
    Nobody,
    World,
    Group,
    Loopback,
    Unspecified,
    LinkLocal,
    /// Set apart for nobody.
    Reserved,
    /// Of IPv6: an IPv4 address in disguise.
    Disguised(usize),
}

impl Who {
    fn address(self, is_v4: bool) -> IpAddr {
        let (v4, v6) = match self {
            Self::Pod(pod) => return address(pod, is_v4),
            Self::Node => ("192.0.2.1", "2001:db8::1"),
            Self::Gateway => ("10.244.0.1", "fd00:244::1"),
            Self::PodOfPeer => ("10.244.1.77", "fd00:244:1::77"),
            Self::Peer => ("192.0.2.2", "2001:db8::2"),
            Self::Nobody => ("10.244.0.200", "fd00:244::dead"),
            Self::World => ("198.51.100.1", "2001:db8:ffff::1"),
            Self::Group => ("224.0.0.5", "ff02::5"),
            Self::Loopback => ("127.0.0.1", "::1"),
            Self::Unspecified => ("0.0.0.0", "::"),
            Self::LinkLocal => ("169.254.9.9", "fe80::9"),
            Self::Reserved => ("240.0.0.9", "::9"),
            Self::Disguised(pod) if !is_v4 => {
                return format!("::ffff:{}", address(pod, true)).parse().expect("an address");
            }
            Self::Disguised(_) => ("0.9.9.9", ""),
        };
        if is_v4 { v4 } else { v6 }.parse().expect("an address")
    }
}

/// Where a packet comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Pod(usize),
    Host,
    Uplink,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) from: From,
    src_mac_of: usize,
    src: Who,
    dst: Who,
    to_gateway: bool,
    is_v4: bool,
    ttl: u8,
    tagged: bool,
}

/// What the oracle expects.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Sent { port: String, dst: Mac },
    IcmpBack(&'static str),
    Dropped(DropReason),
}

/// The rules of a routed network, as a person would say them, one after the other.
fn oracle(packet: &Packet, pods: usize) -> Expected {
    use Expected::{Dropped, IcmpBack, Sent};
    if packet.tagged {
        return Dropped(DropReason::VlanNotAllowed);
    }
    let is_in_no_packet = |who| matches!(who, Who::Loopback | Who::Reserved | Who::Disguised(_));
    if is_in_no_packet(packet.src) || packet.src == Who::Group {
        return Dropped(DropReason::MartianSource);
    }
    if is_in_no_packet(packet.dst) || packet.dst == Who::Unspecified {
        return Dropped(DropReason::MartianDestination);
    }
    if let From::Pod(pod) = packet.from
        && (packet.src_mac_of != pod || packet.src != Who::Pod(pod))
    {
        return Dropped(DropReason::Spoofed);
    }
    if packet.dst == Who::Group {
        return Dropped(DropReason::Multicast);
    }
    if !packet.to_gateway {
        return Dropped(DropReason::NotForGateway);
    }
    // The node may speak to the switch itself on the link between them.
    let is_on_link = packet.src == Who::LinkLocal && packet.dst == Who::Gateway && packet.from == From::Host;
    if matches!(packet.src, Who::LinkLocal | Who::Unspecified) && !is_on_link {
        return Dropped(DropReason::MartianSource);
    }
    if packet.dst == Who::LinkLocal {
        return Dropped(DropReason::MartianDestination);
    }
    let to = |port: &str, dst: Mac| {
        if packet.ttl <= 1 {
            return IcmpBack("exceeded");
        }
        Sent { port: port.to_owned(), dst }
    };
    match packet.dst {
        Who::Pod(pod) if pod < pods => to(&format!("p{pod}"), mac(pod)),
        Who::Pod(_) | Who::Nobody => IcmpBack("unreachable"),
        Who::Gateway => IcmpBack("port"),
        Who::PodOfPeer | Who::Peer if packet.from == From::Uplink => Dropped(DropReason::NoRoute),
        Who::PodOfPeer | Who::Peer => to("uplink", Mac([2, 0x99, 0, 0, 0, u8::from(!packet.is_v4)])),
        Who::World if packet.from == From::Uplink => Dropped(DropReason::NoRoute),
        Who::Node if packet.from == From::Uplink => Dropped(DropReason::NotOurs),
        Who::Node | Who::World if packet.from == From::Host => IcmpBack("unreachable"),
        Who::Node | Who::World => to("host", DEVICE_MAC),
        Who::Group | Who::Loopback | Who::Unspecified => unreachable!("decided above"),
        Who::LinkLocal | Who::Reserved | Who::Disguised(_) => unreachable!("decided above"),
    }
}

pub(crate) fn ingress(from: From) -> String {
    match from {
        From::Pod(pod) => format!("p{pod}"),
        From::Host => "host".into(),
        From::Uplink => "uplink".into(),
    }
}

pub(crate) fn bytes(packet: &Packet) -> Vec<u8> {
    let src = match packet.from {
        From::Pod(_) => mac(packet.src_mac_of),
        From::Host | From::Uplink => Mac([2, 0xee, 0, 0, 0, 1]),
    };
    let dst = match (packet.to_gateway, packet.from) {
        (true, From::Uplink) => DEVICE_MAC,
        (true, _) => GATEWAY,
        (false, _) => Mac([2, 0xaa, 0, 0, 0, 9]),
    };
    let eth = Eth { src, dst, vlan: packet.tagged.then_some(5) };
    let (from, to) =
        (packet.src.address(packet.is_v4).to_string(), packet.dst.address(packet.is_v4).to_string());
    eth.udp(&from, &to, (1000, 2000), packet.ttl, 20)
}

fn icmp_word(kind: &str, is_v4: bool) -> &'static str {
    match (kind, is_v4) {
        ("exceeded", true) => "icmp 11/0",
        ("exceeded", false) => "icmp6 3/0",
        ("unreachable", true) => "icmp 3/1",
        ("unreachable", false) => "icmp6 1/3",
        ("port", true) => "icmp 3/3",
        _ => "icmp6 1/4",
    }
}

/// One packet: compares what the switch does with what the oracle expects.
fn compare(sim: &mut Sim, packet: &Packet, pods: usize) -> Result<(), TestCaseError> {
    let port = ingress(packet.from);
    let expected = oracle(packet, pods);
    let dropped_before = if let Expected::Dropped(reason) = expected { sim.drops(&port, reason) } else { 0 };
    sim.put(&port, bytes(packet));
    sim.run();
    let names: Vec<String> = sim.desired.ports.iter().map(|port| port.name.clone()).collect();
    let mut sent = Vec::new();
    for name in names {
        sent.extend(sim.tape(&name).take().into_iter().map(|(bytes, _)| (name.clone(), bytes)));
    }
    match expected {
        Expected::Sent { port, dst } => {
            prop_assert_eq!(sent.len(), 1);
            let (name, bytes) = &sent[0];
            let words = describe(bytes);
            prop_assert_eq!(name, &port);
            prop_assert_eq!(&bytes[..6], &dst.0);
            let want = format!(" ttl {} udp 1000>2000 len 20", packet.ttl - 1);
            prop_assert!(words.ends_with(&want), "{}", words);
        }
        Expected::IcmpBack(kind) => {
            prop_assert_eq!(sent.len(), 1);
            let words = describe(&sent[0].1);
            prop_assert_eq!(&sent[0].0, &port);
            prop_assert!(
                words.contains(icmp_word(kind, packet.is_v4)) && !words.contains("BAD"),
                "{}",
                words
            );
        }
        Expected::Dropped(reason) => {
            prop_assert!(
                sent.is_empty(),
                "{:?}",
                sent.iter().map(|(_, bytes)| describe(bytes)).collect::<Vec<_>>()
            );
            prop_assert_eq!(sim.drops(&port, reason), dropped_before + 1);
        }
    }
    Ok(())
}

fn who(pods: usize) -> impl Strategy<Value = Who> {
    prop_oneof![
        4 => (0..pods + 1).prop_map(Who::Pod),
        1 => Just(Who::Node),
        1 => Just(Who::Gateway),
        1 => Just(Who::PodOfPeer),
        1 => Just(Who::Peer),
        1 => Just(Who::Nobody),
        1 => Just(Who::World),
        1 => Just(Who::Group),
        1 => prop_oneof![
            Just(Who::Loopback),
            Just(Who::Unspecified),
            Just(Who::LinkLocal),
            Just(Who::Reserved),
            (0..pods).prop_map(Who::Disguised),
        ],
    ]
}

pub(crate) fn packets(pods: usize) -> impl Strategy<Value = Packet> {
    let from =
        prop_oneof![4 => (0..pods).prop_map(From::Pod), 1 => Just(From::Host), 1 => Just(From::Uplink)];
    let odd = prop::bool::weighted(0.1);
    (
        from,
        0..pods,
        who(pods),
        who(pods),
        odd,
        any::<bool>(),
        0..4_u8,
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(from, other, src, dst, past, is_v4, ttl, tagged, honest)| {
            let (src_mac_of, src) = match from {
                From::Pod(pod) if honest => (pod, Who::Pod(pod)),
                _ => (other, src),
            };
            // A packet from the world is not from a pod of this node.
            Packet {
                from,
                src_mac_of,
                src,
                dst,
                to_gateway: !past,
                is_v4,
                ttl: [1, 2, 64, 255][usize::from(ttl)],
                tagged,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Each packet twice: decided anew, and from the flow table.
    #[test]
    fn agrees_with_the_oracle(pods in 1_usize..5, seeds in prop::collection::vec(packets(4), 1..40)) {
        let mut sim = Sim::new(&config(pods));
        for packet in seeds.iter().filter(|packet| !matches!(packet.from, From::Pod(pod) if pod >= pods)) {
            compare(&mut sim, packet, pods)?;
            compare(&mut sim, packet, pods)?;
            sim.check_laws();
        }
        sim.finish();
    }
}
