//! Real packets on their thread: the next ones that match.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;
use weft_wire::{PortId, ThreadId};

use super::{Traced, Tracer};
use crate::{
    pipeline::{Pipeline, Polled},
    snapshot::Snapshot,
};

/// What is wanted of a packet.
pub type Wants = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A trace that runs on PMD threads until it has its packets, its time is up, or nobody wants it any more. While it runs,
/// its threads look at every packet of the port, and copy those that match; else they do nothing for it.
pub struct Live {
    /// That came by this port only.
    port: Option<PortId>,
    wants: Wants,
    /// Packets that are still to come, all threads together.
    left: AtomicU64,
    /// On the PMD threads' clock, nanoseconds.
    until_ns: u64,
    stopped: AtomicBool,
    /// What was seen, and by whom.
    pub packets: ArrayQueue<(ThreadId, Traced)>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("port", &self.port).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Live {
    /// For `count` packets (at least one), until `until_ns`.
    pub fn new(port: Option<PortId>, wants: Wants, count: usize, until_ns: u64) -> Self {
        let count = count.max(1);
        Self {
            port,
            wants,
            left: AtomicU64::new(count as u64),
            until_ns,
            stopped: AtomicBool::new(false),
            packets: ArrayQueue::new(count),
        }
    }

    /// Whether there is still something to wait for.
    pub fn is_on(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns && self.left.load(Relaxed) > 0 && !self.stopped.load(Relaxed)
    }

    /// Nobody wants it any more.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Takes one of the packets that are still to come.
    fn claim(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn poll(
        &self,
        pipeline: &mut Pipeline,
        from: &mut Polled,
        snapshot: &Snapshot,
        now_ns: u64,
    ) -> usize {
        let wants = |port: PortId, packet: &[u8]| {
            self.port.is_none_or(|wanted| wanted == port) && (self.wants)(packet) && self.claim()
        };
        let mut tracer = Tracer::new(wants);
        let received = pipeline.poll_observed(from, snapshot, now_ns, &mut tracer);
        for traced in tracer.done {
            // There is room for as many as were claimed.
            let _ = self.packets.push((pipeline.egress.thread, traced));
        }
        received
    }
}
