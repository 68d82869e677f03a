//! Where every dropped packet passes: counted by port, endpoint and reason, and, by way of a sample, remembered.

use std::sync::Arc;

use weft_wire::{Mac, PortId, ThreadId};

use crate::{
    capture::Taps,
    key::Origin,
    program::Verdict,
    reason::DropReason,
    recorder::{AT_ONCE, EVERY_NS, Facts},
    snapshot::{PortView, Snapshot},
    stats::{PortStats, ThreadCounters},
};

/// A thread's account of what it drops, and what it is at while it does.
#[derive(Debug)]
pub(crate) struct Losses {
    pub(crate) thread: ThreadId,
    counters: Arc<ThreadCounters>,
    now_ns: u64,
    generation: u64,
    /// Where the packets at hand came from; none: from another thread, which knows.
    pub(crate) origin: Option<Origin>,
    /// By reason and by where packets came from: when the next packet of the sample is due, were they to come evenly.
    due_ns: Box<[[u64; LANES]; DropReason::COUNT]>,
    /// Captures.
    pub(crate) taps: Taps,
}

/// Ports are sampled apart, as far as they differ in this many: a flood of one hides little of what others lose.
const LANES: usize = 16;

/// What decided that a packet is dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause {
    pub(crate) reason: DropReason,
    pub(crate) rule: Option<u16>,
}

impl From<DropReason> for Cause {
    fn from(reason: DropReason) -> Self {
        Self { reason, rule: None }
    }
}

impl Losses {
    pub(crate) fn new(thread: ThreadId, counters: Arc<ThreadCounters>) -> Self {
        let due_ns = Box::new([[0; LANES]; DropReason::COUNT]);
        Self { thread, counters, now_ns: 0, generation: 0, origin: None, due_ns, taps: Taps::default() }
    }

    /// A turn begins.
    pub(crate) fn turn(&mut self, now_ns: u64, generation: u64) {
        (self.now_ns, self.generation) = (now_ns, generation);
    }

    /// A burst that came by a port is decided, and will be sent.
    #[inline]
    pub(crate) fn burst(&mut self, ingress: PortId, verdicts: &[Verdict]) {
        self.origin = Some(Origin::by_port(ingress));
        if self.taps.is_on() {
            self.taps.decided(verdicts);
        }
    }

    /// A packet on its way in is dropped: it counts at the port it came from, and at the endpoint that sent it.
    #[cold]
    #[inline(never)]
    pub(crate) fn incoming(
        &mut self,
        cause: Cause,
        packet: &[u8],
        port: PortId,
        stats: &PortStats,
        view: Option<&PortView>,
    ) {
        stats.thread(self.thread).drops[cause.reason as usize].add(1);
        if self.taps.wants_drops() {
            self.taps.dropped(port, cause.reason, packet);
        }
        self.of_endpoint(cause.reason, view, mac(packet, 6));
        self.remember(cause, None, packet);
    }

    /// A packet on its way out is dropped: it counts at the port it was to leave by, and at the endpoint that it was for.
    #[cold]
    #[inline(never)]
    pub(crate) fn outgoing(
        &mut self,
        reason: DropReason,
        packet: &[u8],
        port: PortId,
        stats: &PortStats,
        snapshot: &Snapshot,
    ) {
        stats.thread(self.thread).drops[reason as usize].add(1);
        if self.taps.wants_drops() {
            self.taps.dropped(port, reason, packet);
        }
        self.of_endpoint(reason, snapshot.port(port), mac(packet, 0));
        self.remember(reason.into(), Some(port), packet);
    }

    fn of_endpoint(&self, reason: DropReason, view: Option<&PortView>, mac: Option<Mac>) {
        if let Some(pod) = view.zip(mac).and_then(|(view, mac)| view.pod(mac)) {
            pod.dropped(self.thread, reason, 1);
        }
    }

    /// A packet of which no more than that is known was dropped: neither port nor reason count it.
    pub(crate) fn remember(&mut self, cause: Cause, egress: Option<PortId>, packet: &[u8]) {
        let recorder = &self.counters.recorder;
        let lane = self.origin.map_or(0, Origin::to_bits) as usize % LANES;
        let due_ns = &mut self.due_ns[cause.reason as usize][lane];
        // As many as may come at once, the schedule may be behind.
        *due_ns = (*due_ns).max(self.now_ns.saturating_sub((AT_ONCE - 1) * EVERY_NS));
        if *due_ns > self.now_ns {
            recorder.left_out.add(1);
            return;
        }
        *due_ns += EVERY_NS;
        let Self { now_ns: at_ns, generation, origin, .. } = *self;
        let facts = Facts { at_ns, generation, reason: cause.reason, origin, egress, rule: cause.rule };
        recorder.record(&facts, packet);
    }
}

fn mac(packet: &[u8], at: usize) -> Option<Mac> {
    packet.get(at..).and_then(|bytes| bytes.first_chunk()).map(|bytes| Mac(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one port loses does not hide what another loses for the same reason.
    #[test]
    fn ports_are_sampled_apart() {
        let counters = Arc::new(ThreadCounters::default());
        let mut losses = Losses::new(ThreadId(0), counters.clone());
        losses.turn(5_000_000_000, 1);
        let [flood, other] = [0, 1].map(|index| PortId::from_index(index).expect("a port"));
        for _ in 0..1000 {
            losses.origin = Some(Origin::by_port(flood));
            losses.remember(DropReason::Spoofed.into(), None, &[1; 60]);
        }
        losses.origin = Some(Origin::by_port(other));
        losses.remember(DropReason::Spoofed.into(), None, &[2; 60]);
        assert_eq!(counters.recorder.written(), AT_ONCE + 1);
    }

    /// A flood of one reason leaves room for what is dropped for others, and is a sample in time.
    #[test]
    fn a_flood_is_sampled() {
        let counters = Arc::new(ThreadCounters::default());
        let mut losses = Losses::new(ThreadId(0), counters.clone());
        let second = 1_000_000_000;
        losses.turn(5 * second, 1);
        losses.remember(DropReason::NoRoute.into(), None, &[1; 60]);
        for i in 0..1_000_000 {
            losses.turn(5 * second + i * 500, 1);
            losses.remember(DropReason::Rule.into(), None, &[2; 60]);
        }
        let recorder = &counters.recorder;
        let in_time = second / 2 / EVERY_NS;
        assert_eq!(recorder.written(), 1 + AT_ONCE + in_time - 1);
        assert_eq!(recorder.written() + recorder.left_out.get(), 1_000_001);
        assert_eq!(recorder.read(0)[0].1.reason, DropReason::NoRoute);
    }
}
