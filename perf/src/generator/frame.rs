//! Frames of a stream: UDP over IPv4 or IPv6, in VXLAN if asked for. A template for each length; what varies is written into it.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use ipnet::IpNet;
use weft_wire::{Mac, Vni, checksum};

use super::sizes::FCS;
use crate::{lab::Error, stamp, xsk::MAX_FRAME};

/// Where frames go and what they look like.
#[derive(Debug, Clone)]
pub struct Headers {
    /// Source and destination MAC, of the outer header if there is one.
    pub macs: (Mac, Mac),
    /// Source address.
    pub src: IpAddr,
    /// Destination addresses: flows take turns.
    pub dst: IpNet,
    /// The first source port.
    pub src_port: u16,
    /// Destination ports, both ends included.
    pub dst_ports: (u16, u16),
    /// The tunnel they are in.
    pub vxlan: Option<Vxlan>,
}

/// A tunnel's outer header.
#[derive(Debug, Clone, Copy)]
pub struct Vxlan {
    /// The network.
    pub vni: Vni,
    /// Source and destination address.
    pub addresses: (IpAddr, IpAddr),
    /// Source and destination MAC of the inner frame.
    pub inner_macs: (Mac, Mac),
}

const TTL: u8 = 64;
const UDP: u8 = weft_wire::ip::proto::UDP;

impl Headers {
    fn hosts(&self) -> u64 {
        let bits = u32::from(self.dst.max_prefix_len() - self.dst.prefix_len());
        1_u64 << bits.min(32)
    }

    fn ports(&self) -> u64 {
        u64::from(self.dst_ports.1 - self.dst_ports.0) + 1
    }

    /// Flows that differ in destination address or port alone.
    pub fn destinations(&self) -> u64 {
        self.hosts() * self.ports()
    }

    /// Flows there are addresses and ports for.
    pub fn capacity(&self) -> u64 {
        self.destinations().saturating_mul(65_536 - u64::from(self.src_port))
    }

    /// A flow's destination, source port and destination port: the address varies first, the source port last.
    fn tuple(&self, flow: u32) -> (IpAddr, u16, u16) {
        let flow = u64::from(flow);
        let (host, flow) = (flow % self.hosts(), flow / self.hosts());
        let (port, src_port) = (flow % self.ports(), flow / self.ports());
        let dst = match self.dst.network() {
            IpAddr::V4(base) => IpAddr::V4((u32::from(base) + host as u32).into()),
            IpAddr::V6(base) => IpAddr::V6((u128::from(base) + u128::from(host)).into()),
        };
        (dst, self.src_port + src_port as u16, self.dst_ports.0 + port as u16)
    }

    /// Bytes before the payload.
    fn overhead(&self) -> usize {
        let ip = |address: &IpAddr| if address.is_ipv4() { 20 } else { 40 };
        let outer = self.vxlan.map_or(0, |vxlan| 14 + ip(&vxlan.addresses.0) + 8 + 8);
        outer + 14 + ip(&self.src) + 8
    }

    /// The shortest frame that a stamp fits in.
    pub fn shortest(&self) -> u16 {
        (self.overhead() + stamp::LEN).max(usize::from(super::sizes::SHORTEST)) as u16
    }
}

/// A frame of one length.
#[derive(Debug, Clone)]
pub struct Template {
    headers: Headers,
    bytes: Vec<u8>,
    /// Where the inner IP header, the inner UDP header and the stamp begin.
    l3: usize,
    l4: usize,
    payload: usize,
    /// Sums of what does not vary.
    ip_sum: u64,
    udp_sum: u64,
}

fn usage(error: impl std::fmt::Display) -> Error {
    Error::Usage(error.to_string())
}

/// A UDP packet with this payload.
fn packet(
    macs: (Mac, Mac),
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
    payload: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let ethernet = PacketBuilder::ethernet2(macs.0.0, macs.1.0);
    let udp = match addresses {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ethernet.ipv4(src.octets(), dst.octets(), TTL),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ethernet.ipv6(src.octets(), dst.octets(), TTL),
        (src, dst) => return Err(usage(format!("{src} and {dst} are not of one family"))),
    };
    udp.udp(ports.0, ports.1).write(&mut bytes, payload).map_err(usage)?;
    Ok(bytes)
}

impl Template {
    /// Of so many bytes without FCS.
    pub fn new(headers: &Headers, size: u16) -> Result<Self, Error> {
        let (size, least) = (usize::from(size), usize::from(headers.shortest()));
        if size < least || size > MAX_FRAME {
            return Err(Error::Usage(format!(
                "-s {size}: these frames need {least} to {MAX_FRAME} bytes without FCS ({} to {} with it)",
                least + FCS,
                MAX_FRAME + FCS
            )));
        }
        let payload = size - headers.overhead();
        let payload = [&[0; stamp::LEN], stamp::filling(payload)].concat();
        let macs = headers.vxlan.map_or(headers.macs, |vxlan| vxlan.inner_macs);
        let (dst, _, _) = headers.tuple(0);
        let mut bytes = packet(macs, (headers.src, dst), (0, 0), &payload)?;
        if let Some(vxlan) = headers.vxlan {
            bytes = encapsulated(headers.macs, vxlan, &bytes)?;
        }
        let (at, ip_len) = (bytes.len() - payload.len(), if headers.src.is_ipv4() { 20 } else { 40 });
        let mut template = Self {
            headers: headers.clone(),
            bytes,
            l3: at - 8 - ip_len,
            l4: at - 8,
            payload: at,
            ip_sum: 0,
            udp_sum: 0,
        };
        template.take_sums();
        Ok(template)
    }

    /// Where the inner destination address is.
    fn dst(&self) -> std::ops::Range<usize> {
        if self.headers.src.is_ipv4() { self.l3 + 16..self.l3 + 20 } else { self.l3 + 24..self.l3 + 40 }
    }

    fn take_sums(&mut self) {
        let (dst, l4) = (self.dst(), self.l4);
        self.bytes[dst.clone()].fill(0);
        self.bytes[l4 + 6..l4 + 8].fill(0);
        if self.headers.src.is_ipv4() {
            self.bytes[self.l3 + 10..self.l3 + 12].fill(0);
            self.ip_sum = checksum::sum(&self.bytes[self.l3..l4], 0);
        }
        // The source is right before the destination.
        let src = &self.bytes[dst.start - dst.len()..dst.start];
        let datagram = &self.bytes[l4..];
        self.udp_sum = checksum::sum(datagram, checksum::pseudo(src, &[], UDP, datagram.len()));
    }

    /// Writes one frame of a flow; returns its length.
    #[inline]
    pub fn write(&self, buffer: &mut [u8], flow: u32, stamp: &[u8; stamp::LEN]) -> usize {
        let frame = &mut buffer[..self.bytes.len()];
        frame.copy_from_slice(&self.bytes);
        let (dst, src_port, dst_port) = self.headers.tuple(flow);
        let address = &mut frame[self.dst()];
        match dst {
            IpAddr::V4(dst) => address.copy_from_slice(&dst.octets()),
            IpAddr::V6(dst) => address.copy_from_slice(&dst.octets()),
        }
        let address_sum = checksum::sum(address, 0);
        if self.headers.src.is_ipv4() {
            let sum = checksum::finish(self.ip_sum + address_sum);
            frame[self.l3 + 10..self.l3 + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let ports = u64::from(src_port) + u64::from(dst_port);
        let sum = checksum::finish(checksum::sum(stamp, self.udp_sum + address_sum + ports));
        let udp = &mut frame[self.l4..];
        udp[..2].copy_from_slice(&src_port.to_be_bytes());
        udp[2..4].copy_from_slice(&dst_port.to_be_bytes());
        // Zero would be none (RFC 768).
        udp[6..8].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_be_bytes());
        udp[8..8 + stamp::LEN].copy_from_slice(stamp);
        if self.headers.vxlan.is_some() {
            // The outer source port tells flows apart (RFC 7348 §5): 49152 to 65535.
            let entropy = 49_152 | (flow.wrapping_mul(0x9e37_79b1) >> 18) as u16;
            let outer = self.l3 - 14 - 8 - 8;
            frame[outer..outer + 2].copy_from_slice(&entropy.to_be_bytes());
        }
        self.bytes.len()
    }

    /// Bytes before the payload.
    pub fn payload(&self) -> usize {
        self.payload
    }

    /// Its length.
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn encapsulated(macs: (Mac, Mac), vxlan: Vxlan, inner: &[u8]) -> Result<Vec<u8>, Error> {
    let vni = u32::from(vxlan.vni) << 8;
    let header = [&[weft_wire::tunnel::Vxlan::VNI_VALID, 0, 0, 0][..], &vni.to_be_bytes()].concat();
    let ports = (0, weft_wire::tunnel::Vxlan::PORT);
    let mut bytes = packet(macs, vxlan.addresses, ports, &[&header, inner].concat())?;
    // No outer checksum, as is usual (RFC 7348 §5, RFC 6935).
    let udp = bytes.len() - inner.len() - 16;
    bytes[udp + 6..udp + 8].fill(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::{
        sink::parse,
        stamp::{Reading, Stamp, read},
    };

    fn headers(src: &str, dst: &str) -> Headers {
        Headers {
            macs: (Mac([2; 6]), Mac([4; 6])),
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            src_port: 65_535,
            dst_ports: (7, 9),
            vxlan: None,
        }
    }

    fn frame(headers: &Headers, size: u16, flow: u32) -> Vec<u8> {
        let mut buffer = vec![0xaa; MAX_FRAME];
        let stamp = Stamp { run: 1, flow, sequence: 3, time_ns: 4 }.bytes();
        let len = Template::new(headers, size).unwrap().write(&mut buffer, flow, &stamp);
        buffer.truncate(len);
        buffer
    }

    /// An independent implementation finds every checksum right.
    fn check(frame: &[u8], dst: &str, dst_port: u16) {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
        let sum = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                assert_eq!(ip.header().destination_addr().to_string(), dst);
                assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
                udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload())
            }
            NetSlice::Ipv6(ip) => {
                assert_eq!(ip.header().destination_addr().to_string(), dst);
                udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload())
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        assert_eq!(sum.unwrap(), udp.checksum());
        assert_eq!(udp.destination_port(), dst_port);
        assert!(matches!(read(parse::payload(frame).unwrap()), Reading::Stamped(_)));
    }

    #[test]
    fn frames_of_every_length_and_flow_have_right_checksums() {
        let (v4, v6) = (headers("10.0.0.1", "10.1.0.0/30"), headers("fd00::1", "fd00:1::/126"));
        for size in [80, 81, 566, 1514] {
            check(&frame(&v4, size, 0), "10.1.0.0", 7);
            check(&frame(&v4, size, 5), "10.1.0.1", 8);
            check(&frame(&v6, size, 11), "fd00:1::3", 9);
        }
        assert_eq!((v4.shortest(), v6.shortest(), v4.capacity()), (60, 80, 12));
        check(&frame(&v4, 60, 1), "10.1.0.1", 7);
    }

    #[test]
    fn frames_in_a_tunnel_are_found_in_it() {
        for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("fd00::1", "fd00::2")] {
            let mut headers = headers("10.0.0.1", "10.1.0.0/30");
            let addresses = (src.parse().unwrap(), dst.parse().unwrap());
            let vni = Vni::try_from(42).unwrap();
            headers.vxlan = Some(Vxlan { vni, addresses, inner_macs: (Mac([6; 6]), Mac([8; 6])) });
            let frame = frame(&headers, 200, 2);
            let outer = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Udp(udp)) = outer.transport else { panic!("no UDP") };
            assert_eq!((udp.destination_port(), udp.checksum()), (4789, 0));
            assert_eq!(udp.payload()[..8], [8, 0, 0, 0, 0, 0, 42, 0]);
            check(&udp.payload()[8..], "10.1.0.2", 7);
            assert!(matches!(read(parse::payload(&frame).unwrap()), Reading::Stamped(_)));
        }
    }

    #[test]
    fn a_length_without_room_for_a_stamp_is_refused() {
        let error = Template::new(&headers("fd00::1", "fd00::/64"), 60).unwrap_err().to_string();
        assert!(error.contains("80") && error.contains("84"), "{error}");
    }
}
