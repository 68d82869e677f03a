//! A queue goes from one thread to another, with what waits to leave by it.
//!
//! No frame is lost: what was received before is on its way already, what comes later waits in the device; what is to leave
//! by the queue goes with it, or after it to the thread that has it. Frames that one thread received stay in order; only what a
//! third thread sends by the queue, first by the old owner and then straight to the new one, may be overtaken, once.

use std::sync::Arc;

use weft_pmd::{Caps, FramePool, sys};
use weft_wire::{PortId, QueueId, ThreadId};

use super::{
    Egress,
    port::{LocalPort, LocalQueue},
};
use crate::{mailbox::Outbound, snapshot::Snapshot, stats::PortStats};

/// A queue between two threads.
#[derive(Debug)]
pub struct Moving {
    port: PortId,
    queue: LocalQueue,
    caps: Caps,
    stats: Arc<PortStats>,
}

impl Egress {
    /// Gives a queue up; what still comes for it goes on to the other thread.
    pub(crate) fn give(&mut self, port: PortId, id: QueueId, to: ThreadId) -> Option<Moving> {
        let local = self.ports.get_mut(port.index())?.as_mut().filter(|local| !local.gone)?;
        let at = local.queues.iter().position(|queue| queue.id == id)?;
        let queue = local.queues.remove(at);
        let moving = Moving { port, queue, caps: local.caps(), stats: local.stats.clone() };
        if local.queues.is_empty() {
            self.ports[port.index()] = None;
            self.dirty.retain(|dirty| *dirty != port);
            self.moved.push((port, to));
        }
        Some(moving)
    }

    /// Takes a queue over.
    pub(crate) fn adopt(&mut self, moving: Moving) {
        let Moving { port, queue, caps, stats } = moving;
        if self.ports.len() <= port.index() {
            self.ports.resize_with(port.index() + 1, || None);
        }
        let watched = self.losses.taps.watch_out(port);
        let local =
            self.ports[port.index()].get_or_insert_with(|| LocalPort::new(port, caps, stats, watched));
        if queue.has_pending() {
            // When they were received did not come with them: they count from now.
            local.mark(sys::cycles(), &mut self.dirty);
        }
        local.queues.push(queue);
        self.moved.retain(|(moved, _)| *moved != port);
    }

    /// A frame that another thread left here.
    #[inline]
    pub(crate) fn receive(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        if matches!(self.ports.get(outbound.port.index()), Some(Some(_))) {
            self.enqueue(outbound, pool, snapshot);
        } else {
            self.pass_on(outbound, pool, snapshot);
        }
    }

    /// Its queue has moved on.
    #[cold]
    fn pass_on(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        self.hand_over(outbound, pool, snapshot);
        self.deliver_all(pool, snapshot);
    }

    /// Which thread a port's last queue of this thread's has gone to; the snapshot may not tell yet.
    #[cold]
    pub(super) fn gone_to(&self, port: PortId) -> Option<ThreadId> {
        self.moved.iter().find(|(moved, _)| *moved == port).map(|(_, to)| *to)
    }
}
