//! One AF_XDP socket: its four rings and the frames in them.

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use super::Socket;
use crate::{
    burst::{BURST, Burst},
    frame::{ChunkClass, Frame, FramePool},
    memory::{FillShare, Memory, Registered, SMALL_CHUNK},
    offload::Csum,
    port::{PortQueue, Sent, Vanished},
    ring::{Consumer, Producer, Shared},
    sys::xdp::{self, OPTION_CONTINUED, OPTION_TX_METADATA, RingMap, TX_METADATA},
};

/// What a socket did beyond moving frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Multi-buffer frames put together.
    pub linearised: u64,
    /// Frames dropped on receipt: too many buffers, or no memory to put them together.
    pub rx_dropped: u64,
    /// System calls that made the kernel send.
    pub kicks: u64,
}

/// One queue.
#[derive(Debug)]
pub struct XskQueue {
    fill: Producer<u64>,
    completion: Consumer<u64>,
    rx: Consumer<libc::xdp_desc>,
    tx: Producer<libc::xdp_desc>,
    maps: Option<Maps>,
    fd: Option<OwnedFd>,
    memory: Arc<Memory>,
    /// Its place among those that share the memory.
    registered: Registered,
    /// Chunks to keep in the fill ring: more the faster the kernel takes them, up to a fair share.
    wanted: u32,
    metadata: bool,
    /// Bytes of Ethernet frame that the device takes.
    frame_max: usize,
    /// A multi-buffer frame of which the end has not come yet; none and `dropping`: one that is being thrown away.
    chain: Option<Frame>,
    dropping: bool,
    /// Chunks in the transmit and completion rings, or in the kernel between them.
    in_flight: u32,
    counters: Counters,
}

/// The rings' mappings, kept as long as the rings are used.
#[derive(Debug)]
struct Maps {
    fill: RingMap,
    _completion: RingMap,
    _rx: RingMap,
    tx: RingMap,
}

fn shared<T: Copy>(map: &RingMap) -> Shared<T> {
    // SAFETY: the mapping is kept beside the ring (`maps`) and outlives it; one side of it is ours alone, the other the
    // kernel's; the kernel made it with `RING` slots.
    unsafe { Shared::new(map.producer().cast(), map.consumer().cast(), map.slots(), super::RING) }
}

/// Ethernet and two VLAN tags.
const L2: usize = 14 + 8;

impl XskQueue {
    pub(super) fn new(socket: Socket, mtu: u32, memory: Arc<Memory>) -> Self {
        Self {
            fill: Producer::new(shared(&socket.fill)),
            completion: Consumer::new(shared(&socket.completion)),
            rx: Consumer::new(shared(&socket.rx)),
            tx: Producer::new(shared(&socket.tx)),
            maps: Some(Maps {
                fill: socket.fill,
                _completion: socket.completion,
                _rx: socket.rx,
                tx: socket.tx,
            }),
            fd: Some(socket.fd),
            registered: memory.register_socket(),
            wanted: FillShare::USUAL / 2, // an empty ring doubles it
            memory,
            metadata: socket.metadata,
            frame_max: mtu as usize + L2,
            chain: None,
            dropping: false,
            in_flight: 0,
            counters: Counters::default(),
        }
    }

    /// What it did beyond moving frames.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn reap(&mut self, pool: &mut FramePool) {
        let mut reading = self.completion.read();
        while let Some(address) = reading.pop() {
            pool.free_chunk((address as usize / SMALL_CHUNK) as u32);
            self.in_flight -= 1;
        }
    }

    fn refill(&mut self, pool: &mut FramePool) {
        /// Not worth a transaction for less.
        const WORTHWHILE: u32 = 64;
        let filled = super::RING - self.fill.room();
        // The kernel has taken a quarter since the last look, or has found too few: a longer pause would lose frames.
        if filled < self.wanted / 4 * 3 && self.wanted < super::RING {
            self.wanted *= 2;
        }
        if self.wanted.saturating_sub(filled) < WORTHWHILE {
            return;
        }
        let most = self.wanted.min(self.registered.share());
        let room = most.saturating_sub(filled);
        if room < WORTHWHILE.min(most.div_ceil(8)) {
            return;
        }
        let mut writing = self.fill.write();
        for _ in 0..room {
            let Some(frame) = pool.alloc(ChunkClass::Small) else { break };
            let (chunk, ..) = frame.into_raw();
            if writing.push(chunk as u64 * SMALL_CHUNK as u64).is_err() {
                pool.free_chunk(chunk);
                break;
            }
        }
        drop(writing);
        if let (Some(maps), Some(fd)) = (&self.maps, &self.fd)
            && maps.fill.needs_wakeup()
        {
            xdp::kick_rx(fd.as_raw_fd());
        }
    }

    /// Makes the kernel send what is left in the transmit ring. In copy mode it sends only when asked, a bounded number
    /// of frames at a time, and says EAGAIN when there are more: normal, ask again next turn.
    fn kick(&mut self) -> Result<(), Vanished> {
        let (Some(maps), Some(fd)) = (&self.maps, &self.fd) else { return Ok(()) };
        if self.tx.unread() == 0 || !maps.tx.needs_wakeup() {
            return Ok(());
        }
        self.counters.kicks += 1;
        match xdp::kick_tx(fd.as_raw_fd()).map_err(|error| error.raw_os_error()) {
            // The queue is unbound: its device is gone. (ENETDOWN is a device that is down, and may come up.)
            Err(Some(errno @ (libc::ENXIO | libc::ENODEV | libc::EBADF))) => Err(Vanished { errno }),
            _ => Ok(()),
        }
    }

    /// Puts a multi-buffer frame's next piece to the others. Done with the last: the whole frame, or none if it was
    /// thrown away.
    #[cold]
    fn link(&mut self, pool: &mut FramePool, piece: Frame, is_last: bool) -> Option<Frame> {
        if self.chain.is_none() && !self.dropping {
            self.chain = pool.alloc(ChunkClass::Large);
            self.dropping = self.chain.is_none();
        }
        if let Some(mut whole) = self.chain.take() {
            let (had, adds) = (whole.len(), piece.len());
            if pool.set_len(&mut whole, had + adds) {
                pool.bytes_mut(&mut whole)[had..].copy_from_slice(pool.bytes(&piece));
                self.chain = Some(whole);
            } else {
                pool.free(whole);
                self.dropping = true;
            }
        }
        pool.free(piece);
        if !is_last {
            return None;
        }
        if std::mem::take(&mut self.dropping) {
            self.counters.rx_dropped += 1;
        } else {
            self.counters.linearised += 1;
        }
        self.chain.take()
    }

    /// Puts a frame into the transmit ring; gives it back when there is no room for all of it.
    fn put(&mut self, pool: &mut FramePool, mut frame: Frame) -> Result<(), Frame> {
        if self.memory.class_of(frame.chunk()) == ChunkClass::Large
            || frame.len() > ChunkClass::Small.capacity()
        {
            return self.put_pieces(pool, frame);
        }
        let options = self.describe_checksum(pool, &mut frame);
        let offload = frame.offload();
        let (chunk, offset, len) = frame.into_raw();
        let addr = chunk as u64 * SMALL_CHUNK as u64 + u64::from(offset);
        match self.tx.write().push(libc::xdp_desc { addr, len, options }) {
            Ok(()) => {
                self.in_flight += 1;
                Ok(())
            }
            Err(_) => {
                let mut frame = Frame::from_raw(chunk, offset, len);
                frame.set_offload(offload);
                Err(frame)
            }
        }
    }

    /// A frame of several buffers: copied to small chunks, which are what a UMEM has.
    #[cold]
    fn put_pieces(&mut self, pool: &mut FramePool, mut frame: Frame) -> Result<(), Frame> {
        const PIECE: usize = ChunkClass::Small.capacity();
        let count = frame.len().div_ceil(PIECE);
        if (self.tx.room() as usize) < count {
            return Err(frame);
        }
        let mut pieces: Vec<Frame> = Vec::with_capacity(count);
        for at in (0..frame.len()).step_by(PIECE) {
            let end = (at + PIECE).min(frame.len());
            match pool.alloc(ChunkClass::Small) {
                Some(mut piece) => {
                    pool.set_len(&mut piece, end - at);
                    pool.bytes_mut(&mut piece).copy_from_slice(&pool.bytes(&frame)[at..end]);
                    pieces.push(piece);
                }
                None => {
                    pieces.into_iter().for_each(|piece| pool.free(piece));
                    return Err(frame);
                }
            }
        }
        if let Some(first) = pieces.first_mut() {
            first.set_offload(frame.offload());
        }
        let last = pieces.len() - 1;
        for (i, mut piece) in pieces.into_iter().enumerate() {
            let checksum = if i == 0 { self.describe_checksum(pool, &mut piece) } else { 0 };
            let options = checksum | if i < last { OPTION_CONTINUED } else { 0 };
            let (chunk, offset, len) = piece.into_raw();
            let addr = chunk as u64 * SMALL_CHUNK as u64 + u64::from(offset);
            // There is room: it was counted above.
            let _ = self.tx.write().push(libc::xdp_desc { addr, len, options });
            self.in_flight += 1;
        }
        frame.set_offload(crate::Offload::default());
        pool.free(frame);
        Ok(())
    }

    /// Asks the device to complete a partial checksum: `struct xsk_tx_metadata` in front of the packet
    /// (Documentation/networking/xsk-tx-metadata.rst).
    fn describe_checksum(&self, pool: &FramePool, frame: &mut Frame) -> u32 {
        const XDP_TXMD_FLAGS_CHECKSUM: u64 = 2;
        let Csum::Partial { start, offset } = frame.offload().csum else { return 0 };
        if !self.metadata || !pool.push_front(frame, TX_METADATA) {
            crate::offload::complete_checksum(pool, frame);
            return 0;
        }
        let metadata = &mut pool.bytes_mut(frame)[..TX_METADATA];
        metadata.fill(0);
        metadata[..8].copy_from_slice(&XDP_TXMD_FLAGS_CHECKSUM.to_ne_bytes());
        metadata[8..10].copy_from_slice(&start.to_ne_bytes());
        metadata[10..12].copy_from_slice(&u16::from(offset).to_ne_bytes());
        pool.pull_front(frame, TX_METADATA);
        OPTION_TX_METADATA
    }

    /// Waits for what the kernel still has in its hands, within reason.
    fn settle(&mut self, pool: &mut FramePool) {
        const TRIES: usize = 50;
        const PAUSE: Duration = Duration::from_millis(1);
        for _ in 0..TRIES {
            let is_gone = self.kick().is_err();
            self.reap(pool);
            // What is still in the transmit ring of a device that is gone is taken back from there.
            if self.in_flight == 0 || (is_gone && self.in_flight == self.tx.unread()) {
                return;
            }
            sleep(PAUSE);
        }
    }
}

impl PortQueue for XskQueue {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished> {
        if self.in_flight > 0 {
            self.reap(pool);
        }
        let outcome = self.kick();
        self.refill(pool);
        let mut room = burst.room();
        while room > 0 {
            let Some(desc) = self.rx.read().pop() else { break };
            let (chunk, offset) = (desc.addr as usize / SMALL_CHUNK, desc.addr as usize % SMALL_CHUNK);
            let piece = Frame::from_raw(chunk as u32, offset as u16, desc.len);
            let is_last = desc.options & OPTION_CONTINUED == 0;
            let whole = if is_last && self.chain.is_none() && !self.dropping {
                Some(piece)
            } else {
                self.link(pool, piece, is_last)
            };
            let Some(mut frame) = whole else { continue };
            frame.set_csum(Csum::Unknown);
            room -= 1;
            if let Err(frame) = burst.push(frame) {
                pool.free(frame); // can't be: there was room
            }
        }
        outcome
    }

    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
        let mut sent = Sent::default();
        self.reap(pool);
        let all = burst.len();
        let frames: arrayvec::ArrayVec<Frame, BURST> = burst.drain_front(all).collect();
        let mut frames = frames.into_iter();
        let mut full = None;
        for frame in frames.by_ref() {
            let len = frame.len();
            if len > self.frame_max {
                sent.refused += 1;
                pool.free(frame);
            } else if let Err(frame) = self.put(pool, frame) {
                full = Some(frame);
                break;
            } else {
                sent.packets += 1;
                sent.bytes += len as u64;
            }
        }
        for frame in full.into_iter().chain(frames) {
            if let Err(frame) = burst.push(frame) {
                pool.free(frame); // can't be: it came from there
            }
        }
        self.kick().map(|()| sent)
    }

    fn poll_fd(&self) -> Option<RawFd> {
        self.fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    fn lost(&mut self) -> u64 {
        let statistics = self.fd.as_ref().and_then(|fd| xdp::statistics(fd.as_raw_fd()).ok());
        // `rx_dropped` counts what met an empty fill ring, too.
        let kernel = statistics.map_or(0, |statistics| statistics.rx_dropped + statistics.rx_ring_full);
        self.counters.rx_dropped + kernel
    }

    fn is_sending(&self) -> bool {
        self.tx.unread() > 0
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.frame_max = mtu as usize + L2;
    }

    fn close(&mut self, pool: &mut FramePool) {
        self.settle(pool);
        if let Some(chain) = self.chain.take() {
            pool.free(chain);
        }
        // Closing stops the kernel; the mappings keep the rings readable a little longer.
        self.fd = None;
        let chunk = |address: u64| (address as usize / SMALL_CHUNK) as u32;
        self.reap(pool);
        for desc in self.tx.take_back() {
            pool.free_chunk(chunk(desc.addr));
            self.in_flight -= 1;
        }
        for address in self.fill.take_back() {
            pool.free_chunk(chunk(address));
        }
        let mut reading = self.rx.read();
        while let Some(desc) = reading.pop() {
            pool.free_chunk(chunk(desc.addr));
        }
        drop(reading);
        self.maps = None;
    }
}
