//! AF_XDP sockets on xsk-rs, an implementation independent of the one under test.
//!
//! **Invariants.** Every chunk of a socket's memory is in one place at a time: in `free`, or in a ring of the kernel's. A
//! socket's memory, rings and descriptors belong to this one value, so that only it moves them. This is the one place
//! outside of `weft-pmd` with unsafe code.
#![expect(unsafe_code, reason = "xsk-rs leaves it to its callers that a frame is in one place at a time")]

use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd, RawFd},
};

use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{
        BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, SocketConfigBuilder,
        UmemConfig,
    },
    socket::XdpStatistics,
};

/// What a chunk holds beside XDP's headroom of 256 bytes: the largest frame.
pub const MAX_FRAME: usize = CHUNK as usize - 256;
const CHUNK: u32 = 4096;
/// Of each ring, and chunks of each socket.
const RING: u32 = 4096;
/// Descriptors moved at a time.
const BATCH: usize = 64;

struct Parts {
    umem: Umem,
    free: Vec<FrameDesc>,
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
}

/// A socket on one queue of a device of the calling thread's namespace, with memory of its own, and no XDP program.
fn open(device: &str, queue: u32) -> io::Result<Parts> {
    let what = |error: &dyn std::error::Error| {
        // xsk-rs has what the kernel said in the source of its error.
        let kernel = error.source().map(ToString::to_string).unwrap_or_default();
        io::Error::other(format!("AF_XDP on {device}, queue {queue}: {error}: {kernel}"))
    };
    let size = QueueSize::new(RING).map_err(|error| what(&error))?;
    let mut memory = UmemConfig::builder();
    memory.frame_size(FrameSize::new(CHUNK).map_err(|error| what(&error))?);
    memory.fill_queue_size(size).comp_queue_size(size);
    let memory = memory.build().map_err(|error| what(&error))?;
    let chunks = NonZeroU32::new(RING).ok_or_else(|| io::Error::other("no chunks"))?;
    let (umem, free) = Umem::new(memory, chunks, false).map_err(|error| what(&error))?;
    let interface: Interface =
        device.parse().map_err(|_| io::Error::other(format!("{device:?} can't be a device")))?;
    // SAFETY: this is the one socket of its UMEM, and libxdp's own program is not loaded.
    let opened = unsafe { Socket::new(socket_config(size), &umem, &interface, queue) };
    let (tx, rx, rings) = opened.map_err(|error| what(&error))?;
    let (fill, completion) = rings.ok_or_else(|| io::Error::other("the socket has no rings"))?;
    Ok(Parts { umem, free, tx, rx, fill, completion })
}

fn socket_config(size: QueueSize) -> SocketConfig {
    let mut config = SocketConfigBuilder::new();
    config.rx_queue_size(size).tx_queue_size(size);
    config.libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD);
    config.bind_flags(BindFlags::XDP_USE_NEED_WAKEUP);
    config.build()
}

/// Sends by one queue of a device.
pub struct TxSocket {
    parts: Parts,
    ready: Vec<FrameDesc>,
    done: Vec<FrameDesc>,
    in_kernel: usize,
}

impl TxSocket {
    /// Opens it on a device of the calling thread's namespace.
    pub fn open(device: &str, queue: u32) -> io::Result<Self> {
        let parts = open(device, queue)?;
        let done = parts.free[..BATCH].to_vec(); // overwritten: descriptors can't be made otherwise
        Ok(Self { parts, ready: Vec::with_capacity(RING as usize), done, in_kernel: 0 })
    }

    /// Has `make` write a frame of at most [`MAX_FRAME`] bytes and tell its length; zero means none. False: there is no room.
    pub fn push(&mut self, make: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Some(mut desc) = self.parts.free.pop() else { return false };
        // SAFETY: the chunk was in `free`, so the kernel does not have it, and `desc` is this thread's alone.
        let mut data = unsafe { self.parts.umem.data_mut(&mut desc) };
        data.cursor().set_pos(MAX_FRAME);
        let len = make(data.contents_mut());
        data.cursor().set_pos(len);
        if len == 0 {
            self.parts.free.push(desc);
        } else {
            self.ready.push(desc);
        }
        true
    }

    /// Hands what was pushed to the kernel, and takes back what it has sent. Returns how many frames it took.
    pub fn flush(&mut self) -> io::Result<usize> {
        // SAFETY: these chunks come from `free` and are in no ring.
        let taken = unsafe { self.parts.tx.produce(&self.ready) };
        self.ready.drain(..taken);
        self.in_kernel += taken;
        let waiting = RING - self.parts.tx.nb_free_exact();
        if waiting > 0 && self.parts.tx.needs_wakeup() {
            self.parts.tx.wakeup()?;
        }
        self.complete();
        Ok(taken)
    }

    fn complete(&mut self) {
        loop {
            // SAFETY: the descriptors written to are scratch, and the ring is of the same UMEM.
            let count = unsafe { self.parts.completion.consume(&mut self.done) };
            self.parts.free.extend_from_slice(&self.done[..count]);
            self.in_kernel -= count;
            if count < BATCH {
                return;
            }
        }
    }

    /// Frames that were pushed and whose transmission is not completed.
    pub fn outstanding(&self) -> usize {
        self.ready.len() + self.in_kernel
    }
}

/// Receives from one queue of a device; an XDP program must send frames to it.
pub struct RxSocket {
    parts: Parts,
    received: Vec<FrameDesc>,
}

impl RxSocket {
    /// Opens it on a device of the calling thread's namespace.
    pub fn open(device: &str, queue: u32) -> io::Result<Self> {
        let parts = open(device, queue)?;
        let received = parts.free[..BATCH].to_vec(); // overwritten
        let mut socket = Self { parts, received };
        socket.refill();
        Ok(socket)
    }

    /// For the map of the XDP program.
    pub fn fd(&self) -> RawFd {
        self.parts.rx.fd().as_raw_fd()
    }

    /// Shows `take` each frame of a batch; returns how many there were.
    pub fn poll(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        // SAFETY: the descriptors written to are scratch, and the ring is of the same UMEM.
        let count = unsafe { self.parts.rx.consume(&mut self.received) };
        for desc in &self.received[..count] {
            // SAFETY: the kernel has handed this chunk over; it goes back by `refill`, after the last look at it.
            let data = unsafe { self.parts.umem.data(desc) };
            take(data.contents());
        }
        self.parts.free.extend_from_slice(&self.received[..count]);
        self.refill();
        count
    }

    /// Waits for a frame, but not longer than so. Whether there is one.
    pub fn wait(&mut self, limit_ms: i32) -> io::Result<bool> {
        self.parts.rx.poll(limit_ms)
    }

    fn refill(&mut self) {
        // SAFETY: these chunks are in `free`, so in no ring.
        let taken = unsafe { self.parts.fill.produce(&self.parts.free) };
        self.parts.free.drain(..taken);
    }

    /// Frames that the kernel had for this socket and could not deliver: the sink was too slow.
    pub fn missed(&self) -> io::Result<u64> {
        let statistics: XdpStatistics = self.parts.rx.fd().xdp_statistics()?;
        Ok(statistics.rx_dropped() + statistics.rx_ring_full() + statistics.rx_fill_ring_empty_descs())
    }
}
