//! Copies of packets for people to look at: at a port as received or as sent, or where they are dropped.
//!
//! A [`Capture`] is made by the control side, with all its memory, and handed to every PMD thread
//! ([`crate::thread::Command::Capture`]). A thread copies what matches into a [`Block`] of its own and passes the block on
//! when it is full, when a burst's reader is waiting for it, or when there is nothing else to do; so a ring operation
//! serves many packets. Blocks go round: when the reader is behind, there is none to fill, and what matches is counted as
//! lost. Nobody ever waits for a reader.
//!
//! While there is no capture, a turn asks once and a burst twice; ports that nobody looks at pay nothing
//! for captures of others but the one question per burst.
//!
//! What is dropped at the end of the path (a device refuses a frame it was given) has no bytes any more: such drops are
//! counted, not captured.

mod tap;

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use crossbeam::queue::ArrayQueue;
use weft_wire::{Mac, PortId};

use crate::{filter::Filter, mailbox::Bell, program::Verdict};

pub(crate) use tap::Taps;

/// Bytes of a block: one super-frame of 64 KiB, and another.
pub const BLOCK_BYTES: usize = 128 << 10;
/// Packets of a block: of the smallest, as many as its bytes hold.
const BLOCK_RECORDS: usize = BLOCK_BYTES / 64;

/// Where packets are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// As received, before anything is rewritten.
    In,
    /// As sent, after everything.
    Out,
    /// As it was when it was dropped.
    Drop,
}

/// What is to be copied.
#[derive(Debug)]
pub struct Spec {
    /// At these ports; none: at every port.
    pub ports: Option<Vec<PortId>>,
    /// Of the endpoint with this MAC only, where its port has several.
    pub mac: Option<Mac>,
    /// At these points.
    pub points: Vec<Point>,
    /// What it says yes to; none: everything.
    pub filter: Option<Filter>,
    /// Bytes of each packet.
    pub snap: usize,
}

impl Spec {
    fn is_at(&self, port: PortId, point: Point) -> bool {
        self.points.contains(&point) && self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    fn wants(&self, point: Point, packet: &[u8]) -> bool {
        self.mac.is_none_or(|mac| is_of(mac, point, packet))
            && self.filter.as_ref().is_none_or(|filter| filter.accepts(packet))
    }
}

/// Whether a packet comes from an endpoint, or goes to it (alone or with others).
fn is_of(mac: Mac, point: Point, packet: &[u8]) -> bool {
    let (to, from) = (packet.get(..6), packet.get(6..12));
    let is_to = to == Some(&mac.0[..]) || packet.first().is_some_and(|first| first & 1 == 1);
    let is_from = from == Some(&mac.0[..]);
    match point {
        Point::In => is_from,
        Point::Out => is_to,
        Point::Drop => is_from || to == Some(&mac.0[..]),
    }
}

/// A copied packet: where and what, and the place of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When, nanoseconds of the thread's clock: the turn's beginning.
    pub time_ns: u64,
    /// The configuration's generation.
    pub generation: u64,
    /// The port.
    pub port: PortId,
    /// Where.
    pub point: Point,
    /// What became of it; none: it was sent.
    pub verdict: Option<Verdict>,
    /// How long it is, bytes.
    pub len: u32,
    start: u32,
    captured: u32,
}

/// Copied packets, in order.
#[derive(Debug)]
pub struct Block {
    records: Vec<Record>,
    bytes: Vec<u8>,
}

impl Block {
    /// An empty one, in memory that has been touched: the packet path takes no page faults.
    fn new() -> Self {
        let mut bytes = vec![1; BLOCK_BYTES];
        bytes.clear();
        Self { records: Vec::with_capacity(BLOCK_RECORDS), bytes }
    }

    /// Its packets and their bytes.
    pub fn packets(&self) -> impl Iterator<Item = (&Record, &[u8])> {
        let bytes = |record: &Record| &self.bytes[record.start as usize..][..record.captured as usize];
        self.records.iter().map(move |record| (record, bytes(record)))
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.records.len() < BLOCK_RECORDS && self.bytes.len() + bytes <= BLOCK_BYTES
    }
}

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    /// What is copied.
    pub spec: Spec,
    /// Wakes the reader.
    pub bell: Bell,
    empty: ArrayQueue<Block>,
    full: ArrayQueue<Block>,
    matched: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
}

impl Capture {
    /// With so much memory, bytes.
    pub fn new(spec: Spec, memory: usize) -> io::Result<Self> {
        let blocks = (memory / BLOCK_BYTES).max(2);
        let (empty, full) = (ArrayQueue::new(blocks), ArrayQueue::new(blocks));
        for _ in 0..blocks {
            let _ = empty.push(Block::new()); // there is room for all of them
        }
        let [matched, lost] = [(); 2].map(|()| AtomicU64::new(0));
        Ok(Self { spec, bell: Bell::new()?, empty, full, matched, lost, ended: AtomicBool::new(false) })
    }

    /// The next block; [`Capture::give_back`] wants it back.
    pub fn pop(&self) -> Option<Block> {
        self.full.pop()
    }

    /// There is one.
    pub fn has_blocks(&self) -> bool {
        !self.full.is_empty()
    }

    /// Takes a block back.
    pub fn give_back(&self, mut block: Block) {
        block.records.clear();
        block.bytes.clear();
        let _ = self.empty.push(block); // it came from here: there is room
    }

    /// Packets that matched, lost ones included.
    pub fn matched(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }

    /// Of these, packets for which there was no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Tells the reader that nothing more will come.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Nothing more will come but what is there.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// A thread's block, for the reader.
    fn ship(&self, block: Block) {
        let _ = self.full.push(block); // there is room for all there are
        self.bell.ring();
    }
}
