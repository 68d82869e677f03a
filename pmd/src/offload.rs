//! Offload intent: what is left to do to a packet, in virtio-net terms (virtio 1.2 §5.1.6.2), and doing it in software
//! where a port can't.
//!
//! [`fit`] is the one door egress goes through: what the port can carry passes as it is; the rest is segmented
//! ([`mod@segment`]), completed ([`checksum`]) or fragmented ([`mod@fragment`]), or refused with a reason. Nothing is sent
//! wrong. A packet whose way takes less than the port, such as a tunnel, is held to that by [`limit`] before, and cut here,
//! inside of the tunnel. The other way, [`merge`] joins what a port would rather have in one piece, and [`jumbo`] cuts what
//! no chunk holds.
//!
//! What a port says of a frame is what the other side of the port says, and a pod may say anything: whoever decides about
//! packets checks it against the headers found ([`Gso`] has the bounds) before anything here acts on it.

pub mod checksum;
mod fragment;
mod headers;
pub mod jumbo;
pub mod merge;
pub mod outer;
mod segment;
pub mod vnet;

pub use checksum::{complete_checksum, detect_partial};
pub use outer::Outer;

use weft_wire::l4::{Tcp, Udp};
use zerocopy::FromBytes;

use crate::{
    frame::{Frame, FramePool},
    port::Caps,
};

/// What is left to do to a packet before it is complete on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// The L4 checksum.
    pub csum: Csum,
    /// Segmentation.
    pub gso: Option<Gso>,
    /// Of what is wrapped up for a tunnel and still to be cut: the shape of the outer header, which every piece gets.
    pub outer: Option<Outer>,
    /// The way's MTU, bytes of IP packet (inside of the tunnel, where there is one), for a packet that may be larger: no
    /// piece of it is. Only of a packet whose checksum is complete, or made when it is cut: see [`limit`].
    pub mtu: Option<u16>,
}

impl Offload {
    const HAS_MTU: u64 = 1 << 23;
    /// Of a packet about which nothing that was said can be believed.
    pub const INVALID: Self = Self { csum: Csum::Invalid, gso: None, outer: None, mtu: None };

    /// In 48 bits behind 16 that are left zero, and nothing but zeros where nothing is left to do. From bit 16 up: the
    /// checksum's state (2), kind of super-frame (2), ECN (1), outer header (2), whether there is an MTU (1); from bit 24
    /// where the checksum is (8), from bit 32 where summing starts (16), or instead of both the MTU; from bit 48 the
    /// segments' size (16).
    #[inline]
    pub(crate) fn pack(self) -> u64 {
        let csum = match (self.mtu, self.csum) {
            (Some(mtu), _) => Self::HAS_MTU | u64::from(mtu) << 24,
            (None, Csum::Complete) => 0,
            (None, Csum::Unknown) => 1 << 16,
            (None, Csum::Partial { start, offset }) => {
                2 << 16 | u64::from(offset) << 24 | u64::from(start) << 32
            }
            (None, Csum::Invalid) => 3 << 16,
        };
        let gso = self.gso.map_or(0, |gso| {
            (gso.kind as u64 + 1) << 18 | u64::from(gso.ecn) << 20 | u64::from(gso.size) << 48
        });
        let outer = self.outer.map_or(0, |outer| (outer as u64 + 1) << 21);
        csum | gso | outer
    }

    /// The opposite of [`Offload::pack`].
    #[inline]
    pub(crate) fn unpack(bits: u64) -> Self {
        let csum = match bits >> 16 & 3 {
            0 => Csum::Complete,
            1 => Csum::Unknown,
            2 => Csum::Partial { start: (bits >> 32) as u16, offset: (bits >> 24) as u8 },
            _ => Csum::Invalid,
        };
        let kind = match bits >> 18 & 3 {
            0 => None,
            1 => Some(GsoKind::Tcp4),
            2 => Some(GsoKind::Tcp6),
            _ => Some(GsoKind::Udp),
        };
        let gso = kind.map(|kind| Gso { kind, ecn: bits >> 20 & 1 == 1, size: (bits >> 48) as u16 });
        let outer = match bits >> 21 & 3 {
            0 => None,
            1 => Some(Outer::V4),
            _ => Some(Outer::V6),
        };
        let mtu = (bits & Self::HAS_MTU != 0).then_some((bits >> 24) as u16);
        Self { csum, gso, outer, mtu }
    }

    /// Nothing is left to do.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }

    /// After `n` bytes were put in front of the packet (negative: taken away).
    pub fn shift(&mut self, n: i32) {
        if let Csum::Partial { start, .. } = &mut self.csum {
            *start = start.wrapping_add_signed(n as i16);
        }
    }
}

/// State of a packet's L4 checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Csum {
    /// As its sender left it: complete, absent, or none of our business.
    #[default]
    Complete,
    /// From an AF_XDP veth: the field may hold the pseudo-header's sum only. `parse` finds out, once it knows the headers.
    Unknown,
    /// The field holds the pseudo-header's sum; the rest from `start` to the end is still to be added.
    Partial {
        /// Where summing starts, bytes from the packet's start.
        start: u16,
        /// Where the field is, bytes from `start`; no protocol has it further on than fits here.
        offset: u8,
    },
    /// What was said of the packet makes no sense by itself, or the packet was cut short on receipt: `parse` drops it.
    Invalid,
}

/// A super-frame to be cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Of what.
    pub kind: GsoKind,
    /// TCP with CWR to be cleared in all but the first segment (VIRTIO_NET_HDR_GSO_ECN).
    pub ecn: bool,
    /// Payload bytes of a segment.
    pub size: u16,
}

impl Gso {
    /// The least payload of a TCP segment that is cut here, bytes: less than that Linux's TCP never sends, options included
    /// (`TCP_MIN_SND_MSS`, net.ipv4.tcp_min_snd_mss).
    pub const TCP_LEAST: u16 = 48;
    /// The most segments that are cut from one TCP super-frame: without a bound one frame keeps its thread, or a NIC, busy for
    /// seconds (CVE-2012-3412, CVE-2019-11479; since the first Linux's sfc driver takes 100). 64 KiB make 122 segments at the
    /// MSS that every host takes, 536 bytes (RFC 9293 §3.7.1). A device that we make is told, and its kernel keeps to it.
    pub const TCP_MOST: usize = 256;
    /// The most datagrams that are cut from one (`UDP_MAX_SEGMENTS` of linux/udp.h, since 6.9; 64 before).
    pub const UDP_MOST: usize = 128;

    /// Where the payload starts of a super-frame whose L4 header is at `l4`; none where the header is not whole.
    pub fn payload(&self, packet: &[u8], l4: usize) -> Option<usize> {
        let header = packet.get(l4..)?;
        let len = match self.kind {
            GsoKind::Udp => size_of::<Udp>(),
            GsoKind::Tcp4 | GsoKind::Tcp6 => Tcp::ref_from_prefix(header).ok()?.0.header_len(),
        };
        let least = if self.kind == GsoKind::Udp { size_of::<Udp>() } else { size_of::<Tcp>() };
        (len >= least && len <= header.len()).then_some(l4 + len)
    }
}

/// What a frame comes to on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireSize {
    /// Packets.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
}

/// What a frame comes to on the wire, its L4 header being at `l4`: a super-frame is as many packets as it will be cut into,
/// whoever cuts it, each with headers of its own.
#[inline]
pub fn wire_size(packet: &[u8], l4: usize, offload: &Offload) -> WireSize {
    let len = packet.len() as u64;
    let Some(gso) = offload.gso else { return WireSize { packets: 1, bytes: len } };
    let headers = gso.payload(packet, l4).unwrap_or(l4) as u64;
    let packets = len.saturating_sub(headers).div_ceil(gso.size.max(1).into()).max(1);
    WireSize { packets, bytes: len + (packets - 1) * headers }
}

/// What a super-frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either: each segment a datagram of its own (USO).
    Udp,
}

/// Why a frame can't be made to fit a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Larger than the port's MTU, and may not be cut.
    TooBig,
    /// There is no memory for the pieces.
    NoFrames,
    /// Its offload intent does not go with its headers.
    Malformed,
}

/// Whether a port can carry a frame as it is.
#[inline]
pub fn passes(frame: &Frame, caps: &Caps) -> bool {
    // The MTU limits L3; a tagged frame this close to it is measured exactly in `cut`.
    const ETHERNET: usize = 14;
    let is_short = frame.len() <= caps.mtu as usize + ETHERNET;
    is_short & frame.is_complete() || is_short && passes_partial(frame, caps)
}

/// Holds a packet to its way's MTU, bytes of IP packet: where a port sends it, it is cut to that, or dropped if it may not
/// be cut. False where its checksum lies outside of it.
pub fn limit(pool: &FramePool, frame: &mut Frame, mtu: u16) -> bool {
    // A super-frame's checksum is made when it is cut, whatever it says of it.
    let is_sound = frame.offload().gso.is_some() || complete_checksum(pool, frame);
    frame.set_offload(Offload { csum: Csum::Complete, mtu: Some(mtu), ..frame.offload() });
    is_sound
}

fn passes_partial(frame: &Frame, caps: &Caps) -> bool {
    let Offload { csum, gso, .. } = frame.offload();
    // One that is held to an MTU has no partial checksum.
    caps.csum && matches!(csum, Csum::Partial { .. }) && !checksum::is_sctp(csum) && gso.is_none()
}

/// Makes a frame fit a port: appends what is to be sent instead of it to `out`, all of it or nothing; then gives it back.
#[inline]
pub fn fit(
    pool: &mut FramePool,
    frame: Frame,
    caps: &Caps,
    out: &mut Vec<Frame>,
) -> Result<(), (Unfit, Frame)> {
    if passes(&frame, caps) {
        out.push(frame);
        return Ok(());
    }
    cut(pool, frame, caps, out)
}

#[cold]
fn cut(
    pool: &mut FramePool,
    mut frame: Frame,
    caps: &Caps,
    out: &mut Vec<Frame>,
) -> Result<(), (Unfit, Frame)> {
    match frame.offload().csum {
        Csum::Unknown => frame.set_csum(Csum::Complete), // nobody found its headers: it has no checksum that we know of
        Csum::Invalid => return Err((Unfit::Malformed, frame)),
        Csum::Complete | Csum::Partial { .. } => {}
    }
    let found = match headers::find(pool.bytes(&frame), &frame.offload()) {
        Ok(found) => found,
        Err(unfit) => return Err((unfit, frame)),
    };
    let Offload { gso, outer, mtu: limit, .. } = frame.offload();
    let mtu = limit.map_or(usize::MAX, |limit| usize::from(limit) + found.overhead).min(caps.mtu as usize);
    let fits = found.wire_len <= mtu;
    let whole = match gso {
        Some(_) => fits && caps.gso && outer.is_none() && limit.is_none(),
        None => {
            let is_left = caps.csum && !checksum::is_sctp(frame.offload().csum);
            fits && (is_left || complete_checksum(pool, &mut frame))
        }
    };
    if whole {
        frame.set_offload(Offload { outer: None, mtu: None, ..frame.offload() });
        out.push(frame);
        return Ok(());
    }
    let begin = out.len();
    let outcome = match gso {
        Some(gso) if fits => segment::segment(pool, &frame, gso, &found, out),
        Some(gso) if found.may_fragment => cut_twice(pool, &frame, gso, (mtu, &found), out),
        None if found.may_fragment && !fits && complete_checksum(pool, &mut frame) => {
            fragment::fragment(pool, &frame, mtu, &found, outer, out)
        }
        _ if fits => Err(Unfit::Malformed), // its checksum lies outside of it
        _ => Err(Unfit::TooBig),
    };
    match outcome {
        Ok(()) => {
            pool.free(frame);
            Ok(())
        }
        Err(unfit) => {
            out.drain(begin..).for_each(|piece| pool.free(piece));
            Err((unfit, frame))
        }
    }
}

/// A super-frame whose segments are too large themselves: each is a packet of its own, and is fragmented.
fn cut_twice(
    pool: &mut FramePool,
    whole: &Frame,
    gso: Gso,
    (mtu, found): (usize, &headers::Found),
    out: &mut Vec<Frame>,
) -> Result<(), Unfit> {
    let outer = whole.offload().outer;
    let mut segments = Vec::new();
    let mut outcome = segment::segment(pool, whole, gso, found, &mut segments);
    for segment in segments {
        let shape = Offload { outer, ..Offload::default() };
        outcome = outcome.and_then(|()| {
            let found = headers::find(pool.bytes(&segment), &shape)?;
            fragment::fragment(pool, &segment, mtu, &found, outer, out)
        });
        pool.free(segment);
    }
    outcome
}
