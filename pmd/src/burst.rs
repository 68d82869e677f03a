//! Up to [`BURST`] frames that travel together.

use arrayvec::ArrayVec;

use crate::frame::{Frame, FramePool};

/// Frames per turn and queue. 64 fits a 64-bit mask of undecided packets, and AF_XDP on veth moves as much at 64 as
/// at 256 while 16 or 32 drop in the kernel when the transmit side is slower (measured; kernel 6.18, copy mode).
pub const BURST: usize = 64;

/// Frames as received, or as queued for one port.
#[derive(Debug, Default)]
pub struct Burst {
    frames: ArrayVec<Frame, BURST>,
    /// No more were taken though there may be more.
    capped: bool,
}

impl Burst {
    /// An empty burst.
    pub fn new() -> Self {
        Self::default()
    }

    /// Frames in it.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// No frame in it.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames it still takes.
    pub fn room(&self) -> usize {
        self.frames.remaining_capacity()
    }

    /// It is as large as bursts get: where it came from there may be more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.capped || self.frames.is_full()
    }

    /// Says that no more were taken though there may be more: what is in it is work enough.
    pub(crate) fn cap(&mut self) {
        self.capped = true;
    }

    #[inline]
    /// Appends a frame, or gives it back when the burst is full.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        self.frames.try_push(frame).map_err(|full| full.element())
    }

    /// The frames, in order.
    pub fn as_slice(&self) -> &[Frame] {
        &self.frames
    }

    /// The frames, in order, to change.
    pub fn as_mut_slice(&mut self) -> &mut [Frame] {
        &mut self.frames
    }

    /// Takes the first `n` frames out, in order.
    pub fn drain_front(&mut self, n: usize) -> impl Iterator<Item = Frame> + '_ {
        self.capped = false;
        self.frames.drain(..n)
    }

    /// Frees the frames whose bits are set; the others stay, in order.
    pub fn free_these(&mut self, these: u64, pool: &mut FramePool) {
        let mut kept = ArrayVec::new();
        for (i, frame) in self.frames.drain(..).enumerate() {
            if these >> i & 1 == 1 {
                pool.free(frame);
            } else {
                kept.push(frame);
            }
        }
        self.frames = kept;
    }

    /// Frees every frame; says how many there were.
    pub fn free_all(&mut self, pool: &mut FramePool) -> usize {
        let n = self.frames.len();
        self.capped = false;
        for frame in self.frames.drain(..) {
            pool.free(frame);
        }
        n
    }
}
