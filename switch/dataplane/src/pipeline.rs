//! The packet's path, one line per stage.

use std::sync::Arc;

use weft_pmd::{Csum, FramePool, PortQueue};
use weft_wire::{PortId, ThreadId};

use crate::{
    action,
    batch::Batch,
    budget::{self, Budget},
    classify::{self, Found, Resolver},
    decap, egress,
    egress::Egress,
    parse,
    program::Verdict,
    snapshot::Snapshot,
    stats::{Lap, Stage, ThreadCounters},
    table::flow::FlowTable,
    thread,
    trace::Observer,
};

/// Everything one PMD thread moves packets with.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) pool: FramePool,
    pub(crate) egress: Egress,
    pub(crate) flows: FlowTable,
    pub(crate) counters: Arc<ThreadCounters>,
    pub(crate) budget: Budget,
    batch: Box<Batch>,
}

/// A queue this thread polls: the port, and the place among the queues it owns of that port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// The port.
    pub port: PortId,
    /// Index among this thread's queues of the port.
    pub queue: usize,
    /// Turns for which it is left alone: all it had was refused.
    pub resting: u8,
}

impl Pipeline {
    pub(crate) fn new(
        pool: FramePool,
        egress: Egress,
        flows: FlowTable,
        counters: Arc<ThreadCounters>,
    ) -> Self {
        // The batch's ingress is set by every `start`; any port does until then.
        let ingress = const { PortId::from_index(0).expect("0 is a port's index") };
        Self { pool, egress, flows, counters, budget: Budget::new(), batch: Box::new(Batch::new(ingress)) }
    }

    /// Receives one burst and takes it all the way out. Returns how many frames there were.
    pub fn poll(&mut self, from: &mut Polled, snapshot: &Snapshot, now_ns: u64) -> usize {
        self.poll_observed(from, snapshot, now_ns, &mut ())
    }

    /// The same with somebody who looks on. `()` sees nothing, and is no code at all.
    pub(crate) fn poll_observed(
        &mut self,
        from: &mut Polled,
        snapshot: &Snapshot,
        now_ns: u64,
        observer: &mut impl Observer,
    ) -> usize {
        let Self { pool, egress, flows, counters, budget, batch } = self;
        if from.resting > 0 {
            from.resting -= 1;
            return 0;
        }
        let stages = &counters.stages;
        let mut lap = Lap::start(counters.bursts.get());
        let received = receive(batch, *from, egress, pool, snapshot);
        if received == 0 {
            return 0;
        }
        egress.begin();
        if egress.losses.taps.is_on() {
            egress.losses.taps.received(from.port, batch.frames.as_slice(), pool);
        }
        lap.ended(Stage::Receive, stages);
        observer.received(batch, pool, snapshot, now_ns);
        if !cross_connect(batch, from.port, snapshot, egress.thread) {
            if let Some(tunnels) = snapshot.unwraps_at(from.port) {
                decap::decap(batch, pool, tunnels, snapshot, egress.thread);
                lap.ended(Stage::Decap, stages);
                observer.ended(Stage::Decap, batch);
            }
            parse::parse(batch, pool, flows, snapshot.rules.wants_tcp_flags());
            lap.ended(Stage::Parse, stages);
            observer.parsed(batch, pool, flows);
            let now_ms = thread::milliseconds(now_ns);
            let (exits, shares, counters) = (&*egress.exits, &mut egress.shares, &**counters);
            let resolver =
                Resolver { snapshot, exits, counters, budget, shares, now_ns, now_ms, refused: false };
            if classify::classify(batch, flows, resolver) == Found::OnlyRefused {
                from.resting = budget::REST;
            }
            lap.ended(Stage::Classify, stages);
            observer.ended(Stage::Classify, batch);
            action::apply(batch, pool, snapshot, egress.thread, now_ns);
            lap.ended(Stage::Act, stages);
        }
        observer.decided(batch, pool);
        egress::drain(batch, egress, pool, snapshot, now_ns);
        lap.ended(Stage::Egress, stages);
        egress.transmit(pool, snapshot);
        lap.ended(Stage::Transmit, stages);
        lap.finish(received as u64, stages);
        debug_assert!(batch.frames.is_empty(), "every received frame was sent, handed on or freed");
        received
    }
}

/// A port whose every frame goes to one other has nothing to look up: frames pass as they are, sound or not. False: this
/// burst has to go the whole way, because of its port, because its frames have to be spread over several queues, or
/// because their checksums are still to be found.
fn cross_connect(batch: &mut Batch, from: PortId, snapshot: &Snapshot, thread: ThreadId) -> bool {
    let Some(connect) = snapshot.rules.cross_connect(from) else { return false };
    let one_queue = snapshot.port(connect.to).is_some_and(|port| port.owners.len() == 1);
    let frames = batch.frames.as_slice();
    if !one_queue || frames.iter().any(|frame| !frame.is_complete() && frame.offload().csum == Csum::Unknown)
    {
        return false;
    }
    if let Some(rule) = snapshot.rules.get(connect.rule) {
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        rule.stats.count(thread, frames.len() as u64, bytes);
    }
    batch.decide_all(Verdict::Forward(connect.to));
    true
}

/// Stage 0: port → batch.
#[inline(never)]
fn receive(
    batch: &mut Batch,
    from: Polled,
    egress: &mut Egress,
    pool: &mut FramePool,
    snapshot: &Snapshot,
) -> usize {
    // A queue is attached a little before the snapshot that names its port comes: what arrives meanwhile waits in it.
    // One that is gone stays until the control side has detached it.
    if snapshot.port(from.port).is_none() || egress.is_gone(from.port) {
        return 0;
    }
    let Some(Some(local)) = egress.ports.get_mut(from.port.index()) else { return 0 };
    let Some(queue) = local.queues.get_mut(from.queue) else { return 0 };
    let outcome = queue.queue.rx(pool, &mut batch.frames);
    let received = batch.frames.len();
    if received > 0 {
        let row = local.stats.queue(queue.id);
        row.rx_packets.add(received as u64);
        row.rx_bytes.add(batch.frames.as_slice().iter().map(|frame| frame.len() as u64).sum());
        batch.start(from.port);
    }
    if let Err(vanished) = outcome {
        egress.vanished(from.port, vanished.errno, pool, snapshot);
    }
    received
}
