//! Stage 4: carries the verdicts out. Every frame of the batch goes to a transmit burst, to another thread, to the slow
//! path or back to the pool. The only place that drops for lack of room: never wait; count, free.

mod moving;

use std::sync::Arc;

use weft_pmd::{BURST, Burst, Caps, Frame, FramePool, PortQueue, Queue, offload, sys};
use weft_wire::{PortId, QueueId, ThreadId};

use crate::{
    action::{self, push_vlan},
    batch::Batch,
    key::Origin,
    mailbox::{Exits, Mailbox, Outbound, Punt},
    parse::Headers,
    program::Verdict,
    reason::DropReason,
    snapshot::{NetworkView, Snapshot},
    stats::{PortStats, ThreadCounters},
};

pub use moving::Moving;

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
    caps: Caps,
    pub(crate) stats: Arc<PortStats>,
    pub(crate) queues: Vec<LocalQueue>,
    gone: bool,
    /// In the list of ports with frames pending.
    dirty: bool,
    /// When the oldest and the newest of them were received, by the time-stamp counter.
    since: u64,
    newest: u64,
}

impl LocalPort {
    /// Notes the port among those with frames pending.
    #[inline]
    fn mark(&mut self, port: PortId, received: u64, dirty: &mut Vec<PortId>) {
        self.newest = received;
        if !self.dirty && !self.gone {
            self.dirty = true;
            self.since = received;
            dirty.push(port);
        }
    }

    /// Appends a frame to a queue's pending burst, cut to fit where it must be; how many frames that made.
    #[inline(always)]
    fn take(
        &mut self,
        frame: Frame,
        hash: u64,
        thread: ThreadId,
        pool: &mut FramePool,
        pieces: &mut Vec<Frame>,
    ) -> u64 {
        let which = if self.queues.len() == 1 { 0 } else { hash as usize % self.queues.len() };
        if self.gone || !offload::passes(&frame, &self.caps) {
            return self.take_misfit(frame, which, thread, pool, pieces);
        }
        push(&mut self.queues[which], frame, &self.stats, thread, self.since, pool);
        1
    }

    #[cold]
    #[inline(never)]
    fn take_misfit(
        &mut self,
        frame: Frame,
        which: usize,
        thread: ThreadId,
        pool: &mut FramePool,
        pieces: &mut Vec<Frame>,
    ) -> u64 {
        let counters = self.stats.thread(thread);
        if self.gone {
            counters.drops[DropReason::PortGone as usize].add(1);
            pool.free(frame);
            return 1;
        }
        if let Err(unfit) = offload::fit(pool, frame, &self.caps, pieces) {
            let reason = match unfit {
                offload::Unfit::TooBig => DropReason::TooBig,
                offload::Unfit::NoFrames => DropReason::NoFrames,
                offload::Unfit::Malformed => DropReason::Malformed,
            };
            counters.drops[reason as usize].add(1);
            return 1;
        }
        let made = pieces.len() as u64;
        counters.made.add(made.saturating_sub(1));
        for frame in pieces.drain(..) {
            push(&mut self.queues[which], frame, &self.stats, thread, self.since, pool);
        }
        made
    }
}

/// This thread's ports, and the ways to the others.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) thread: ThreadId,
    pub(crate) ports: Vec<Option<LocalPort>>,
    mailboxes: Arc<[Mailbox]>,
    /// Frames for each other thread, until the burst is through.
    handed: Vec<Vec<Outbound>>,
    pub(crate) exits: Arc<Exits>,
    counters: Arc<ThreadCounters>,
    /// Ports with frames pending.
    dirty: Vec<PortId>,
    /// What `offload::fit` makes of one frame.
    pieces: Vec<Frame>,
    /// Ports whose last queue here has moved to another thread, of late.
    moved: Vec<(PortId, ThreadId)>,
    /// When the burst under way was received, by the time-stamp counter.
    received: u64,
}

/// What a flooded frame's copies for other nodes are made with.
struct Copies<'a> {
    headers: &'a Headers,
    entropy: u64,
    now_ns: u64,
}

/// Carries out every verdict of the batch. Nothing is left in it.
#[inline(never)]
pub(crate) fn drain(
    batch: &mut Batch,
    egress: &mut Egress,
    pool: &mut FramePool,
    snapshot: &Snapshot,
    now_ns: u64,
) {
    let ingress = batch.ingress;
    let (origins, has_tunnelled) = (&batch.origins, batch.has_tunnelled);
    let origin = |i: usize| if has_tunnelled { origins[i] } else { Origin::by_port(ingress) };
    let Some(Some(local)) = egress.ports.get(ingress.index()) else {
        batch.frames.free_all(pool); // can't be: the burst came from a queue of this port
        return;
    };
    let stats = local.stats.clone();
    let counters = stats.thread(egress.thread);
    let n = batch.frames.len();
    let (verdicts, hashes) = (&batch.verdicts[..n], &batch.hashes[..n]);
    let mut frames = batch.frames.drain_front(n);
    let mut i = 0;
    while i < n {
        // Packets that leave by the same port mostly come in a row.
        if let Verdict::Forward(port) = verdicts[i] {
            let run = verdicts[i..].iter().take_while(|verdict| **verdict == verdicts[i]).count();
            counters.forwarded.add(run as u64);
            egress.send_run(port, frames.by_ref().take(run), &hashes[i..i + run], pool, snapshot);
            i += run;
            continue;
        }
        let Some(frame) = frames.next() else { break };
        match verdicts[i] {
            Verdict::Forward(_) => unreachable!("taken above"),
            Verdict::Flood(network) => {
                counters.flooded.add(1);
                if let Some(network) = snapshot.network(network) {
                    egress.flood(&network.members, ingress, &frame, pool, snapshot);
                    // What came from another node does not go back to one: each reaches all others itself.
                    if origin(i).tunnel().is_none() {
                        let entropy = action::entropy(hashes[i], &batch.keys[i]);
                        let copies = Copies { headers: &batch.headers[i], entropy, now_ns };
                        egress.replicate(network, &frame, &copies, pool, snapshot);
                    }
                }
                pool.free(frame);
            }
            Verdict::Punt(reason) => {
                match egress.exits.punts.push(Punt { frame, ingress, origin: origin(i), reason }) {
                    Ok(()) => {
                        counters.punts[reason as usize].add(1);
                        egress.exits.bell.ring();
                    }
                    Err(punt) => {
                        counters.drops[DropReason::PuntFull as usize].add(1);
                        pool.free(punt.frame);
                    }
                }
            }
            Verdict::Drop(reason) => {
                counters.drops[reason as usize].add(1);
                pool.free(frame);
            }
        }
        i += 1;
    }
    drop(frames);
    for (port, frame) in batch.copies.drain(..) {
        egress.send_made(port, frame, pool, snapshot);
    }
    egress.deliver_all(pool, snapshot);
}

impl Egress {
    pub(crate) fn new(
        thread: ThreadId,
        mailboxes: Arc<[Mailbox]>,
        exits: Arc<Exits>,
        counters: Arc<ThreadCounters>,
    ) -> Self {
        Self {
            thread,
            ports: Vec::new(),
            handed: mailboxes.iter().map(|_| Vec::with_capacity(BURST)).collect(),
            mailboxes,
            exits,
            counters,
            dirty: Vec::with_capacity(BURST),
            pieces: Vec::with_capacity(BURST),
            moved: Vec::new(),
            received: 0,
        }
    }

    /// A burst was received.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.received = sys::cycles();
    }

    /// Takes a queue in.
    pub(crate) fn attach(
        &mut self,
        port: PortId,
        id: QueueId,
        queue: Queue,
        caps: Caps,
        stats: Arc<PortStats>,
    ) {
        if self.ports.len() <= port.index() {
            self.ports.resize_with(port.index() + 1, || None);
        }
        let local = self.ports[port.index()].get_or_insert_with(|| LocalPort {
            caps,
            stats,
            queues: Vec::new(),
            gone: false,
            dirty: false,
            since: 0,
            newest: 0,
        });
        local.queues.push(LocalQueue { id, queue, pending: Burst::new() });
        self.moved.retain(|(moved, _)| *moved != port);
    }

    /// Gives a port's queues back, not closed: that may take time, which is not the packets'.
    pub(crate) fn detach(&mut self, port: PortId, pool: &mut FramePool) -> Vec<Queue> {
        self.dirty.retain(|dirty| *dirty != port);
        let Some(local) = self.ports.get_mut(port.index()).and_then(Option::take) else { return Vec::new() };
        let counters = local.stats.thread(self.thread);
        let take = |mut queue: LocalQueue| {
            let left = queue.pending.free_all(pool) as u64;
            counters.drops[DropReason::PortGone as usize].add(left);
            queue.queue
        };
        local.queues.into_iter().map(take).collect()
    }

    /// Some queue has frames that its port did not take yet.
    pub(crate) fn has_pending(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Sends frames by a port, one for each of `hashes`.
    #[inline]
    fn send_run(
        &mut self,
        port: PortId,
        frames: impl Iterator<Item = Frame>,
        hashes: &[u64],
        pool: &mut FramePool,
        snapshot: &Snapshot,
    ) {
        let frames = frames.zip(hashes);
        let Self { ports, dirty, pieces, thread, received, .. } = self;
        let received = *received;
        let Some(Some(local)) = ports.get_mut(port.index()) else {
            return frames.for_each(|(frame, &hash)| {
                self.hand_over(Outbound { port, frame, hash, made: false, received }, pool, snapshot);
            });
        };
        local.mark(port, received, dirty);
        let mut offered = 0;
        for (frame, &hash) in frames {
            offered += local.take(frame, hash, *thread, pool, pieces);
        }
        local.stats.thread(*thread).offered.add(offered);
    }

    /// Sends a frame by a port: by a queue of this thread's, else through the thread that owns one.
    #[inline]
    pub(crate) fn send(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        if matches!(self.ports.get(outbound.port.index()), Some(Some(_))) {
            self.enqueue(outbound, pool);
        } else {
            self.hand_over(outbound, pool, snapshot);
        }
    }

    /// Puts a frame to the others for the thread that owns the queue it must leave by.
    fn hand_over(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        let Some(view) = snapshot.port(outbound.port) else { return self.orphan(outbound.frame, pool) };
        let queue = outbound.hash as usize % view.owners.len().max(1);
        let other = |owner: &ThreadId| *owner != self.thread;
        let owner = view.owners.get(queue).copied().filter(other);
        match owner.or_else(|| self.gone_to(outbound.port)) {
            Some(owner) => {
                let batch = &mut self.handed[owner.index()];
                batch.push(outbound);
                if batch.len() == BURST {
                    self.deliver(owner.index(), pool, snapshot);
                }
            }
            None => self.orphan(outbound.frame, pool),
        }
    }

    /// Delivers what is handed to other threads.
    #[inline]
    fn deliver_all(&mut self, pool: &mut FramePool, snapshot: &Snapshot) {
        for owner in 0..self.handed.len() {
            if !self.handed[owner].is_empty() {
                self.deliver(owner, pool, snapshot);
            }
        }
    }

    fn deliver(&mut self, owner: usize, pool: &mut FramePool, snapshot: &Snapshot) {
        let batch = &mut self.handed[owner];
        if self.mailboxes[owner].push(batch).is_ok() {
            return;
        }
        for outbound in batch.drain(..) {
            if let Some(view) = snapshot.port(outbound.port) {
                let counters = view.stats.thread(self.thread);
                counters.offered.add(1);
                counters.drops[DropReason::HandoffFull as usize].add(1);
            }
            pool.free(outbound.frame);
        }
    }

    /// Sends a frame that was made here rather than received: counted as such at the port it leaves by.
    pub(crate) fn send_made(
        &mut self,
        port: PortId,
        frame: Frame,
        pool: &mut FramePool,
        snapshot: &Snapshot,
    ) {
        if let Some(view) = snapshot.port(port) {
            view.stats.thread(self.thread).made.add(1);
        }
        let received = self.received;
        self.send(Outbound { port, frame, hash: 0, made: false, received }, pool, snapshot);
    }

    fn flood(
        &mut self,
        members: &[(PortId, Option<weft_wire::VlanId>)],
        ingress: PortId,
        frame: &Frame,
        pool: &mut FramePool,
        snapshot: &Snapshot,
    ) {
        for &(port, vlan) in members.iter().filter(|(port, _)| *port != ingress) {
            let copy = pool.duplicate(frame).and_then(|mut copy| match vlan {
                Some(vlan) if push_vlan(&mut copy, vlan, pool).is_err() => {
                    pool.free(copy);
                    None
                }
                _ => Some(copy),
            });
            match (copy, snapshot.port(port)) {
                (Some(copy), _) => self.send_made(port, copy, pool, snapshot),
                (None, Some(view)) => {
                    let counters = view.stats.thread(self.thread);
                    counters.made.add(1);
                    counters.offered.add(1);
                    counters.drops[DropReason::NoFrames as usize].add(1);
                }
                (None, None) => {}
            }
        }
    }

    /// Sends a copy of a flooded frame to every other node that has the network (head-end replication), up to a rate: each
    /// costs the underlay as many frames as there are nodes.
    #[cold]
    fn replicate(
        &mut self,
        network: &NetworkView,
        frame: &Frame,
        copies: &Copies<'_>,
        pool: &mut FramePool,
        snapshot: &Snapshot,
    ) {
        let Some(port) = snapshot.unwraps.as_ref().map(|tunnels| tunnels.port) else { return };
        for tunnel in network.remotes.iter().filter_map(|index| snapshot.tunnels.get(usize::from(*index))) {
            let allowed = network.flood_limit.as_ref().is_none_or(|limit| limit.allow(1, copies.now_ns));
            let copy = if allowed { pool.duplicate(frame) } else { None };
            let reason = match copy {
                Some(mut copy) => {
                    let Copies { headers, entropy, .. } = *copies;
                    match action::encap(&mut copy, headers, tunnel, entropy, pool, self.thread) {
                        Ok(()) => {
                            self.send_made(port, copy, pool, snapshot);
                            continue;
                        }
                        Err(_) => {
                            pool.free(copy);
                            DropReason::Malformed
                        }
                    }
                }
                None if allowed => DropReason::NoFrames,
                None => DropReason::FloodLimited,
            };
            if let Some(view) = snapshot.port(port) {
                let counters = view.stats.thread(self.thread);
                counters.made.add(1);
                counters.offered.add(1);
                counters.drops[reason as usize].add(1);
            }
        }
    }

    /// For a port that is neither here nor anywhere.
    #[cold]
    fn orphan(&self, frame: Frame, pool: &mut FramePool) {
        self.counters.orphans.add(1);
        pool.free(frame);
    }

    /// Appends a frame to a queue's pending burst; one that the port can't carry as it is, cut to fit.
    pub(crate) fn enqueue(&mut self, outbound: Outbound, pool: &mut FramePool) {
        let Outbound { port, frame, hash, made, received } = outbound;
        let Self { ports, dirty, pieces, thread, .. } = self;
        let Some(Some(local)) = ports.get_mut(port.index()) else { return self.orphan(frame, pool) };
        local.mark(port, received, dirty);
        let offered = local.take(frame, hash, *thread, pool, pieces);
        let counters = local.stats.thread(*thread);
        counters.made.add(made.into());
        counters.offered.add(offered);
    }

    /// Sends what is pending, as far as the ports take it; the rest waits for the next turn.
    pub(crate) fn transmit(&mut self, pool: &mut FramePool) {
        for at in (0..self.dirty.len()).rev() {
            let port = self.dirty[at];
            let Some(Some(local)) = self.ports.get_mut(port.index()) else {
                self.dirty.swap_remove(at);
                continue;
            };
            let mut left = false;
            let mut errno = None;
            for queue in local.queues.iter_mut().filter(|queue| !queue.pending.is_empty()) {
                if let Err(vanished) = transmit(queue, &local.stats, self.thread, local.since, pool) {
                    errno = Some(vanished.errno);
                }
                left |= !queue.pending.is_empty();
            }
            local.since = local.newest;
            if !left {
                local.dirty = false;
                self.dirty.swap_remove(at);
            }
            if let Some(errno) = errno {
                self.vanished(port, errno, pool);
            }
        }
    }

    /// Marks a port whose device is gone; the control side is told once and will detach it.
    #[cold]
    pub(crate) fn vanished(&mut self, port: PortId, errno: i32, pool: &mut FramePool) {
        let Some(Some(local)) = self.ports.get_mut(port.index()) else { return };
        for queue in &mut local.queues {
            let left = queue.pending.free_all(pool) as u64;
            local.stats.thread(self.thread).drops[DropReason::PortGone as usize].add(left);
        }
        local.dirty = false;
        self.dirty.retain(|dirty| *dirty != port);
        if !std::mem::replace(&mut local.gone, true) {
            // A full ring only delays the news: the link watcher sees the device go, too.
            let _ = self.exits.vanished.push((port, errno));
            self.exits.bell.ring();
        }
    }

    pub(crate) fn is_gone(&self, port: PortId) -> bool {
        matches!(self.ports.get(port.index()), Some(Some(local)) if local.gone)
    }
}

/// Appends a frame to a queue's pending burst.
#[inline(always)]
fn push(
    queue: &mut LocalQueue,
    frame: Frame,
    stats: &PortStats,
    thread: ThreadId,
    since: u64,
    pool: &mut FramePool,
) {
    if let Err(frame) = queue.pending.push(frame) {
        push_full(queue, frame, stats, thread, since, pool);
    }
}

/// A full burst is sent first; what finds no room then is dropped.
#[cold]
#[inline(never)]
fn push_full(
    queue: &mut LocalQueue,
    frame: Frame,
    stats: &PortStats,
    thread: ThreadId,
    since: u64,
    pool: &mut FramePool,
) {
    // A device that is gone says so again when the turn transmits.
    let _ = transmit(queue, stats, thread, since, pool);
    if let Err(frame) = queue.pending.push(frame) {
        stats.thread(thread).drops[DropReason::TxFull as usize].add(1);
        pool.free(frame);
    }
}

fn transmit(
    queue: &mut LocalQueue,
    stats: &PortStats,
    thread: ThreadId,
    since: u64,
    pool: &mut FramePool,
) -> Result<(), weft_pmd::port::Vanished> {
    let sent = queue.queue.tx(pool, &mut queue.pending)?;
    let row = stats.queue(queue.id);
    row.tx_packets.add(sent.packets.into());
    row.tx_bytes.add(sent.bytes);
    let counters = stats.thread(thread);
    counters.drops[DropReason::Refused as usize].add(sent.refused.into());
    if sent.packets > 0 {
        counters.residence.add(sys::cycles().saturating_sub(since), sent.packets.into());
    }
    Ok(())
}
