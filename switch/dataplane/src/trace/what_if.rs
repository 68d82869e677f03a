//! A packet of no sender through tables that nobody else uses.

use std::{io, sync::Arc};

use weft_pmd::{
    Caps, FramePool, Memory, Offload,
    port::sim::{self, Tape},
};
use weft_wire::{Mac, PortId, QueueId, ThreadId};

use super::{Traced, Tracer};
use crate::{
    egress::Egress,
    key::{HashSecret, Origin},
    mailbox::{Exits, Learn, Mailbox},
    pipeline::{Pipeline, Polled},
    reason::{DropReason, PuntReason},
    snapshot::Snapshot,
    stats::ThreadCounters,
    table::flow::FlowTable,
};

/// A frame as it leaves by a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The port.
    pub port: PortId,
    /// The frame.
    pub bytes: Vec<u8>,
    /// What is left to do to it, for the port.
    pub offload: Offload,
}

/// All that comes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its path. None: its port is not there, or takes nothing.
    pub traced: Option<Traced>,
    /// What leaves, by which port.
    pub sent: Vec<Sent>,
    /// What the slow path is asked, with which packet.
    pub punted: Option<(PuntReason, Origin, Vec<u8>)>,
    /// Drops: of the packet, or of copies of it.
    pub drops: Vec<(PortId, DropReason, u64)>,
    /// The address that is learnt from it.
    pub learn: Option<Learn>,
}

/// Takes a packet that comes in by `ingress` along the packet's path, by tables and ports of its own: `snapshot` must be a
/// [`Snapshot::shadow`], whose counters and buckets it uses. Fails where there is no memory.
pub fn what_if(
    snapshot: &Snapshot,
    ingress: PortId,
    packet: &[u8],
    offload: Offload,
    now_ns: u64,
) -> io::Result<Outcome> {
    // A copy for every port, and the pieces of a super-frame.
    let chunks = 1024 + 64 * named(snapshot).count() as u32;
    let memory = Memory::heap(chunks, 64).map_err(io::Error::other)?;
    let mailboxes: Arc<[Mailbox]> = [Mailbox::new()?].into();
    let (exits, counters) = (Arc::new(Exits::new()?), Arc::new(ThreadCounters::default()));
    let egress = Egress::new(ThreadId(0), mailboxes, exits.clone(), counters.clone());
    let flows = FlowTable::new(16, HashSecret::new([1, 2, 3, 4]), false)?;
    let mut pipeline = Pipeline::new(FramePool::new(memory), egress, flows, counters);
    pipeline.egress.losses.turn(now_ns, snapshot.generation);
    let tapes = attach(&mut pipeline, snapshot);
    if let Some((_, tape)) = tapes.iter().find(|(port, _)| *port == ingress) {
        tape.put(packet.to_vec(), offload);
    }
    let mut tracer = Tracer::new(|_, _: &[u8]| true);
    let mut polled = Polled { port: ingress, queue: 0, resting: 0 };
    pipeline.poll_observed(&mut polled, snapshot, now_ns, &mut tracer);
    pipeline.egress.transmit(&mut pipeline.pool, snapshot);
    let sent = |(port, tape): &(PortId, Tape)| {
        let port = *port;
        tape.take().into_iter().map(move |(bytes, offload)| Sent { port, bytes, offload })
    };
    let outcome = Outcome {
        traced: tracer.done.pop(),
        sent: tapes.iter().flat_map(sent).collect(),
        punted: exits.punts.pop().map(|punt| {
            let bytes = pipeline.pool.bytes(&punt.frame).to_vec();
            pipeline.pool.free(punt.frame);
            (punt.reason, punt.origin, bytes)
        }),
        drops: drops(snapshot),
        learn: exits.learns.pop(),
    };
    for (port, _) in tapes {
        pipeline.egress.detach(port, &mut pipeline.pool, snapshot);
    }
    Ok(outcome)
}

fn named(snapshot: &Snapshot) -> impl Iterator<Item = (PortId, &crate::snapshot::PortView)> {
    let ports = snapshot.ports.iter().enumerate();
    ports.filter_map(|(index, view)| Some((PortId::from_index(index as u16)?, view.as_deref()?)))
}

/// Ports in memory for all that the snapshot names.
fn attach(pipeline: &mut Pipeline, snapshot: &Snapshot) -> Vec<(PortId, Tape)> {
    let mut tapes = Vec::new();
    for (port, view) in named(snapshot) {
        let caps: Caps = view.caps;
        for queue in 0..view.owners.len().max(1) {
            let (opened, tape) = sim::open(caps, Mac::ZERO);
            for opened in opened.queues {
                let id = QueueId(queue as u16);
                pipeline.egress.attach(port, id, opened, caps, view.stats.clone());
            }
            tapes.push((port, tape));
        }
    }
    tapes
}

fn drops(snapshot: &Snapshot) -> Vec<(PortId, DropReason, u64)> {
    let of = |(port, view): (PortId, &crate::snapshot::PortView)| {
        let stats = view.stats.clone();
        DropReason::ALL.into_iter().map(move |reason| (port, reason, stats.drops(reason)))
    };
    named(snapshot).flat_map(of).filter(|(.., packets)| *packets > 0).collect()
}
