//! Captures: what is copied is what was received, sent and dropped; a reader that does not read costs nobody a packet.

use std::sync::Arc;

use weft_dataplane::{
    capture::{BLOCK_BYTES, Block, Capture, Point, Spec},
    filter::{Filter, Instruction},
    program::Verdict,
    reason::DropReason,
};
use weft_tests::{packets::eth, sim::Sim};
use weft_wire::PortId;

use crate::NODE;

const A: &str = "02:00:00:00:00:0a";
const GATEWAY: &str = "02:00:00:00:00:01";

/// A packet as copied.
#[derive(Debug, PartialEq)]
struct Copied {
    port: PortId,
    point: Point,
    verdict: Option<Verdict>,
    len: u32,
    bytes: Vec<u8>,
}

fn spec(ports: Option<Vec<PortId>>, points: &[Point]) -> Spec {
    Spec { ports, mac: None, points: points.to_vec(), filter: None, snap: 1 << 16 }
}

fn take(capture: &Capture) -> Vec<Copied> {
    let mut copied = Vec::new();
    let mut read = |block: &Block| {
        copied.extend(block.packets().map(|(record, bytes)| Copied {
            port: record.port,
            point: record.point,
            verdict: record.verdict,
            len: record.len,
            bytes: bytes.to_vec(),
        }));
    };
    while let Some(block) = capture.pop() {
        read(&block);
        capture.give_back(block);
    }
    copied
}

fn to_b(port: u16, len: usize) -> Vec<u8> {
    eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (1000, port), 64, len)
}

fn spoofed() -> Vec<u8> {
    eth(A, GATEWAY).udp("10.244.0.77", "10.244.0.11", (1, 2), 64, 10)
}

#[test]
fn what_is_received_sent_and_dropped_is_copied_with_its_verdict() {
    let mut sim = Sim::new(NODE);
    let (a, b) = (sim.port("a"), sim.port("b"));
    let ports = sim.capture(spec(Some(vec![a, b]), &[Point::In, Point::Out]), 4 * BLOCK_BYTES);
    let drops = sim.capture(spec(None, &[Point::Drop]), 4 * BLOCK_BYTES);
    sim.put("a", to_b(80, 10));
    sim.put("a", spoofed());
    sim.run();
    let sent = sim.tape("b").take().remove(0);
    let verdict = |verdict| Some(verdict);
    let copied = |port, point, verdict, bytes: &[u8]| Copied {
        port,
        point,
        verdict,
        len: bytes.len() as u32,
        bytes: bytes.to_vec(),
    };
    let drop = verdict(Verdict::Drop(DropReason::Spoofed));
    assert_eq!(
        take(&ports),
        [
            copied(a, Point::In, verdict(Verdict::Forward(b)), &to_b(80, 10)),
            copied(a, Point::In, drop, &spoofed()),
            copied(b, Point::Out, None, &sent.0),
        ]
    );
    assert_eq!(take(&drops), [copied(a, Point::Drop, drop, &spoofed())]);
    sim.check_laws();
    sim.end_capture(&ports);
    sim.put("a", to_b(80, 10));
    sim.run();
    assert_eq!(take(&ports), [], "it has ended");
    assert_eq!(Arc::strong_count(&ports), 1, "no thread holds it");
    sim.finish();
}

#[test]
fn filters_and_lengths_are_kept_to() {
    let mut sim = Sim::new(NODE);
    // udp dst port 80, without options: ldh [36]; jeq 80.
    let program = [(0x28, 0, 0, 36), (0x15, 0, 1, 80), (0x06, 0, 0, 1), (0x06, 0, 0, 0)];
    let program = program.map(|(code, jt, jf, k)| Instruction { code, jt, jf, k });
    let filter = Some(Filter::load(&program).expect("a sound program"));
    let spec = Spec { filter, snap: 40, ..spec(Some(vec![sim.port("a")]), &[Point::In]) };
    let capture = sim.capture(spec, 4 * BLOCK_BYTES);
    for port in [80, 81, 80] {
        sim.put("a", to_b(port, 100));
    }
    sim.run();
    let copied = take(&capture);
    assert_eq!(copied.len(), 2);
    assert!(copied.iter().all(|packet| packet.bytes == to_b(80, 100)[..40] && packet.len == 142));
    assert_eq!((capture.matched(), capture.lost()), (2, 0));
    sim.end_capture(&capture);
    sim.finish();
}

#[test]
fn a_reader_that_does_not_read_loses_copies_and_nobody_else_anything() {
    const PACKETS: usize = 1000;
    let mut sim = Sim::new(NODE);
    let capture = sim.capture(spec(None, &[Point::In, Point::Out]), 2 * BLOCK_BYTES);
    for _ in 0..PACKETS {
        sim.put("a", to_b(80, 1000));
    }
    sim.run();
    assert_eq!(sim.tape("b").take().len(), PACKETS, "every packet has passed");
    sim.check_laws();
    let copied = take(&capture).len() as u64;
    assert!(capture.lost() > 0 && copied > 0);
    assert_eq!((capture.matched(), capture.lost()), (2 * PACKETS as u64, 2 * PACKETS as u64 - copied));
    // There is room again.
    sim.put("a", to_b(80, 1000));
    sim.run();
    assert_eq!(take(&capture).len(), 2);
    sim.end_capture(&capture);
    sim.finish();
}
