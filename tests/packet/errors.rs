//! ICMP from pods: errors answer what was sent to them, and what is for the switch is whole.

use weft_tests::{messages::discovery, packets::eth};

use crate::{NODE, check_fates};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const GATEWAY: &str = "02:00:00:00:00:01";
const DEVICE: &str = "02:de:00:00:00:01";
const A4: &str = "10.244.0.10";
const B4: &str = "10.244.0.11";
const A6: &str = "fd00:244::10";
const B6: &str = "fd00:244::11";

/// The IP packet of a frame, as far as errors quote it.
fn quote(src: &str, dst: &str) -> Vec<u8> {
    eth(B, GATEWAY).udp(src, dst, (53, 1000), 64, 30)[14..].to_vec()
}

#[test]
fn an_error_answers_its_addressees_packet() {
    let mut packets = Vec::new();
    let right = quote(B4, A4);
    for kind in [3, 4, 11, 12] {
        let error = |src: &str, dst: &str, body: &[u8]| eth(A, GATEWAY).icmp4(src, dst, (kind, 1), body);
        packets.extend([
            ("answer", "a", error(A4, B4, &right), "b"),
            ("answer to the world", "a", error(A4, "203.0.113.9", &quote("203.0.113.9", A4)), "host"),
            ("header and 8 bytes", "a", error(A4, B4, &right[..28]), "b"),
            ("own packet", "a", error(A4, B4, &quote(A4, B4)), "icmp_unrelated"),
            ("another's packet", "a", error(A4, B4, &quote(B4, "203.0.113.9")), "icmp_unrelated"),
            (
                "another's connection",
                "a",
                error(A4, "203.0.113.9", &quote("203.0.113.9", B4)),
                "icmp_unrelated",
            ),
            ("its packet, to another", "a", error(A4, "192.0.2.1", &right), "icmp_unrelated"),
            ("half a header", "a", error(A4, B4, &right[..19]), "icmp_unrelated"),
            ("nothing", "a", error(A4, B4, &[]), "icmp_unrelated"),
            ("IPv6 inside", "a", error(A4, B4, &quote(B6, A6)), "icmp_unrelated"),
            ("to the gateway", "a", error(A4, "10.244.0.1", &right), "icmp_unrelated"),
        ]);
    }
    packets.push(("redirect", "a", eth(A, GATEWAY).icmp4(A4, B4, (5, 1), &right), "rogue_router"));
    packets.push(("echo reply", "a", eth(A, GATEWAY).icmp4(A4, B4, (0, 0), &[]), "b"));
    // Routers are behind the host and the uplink.
    let routers = eth(DEVICE, GATEWAY).icmp4("203.0.113.1", B4, (11, 0), &quote(B4, "203.0.113.9"));
    packets.push(("a router's", "host", routers, "b"));
    check_fates(NODE, packets);
}

#[test]
fn an_error_answers_its_addressees_packet_in_ipv6() {
    let mut packets = Vec::new();
    let right = quote(B6, A6);
    for kind in [1, 2, 3, 4, 100, 127] {
        let error = |src: &str, dst: &str, body: &[u8]| {
            eth(A, GATEWAY).icmp6(&discovery(kind, src, dst, body).with(|it| it.hop_limit = 64))
        };
        packets.extend([
            ("answer", "a", error(A6, B6, &right), "b"),
            ("answer to the world", "a", error(A6, "2001:db8:9::9", &quote("2001:db8:9::9", A6)), "host"),
            ("own packet", "a", error(A6, B6, &quote(A6, B6)), "icmp_unrelated"),
            ("another's packet", "a", error(A6, B6, &quote(B6, "2001:db8:9::9")), "icmp_unrelated"),
            (
                "another's connection",
                "a",
                error(A6, "2001:db8:9::9", &quote("2001:db8:9::9", B6)),
                "icmp_unrelated",
            ),
            ("half a header", "a", error(A6, B6, &right[..39]), "icmp_unrelated"),
            ("nothing", "a", error(A6, B6, &[]), "icmp_unrelated"),
            ("IPv4 inside", "a", error(A6, B6, &quote(B4, A4)), "icmp_unrelated"),
        ]);
    }
    // An error is never so long that it would be cut: a first fragment's is somebody's trick.
    let cut = discovery(1, A6, B6, &right).with(|it| {
        it.hop_limit = 64;
        it.extensions = (44, vec![58, 0, 0, 1, 0, 0, 0, 7]);
    });
    packets.push(("first fragment", "a", eth(A, GATEWAY).icmp6(&cut), "icmp_unrelated"));
    let hidden = discovery(1, A6, B6, &quote(A6, B6)).with(|it| {
        it.hop_limit = 64;
        it.extensions = (60, vec![58, 0, 1, 4, 0, 0, 0, 0]);
    });
    packets.push(("behind options", "a", eth(A, GATEWAY).icmp6(&hidden), "icmp_unrelated"));
    check_fates(NODE, packets);
}

#[test]
fn what_is_for_the_switch_is_whole() {
    let damaged = |mut bytes: Vec<u8>| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let ping = |src: &str, gateway: &str| eth(A, GATEWAY).ping(src, gateway, 64);
    let padded = |bytes: Vec<u8>| [bytes, vec![0xff; 5]].concat();
    check_fates(
        NODE,
        vec![
            ("whole", "a", ping(A4, "10.244.0.1"), "a"),
            ("whole", "a", ping(A6, "fd00:244::1"), "a"),
            ("padded", "a", padded(ping(A4, "10.244.0.1")), "a"),
            ("padded", "a", padded(ping(A6, "fd00:244::1")), "a"),
            ("damaged", "a", damaged(ping(A4, "10.244.0.1")), "bad_checksum"),
            ("damaged", "a", damaged(ping(A6, "fd00:244::1")), "bad_checksum"),
            (
                "host's, damaged",
                "host",
                damaged(eth(DEVICE, GATEWAY).ping("192.0.2.1", "10.244.0.1", 64)),
                "bad_checksum",
            ),
            // What is not for the switch is not the switch's to check.
            ("passed on", "a", damaged(ping(A4, B4)), "b"),
        ],
    );
}
