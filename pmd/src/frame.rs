//! The frame token and the per-thread pool it comes from.

use std::{mem::forget, sync::Arc};

use crate::{
    memory::{HEADROOM, LARGE_CHUNK, Memory, SMALL_CHUNK},
    offload::{Csum, Offload},
};

/// The two sizes of chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkClass {
    /// 4 KiB: one ordinary frame; registered with every AF_XDP socket.
    Small,
    /// 64 KiB and room: a GSO super-frame or a linearised jumbo frame; never shown to an AF_XDP socket.
    Large,
}

impl ChunkClass {
    /// Bytes a fresh frame of this class can hold behind its headroom.
    pub const fn capacity(self) -> usize {
        match self {
            Self::Small => SMALL_CHUNK - HEADROOM,
            Self::Large => LARGE_CHUNK - HEADROOM,
        }
    }

    /// The smaller class that holds `len` bytes.
    pub const fn for_len(len: usize) -> Option<Self> {
        if len <= Self::Small.capacity() {
            Some(Self::Small)
        } else if len <= Self::Large.capacity() {
            Some(Self::Large)
        } else {
            None
        }
    }
}

/// The exclusive right to one chunk, and where in it the packet lies. Neither `Copy` nor `Clone`.
#[derive(Debug)]
#[must_use = "a frame is sent or freed, never forgotten"]
pub struct Frame {
    chunk: u32,
    len: u32,
    /// The packet's offset, 16 bits, and offload intent packed behind it: two whole words are what a processor moves
    /// without waiting for the pieces they were written in.
    rest: u64,
}

const _: () = assert!(size_of::<Frame>() == 16);

impl Frame {
    /// Packet length, bytes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is a packet; nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Room in front of the packet, bytes.
    pub fn headroom(&self) -> usize {
        self.rest as u16 as usize
    }

    fn set_headroom(&mut self, offset: usize) {
        self.rest = self.rest & !0xffff | offset as u64;
    }

    /// What is left to do to the packet before it is complete on the wire.
    #[inline]
    pub fn offload(&self) -> Offload {
        Offload::unpack(self.rest)
    }

    /// Sets [`Frame::offload`].
    #[inline]
    pub fn set_offload(&mut self, offload: Offload) {
        self.rest = self.rest & 0xffff | offload.pack();
    }

    /// After `n` bytes were put in front of the packet (negative: taken away).
    pub fn shift_offload(&mut self, n: i32) {
        let mut offload = self.offload();
        offload.shift(n);
        self.set_offload(offload);
    }

    /// Sets the checksum's part of [`Frame::offload`].
    pub fn set_csum(&mut self, csum: Csum) {
        self.set_offload(Offload { csum, ..self.offload() });
    }

    /// Nothing is left to do to the packet.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.rest >> 16 == 0
    }

    #[inline]
    pub(crate) fn from_raw(chunk: u32, offset: u16, len: u32) -> Self {
        Self { chunk, len, rest: offset.into() }
    }

    /// Gives the token up: the chunk's number, its packet's offset and length. Whoever takes them owns the chunk.
    pub(crate) fn into_raw(self) -> (u32, u16, u32) {
        let raw = (self.chunk, self.rest as u16, self.len);
        forget(self);
        raw
    }

    pub(crate) fn chunk(&self) -> u32 {
        self.chunk
    }
}

#[cfg(debug_assertions)]
impl Drop for Frame {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("frame of chunk {} leaked: neither sent nor freed", self.chunk);
        }
    }
}

#[cfg(not(debug_assertions))]
const _: () = assert!(!std::mem::needs_drop::<Frame>());

/// Chunks a pool keeps at hand per class before it gives half of them to the depot.
const CACHE: [usize; 2] = [512, 16];
/// Chunks that a pool takes from the depot, or gives to it, at once.
pub(crate) const EXCHANGE: [usize; 2] = [CACHE[0] / 2, CACHE[1] / 2];

/// Bytes of a pool's scratch memory.
const SCRATCH: usize = crate::offload::jumbo::FRAME_MAX;

/// One thread's stock of free chunks, and its view of the memory.
#[derive(Debug)]
pub struct FramePool {
    memory: Arc<Memory>,
    free: [Vec<u32>; 2],
    scratch: Box<[u8]>,
}

impl FramePool {
    /// Chunks that a pool may keep at hand, small and large.
    pub const AT_HAND: [usize; 2] = CACHE;

    /// An empty pool; it draws on the depot of `memory`.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { memory, free: CACHE.map(Vec::with_capacity), scratch: Box::default() }
    }

    /// The memory behind it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Chunks at hand, both classes.
    pub fn at_hand(&self) -> usize {
        self.free.iter().map(Vec::len).sum()
    }

    /// An empty frame, or nothing when the memory is used up.
    #[inline]
    pub fn alloc(&mut self, class: ChunkClass) -> Option<Frame> {
        let free = &mut self.free[class as usize];
        if free.is_empty() {
            self.memory.withdraw(class, free);
        }
        free.pop().map(|chunk| Frame::from_raw(chunk, HEADROOM as u16, 0))
    }

    /// A frame that holds a copy of `bytes`, or nothing when the memory is used up or no chunk is that large.
    pub fn alloc_copy(&mut self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.alloc(ChunkClass::for_len(bytes.len())?)?;
        frame.len = bytes.len() as u32;
        self.bytes_mut(&mut frame).copy_from_slice(bytes);
        Some(frame)
    }

    /// A second frame with the same packet and offload intent.
    pub fn duplicate(&mut self, frame: &Frame) -> Option<Frame> {
        let mut copy = self.alloc(ChunkClass::for_len(frame.len())?)?;
        copy.len = frame.len;
        copy.set_offload(frame.offload());
        self.memory.copy(frame, &mut copy);
        Some(copy)
    }

    /// Takes a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        let (chunk, ..) = frame.into_raw();
        self.free_chunk(chunk);
    }

    #[inline]
    pub(crate) fn free_chunk(&mut self, chunk: u32) {
        let class = self.memory.class_of(chunk);
        let free = &mut self.free[class as usize];
        if free.len() == CACHE[class as usize] {
            self.memory.deposit(class, EXCHANGE[class as usize], free);
        }
        free.push(chunk);
    }

    /// Memory for the part of a frame that no chunk holds, to be given back. Its pages are the kernel's until they are used.
    pub(crate) fn lend_scratch(&mut self) -> Box<[u8]> {
        let scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() { vec![0; SCRATCH].into_boxed_slice() } else { scratch }
    }

    /// Takes it back.
    pub(crate) fn give_back_scratch(&mut self, scratch: Box<[u8]>) {
        self.scratch = scratch;
    }

    /// The packet.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.memory.bytes(frame)
    }

    /// The packet, to change.
    #[inline]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.memory.bytes_mut(frame)
    }

    /// Sets the packet's length; false, and nothing changed, when the chunk has no room for it.
    pub fn set_len(&self, frame: &mut Frame, len: usize) -> bool {
        let fits = frame.headroom() + len <= self.memory.chunk_size(frame.chunk);
        if fits {
            frame.len = len as u32;
        }
        fits
    }

    /// Grows the packet by `n` bytes at the front; false, and nothing changed, when there is no headroom.
    pub fn push_front(&self, frame: &mut Frame, n: usize) -> bool {
        let fits = n <= frame.headroom();
        if fits {
            frame.set_headroom(frame.headroom() - n);
            frame.len += n as u32;
        }
        fits
    }

    /// Cuts `n` bytes off the packet's front; false, and nothing changed, when it is shorter.
    pub fn pull_front(&self, frame: &mut Frame, n: usize) -> bool {
        let fits = n <= frame.len as usize && frame.headroom() + n <= u16::MAX as usize;
        if fits {
            frame.set_headroom(frame.headroom() + n);
            frame.len -= n as u32;
        }
        fits
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        for class in [ChunkClass::Small, ChunkClass::Large] {
            let free = &mut self.free[class as usize];
            self.memory.deposit(class, free.len(), free);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_go_round_and_none_is_lost() {
        let memory = Memory::heap(64, 4).unwrap();
        let mut a = FramePool::new(memory.clone());
        let mut b = FramePool::new(memory.clone());
        let frames: Vec<Frame> = std::iter::from_fn(|| a.alloc(ChunkClass::Small)).collect();
        assert_eq!(frames.len(), 64);
        assert!(b.alloc(ChunkClass::Small).is_none());
        frames.into_iter().for_each(|frame| b.free(frame));
        let mut large = b.alloc(ChunkClass::Large).unwrap();
        assert!(b.set_len(&mut large, 65_550));
        assert!(!b.set_len(&mut large, LARGE_CHUNK));
        b.free(large);
        drop((a, b));
        assert_eq!(memory.available(), memory.total());
    }

    #[test]
    fn bytes_stay_inside_their_chunk() {
        let mut pool = FramePool::new(Memory::heap(4, 1).unwrap());
        let mut frame = pool.alloc_copy(b"hello").unwrap();
        assert!(pool.push_front(&mut frame, 4) && !pool.push_front(&mut frame, HEADROOM));
        assert_eq!(&pool.bytes(&frame)[4..], b"hello");
        assert!(pool.pull_front(&mut frame, 4) && !pool.pull_front(&mut frame, 6));
        let copy = pool.duplicate(&frame).unwrap();
        assert_eq!(pool.bytes(&copy), b"hello");
        pool.free(copy);
        pool.free(frame);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "leaked")]
    fn a_dropped_frame_is_found() {
        let mut pool = FramePool::new(Memory::heap(4, 1).unwrap());
        drop(pool.alloc(ChunkClass::Small));
    }
}
