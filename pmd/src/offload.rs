//! Offload intent: what is left to do to a packet, in virtio-net terms (virtio 1.2 §5.1.6.2), and doing it in software
//! where a port can't.
//!
//! [`fit`] is the one door egress goes through: what the port can carry passes as it is; the rest is segmented
//! ([`mod@segment`]), completed ([`checksum`]) or fragmented ([`mod@fragment`]), or refused with a reason. Nothing is sent
//! wrong.

pub mod checksum;
mod fragment;
mod headers;
mod segment;
pub mod vnet;

pub use checksum::{complete_checksum, detect_partial};

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
}

impl Offload {
    /// Nothing is left to do.
    pub fn is_complete(&self) -> bool {
        self.csum == Csum::Complete && self.gso.is_none()
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
        /// Where the field is, bytes from `start`.
        offset: u16,
    },
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

/// Why a frame can't be made to fit a port. The frame has been freed.
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
    let is_done = match frame.offload.csum {
        Csum::Complete => true,
        Csum::Partial { .. } => caps.csum,
        Csum::Unknown => false,
    };
    is_done && frame.offload.gso.is_none() && frame.len() <= caps.mtu as usize + ETHERNET
}

/// Makes a frame fit a port: appends what is to be sent instead of it to `out`, all of it or nothing.
#[inline]
pub fn fit(pool: &mut FramePool, frame: Frame, caps: &Caps, out: &mut Vec<Frame>) -> Result<(), Unfit> {
    if passes(&frame, caps) {
        out.push(frame);
        return Ok(());
    }
    cut(pool, frame, caps, out)
}

#[cold]
fn cut(pool: &mut FramePool, mut frame: Frame, caps: &Caps, out: &mut Vec<Frame>) -> Result<(), Unfit> {
    if frame.offload.csum == Csum::Unknown {
        frame.offload.csum = Csum::Complete; // nobody found its headers: it has no checksum that we know of
    }
    let found = match headers::find(pool.bytes(&frame), &frame.offload) {
        Ok(found) => found,
        Err(unfit) => {
            pool.free(frame);
            return Err(unfit);
        }
    };
    let (mtu, fits) = (caps.mtu as usize, found.wire_len <= caps.mtu as usize);
    let whole = match frame.offload.gso {
        Some(_) => fits && caps.gso,
        None => fits && (caps.csum || complete_checksum(pool, &mut frame)),
    };
    if whole {
        out.push(frame);
        return Ok(());
    }
    let begin = out.len();
    let gso = frame.offload.gso;
    let outcome = match gso {
        Some(gso) if fits => segment::segment(pool, &frame, gso, &found, out),
        None if found.may_fragment && !fits && complete_checksum(pool, &mut frame) => {
            fragment::fragment(pool, &frame, mtu, &found, out)
        }
        _ if fits => Err(Unfit::Malformed), // its checksum lies outside of it
        _ => Err(Unfit::TooBig),
    };
    pool.free(frame);
    if outcome.is_err() {
        out.drain(begin..).for_each(|piece| pool.free(piece));
    }
    outcome
}
