//! Bridged networks: what ARP and neighbour discovery say of addresses is held against the endpoints.

use weft_tests::{
    messages::{Arp, Message, address, advertisement, discovery, link_layer, solicitation},
    packets::{Eth, eth},
    sim::Sim,
};

use crate::{check_fates, fate};

const LAN: &str = r#"
[node]
name = "test"
addresses = ["192.0.2.1"]
gateway_mac = "02:00:00:00:00:01"
[pmd]
cores = [0]
flows = 4096
[[network]]
name = "lan"
mode = "bridged"
vlan = 10
vni = 7
[[port]]
name = "a"
kind = "tap"
device = "a"
[[port]]
name = "b"
kind = "tap"
device = "b"
[[port]]
name = "free"
kind = "tap"
device = "free"
[[port]]
name = "x"
kind = "xsk"
role = "access"
network = "lan"
device = "x"
[[port]]
name = "t"
kind = "packet"
role = "trunk"
networks = ["lan"]
device = "t"
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
[[endpoint]]
name = "a"
network = "lan"
port = "a"
mac = "02:00:00:00:00:0a"
addresses = ["10.9.0.5", "10.9.0.55", "fd09::5", "fd09::55"]
[[endpoint]]
name = "b"
network = "lan"
port = "b"
mac = "02:00:00:00:00:0b"
addresses = ["10.9.0.6", "fd09::6", "fe80::6", "169.254.0.6"]
[[endpoint]]
name = "free"
network = "lan"
port = "free"
mac = "02:00:00:00:00:0c"
[fabric]
mode = "vxlan"
[[fabric.peer]]
name = "peer"
address = "192.0.2.2"
"#;

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const ANY: &str = "02:00:00:00:00:0c";
const X: &str = "02:00:00:00:00:aa";
const ALL: &str = "ff:ff:ff:ff:ff:ff";
const ALL_NODES: &str = "33:33:00:00:00:01";
/// Flooded from a, b, `free`, the access port, the trunk and the uplink.
const FROM_A: &str = "b free x t uplink";
const FROM_B: &str = "a free x t uplink";
const FROM_ANY: &str = "a b x t uplink";
const FROM_X: &str = "a b free t uplink";
const FROM_T: &str = "a b free x uplink";
const FROM_PEER: &str = "a b free x t";

fn says(operation: u16, sender: &'static str, target: &'static str) -> Arp<'static> {
    Arp { hardware: 1, operation, sender_mac: None, sender, target }
}

fn wrapped(inner: &[u8]) -> Vec<u8> {
    let outer = eth("02:99:00:00:00:00", "02:de:00:00:00:01");
    outer.wrap("192.0.2.2", "192.0.2.1", 4789, &[8, 0, 0, 0, 0, 0, 7, 0], inner)
}

#[test]
fn a_pods_arp_is_about_itself() {
    let a = || eth(A, ALL);
    let other = |arp: Arp<'static>, mac: &'static str| Arp { sender_mac: Some(mac), ..arp };
    let (request, reply, probe) =
        (says(1, "10.9.0.5", "10.9.0.9"), says(2, "10.9.0.5", "10.9.0.9"), says(1, "0.0.0.0", "10.9.0.5"));
    check_fates(
        LAN,
        vec![
            ("request", "a", a().arp_packet(request), FROM_A),
            ("of its second address", "a", a().arp_packet(says(1, "10.9.0.55", "10.9.0.9")), FROM_A),
            ("reply to all", "a", a().arp_packet(reply), FROM_A),
            ("reply to b", "a", eth(A, B).arp_packet(reply), "b"),
            ("announcement", "a", a().arp_packet(says(1, "10.9.0.5", "10.9.0.5")), FROM_A),
            ("probe", "a", a().arp_packet(probe), FROM_A),
            ("link-local", "a", a().arp_packet(says(1, "169.254.0.5", "169.254.0.5")), FROM_A),
            ("link-local probe", "a", a().arp_packet(says(1, "0.0.0.0", "169.254.0.5")), FROM_A),
            (
                "its listed link-local",
                "b",
                eth(B, ALL).arp_packet(says(2, "169.254.0.6", "10.9.0.9")),
                FROM_B,
            ),
            // Lies.
            ("b's link-local", "a", a().arp_packet(says(2, "169.254.0.6", "10.9.0.9")), "spoofed"),
            ("probe for b's link-local", "a", a().arp_packet(says(1, "0.0.0.0", "169.254.0.6")), "spoofed"),
            (
                "not the one it lists",
                "b",
                eth(B, ALL).arp_packet(says(2, "169.254.0.66", "10.9.0.9")),
                "spoofed",
            ),
            ("reply for b", "a", a().arp_packet(says(2, "10.9.0.6", "10.9.0.9")), "spoofed"),
            ("request as b", "a", a().arp_packet(says(1, "10.9.0.6", "10.9.0.9")), "spoofed"),
            ("announcement of b's", "a", a().arp_packet(says(1, "10.9.0.6", "10.9.0.6")), "spoofed"),
            ("probe for b's", "a", a().arp_packet(says(1, "0.0.0.0", "10.9.0.6")), "spoofed"),
            ("nobody's", "a", a().arp_packet(says(2, "10.9.0.99", "10.9.0.9")), "spoofed"),
            ("loopback", "a", a().arp_packet(says(2, "127.0.0.1", "10.9.0.9")), "spoofed"),
            ("another's MAC", "a", a().arp_packet(other(reply, B)), "spoofed"),
            ("a stranger's MAC", "a", a().arp_packet(other(request, X)), "spoofed"),
            ("group MAC", "a", a().arp_packet(other(reply, ALL)), "spoofed"),
            ("no MAC", "a", a().arp_packet(other(reply, "00:00:00:00:00:00")), "spoofed"),
            ("in a probe", "a", a().arp_packet(other(probe, B)), "spoofed"),
            ("reverse reply", "a", a().arp_packet(other(Arp { operation: 4, ..reply }, B)), "spoofed"),
            ("IEEE 802 hardware", "a", a().arp_packet(other(Arp { hardware: 6, ..reply }, B)), "spoofed"),
            ("unicast", "a", eth(A, B).arp_packet(other(reply, X)), "spoofed"),
            ("priority tag", "a", a().vlan(0).arp_packet(other(reply, B)), "spoofed"),
            ("priority tag", "a", a().vlan(0).arp_packet(says(2, "10.9.0.6", "10.9.0.9")), "spoofed"),
            ("priority tag, true", "a", a().vlan(0).arp_packet(reply), FROM_A),
        ],
    );
}

/// Linux takes off as many priority tags as there are: behind the first, everything could be hidden.
#[test]
fn nothing_is_hidden_behind_more_tags() {
    let lie = eth(A, ALL).arp_packet(says(2, "10.9.0.6", "10.9.0.9"));
    let behind = |tags: &[u8]| [&lie[..12], tags, &lie[12..]].concat();
    check_fates(
        LAN,
        vec![
            ("two tags", "a", behind(&[0x81, 0, 0, 0, 0x81, 0, 0, 0]), "vlan_not_allowed"),
            (
                "customer behind priority",
                "a",
                behind(&[0x81, 0, 0xe0, 0, 0x88, 0xa8, 0, 0]),
                "vlan_not_allowed",
            ),
            ("service tag", "a", behind(&[0x88, 0xa8, 0, 0]), "vlan_not_allowed"),
            ("of a VLAN", "a", behind(&[0x81, 0, 0, 10]), "vlan_not_allowed"),
        ],
    );
}

fn to_all(message: &Message) -> Vec<u8> {
    eth(A, ALL_NODES).icmp6(message)
}

fn extended(message: &Message, kind: u8, header: &[u8]) -> Message {
    message.clone().with(|it| it.extensions = (kind, header.to_vec()))
}

#[test]
fn a_pod_advertises_itself() {
    let own = advertisement("fd09::5", "ff02::1", "fd09::5", A);
    let hop_by_hop = [58, 0, 1, 4, 0, 0, 0, 0];
    check_fates(
        LAN,
        vec![
            ("own", "a", to_all(&own), FROM_A),
            ("own to b", "a", eth(A, B).icmp6(&advertisement("fd09::5", "fd09::6", "fd09::5", A)), "b"),
            (
                "second, from the first",
                "a",
                to_all(&advertisement("fd09::5", "ff02::1", "fd09::55", A)),
                FROM_A,
            ),
            (
                "second, from link-local",
                "a",
                to_all(&advertisement("fe80::5", "ff02::1", "fd09::55", A)),
                FROM_A,
            ),
            ("link-local", "a", to_all(&advertisement("fe80::5", "ff02::1", "fe80::5", A)), FROM_A),
            (
                "link-local of its MAC",
                "a",
                to_all(&advertisement("fe80::ff:fe00:a", "ff02::1", "fe80::ff:fe00:a", A)),
                FROM_A,
            ),
            ("without option", "a", to_all(&own.clone().with(|it| it.body.truncate(16))), FROM_A),
            ("extension", "a", to_all(&extended(&own, 0, &hop_by_hop)), FROM_A),
            (
                "listed link-local",
                "b",
                eth(B, ALL_NODES).icmp6(&advertisement("fe80::6", "ff02::1", "fe80::6", B)),
                FROM_B,
            ),
            ("priority tag", "a", eth(A, ALL_NODES).vlan(0).icmp6(&own), FROM_A),
        ],
    );
}

#[test]
fn a_pod_advertises_no_other() {
    let lie = advertisement("fd09::5", "ff02::1", "fd09::6", A);
    check_fates(
        LAN,
        vec![
            ("b's", "a", to_all(&lie), "spoofed"),
            (
                "b's, from link-local",
                "a",
                to_all(&advertisement("fe80::5", "ff02::1", "fd09::6", A)),
                "spoofed",
            ),
            ("b's, from b's", "a", to_all(&advertisement("fd09::6", "ff02::1", "fd09::6", A)), "spoofed"),
            (
                "b's, unicast",
                "a",
                eth(A, B).icmp6(&advertisement("fd09::5", "fd09::6", "fd09::6", A)),
                "spoofed",
            ),
            ("b's, without option", "a", to_all(&lie.clone().with(|it| it.body.truncate(16))), "spoofed"),
            ("b's link-local", "a", to_all(&advertisement("fe80::5", "ff02::1", "fe80::6", A)), "spoofed"),
            (
                "b's link-local by MAC",
                "a",
                to_all(&advertisement("fe80::5", "ff02::1", "fe80::ff:fe00:b", A)),
                "spoofed",
            ),
            ("as b's link-local", "a", to_all(&advertisement("fe80::6", "ff02::1", "fe80::6", A)), "spoofed"),
            (
                "not the one it lists",
                "b",
                eth(B, ALL_NODES).icmp6(&advertisement("fe80::66", "ff02::1", "fe80::66", B)),
                "spoofed",
            ),
            ("nobody's", "a", to_all(&advertisement("fd09::5", "ff02::1", "fd09::99", A)), "spoofed"),
            ("mapped", "a", to_all(&advertisement("fd09::5", "ff02::1", "::ffff:10.9.0.5", A)), "spoofed"),
            ("loopback", "a", to_all(&advertisement("fd09::5", "ff02::1", "::1", A)), "spoofed"),
        ],
    );
}

#[test]
fn a_pod_advertises_its_own_mac() {
    let own = advertisement("fd09::5", "ff02::1", "fd09::5", A);
    let mut twice = own.clone();
    twice.body.extend(link_layer(2, B));
    let mut as_source = own.clone();
    as_source.body.extend(link_layer(1, B));
    let long = own.clone().with(|it| it.body[16..].copy_from_slice(&[2, 1, 2, 0, 0, 0, 0, 0xb]));
    let odd = own.clone().with(|it| {
        it.body.truncate(16);
        it.body.extend([2, 2, 2, 0, 0, 0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
    check_fates(
        LAN,
        vec![
            ("b's MAC", "a", to_all(&advertisement("fd09::5", "ff02::1", "fd09::5", B)), "spoofed"),
            ("a stranger's MAC", "a", to_all(&advertisement("fd09::5", "ff02::1", "fd09::5", X)), "spoofed"),
            ("one of two", "a", to_all(&twice), "spoofed"),
            ("as source", "a", to_all(&as_source), "spoofed"),
            ("other bytes", "a", to_all(&long), "spoofed"),
            ("longer than a MAC", "a", to_all(&odd), "spoofed"),
        ],
    );
}

#[test]
fn headers_in_front_hide_no_lie() {
    let lie = advertisement("fd09::5", "ff02::1", "fd09::6", A);
    let hop_by_hop = [58, 0, 1, 4, 0, 0, 0, 0];
    let two = [60, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0];
    check_fates(
        LAN,
        vec![
            ("hop-by-hop", "a", to_all(&extended(&lie, 0, &hop_by_hop)), "spoofed"),
            ("destination options", "a", to_all(&extended(&lie, 60, &hop_by_hop)), "spoofed"),
            ("routing", "a", to_all(&extended(&lie, 43, &[58, 0, 4, 0, 0, 0, 0, 0])), "spoofed"),
            ("two of them", "a", to_all(&extended(&lie, 0, &two)), "spoofed"),
            ("priority tag", "a", eth(A, ALL_NODES).vlan(0).icmp6(&lie), "spoofed"),
        ],
    );
}

#[test]
fn a_pods_solicitations_are_about_itself() {
    let group = |target: &str| {
        let [.., a, b, c] = address(target);
        eth(A, &format!("33:33:ff:{a:02x}:{b:02x}:{c:02x}"))
    };
    let asks =
        |src: &str, target: &str, mac: Option<&str>| group(target).icmp6(&solicitation(src, target, mac));
    let router =
        |src: &str, option: &[u8]| eth(A, "33:33:00:00:00:02").icmp6(&discovery(133, src, "ff02::2", option));
    check_fates(
        LAN,
        vec![
            ("b's", "a", asks("fd09::5", "fd09::6", Some(A)), FROM_A),
            ("b's, from link-local", "a", asks("fe80::5", "fd09::6", Some(A)), FROM_A),
            ("detects its own", "a", asks("::", "fd09::5", None), FROM_A),
            ("detects link-local", "a", asks("::", "fe80::5", None), FROM_A),
            ("router", "a", router("fe80::5", &link_layer(1, A)), FROM_A),
            ("router, nameless", "a", router("::", &[]), FROM_A),
            // Lies.
            ("as b", "a", asks("fd09::6", "fd09::9", Some(A)), "spoofed"),
            ("as b's link-local", "a", asks("fe80::6", "fd09::9", Some(A)), "spoofed"),
            ("with b's MAC", "a", asks("fd09::5", "fd09::6", Some(B)), "spoofed"),
            ("detects b's", "a", asks("::", "fd09::6", None), "spoofed"),
            ("detects b's link-local", "a", asks("::", "fe80::6", None), "spoofed"),
            ("detects b's link-local by MAC", "a", asks("::", "fe80::ff:fe00:b", None), "spoofed"),
            ("router with b's MAC", "a", router("fe80::5", &link_layer(1, B)), "spoofed"),
            ("router as b", "a", router("fd09::6", &[]), "spoofed"),
        ],
    );
}

/// RFC 6105: routers are behind access and trunk ports. What IPv4 has of the kind goes the same way.
#[test]
fn a_pod_is_no_router() {
    let advertises = |src: &str| discovery(134, src, "ff02::1", &[0; 8]);
    let redirect = discovery(137, "fe80::5", "fd09::6", &[address("fd09::5"), address("fd09::5")].concat());
    let hidden = advertises("fe80::5").with(|it| it.extensions = (60, vec![58, 0, 1, 4, 0, 0, 0, 0]));
    let quoted = eth(B, A).udp("10.9.0.6", "10.9.0.5", (1, 2), 64, 8)[14..].to_vec();
    let v4 = |eth: Eth, kind: u8, src: &str| eth.icmp4(src, "10.9.0.6", (kind, 0), &quoted);
    check_fates(
        LAN,
        vec![
            ("advertisement", "a", to_all(&advertises("fe80::5")), "rogue_router"),
            ("unicast", "a", eth(A, B).icmp6(&discovery(134, "fe80::5", "fd09::6", &[0; 8])), "rogue_router"),
            ("hidden", "a", to_all(&hidden), "rogue_router"),
            ("redirect", "a", eth(A, B).icmp6(&redirect), "rogue_router"),
            ("without addresses", "free", eth(ANY, ALL_NODES).icmp6(&advertises("fe80::77")), "rogue_router"),
            ("IPv4 advertisement", "a", v4(eth(A, B), 9, "10.9.0.5"), "rogue_router"),
            ("IPv4 redirect", "a", v4(eth(A, B), 5, "10.9.0.5"), "rogue_router"),
            ("router's", "x", eth(X, ALL_NODES).icmp6(&advertises("fe80::aa")), FROM_X),
            ("router's", "t", eth(X, ALL_NODES).vlan(10).icmp6(&advertises("fe80::aa")), FROM_T),
            ("router's redirect", "t", eth(X, A).vlan(10).icmp6(&redirect), "a"),
        ],
    );
}

/// An endpoint without addresses may have any that nobody else is known to have.
#[test]
fn an_endpoint_without_addresses_takes_nobody_elses() {
    let any = |sender: &'static str| eth(ANY, ALL).arp_packet(says(2, sender, "10.9.0.9"));
    let claims = |target: &str| eth(ANY, ALL_NODES).icmp6(&advertisement(target, "ff02::1", target, ANY));
    check_fates(
        LAN,
        vec![
            ("free", "free", any("10.9.0.77"), FROM_ANY),
            ("free", "free", claims("fd09::77"), FROM_ANY),
            ("free link-local", "free", claims("fe80::77"), FROM_ANY),
            ("a's", "free", any("10.9.0.5"), "spoofed"),
            ("a's", "free", claims("fd09::5"), "spoofed"),
            ("a's, in a packet", "free", eth(ANY, X).udp("10.9.0.5", "10.9.0.9", (1, 2), 64, 4), "spoofed"),
            ("b's link-local", "free", claims("fe80::6"), "spoofed"),
            (
                "another's MAC",
                "free",
                eth(ANY, ALL).arp_packet(Arp { sender_mac: Some(B), ..says(2, "10.9.0.77", "10.9.0.9") }),
                "spoofed",
            ),
        ],
    );
}

/// Access and trunk ports and other nodes may say what they like of others, and nothing of the endpoints here.
#[test]
fn nobody_else_speaks_for_an_endpoint() {
    let lie = advertisement("fd09::aa", "ff02::1", "fd09::6", X);
    let own = advertisement("fd09::aa", "ff02::1", "fd09::aa", X);
    let arp = |sender: &'static str| says(2, sender, "10.9.0.9");
    let on_link = |mac: &str| {
        let body = [&address("fd09::6")[..], &address("fd09::6"), &link_layer(2, mac)].concat();
        eth(X, A).icmp6(&discovery(137, "fe80::aa", "fd09::5", &body))
    };
    let tunnelled = |bytes: &[u8]| wrapped(bytes);
    let x = || eth(X, ALL);
    let all = || eth(X, ALL_NODES);
    check_fates(
        LAN,
        vec![
            ("own", "x", x().arp_packet(arp("10.9.0.99")), FROM_X),
            (
                "on behalf of others",
                "x",
                x().arp_packet(Arp { sender_mac: Some("02:00:00:00:00:ee"), ..arp("10.9.0.98") }),
                FROM_X,
            ),
            ("own", "x", all().icmp6(&own), FROM_X),
            ("for others", "x", all().icmp6(&advertisement("fd09::aa", "ff02::1", "fd09::ab", X)), FROM_X),
            ("asks for b", "x", all().icmp6(&solicitation("fd09::aa", "fd09::6", Some(X))), FROM_X),
            ("may it have b's?", "x", all().icmp6(&solicitation("::", "fd09::6", None)), FROM_X),
            ("may it have b's?", "x", x().arp_packet(says(1, "0.0.0.0", "10.9.0.6")), FROM_X),
            ("a router: b is near", "x", on_link(B), "a"),
            // Lies.
            ("b's", "x", x().arp_packet(arp("10.9.0.6")), "spoofed"),
            ("b's request", "x", x().arp_packet(says(1, "10.9.0.6", "10.9.0.9")), "spoofed"),
            ("b's", "t", x().vlan(10).arp_packet(arp("10.9.0.6")), "spoofed"),
            ("b's", "x", all().icmp6(&lie), "spoofed"),
            ("b's", "t", all().vlan(10).icmp6(&lie), "spoofed"),
            (
                "b's link-local",
                "x",
                all().icmp6(&advertisement("fe80::aa", "ff02::1", "fe80::6", X)),
                "spoofed",
            ),
            ("as b", "x", all().icmp6(&solicitation("fd09::6", "fd09::9", Some(X))), "spoofed"),
            ("b's MAC", "x", x().arp_packet(Arp { sender_mac: Some(B), ..arp("10.9.0.99") }), "spoofed"),
            ("b's MAC", "x", all().icmp6(&advertisement("fd09::aa", "ff02::1", "fd09::aa", B)), "spoofed"),
            ("a router: b is there", "x", on_link(X), "spoofed"),
            // Through a tunnel.
            (
                "own",
                "uplink",
                tunnelled(&eth("02:00:00:00:00:dd", ALL).arp_packet(arp("10.9.0.88"))),
                FROM_PEER,
            ),
            (
                "b's",
                "uplink",
                tunnelled(&eth("02:00:00:00:00:dd", ALL).arp_packet(arp("10.9.0.6"))),
                "spoofed",
            ),
            ("b's", "uplink", tunnelled(&eth("02:00:00:00:00:dd", ALL_NODES).icmp6(&lie)), "spoofed"),
        ],
    );
}

/// What a pod's other packets come from: its addresses, link-local ones, or none where it has none yet.
#[test]
fn sources_are_the_endpoints() {
    let a = |src: &str, dst: &str, ports| eth(A, X).udp(src, dst, ports, 64, 4);
    check_fates(
        LAN,
        vec![
            ("own", "a", a("10.9.0.5", "10.9.0.9", (1, 2)), FROM_A),
            ("own", "a", a("fd09::55", "fd09::9", (1, 2)), FROM_A),
            ("asks for an address", "a", a("0.0.0.0", "255.255.255.255", (68, 67)), FROM_A),
            ("link-local", "a", a("169.254.9.9", "169.254.9.8", (1, 2)), FROM_A),
            ("link-local", "a", a("fe80::5", "fe80::9", (1, 2)), FROM_A),
            ("nameless", "a", a("0.0.0.0", "10.9.0.9", (1, 2)), "spoofed"),
            ("nameless", "a", a("::", "fd09::9", (1, 2)), "spoofed"),
            ("mapped", "a", a("::ffff:10.9.0.5", "fd09::9", (1, 2)), "martian_source"),
            ("to mapped", "a", a("fd09::5", "::ffff:10.9.0.6", (1, 2)), "martian_destination"),
            ("to loopback", "a", a("10.9.0.5", "127.0.0.1", (1, 2)), "martian_destination"),
            ("to loopback", "a", a("fd09::5", "::1", (1, 2)), "martian_destination"),
            ("b's", "a", a("10.9.0.6", "10.9.0.9", (1, 2)), "spoofed"),
            ("b's link-local", "a", a("169.254.0.6", "10.9.0.9", (1, 2)), "spoofed"),
            ("b's link-local", "a", a("fe80::6", "fd09::9", (1, 2)), "spoofed"),
        ],
    );
}

/// A router that is known by its MAC is nobody to claim to be, not by its link-local address either.
#[test]
fn a_known_stations_link_local_address_is_its_own() {
    let mut sim = Sim::new(LAN);
    let claim = || eth(A, ALL_NODES).icmp6(&advertisement("fe80::5", "ff02::1", "fe80::ff:fe00:aa", A));
    assert_eq!(fate(&mut sim, "a", claim()), FROM_A, "nobody knows better yet");
    assert_eq!(fate(&mut sim, "x", eth(X, ALL).arp_packet(says(1, "10.9.0.99", "10.9.0.9"))), FROM_X);
    assert_eq!(fate(&mut sim, "a", claim()), "spoofed");
    sim.finish();
}

/// With suppression the switch answers true questions, and only these.
#[test]
fn suppression_answers_what_is_true() {
    let config = LAN.replacen("vlan = 10", "vlan = 10\nsuppress = true", 1);
    let asks = |src: &str, target: &str, mac: Option<&str>| {
        eth(A, "33:33:ff:00:00:06").icmp6(&solicitation(src, target, mac))
    };
    check_fates(
        &config,
        vec![
            ("who has b's?", "a", eth(A, ALL).arp_packet(says(1, "10.9.0.5", "10.9.0.6")), "a"),
            ("who has b's?", "a", asks("fd09::5", "fd09::6", Some(A)), "a"),
            ("who has nobody's?", "a", asks("fd09::5", "fd09::99", Some(A)), FROM_A),
            ("detects its own", "a", asks("::", "fd09::5", None), FROM_A),
            ("claims", "a", to_all(&advertisement("fd09::5", "ff02::1", "fd09::5", A)), FROM_A),
            ("as b", "a", eth(A, ALL).arp_packet(says(1, "10.9.0.6", "10.9.0.6")), "spoofed"),
            ("with b's MAC", "a", asks("fd09::5", "fd09::6", Some(B)), "spoofed"),
            ("detects b's", "a", asks("::", "fd09::6", None), "spoofed"),
            ("probes b's", "a", eth(A, ALL).arp_packet(says(1, "0.0.0.0", "10.9.0.6")), "spoofed"),
            ("from the trunk", "t", eth(X, ALL).vlan(10).arp_packet(says(1, "10.9.0.99", "10.9.0.6")), "t"),
            (
                "from the trunk, as b",
                "t",
                eth(X, ALL).vlan(10).arp_packet(says(1, "10.9.0.6", "10.9.0.5")),
                "spoofed",
            ),
        ],
    );
}
