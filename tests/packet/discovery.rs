//! Discovery that RFC 4861 wants discarded, and what the switch answers of the rest.

use weft_tests::{
    messages::{Message, address, advertisement, discovery, link_layer, solicitation},
    packets::eth,
};

use crate::{NODE, check_fates};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const DEVICE: &str = "02:de:00:00:00:01";
const ALL_NODES: &str = "33:33:00:00:00:01";
const GROUP: &str = "33:33:ff:00:00:01";

/// What is wrong with a message, and the message.
fn invalid() -> Vec<(&'static str, Message)> {
    let ask = || solicitation("fd00:244::10", "fd00:244::1", Some(A));
    let say = || advertisement("fd00:244::10", "ff02::1", "fd00:244::10", A);
    let seek = || discovery(133, "fe80::a", "ff02::2", &link_layer(1, A));
    let route = || discovery(134, "fe80::a", "ff02::1", &[0; 8]);
    let about = |target: &str, of: &str| [address(target), address(of)].concat();
    let redirect =
        |src: &str, target: &str, of: &str| discovery(137, src, "fd00:244::11", &about(target, of));
    let fragment = |offset_more: u16| {
        let [a, b] = offset_more.to_be_bytes();
        move |it: &mut Message| it.extensions = (44, vec![58, 0, a, b, 0, 0, 0, 7])
    };
    vec![
        // RFC 4861 §7.1.1, one after the other.
        ("routed", ask().with(|it| it.hop_limit = 254)),
        ("checksum", ask().with(|it| it.is_damaged = true)),
        ("code", ask().with(|it| it.kind.1 = 1)),
        ("short", ask().with(|it| it.body.truncate(15))),
        ("empty", ask().with(|it| it.body.clear())),
        ("multicast target", ask().with(|it| it.body[..16].copy_from_slice(&address("ff02::1")))),
        ("option of length 0", ask().with(|it| it.body[17] = 0)),
        ("second option of length 0", ask().with(|it| it.body.extend([14, 0, 0, 0, 0, 0, 0, 0]))),
        ("option longer than the message", ask().with(|it| it.body[17] = 2)),
        ("half an option", ask().with(|it| it.body.push(1))),
        ("nameless with MAC", solicitation("::", "fd00:244::1", Some(A))),
        (
            "nameless, unicast",
            solicitation("::", "fd00:244::1", None).with(|it| it.ends.1 = address("fd00:244::1").into()),
        ),
        (
            "nameless, to all",
            solicitation("::", "fd00:244::1", None).with(|it| it.ends.1 = address("ff02::1").into()),
        ),
        // RFC 6980: not cut, not even in one piece.
        ("fragment", ask().with(fragment(1))),
        ("atomic fragment", ask().with(fragment(0))),
        (
            "fragment behind options",
            ask().with(|it| {
                it.extensions = (60, vec![44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 7]);
            }),
        ),
        // §7.1.2
        ("advertisement: routed", say().with(|it| it.hop_limit = 64)),
        ("advertisement: checksum", say().with(|it| it.is_damaged = true)),
        ("advertisement: code", say().with(|it| it.kind.1 = 9)),
        ("advertisement: short", say().with(|it| it.body.truncate(12))),
        ("advertisement: of a group", say().with(|it| it.body[..16].copy_from_slice(&address("ff02::1")))),
        ("advertisement: to all, solicited", say().with(|it| it.rest[0] = 0x40)),
        ("advertisement: option of length 0", say().with(|it| it.body[17] = 0)),
        ("advertisement: fragment", say().with(fragment(0))),
        // §6.1.1
        ("router solicitation: routed", seek().with(|it| it.hop_limit = 1)),
        ("router solicitation: checksum", seek().with(|it| it.is_damaged = true)),
        ("router solicitation: code", seek().with(|it| it.kind.1 = 1)),
        ("router solicitation: option of length 0", seek().with(|it| it.body[1] = 0)),
        ("router solicitation: nameless with MAC", seek().with(|it| it.ends.0 = address("::").into())),
        // §6.1.2
        ("router: routed", route().with(|it| it.hop_limit = 64)),
        ("router: not link-local", route().with(|it| it.ends.0 = address("fd00:244::10").into())),
        ("router: short", route().with(|it| it.body.truncate(7))),
        ("router: code", route().with(|it| it.kind.1 = 1)),
        // §8.1
        ("redirect: not link-local", redirect("fd00:244::10", "fe80::b", "2001:db8::9")),
        ("redirect: of a group", redirect("fe80::a", "fe80::b", "ff0e::9")),
        ("redirect: to no neighbour", redirect("fe80::a", "fd00:244::b", "2001:db8::9")),
        ("redirect: short", redirect("fe80::a", "fe80::b", "2001:db8::9").with(|it| it.body.truncate(31))),
    ]
}

#[test]
fn what_must_be_discarded_is() {
    let mut packets = Vec::new();
    for (what, message) in invalid() {
        packets.push((what, "a", eth(A, GROUP).icmp6(&message), "nd_invalid"));
        packets.push((what, "host", eth(DEVICE, GROUP).icmp6(&message), "nd_invalid"));
    }
    check_fates(NODE, packets);
}

#[test]
fn in_a_bridged_network_too() {
    let lan = "
[node]
name = \"test\"
[pmd]
cores = [0]
flows = 4096
[[network]]
name = \"lan\"
mode = \"bridged\"
[[port]]
name = \"a\"
kind = \"tap\"
device = \"a\"
[[port]]
name = \"x\"
kind = \"xsk\"
role = \"access\"
network = \"lan\"
device = \"x\"
[[endpoint]]
name = \"a\"
network = \"lan\"
port = \"a\"
mac = \"02:00:00:00:00:0a\"
";
    for suppress in [false, true] {
        let config = lan.replace("mode = \"bridged\"", &format!("mode = \"bridged\"\nsuppress = {suppress}"));
        let mut packets = Vec::new();
        for (what, message) in invalid() {
            packets.push((what, "a", eth(A, ALL_NODES).icmp6(&message), "nd_invalid"));
            packets.push((what, "x", eth(B, ALL_NODES).icmp6(&message), "nd_invalid"));
        }
        check_fates(&config, packets);
    }
}

/// Padding behind the packet is nobody's, options that nobody knows are.
#[test]
fn what_is_valid_is_answered() {
    let ask = || solicitation("fd00:244::10", "fd00:244::1", Some(A));
    let padded = [eth(A, GROUP).icmp6(&ask()), vec![0; 6]].concat();
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let behind = |kind: u8, header: &[u8]| ask().with(|it| it.extensions = (kind, header.to_vec()));
    let mut hop_by_hop = options;
    hop_by_hop[0] = 58;
    check_fates(
        NODE,
        vec![
            ("plain", "a", eth(A, GROUP).icmp6(&ask()), "a"),
            ("padded", "a", padded, "a"),
            (
                "without option",
                "a",
                eth(A, GROUP).icmp6(&solicitation("fd00:244::10", "fd00:244::1", None)),
                "a",
            ),
            (
                "nonce",
                "a",
                eth(A, GROUP).icmp6(&ask().with(|it| it.body.extend([14, 1, 1, 2, 3, 4, 5, 6]))),
                "a",
            ),
            ("hop-by-hop", "a", eth(A, GROUP).icmp6(&behind(0, &hop_by_hop)), "a"),
            ("detection", "a", eth(A, GROUP).icmp6(&solicitation("::", "fd00:244::11", None)), "a"),
            (
                "unicast",
                "a",
                eth(A, "02:00:00:00:00:01")
                    .icmp6(&ask().with(|it| it.ends.1 = address("fd00:244::1").into())),
                "a",
            ),
            (
                "advertisement",
                "a",
                eth(A, ALL_NODES).icmp6(&advertisement("fd00:244::10", "ff02::1", "fd00:244::10", A)),
                "ignored",
            ),
            // In a routed network the switch takes nobody's word for another's MAC either.
            (
                "with b's MAC",
                "a",
                eth(A, GROUP).icmp6(&solicitation("fd00:244::10", "fd00:244::1", Some(B))),
                "spoofed",
            ),
            (
                "a router",
                "a",
                eth(A, ALL_NODES).icmp6(&discovery(134, "fe80::a", "ff02::1", &[0; 8])),
                "rogue_router",
            ),
        ],
    );
}
