//! A port as a PMD thread sends by it: its queues, and what waits in each for the end of the burst.

use std::sync::Arc;

use weft_pmd::{Burst, Caps, Frame, FramePool, PortQueue, Queue, offload, port::Vanished, sys};
use weft_wire::{PortId, QueueId, ThreadId};

use crate::{losses::Losses, reason::DropReason, snapshot::Snapshot, stats::PortStats};

/// A queue of this thread's, and the frames waiting to leave by it.
#[derive(Debug)]
pub(crate) struct LocalQueue {
    pub(crate) id: QueueId,
    pub(crate) queue: Queue,
    pending: Burst,
}

/// A port of which this thread owns a queue or more.
#[derive(Debug)]
pub(crate) struct LocalPort {
    pub(super) id: PortId,
    caps: Caps,
    pub(crate) stats: Arc<PortStats>,
    pub(crate) queues: Vec<LocalQueue>,
    pub(super) gone: bool,
    /// Some capture looks at what it sends.
    watched: bool,
    /// Either: its frames go the long way.
    detour: bool,
    /// In the list of ports with frames pending.
    pub(super) dirty: bool,
    /// When the oldest and the newest of them were received, by the time-stamp counter.
    pub(super) since: u64,
    pub(super) newest: u64,
}

impl LocalPort {
    pub(super) fn new(id: PortId, caps: Caps, stats: Arc<PortStats>, watched: bool) -> Self {
        Self {
            id,
            caps,
            stats,
            queues: Vec::new(),
            gone: false,
            watched,
            detour: watched,
            dirty: false,
            since: 0,
            newest: 0,
        }
    }

    /// What it can carry.
    pub(super) fn caps(&self) -> Caps {
        self.caps
    }

    /// It can carry something else from now on. What waits in its queues was made for what it could before: at worst the device
    /// refuses it.
    pub(super) fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
        self.queues.iter_mut().for_each(|queue| queue.queue.set_mtu(caps.mtu));
    }

    /// Takes a queue in.
    pub(super) fn add(&mut self, id: QueueId, queue: Queue) {
        self.queues.push(LocalQueue { id, queue, pending: Burst::new() });
    }

    /// Its device is gone: what waits for it is dropped. False: that was known.
    pub(super) fn lose_all(
        &mut self,
        pool: &mut FramePool,
        losses: &mut Losses,
        snapshot: &Snapshot,
    ) -> bool {
        self.lose_pending(pool, losses, snapshot);
        self.dirty = false;
        self.detour = true;
        !std::mem::replace(&mut self.gone, true)
    }

    /// Some capture looks at what it sends, or none does any more.
    pub(super) fn watch(&mut self, watched: bool) {
        self.watched = watched;
        self.detour = watched || self.gone;
    }

    /// Notes the port among those with frames pending.
    #[inline]
    pub(super) fn mark(&mut self, received: u64, dirty: &mut Vec<PortId>) {
        self.newest = received;
        if !self.dirty && !self.gone {
            self.dirty = true;
            self.since = received;
            dirty.push(self.id);
        }
    }

    /// Appends a frame to a queue's pending burst, cut to fit where it must be; how many frames that made.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        frame: Frame,
        hash: u64,
        pool: &mut FramePool,
        pieces: &mut Vec<Frame>,
        losses: &mut Losses,
        snapshot: &Snapshot,
    ) -> u64 {
        let which = if self.queues.len() == 1 { 0 } else { hash as usize % self.queues.len() };
        if self.detour || !offload::passes(&frame, &self.caps) {
            return self.take_misfit(frame, which, pool, pieces, losses, snapshot);
        }
        self.push(which, frame, pool, losses, snapshot);
        1
    }

    #[cold]
    #[inline(never)]
    fn take_misfit(
        &mut self,
        frame: Frame,
        which: usize,
        pool: &mut FramePool,
        pieces: &mut Vec<Frame>,
        losses: &mut Losses,
        snapshot: &Snapshot,
    ) -> u64 {
        if self.gone {
            self.lose(DropReason::PortGone, frame, pool, losses, snapshot);
            return 1;
        }
        if let Err((unfit, frame)) = offload::fit(pool, frame, &self.caps, pieces) {
            let reason = match unfit {
                offload::Unfit::TooBig => DropReason::TooBig,
                offload::Unfit::NoFrames => DropReason::NoFrames,
                offload::Unfit::Malformed => DropReason::Malformed,
            };
            self.lose(reason, frame, pool, losses, snapshot);
            return 1;
        }
        let made = pieces.len() as u64;
        self.stats.thread(losses.thread).made.add(made.saturating_sub(1));
        for frame in pieces.drain(..) {
            if self.watched && self.queues[which].has_room(&self.stats, losses.thread, self.since, pool) {
                losses.taps.sent(self.id, pool.bytes(&frame));
            }
            self.push(which, frame, pool, losses, snapshot);
        }
        made
    }

    /// Appends a frame to a queue's pending burst.
    #[inline(always)]
    fn push(
        &mut self,
        which: usize,
        frame: Frame,
        pool: &mut FramePool,
        losses: &mut Losses,
        snapshot: &Snapshot,
    ) {
        if let Err(frame) = self.queues[which].pending.push(frame) {
            self.push_full(which, frame, pool, losses, snapshot);
        }
    }

    /// A full burst is sent first; what finds no room then is dropped.
    #[cold]
    #[inline(never)]
    fn push_full(
        &mut self,
        which: usize,
        frame: Frame,
        pool: &mut FramePool,
        losses: &mut Losses,
        snapshot: &Snapshot,
    ) {
        let queue = &mut self.queues[which];
        // A device that is gone says so again when the turn transmits.
        let _ = queue.transmit(&self.stats, losses.thread, self.since, pool);
        if let Err(frame) = queue.pending.push(frame) {
            self.lose(DropReason::TxFull, frame, pool, losses, snapshot);
        }
    }

    /// Drops what was to leave by the port.
    fn lose(
        &self,
        reason: DropReason,
        frame: Frame,
        pool: &mut FramePool,
        losses: &mut Losses,
        snapshot: &Snapshot,
    ) {
        losses.outgoing(reason, pool.bytes(&frame), self.id, &self.stats, snapshot);
        pool.free(frame);
    }

    /// Drops what is pending, for the port is gone.
    pub(super) fn lose_pending(&mut self, pool: &mut FramePool, losses: &mut Losses, snapshot: &Snapshot) {
        losses.origin = None; // they came in earlier turns, too
        for at in 0..self.queues.len() {
            let left = self.queues[at].pending.len();
            let frames: Vec<Frame> = self.queues[at].pending.drain_front(left).collect();
            for frame in frames {
                self.lose(DropReason::PortGone, frame, pool, losses, snapshot);
            }
        }
    }
}

impl LocalQueue {
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends what is pending, as far as the device takes it.
    pub(super) fn transmit(
        &mut self,
        stats: &PortStats,
        thread: ThreadId,
        since: u64,
        pool: &mut FramePool,
    ) -> Result<(), Vanished> {
        let sent = self.queue.tx(pool, &mut self.pending)?;
        let row = stats.queue(self.id);
        row.tx_packets.add(sent.packets.into());
        row.tx_bytes.add(sent.bytes);
        let counters = stats.thread(thread);
        counters.drops[DropReason::Refused as usize].add(sent.refused.into());
        if sent.packets > 0 {
            counters.residence.add(sys::cycles().saturating_sub(since), sent.packets.into());
        }
        Ok(())
    }

    /// One more frame will be taken; what is pending is sent first, if it must be.
    fn has_room(&mut self, stats: &PortStats, thread: ThreadId, since: u64, pool: &mut FramePool) -> bool {
        if self.pending.room() == 0 {
            // A device that is gone says so again when the turn transmits.
            let _ = self.transmit(stats, thread, since, pool);
        }
        self.pending.room() > 0
    }
}
