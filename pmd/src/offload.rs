//! Offload intent: what is left to do to a packet, in virtio-net terms (virtio 1.2 §5.1.6.2), and doing it in software.

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
    /// x
    TooBig,
    /// x
    NoFrames,
    /// x
    Malformed,
}
/// x
pub fn fit(
    _: &mut crate::FramePool,
    frame: crate::Frame,
    _: &crate::Caps,
    out: &mut Vec<crate::Frame>,
) -> Result<(), Unfit> {
    out.push(frame);
    Ok(())
}
/// x
pub fn detect_partial(_: &[u8], _: usize, _: usize, _: u8) -> Option<Csum> {
    None
}
