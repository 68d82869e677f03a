//! The one region all frames live in.
//!
//! A memfd, mapped once: an area of 4 KiB chunks that every AF_XDP socket registers as its UMEM (so a frame received on
//! one port is transmitted on another without a copy), then an area of large chunks for 64 KiB super-frames.
//!
//! # Safety
//! The one invariant: a chunk's bytes are reached only through the [`Frame`] token of that chunk (or by the kernel,
//! while the chunk is in one of its rings), and [`Memory::bytes`] and [`Memory::bytes_mut`] check that the packet lies
//! inside the chunk. Two tokens for one chunk are never made: the depot holds each chunk's number once from the start.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::{
    depot::Depot,
    frame::{ChunkClass, EXCHANGE, Frame},
    sys::{self, Mapping},
};

/// Bytes of a small chunk: the largest the kernel takes for an aligned UMEM (`PAGE_SIZE`; xdp_umem_reg, kernel 6.18).
pub const SMALL_CHUNK: usize = 4096;

/// Bytes of a large chunk: a 64 KiB IP packet with its Ethernet header and tags, and headroom.
pub const LARGE_CHUNK: usize = 65_536 + 4096;

/// Room kept in front of a packet: what the kernel keeps in front of AF_XDP frames too (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The kernel would not give the region.
    #[error("cannot map {bytes} bytes of frame memory: {source}; lower pmd.memory_mib or free memory")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Too little to be useful.
    #[error("{mib} MiB of frame memory is too little: set pmd.memory_mib to {min} or more")]
    TooSmall {
        /// MiB asked for.
        mib: usize,
        /// The least.
        min: usize,
    },
}

/// What there is of one size of chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Chunks.
    pub total: usize,
    /// Of these, chunks that no thread, ring or frame holds.
    pub free: usize,
}

/// Chunks that AF_XDP sockets keep for the kernel to receive into: half of the small ones at most, each socket the same share.
/// The other half is for frames under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillShare {
    /// Sockets.
    pub sockets: u32,
    /// Chunks that each may keep.
    pub chunks: u32,
}

impl FillShare {
    /// A socket with fewer loses frames of every burst.
    pub const LEAST: u32 = 32;
    /// What a socket has before it is busy.
    pub const USUAL: u32 = 512;

    /// The least memory of which so many sockets have so many chunks each, MiB.
    pub fn memory_mib(sockets: u32, chunks: u32) -> usize {
        let (held, quarters) = (sockets as usize * chunks as usize * SMALL_CHUNK, 3);
        // Three quarters are small chunks, half of these is for sockets.
        (held * 2 * 4).div_ceil(quarters << 20)
    }
}

/// The region, and the depot of chunks that no pool holds.
#[derive(Debug)]
pub struct Memory {
    map: Mapping,
    hugepages: bool,
    small: u32,
    large: u32,
    depot: [Depot; 2],
    /// AF_XDP sockets that receive into it.
    sockets: AtomicU32,
}

impl Memory {
    /// A region of `mib` MiB, a quarter of it for large chunks; on hugepages where the machine has free ones.
    pub fn new(mib: usize) -> Result<Arc<Self>, MemoryError> {
        const MIN_MIB: usize = 8;
        if mib < MIN_MIB {
            return Err(MemoryError::TooSmall { mib, min: MIN_MIB });
        }
        let bytes = mib << 20;
        let large = bytes / 4 / LARGE_CHUNK;
        let small = (bytes - large * LARGE_CHUNK) / SMALL_CHUNK;
        Self::with_chunks(small as u32, large as u32, true)
    }

    /// A region of so many chunks, for tests and benchmarks; needs no rights.
    pub fn heap(small: u32, large: u32) -> Result<Arc<Self>, MemoryError> {
        Self::with_chunks(small, large, false)
    }

    fn with_chunks(small: u32, large: u32, try_hugepages: bool) -> Result<Arc<Self>, MemoryError> {
        let bytes = small as usize * SMALL_CHUNK + large as usize * LARGE_CHUNK;
        let huge = if try_hugepages { Mapping::memfd(bytes, true).ok() } else { None };
        let hugepages = huge.is_some();
        let map = match huge {
            Some(map) => map,
            None => Mapping::memfd(bytes, false).map_err(|source| MemoryError::Map { bytes, source })?,
        };
        let depot = [Depot::new(0, small, EXCHANGE[0]), Depot::new(small, large, EXCHANGE[1])];
        Ok(Arc::new(Self { map, hugepages, small, large, depot, sockets: AtomicU32::new(0) }))
    }

    /// Whether it stands on hugepages.
    pub fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// Its size, bytes.
    pub fn bytes_total(&self) -> usize {
        self.small as usize * SMALL_CHUNK + self.large as usize * LARGE_CHUNK
    }

    /// All chunks.
    pub fn total(&self) -> usize {
        (self.small + self.large) as usize
    }

    /// Chunks in the depot: those that no pool, ring or frame holds.
    pub fn available(&self) -> usize {
        self.depot.iter().map(Depot::len).sum()
    }

    /// What there is of small chunks, and of large ones.
    pub fn pools(&self) -> [PoolSize; 2] {
        let pool = |class: ChunkClass, chunk_bytes, total: u32| PoolSize {
            chunk_bytes,
            total: total as usize,
            free: self.depot[class as usize].len(),
        };
        [pool(ChunkClass::Small, SMALL_CHUNK, self.small), pool(ChunkClass::Large, LARGE_CHUNK, self.large)]
    }

    /// What each AF_XDP socket may keep.
    pub fn fill_share(&self) -> FillShare {
        let sockets = self.sockets.load(Relaxed);
        FillShare { sockets, chunks: self.small / 2 / sockets.max(1) }
    }

    /// Counts a socket in, until what is returned is dropped.
    pub(crate) fn register_socket(self: &Arc<Self>) -> Registered {
        self.sockets.fetch_add(1, Relaxed);
        Registered(self.clone())
    }

    /// The memfd behind it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// Start and length of the area of small chunks: what an AF_XDP socket registers as its UMEM.
    pub(crate) fn umem(&self) -> (*mut u8, usize) {
        (self.map.as_ptr(), self.small as usize * SMALL_CHUNK)
    }

    #[inline]
    pub(crate) fn class_of(&self, chunk: u32) -> ChunkClass {
        if chunk < self.small { ChunkClass::Small } else { ChunkClass::Large }
    }

    pub(crate) fn chunk_size(&self, chunk: u32) -> usize {
        if chunk < self.small { SMALL_CHUNK } else { LARGE_CHUNK }
    }

    /// Offset of a chunk from the start of the region.
    pub(crate) fn chunk_offset(&self, chunk: u32) -> usize {
        if chunk < self.small {
            chunk as usize * SMALL_CHUNK
        } else {
            self.small as usize * SMALL_CHUNK + (chunk - self.small) as usize * LARGE_CHUNK
        }
    }

    #[cold]
    pub(crate) fn withdraw(&self, class: ChunkClass, into: &mut Vec<u32>) {
        self.depot[class as usize].withdraw(into);
    }

    #[cold]
    pub(crate) fn deposit(&self, class: ChunkClass, n: usize, from: &mut Vec<u32>) {
        self.depot[class as usize].deposit(n, from);
    }

    /// Where the packet lies; panics where its length or offset leave the chunk, which no safe code can bring about.
    #[inline]
    fn place(&self, frame: &Frame) -> *mut u8 {
        let chunk = frame.chunk();
        if chunk < self.small && frame.headroom() + frame.len() <= SMALL_CHUNK {
            return self.map.as_ptr().wrapping_add(chunk as usize * SMALL_CHUNK + frame.headroom());
        }
        self.place_large(frame)
    }

    #[cold]
    #[inline(never)]
    fn place_large(&self, frame: &Frame) -> *mut u8 {
        assert!(frame.chunk() < self.small + self.large, "chunk {} is not of this memory", frame.chunk());
        assert!(frame.headroom() + frame.len() <= self.chunk_size(frame.chunk()), "packet leaves its chunk");
        self.map.as_ptr().wrapping_add(self.chunk_offset(frame.chunk()) + frame.headroom())
    }

    #[inline]
    pub(crate) fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        // SAFETY: `place` checked that the range lies inside the mapping, the token is the only way to the chunk, and
        // the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.place(frame), frame.len()) }
    }

    #[inline]
    pub(crate) fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        // SAFETY: as in `bytes`, and `&mut Frame` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.place(frame), frame.len()) }
    }

    pub(crate) fn copy(&self, from: &Frame, to: &mut Frame) {
        self.bytes_mut(to).copy_from_slice(self.bytes(from));
    }
}

/// A socket that receives into the memory.
#[derive(Debug)]
pub(crate) struct Registered(Arc<Memory>);

impl Registered {
    /// Chunks that it may keep for the kernel to receive into.
    #[inline]
    pub(crate) fn share(&self) -> u32 {
        self.0.fill_share().chunks
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Relaxed);
    }
}

// SAFETY: the raw pointer inside `Mapping` is to memory that lives as long as the mapping; access to it is by frame
// token, which one thread holds at a time.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`; the depot's queues are `Sync` themselves.
unsafe impl Sync for Memory {}

const _: () = assert!(HEADROOM <= u16::MAX as usize && sys::PAGE == SMALL_CHUNK);
