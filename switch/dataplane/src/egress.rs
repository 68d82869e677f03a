//! Stage 4: carries the verdicts out. Every frame of the batch goes to a transmit burst, to another thread, to the slow
//! path or back to the pool. The only place that drops for lack of room: never wait; count, free.

mod moving;
mod port;

use std::sync::Arc;

use port::LocalPort;
use weft_pmd::{BURST, Caps, Frame, FramePool, Queue, offload, sys};
use weft_wire::{NetworkId, PortId, QueueId, ThreadId};

use crate::{
    action,
    batch::{Batch, rule_behind},
    capture::Capture,
    key::Origin,
    losses::{Cause, Losses},
    mailbox::{Exits, Mailbox, Outbound, Punt},
    parse::Headers,
    program::Verdict,
    reason::{DropReason, PuntReason},
    share::{Shares, Source},
    snapshot::{NetworkView, Snapshot},
    stats::{PortStats, ThreadCounters},
};

pub use moving::Moving;

/// This thread's ports, and the ways to the others.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) thread: ThreadId,
    pub(crate) losses: Losses,
    pub(crate) ports: Vec<Option<LocalPort>>,
    mailboxes: Arc<[Mailbox]>,
    /// Frames for each other thread, until the burst is through.
    handed: Vec<Vec<Outbound>>,
    pub(crate) exits: Arc<Exits>,
    /// What each source has had of what is everybody's.
    pub(crate) shares: Shares,
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

/// What a flooded frame's copies are made with.
struct Copies<'a> {
    headers: &'a Headers,
    source: Source,
    /// What each copy is on the wire.
    packets: u64,
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
    egress.losses.burst(ingress, &batch.verdicts[..n]);
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
                let (key, headers) = (&batch.keys[i], &batch.headers[i]);
                let entropy = action::entropy(hashes[i], key);
                let source = Source::of(key, origin(i), snapshot);
                let size = offload::wire_size(pool.bytes(&frame), headers.l4.into(), &frame.offload());
                let copies = Copies { headers, source, packets: size.packets, entropy, now_ns };
                match egress.spread(network, (frame, ingress, origin(i)), &copies, pool, snapshot) {
                    Ok(()) => counters.flooded.add(1),
                    Err(refused) => egress.refuse(refused, (ingress, origin(i)), pool, &stats, snapshot),
                }
            }
            Verdict::Punt(reason) => {
                let source = Source::of(&batch.keys[i], origin(i), snapshot);
                match egress.punt(reason, (frame, ingress, origin(i)), source, now_ns) {
                    Ok(()) => counters.punts[reason as usize].add(1),
                    Err(refused) => egress.refuse(refused, (ingress, origin(i)), pool, &stats, snapshot),
                }
            }
            Verdict::Drop(reason) => {
                let cause =
                    Cause { reason, rule: rule_behind(reason, &batch.programs[i], batch.policed_by[i]) };
                egress.losses.origin = Some(origin(i));
                egress.lose_incoming(cause, frame, ingress, pool, &stats, snapshot);
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
            losses: Losses::new(thread, counters.clone()),
            ports: Vec::new(),
            handed: mailboxes.iter().map(|_| Vec::with_capacity(BURST)).collect(),
            mailboxes,
            shares: Shares::new(exits.held.clone()),
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
        let watched = self.losses.taps.watch_out(port);
        let local =
            self.ports[port.index()].get_or_insert_with(|| LocalPort::new(port, caps, stats, watched));
        local.add(id, queue);
        self.moved.retain(|(moved, _)| *moved != port);
    }

    /// What a port can carry has changed.
    pub(crate) fn set_caps(&mut self, port: PortId, caps: Caps) {
        if let Some(local) = self.ports.get_mut(port.index()).and_then(Option::as_mut) {
            local.set_caps(caps);
        }
    }

    /// Gives a port's queues back, not closed: that may take time, which is not the packets'.
    pub(crate) fn detach(&mut self, port: PortId, pool: &mut FramePool, snapshot: &Snapshot) -> Vec<Queue> {
        self.dirty.retain(|dirty| *dirty != port);
        let Some(mut local) = self.ports.get_mut(port.index()).and_then(Option::take) else {
            return Vec::new();
        };
        local.lose_pending(pool, &mut self.losses, snapshot);
        local.queues.into_iter().map(|queue| queue.queue).collect()
    }

    /// Leaves a packet for the slow path, if its source has not had its share of it.
    fn punt(
        &mut self,
        reason: PuntReason,
        (frame, ingress, origin): (Frame, PortId, Origin),
        source: Source,
        now_ns: u64,
    ) -> Result<(), (DropReason, Frame)> {
        let Some(place) = self.shares.punt(source, reason, frame.len(), now_ns) else {
            return Err((DropReason::PuntLimited, frame));
        };
        let punt = Punt { frame, ingress, origin, reason, source, place };
        self.exits.punts.push(punt).map_err(|punt| (DropReason::PuntFull, punt.frame))?;
        self.exits.bell.ring();
        Ok(())
    }

    /// Floods a frame, if its source has not had its share of that.
    fn spread(
        &mut self,
        network: NetworkId,
        (frame, ingress, origin): (Frame, PortId, Origin),
        copies: &Copies<'_>,
        pool: &mut FramePool,
        snapshot: &Snapshot,
    ) -> Result<(), (DropReason, Frame)> {
        let network = snapshot.network(network);
        let Some(network) = network
            .filter(|network| self.shares.flood(copies.source, network, copies.packets, copies.now_ns))
        else {
            return Err((DropReason::StormLimited, frame));
        };
        self.flood(&network.members, ingress, &frame, copies, pool, snapshot);
        // What came from another node does not go back to one: each reaches all others itself.
        if origin.tunnel().is_none() {
            self.replicate(network, &frame, copies, pool, snapshot);
        }
        pool.free(frame);
        Ok(())
    }

    /// Drops what has had its share.
    #[cold]
    fn refuse(
        &mut self,
        (reason, frame): (DropReason, Frame),
        (ingress, origin): (PortId, Origin),
        pool: &mut FramePool,
        stats: &PortStats,
        snapshot: &Snapshot,
    ) {
        self.losses.origin = Some(origin);
        self.lose_incoming(reason.into(), frame, ingress, pool, stats, snapshot);
    }

    /// Drops what came in by a port.
    #[inline]
    fn lose_incoming(
        &mut self,
        cause: Cause,
        frame: Frame,
        port: PortId,
        pool: &mut FramePool,
        stats: &PortStats,
        snapshot: &Snapshot,
    ) {
        let view = self.losses.origin.and_then(Origin::port).and_then(|port| snapshot.port(port));
        self.losses.incoming(cause, pool.bytes(&frame), port, stats, view);
        pool.free(frame);
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
        let Self { ports, dirty, pieces, losses, received, .. } = self;
        let received = *received;
        let Some(Some(local)) = ports.get_mut(port.index()) else {
            return frames.for_each(|(frame, &hash)| {
                self.hand_over(Outbound { port, frame, hash, made: false, received }, pool, snapshot);
            });
        };
        local.mark(received, dirty);
        let mut offered = 0;
        for (frame, &hash) in frames {
            offered += local.take(frame, hash, pool, pieces, losses, snapshot);
        }
        local.stats.thread(losses.thread).offered.add(offered);
    }

    /// Sends a frame by a port: by a queue of this thread's, else through the thread that owns one.
    #[inline]
    pub(crate) fn send(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        if matches!(self.ports.get(outbound.port.index()), Some(Some(_))) {
            self.enqueue(outbound, pool, snapshot);
        } else {
            self.hand_over(outbound, pool, snapshot);
        }
    }

    /// Puts a frame to the others for the thread that owns the queue it must leave by.
    fn hand_over(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        let Some(view) = snapshot.port(outbound.port) else { return self.orphan(outbound, pool) };
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
            None => self.orphan(outbound, pool),
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
                view.stats.thread(self.thread).offered.add(1);
                let packet = pool.bytes(&outbound.frame);
                self.losses.outgoing(DropReason::HandoffFull, packet, outbound.port, &view.stats, snapshot);
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
        copies: &Copies<'_>,
        pool: &mut FramePool,
        snapshot: &Snapshot,
    ) {
        for &(port, vlan) in members.iter().filter(|(port, _)| *port != ingress) {
            let copy = pool.duplicate(frame).and_then(|mut copy| {
                if action::tag(&mut copy, &mut { *copies.headers }, vlan, pool) {
                    return Some(copy);
                }
                pool.free(copy);
                None
            });
            match (copy, snapshot.port(port)) {
                (Some(copy), _) => self.send_made(port, copy, pool, snapshot),
                (None, Some(view)) => {
                    let counters = view.stats.thread(self.thread);
                    counters.made.add(1);
                    counters.offered.add(1);
                    let packet = pool.bytes(frame);
                    self.losses.outgoing(DropReason::NoFrames, packet, port, &view.stats, snapshot);
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
            let allowed = self.shares.may_copy(network, copies.source, copies.packets, copies.now_ns);
            let copy = if allowed { pool.duplicate(frame) } else { None };
            let reason = match copy {
                Some(mut copy) => {
                    let (mut headers, entropy) = (*copies.headers, copies.entropy);
                    // RFC 7348 §6.1: a frame in a tunnel has no tag.
                    action::tag(&mut copy, &mut headers, None, pool);
                    match action::encap_bridged(
                        &mut copy,
                        &headers,
                        tunnel,
                        entropy,
                        (pool, snapshot),
                        self.thread,
                    ) {
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
                self.losses.outgoing(reason, pool.bytes(frame), port, &view.stats, snapshot);
            }
        }
    }

    /// Begins a capture.
    pub(crate) fn watch(&mut self, capture: Arc<Capture>) {
        self.losses.taps.add(capture);
        self.note_watched();
    }

    /// Ends it.
    pub(crate) fn unwatch(&mut self, capture: &Arc<Capture>) {
        self.losses.taps.remove(capture);
        self.note_watched();
    }

    fn note_watched(&mut self) {
        for local in self.ports.iter_mut().flatten() {
            local.watch(self.losses.taps.watch_out(local.id));
        }
    }

    /// For a port that is neither here nor anywhere.
    #[cold]
    fn orphan(&mut self, outbound: Outbound, pool: &mut FramePool) {
        self.counters.orphans.add(1);
        self.losses.remember(DropReason::PortGone.into(), Some(outbound.port), pool.bytes(&outbound.frame));
        pool.free(outbound.frame);
    }

    /// Appends a frame to a queue's pending burst; one that the port can't carry as it is, cut to fit.
    pub(crate) fn enqueue(&mut self, outbound: Outbound, pool: &mut FramePool, snapshot: &Snapshot) {
        let Self { ports, dirty, pieces, losses, .. } = self;
        let Some(Some(local)) = ports.get_mut(outbound.port.index()) else {
            return self.orphan(outbound, pool);
        };
        let Outbound { frame, hash, made, received, .. } = outbound;
        local.mark(received, dirty);
        let offered = local.take(frame, hash, pool, pieces, losses, snapshot);
        let counters = local.stats.thread(losses.thread);
        counters.made.add(made.into());
        counters.offered.add(offered);
    }

    /// Sends what is pending, as far as the ports take it; the rest waits for the next turn.
    pub(crate) fn transmit(&mut self, pool: &mut FramePool, snapshot: &Snapshot) {
        for at in (0..self.dirty.len()).rev() {
            let port = self.dirty[at];
            let Some(Some(local)) = self.ports.get_mut(port.index()) else {
                self.dirty.swap_remove(at);
                continue;
            };
            let mut left = false;
            let mut errno = None;
            for queue in local.queues.iter_mut().filter(|queue| queue.has_pending()) {
                if let Err(vanished) = queue.transmit(&local.stats, self.thread, local.since, pool) {
                    errno = Some(vanished.errno);
                }
                left |= queue.has_pending();
            }
            local.since = local.newest;
            if !left {
                local.dirty = false;
                self.dirty.swap_remove(at);
            }
            if let Some(errno) = errno {
                self.vanished(port, errno, pool, snapshot);
            }
        }
    }

    /// Marks a port whose device is gone; the control side is told once and will detach it.
    #[cold]
    pub(crate) fn vanished(&mut self, port: PortId, errno: i32, pool: &mut FramePool, snapshot: &Snapshot) {
        let Some(Some(local)) = self.ports.get_mut(port.index()) else { return };
        let is_news = local.lose_all(pool, &mut self.losses, snapshot);
        self.dirty.retain(|dirty| *dirty != port);
        if is_news {
            // A full ring only delays the news: the link watcher sees the device go, too.
            let _ = self.exits.vanished.push((port, errno));
            self.exits.bell.ring();
        }
    }

    pub(crate) fn is_gone(&self, port: PortId) -> bool {
        matches!(self.ports.get(port.index()), Some(Some(local)) if local.gone)
    }
}
