//! `gen`: makes UDP packets in memory, as fast as can be. The source of benchmarks.
//!
//! Flow `i` of N goes from `src + i mod 2^16` … in one rule: source port `1024 + i mod 50000`, source address
//! `src + i / 50000`, the rest fixed. Each blank buffer gets a whole header, of a flow drawn at random (xorshift), so that
//! the switch sees what a NIC would give it: cold bytes in an order that no cache can guess.

use std::{net::IpAddr, os::fd::RawFd};

use weft_wire::{
    Mac, checksum,
    eth::{Ethernet, ethertype},
    ip::{Ipv4, Ipv6, proto},
    l4::Udp,
};
use zerocopy::IntoBytes;

use super::{Caps, Guard, LinkProbe, Opened, PortError, PortInfo, PortQueue, Queue, Sent, Vanished};
use crate::{
    burst::Burst,
    frame::{ChunkClass, FramePool},
};

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Distinct flows.
    pub flows: u32,
    /// Frame length without FCS, bytes.
    pub size: u16,
    /// Source MAC.
    pub src_mac: Mac,
    /// Destination MAC.
    pub dst_mac: Mac,
    /// First source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Stop after so many frames per queue.
    pub limit: Option<u64>,
    /// Queues.
    pub queues: u16,
    /// One flow after the other, rather than in random order.
    pub in_order: bool,
}

/// The 5-tuple of a flow, less the protocol, which is UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 1024;
const DST_PORT: u16 = 9; // discard (RFC 863)

impl Spec {
    /// Flow `i`, counted modulo the number of flows.
    pub fn flow(&self, i: u32) -> Flow {
        let i = i % self.flows.max(1);
        let src = match self.src {
            IpAddr::V4(v4) => IpAddr::V4((u32::from(v4).wrapping_add(i / PORTS)).into()),
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6).wrapping_add((i / PORTS).into())).into()),
        };
        Flow { src, dst: self.dst, src_port: (FIRST_PORT + i % PORTS) as u16, dst_port: DST_PORT }
    }
}

/// Whether such frames can be made.
pub fn check(spec: &Spec) -> Result<(), PortError> {
    checked_header(spec).map(drop)
}

fn checked_header(spec: &Spec) -> Result<Vec<u8>, PortError> {
    let header = header(spec)?;
    let (least, most) = (header.len(), ChunkClass::Small.capacity());
    if !(least..=most).contains(&usize::from(spec.size)) {
        let size = spec.size;
        return Err(PortError::Spec(format!("a generated frame of {size} bytes: use {least} to {most}")));
    }
    Ok(header)
}

/// Opens the port.
pub fn open(spec: &Spec) -> Result<Opened, PortError> {
    open_behind(&[], spec)
}

/// Opens a port whose every frame has the same bytes in front, such as a tunnel's outer header.
pub fn open_behind(front: &[u8], spec: &Spec) -> Result<Opened, PortError> {
    let header = checked_header(spec)?;
    let queue = |index: u16| {
        let mut padded = [0; 62];
        padded[..header.len()].copy_from_slice(&header);
        Queue::Gen(Box::new(GenQueue {
            flows: spec.flows.max(1).into(),
            front: front.into(),
            size: front.len() + usize::from(spec.size),
            src: spec.src,
            header: padded,
            sum: common_sum(spec, &header),
            state: if spec.in_order { 0 } else { 0x9e37_79b9_7f4a_7c15 ^ u64::from(index + 1) },
            in_order: spec.in_order,
            left: spec.limit,
        }))
    };
    Ok(Opened {
        queues: (0..spec.queues.max(1)).map(queue).collect(),
        info: PortInfo {
            mac: spec.src_mac,
            ifindex: 0,
            caps: Caps { mtu: 65_535, csum: true, gso: true },
            mode: "in memory".into(),
            why: String::new(),
        },
        guard: Guard::None,
        probe: LinkProbe::NONE,
    })
}

/// What is summed for every flow: IPv4's header; for IPv6, which leaves that to UDP, the pseudo-header and UDP's.
fn common_sum(spec: &Spec, header: &[u8]) -> u64 {
    match spec.dst {
        IpAddr::V4(_) => checksum::sum(&header[14..34], 0),
        IpAddr::V6(dst) => {
            let len = usize::from(spec.size) - 54;
            checksum::sum(&header[54..62], checksum::pseudo(&[0; 16], &dst.octets(), proto::UDP, len))
        }
    }
}

/// Everything in front of the payload, of the flow with address and port zero.
fn header(spec: &Spec) -> Result<Vec<u8>, PortError> {
    let l3_len = spec.size.saturating_sub(size_of::<Ethernet>() as u16);
    let ethertype = if spec.src.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
    let ethernet = Ethernet { dst: spec.dst_mac, src: spec.src_mac, ethertype: ethertype.into() };
    let mut bytes = ethernet.as_bytes().to_vec();
    let l4_len = match (spec.src, spec.dst) {
        (IpAddr::V4(_), IpAddr::V4(dst)) => {
            let ip = Ipv4 {
                version_ihl: 0x45,
                tos: 0,
                total_len: l3_len.into(),
                id: 0.into(),
                fragment: Ipv4::DF.into(),
                ttl: 64,
                protocol: proto::UDP,
                checksum: 0.into(),
                src: [0; 4],
                dst: dst.octets(),
            };
            bytes.extend(ip.as_bytes());
            l3_len.saturating_sub(size_of::<Ipv4>() as u16)
        }
        (IpAddr::V6(_), IpAddr::V6(dst)) => {
            let payload_len = l3_len.saturating_sub(size_of::<Ipv6>() as u16);
            let ip = Ipv6 {
                version_class_label: (6 << 28).into(),
                payload_len: payload_len.into(),
                next_header: proto::UDP,
                hop_limit: 64,
                src: [0; 16],
                dst: dst.octets(),
            };
            bytes.extend(ip.as_bytes());
            payload_len
        }
        _ => return Err(PortError::Spec("a generated flow's addresses are of one family".into())),
    };
    let udp = Udp { src: 0.into(), dst: DST_PORT.into(), len: l4_len.into(), checksum: 0.into() };
    bytes.extend(udp.as_bytes());
    Ok(bytes)
}

/// One queue: a source of frames that takes none.
#[derive(Debug)]
pub struct GenQueue {
    flows: u64,
    /// In front of each frame.
    front: Box<[u8]>,
    size: usize,
    src: IpAddr,
    /// The headers of the flow with source address and port zero; IPv4's end after 42 bytes.
    header: [u8; 62],
    /// Of what the checksum covers, as far as all flows have it in common.
    sum: u64,
    /// Of the random numbers; or, with flows in order, the next flow.
    state: u64,
    in_order: bool,
    left: Option<u64>,
}

impl GenQueue {
    /// xorshift64 (Marsaglia 2003), scaled to the number of flows by multiplication rather than division.
    #[inline]
    fn draw(&mut self) -> u32 {
        if self.in_order {
            let flow = self.state;
            self.state = (flow + 1) % self.flows;
            return flow as u32;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (((self.state >> 32) * self.flows) >> 32) as u32
    }

    #[inline]
    fn write(&mut self, packet: &mut [u8]) {
        let i = self.draw();
        let (address, port) = (i / PORTS, i % PORTS);
        let port = ((FIRST_PORT + port) as u16).to_be_bytes();
        match self.src {
            IpAddr::V4(src) => {
                let Some(head) = packet.first_chunk_mut::<42>() else { return };
                head.copy_from_slice(&self.header[..42]);
                let src = u32::from(src).wrapping_add(address);
                let sum = self.sum + u64::from(src >> 16) + u64::from(src & 0xffff);
                head[24..26].copy_from_slice(&checksum::finish(sum).to_be_bytes());
                head[26..30].copy_from_slice(&src.to_be_bytes());
                head[34..36].copy_from_slice(&port);
            }
            IpAddr::V6(src) => {
                let Some((head, payload)) = packet.split_first_chunk_mut::<62>() else { return };
                head.copy_from_slice(&self.header);
                let src = u128::from(src).wrapping_add(address.into()).to_be_bytes();
                head[22..38].copy_from_slice(&src);
                head[54..56].copy_from_slice(&port);
                // UDP over IPv6 has a checksum (RFC 8200 §8.1); the switch does not look at it, a host would.
                let sum = checksum::sum(payload, checksum::sum(&src, checksum::sum(&port, self.sum)));
                head[60..].copy_from_slice(&checksum::finish(sum).to_be_bytes());
            }
        }
    }
}

impl PortQueue for GenQueue {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished> {
        let count = self.left.map_or(burst.room(), |left| burst.room().min(left as usize));
        for _ in 0..count {
            let Some(mut frame) = pool.alloc(ChunkClass::Small) else { break };
            pool.set_len(&mut frame, self.size);
            let packet = pool.bytes_mut(&mut frame);
            if self.front.is_empty() {
                self.write(packet);
            } else if let Some((front, packet)) = packet.split_at_mut_checked(self.front.len()) {
                front.copy_from_slice(&self.front);
                self.write(packet);
            }
            self.left = self.left.map(|left| left - 1);
            if let Err(frame) = burst.push(frame) {
                pool.free(frame); // can't be: there was room
            }
        }
        Ok(())
    }

    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
        Ok(Sent { refused: burst.free_all(pool) as u32, ..Sent::default() })
    }

    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    fn close(&mut self, _: &mut FramePool) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Memory;

    fn packets(src: &str, dst: &str, flows: u32) -> (Spec, Vec<Vec<u8>>) {
        let spec = Spec {
            flows,
            size: 80,
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: Mac([2, 0, 0, 0, 0, 2]),
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            limit: Some(3000),
            queues: 1,
            in_order: false,
        };
        let mut pool = FramePool::new(Memory::heap(128, 1).unwrap());
        let mut queue = open(&spec).unwrap().queues.remove(0);
        let mut packets = Vec::new();
        loop {
            let mut burst = Burst::new();
            queue.rx(&mut pool, &mut burst).unwrap();
            if burst.is_empty() {
                return (spec, packets);
            }
            packets.extend(burst.as_slice().iter().map(|frame| pool.bytes(frame).to_vec()));
            burst.free_all(&mut pool);
        }
    }

    #[test]
    fn makes_just_the_flows_it_names_with_right_checksums() {
        for (src, dst) in [("10.0.0.1", "10.1.0.1"), ("fd00::1", "fd01::1")] {
            let (spec, packets) = packets(src, dst, 100);
            assert_eq!(packets.len(), 3000);
            let named: HashSet<Flow> = (0..100).map(|i| spec.flow(i)).collect();
            let mut seen = HashSet::new();
            for packet in &packets {
                let sliced = etherparse::PacketHeaders::from_ethernet_slice(packet).unwrap();
                let udp = sliced.transport.unwrap().udp().unwrap();
                let (src, dst) = match sliced.net.unwrap() {
                    etherparse::NetHeaders::Ipv4(ip, _) => {
                        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                        (IpAddr::from(ip.source), IpAddr::from(ip.destination))
                    }
                    etherparse::NetHeaders::Ipv6(ip, _) => {
                        assert_eq!(
                            udp.checksum,
                            udp.calc_checksum_ipv6(&ip, sliced.payload.slice()).unwrap()
                        );
                        (IpAddr::from(ip.source), IpAddr::from(ip.destination))
                    }
                    other => panic!("{other:?}"),
                };
                seen.insert(Flow { src, dst, src_port: udp.source_port, dst_port: udp.destination_port });
            }
            assert_eq!(seen, named);
        }
    }

    #[test]
    fn flows_beyond_the_ports_differ_in_address() {
        let (spec, _) = packets("10.0.0.1", "10.1.0.1", 120_000);
        let all: HashSet<Flow> = (0..120_000).map(|i| spec.flow(i)).collect();
        assert_eq!(all.len(), 120_000);
    }
}
