//! A PMD thread's side of captures.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use weft_pmd::{BURST, Frame, FramePool};
use weft_wire::PortId;

use super::{Block, Capture, Point, Record};
use crate::{program::Verdict, reason::DropReason};

/// One capture, as a thread serves it.
#[derive(Debug)]
struct Tap {
    capture: Arc<Capture>,
    /// The block that is being filled.
    block: Option<Block>,
    /// Blocks filled since the burst was received: their verdicts are still to be told.
    filled: Vec<Block>,
    /// Packets of the burst that are copied: its place there, in `filled` (or, beyond, `block`), and in the block.
    undecided: Vec<(usize, usize, usize)>,
}

/// All captures, as a thread serves them.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    taps: Vec<Tap>,
    now_ns: u64,
    generation: u64,
    /// Some capture wants dropped packets.
    drops: bool,
}

impl Taps {
    /// There is a capture.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Some capture wants dropped packets.
    #[inline]
    pub(crate) fn wants_drops(&self) -> bool {
        self.drops
    }

    /// Some capture looks at what a port sends.
    pub(crate) fn watch_out(&self, port: PortId) -> bool {
        self.taps.iter().any(|tap| tap.capture.spec.is_at(port, Point::Out))
    }

    pub(crate) fn add(&mut self, capture: Arc<Capture>) {
        let undecided = Vec::with_capacity(BURST);
        self.taps.push(Tap { capture, block: None, filled: Vec::with_capacity(BURST), undecided });
        self.list();
    }

    /// Ends a capture: what was copied is passed on.
    pub(crate) fn remove(&mut self, capture: &Arc<Capture>) {
        self.flush(true);
        self.taps.retain(|tap| !Arc::ptr_eq(&tap.capture, capture));
        self.list();
    }

    fn list(&mut self) {
        self.drops = self.taps.iter().any(|tap| tap.capture.spec.points.contains(&Point::Drop));
    }

    /// Notes when it is, and under which configuration.
    pub(crate) fn turn(&mut self, now_ns: u64, generation: u64) {
        (self.now_ns, self.generation) = (now_ns, generation);
    }

    /// Copies a burst as it came in. Its verdicts come with [`Taps::decided`].
    #[cold]
    pub(crate) fn received(&mut self, port: PortId, frames: &[Frame], pool: &FramePool) {
        // Replaced before anybody sees it.
        let verdict = Some(Verdict::Drop(DropReason::Ignored));
        let record = self.record(port, Point::In, verdict);
        for tap in self.taps.iter_mut().filter(|tap| tap.capture.spec.is_at(port, Point::In)) {
            for (i, frame) in frames.iter().enumerate() {
                if let Some((block, at)) = tap.copy(record, pool.bytes(frame)) {
                    tap.undecided.push((i, block, at));
                }
            }
        }
    }

    /// What became of the packets of the burst.
    #[cold]
    pub(crate) fn decided(&mut self, verdicts: &[Verdict]) {
        for tap in &mut self.taps {
            for (i, block, at) in tap.undecided.drain(..) {
                let block = tap.filled.get_mut(block).or(tap.block.as_mut());
                if let Some(record) = block.and_then(|block| block.records.get_mut(at)) {
                    record.verdict = Some(verdicts[i]);
                }
            }
            tap.filled.drain(..).for_each(|block| tap.capture.ship(block));
        }
    }

    /// Copies a packet that is about to be sent.
    #[cold]
    pub(crate) fn sent(&mut self, port: PortId, packet: &[u8]) {
        self.copy(self.record(port, Point::Out, None), packet);
    }

    /// Copies a packet that is about to be freed.
    #[cold]
    #[inline(never)]
    pub(crate) fn dropped(&mut self, port: PortId, reason: DropReason, packet: &[u8]) {
        self.copy(self.record(port, Point::Drop, Some(Verdict::Drop(reason))), packet);
    }

    fn copy(&mut self, record: Record, packet: &[u8]) {
        for tap in self.taps.iter_mut().filter(|tap| tap.capture.spec.is_at(record.port, record.point)) {
            tap.copy(record, packet);
            tap.filled.drain(..).for_each(|block| tap.capture.ship(block));
        }
    }

    fn record(&self, port: PortId, point: Point, verdict: Option<Verdict>) -> Record {
        let Self { now_ns: time_ns, generation, .. } = *self;
        Record { time_ns, generation, port, point, verdict, len: 0, start: 0, captured: 0 }
    }

    /// Passes on what was copied, to readers that wait for it, or to all.
    #[cold]
    pub(crate) fn flush(&mut self, all: bool) {
        for tap in &mut self.taps {
            if (all || !tap.capture.has_blocks())
                && let Some(block) = tap.block.take()
            {
                tap.capture.ship(block);
            }
        }
    }
}

impl Tap {
    /// Copies a packet, if it is wanted. Where to, if there was room: the block's place in `filled`, once it is there, and
    /// the record's in the block.
    fn copy(&mut self, record: Record, packet: &[u8]) -> Option<(usize, usize)> {
        if !self.capture.spec.wants(record.point, packet) {
            return None;
        }
        self.capture.matched.fetch_add(1, Relaxed);
        let captured = packet.len().min(self.capture.spec.snap);
        let Some(block) = self.room(captured) else {
            self.capture.lost.fetch_add(1, Relaxed);
            return None;
        };
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(&packet[..captured]);
        block.records.push(Record { len: packet.len() as u32, start, captured: captured as u32, ..record });
        let at = block.records.len() - 1;
        Some((self.filled.len(), at))
    }

    /// A block with room for so many bytes.
    fn room(&mut self, bytes: usize) -> Option<&mut Block> {
        if let Some(full) = self.block.take_if(|block| !block.has_room(bytes)) {
            self.filled.push(full);
        }
        if self.block.is_none() {
            self.block = self.capture.empty.pop();
        }
        self.block.as_mut()
    }
}
