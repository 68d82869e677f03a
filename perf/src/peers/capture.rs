//! Captures that hold one frame of each flow: what DPDK's net_pcap plays again and again.

use std::{
    fs::File,
    io::BufWriter,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use pcap_file::pcap::{PcapPacket, PcapWriter};
use weft_pmd::{Burst, FramePool, Memory, PortQueue, port::gen_udp};
use weft_wire::Mac;

use crate::lab::Error;

/// The sender: as in [`crate::core`].
pub const SRC: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
/// The receiver.
pub const DST: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
/// The receiver's address.
pub const DST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);

fn spec(flows: u32) -> gen_udp::Spec {
    gen_udp::Spec {
        flows,
        size: 64,
        src_mac: SRC,
        dst_mac: DST,
        src: IpAddr::from([10, 1, 0, 0]),
        dst: DST_ADDRESS.into(),
        limit: None,
        queues: 1,
        in_order: true,
    }
}

/// Writes a capture of the in-memory generator's flows, in an order that no cache can guess.
pub fn write(dir: &Path, flows: u32) -> Result<PathBuf, Error> {
    let path = dir.join(format!("{flows}.pcap"));
    let failed = || Error::file(&path);
    let mut frames = frames(flows)?;
    shuffle(&mut frames);
    let file = BufWriter::new(File::create(&path).map_err(failed())?);
    let mut writer = PcapWriter::new(file).map_err(|error| failed()(std::io::Error::other(error)))?;
    for frame in &frames {
        let packet = PcapPacket::new(Duration::ZERO, frame.len() as u32, frame);
        writer.write_packet(&packet).map_err(|error| failed()(std::io::Error::other(error)))?;
    }
    Ok(path)
}

fn frames(flows: u32) -> Result<Vec<Vec<u8>>, Error> {
    fn failed(error: impl std::fmt::Display) -> Error {
        Error::io("making frames")(std::io::Error::other(error.to_string()))
    }
    let mut pool = FramePool::new(Memory::heap(256, 1).map_err(failed)?);
    let mut queue = gen_udp::open(&spec(flows)).map_err(failed)?.queues.remove(0);
    let mut frames = Vec::with_capacity(flows as usize);
    while frames.len() < flows as usize {
        let mut burst = Burst::new();
        queue.rx(&mut pool, &mut burst).map_err(failed)?;
        frames.extend(burst.as_slice().iter().map(|frame| pool.bytes(frame).to_vec()));
        burst.free_all(&mut pool);
    }
    frames.truncate(flows as usize);
    Ok(frames)
}

/// Fisher and Yates, with a xorshift (Marsaglia 2003): the same order on every run.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(i, (state % (i as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pcap_file::pcap::PcapReader;

    use super::*;

    #[test]
    fn a_capture_holds_every_flow_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), 60_000).unwrap();
        let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
        let mut flows = HashSet::new();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            assert_eq!(packet.data.len(), 64);
            flows.insert(packet.data[26..38].to_vec());
        }
        assert_eq!(flows.len(), 60_000);
    }
}
