//! Any packets through the whole path, slow path included: counters add up, no frame is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_pmd::{Csum, Offload};
use weft_tests::sim::Sim;

const CONFIG: &str = include_str!("../pipeline.toml");

fuzz_target!(|data: &[u8]| {
    let mut sim = Sim::with_memory(CONFIG, 256, 8);
    let ports: Vec<String> = sim.desired.ports.iter().map(|port| port.name.clone()).collect();
    let mut rest = data;
    // Each packet: port, length, bytes.
    while let [port, len, tail @ ..] = rest {
        let (packet, next) = tail.split_at(usize::from(*len).min(tail.len()));
        let csum = if port & 0x80 != 0 { Csum::Unknown } else { Csum::Complete };
        let port = &ports[usize::from(*port) % ports.len()];
        sim.tape(port).put(packet.to_vec(), Offload { csum, ..Offload::default() });
        rest = next;
    }
    sim.run();
    sim.check_laws();
    sim.finish();
});
