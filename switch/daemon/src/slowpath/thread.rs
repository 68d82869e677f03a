//! The thread that empties what PMD threads leave for the control side.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use weft_dataplane::{
    mailbox::{Exits, Learn, Mailbox, Outbound, Punt},
    police::{Policer, Unit},
    publish::Reader,
    reason::PuntReason,
    snapshot::Snapshot,
    stats::Counter,
};
use weft_pmd::{FramePool, sys};
use weft_wire::PortId;

use super::{
    Reply,
    announce::Announcer,
    answer,
    path_mtu::{self, PathMtus},
};

/// ICMP errors per second, and at once: what Linux allows itself (net.ipv4.icmp_msgs_per_sec, icmp_msgs_burst are 1000
/// and 50; ip-sysctl).
const ERRORS_PER_SECOND: u64 = 1000;
const ERRORS_BURST: u64 = 50;

/// What PMD threads report that concerns the control plane rather than the sender of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// An address was seen.
    Learn(Learn),
    /// A port's device is gone.
    Vanished {
        /// The port.
        port: PortId,
        /// The kernel's answer.
        errno: i32,
    },
    /// What is held to on the way to another node has changed: see [`PathMtus`].
    PathMtu,
}

/// What the thread could not do. Written by it alone.
#[derive(Debug, Default)]
pub struct SlowPathCounters {
    /// Answers for a port that is gone.
    pub port_gone: Counter,
    /// Answers that there was no frame memory for.
    pub no_frames: Counter,
    /// Answers that the thread of the port had no room for.
    pub handoff_full: Counter,
    /// ICMP errors beyond the rate of [`ERRORS_PER_SECOND`]: not sent.
    pub errors_limited: Counter,
    /// Learnt addresses that the control thread had no room for.
    pub learn_lost: Counter,
}

/// Everything the thread works with.
pub struct SlowPath {
    /// What it could not do.
    pub counters: Arc<SlowPathCounters>,
    /// What PMD threads leave.
    pub exits: Arc<Exits>,
    /// Where replies go.
    pub mailboxes: Arc<[Mailbox]>,
    /// The configuration.
    pub reader: Reader<Snapshot>,
    /// Frames for replies.
    pub pool: FramePool,
    /// What is known of the paths to other nodes.
    pub path_mtus: Arc<PathMtus>,
    /// Where reports go; false: there was no room.
    pub report: Box<dyn Fn(Report) -> bool + Send>,
    /// Raised to end the thread.
    pub stop: Arc<AtomicBool>,
}

impl SlowPath {
    /// Serves until stopped.
    pub fn run(mut self) {
        /// Only a bound for the case that nothing ever happens.
        const SLEEP_MAX_MS: u64 = 1000;
        let mut announcer = Announcer::default();
        let start = Instant::now();
        let errors = Policer::new(Unit::Packets, ERRORS_PER_SECOND, ERRORS_BURST);
        while !self.stop.load(Ordering::Acquire) {
            // An hour ahead, so that the policer's schedule starts with a full bucket.
            let now_ns = start.elapsed().as_nanos() as u64 + 3_600_000_000_000;
            while let Some(punt) = self.exits.punts.pop() {
                self.serve(punt, &errors, now_ns);
            }
            self.look_after_paths();
            while let Some(learn) = self.exits.learns.pop() {
                if !(self.report)(Report::Learn(learn)) {
                    self.counters.learn_lost.add(1);
                }
            }
            while let Some((port, errno)) = self.exits.vanished.pop() {
                (self.report)(Report::Vanished { port, errno });
            }
            let snapshot = self.reader.get().clone();
            let (announcements, next_ns) = announcer.turn(&snapshot, now_ns);
            self.send_all(announcements, &snapshot);
            let sleep_ms = next_ns.map_or(SLEEP_MAX_MS, |next| next.saturating_sub(now_ns) / 1_000_000 + 1);
            let has_work =
                || self.exits.has_work() || self.reader.is_stale() || self.stop.load(Ordering::Acquire);
            self.exits.bell.sleep(has_work, |bell| {
                // An error means there is nothing to wait for; the loop goes on at its own pace.
                let _ = sys::wait_readable(std::iter::once(bell), sleep_ms.min(SLEEP_MAX_MS) as i32);
            });
        }
        self.exits.drain(&mut self.pool);
    }

    fn serve(&mut self, punt: Punt, errors: &Policer, now_ns: u64) {
        let is_error =
            matches!(punt.reason, PuntReason::TtlExpired | PuntReason::TooBig | PuntReason::Unreachable);
        let snapshot = self.reader.get().clone();
        if punt.reason == PuntReason::PathMtu {
            let heard = path_mtu::read(self.pool.bytes(&punt.frame), &snapshot);
            if self.path_mtus.lock().hear(heard, Instant::now()) {
                (self.report)(Report::PathMtu);
            }
        }
        if is_error && !errors.allow(1, now_ns) {
            self.counters.errors_limited.add(1);
        } else {
            for Reply { port, bytes } in
                answer(self.pool.bytes(&punt.frame), punt.ingress, punt.origin, punt.reason, &snapshot)
            {
                self.send(port, &bytes, &snapshot);
            }
        }
        self.pool.free(punt.frame);
    }

    /// Leaves many frames with the threads that own their ports' first queues, in batches.
    fn send_all(&mut self, replies: Vec<Reply>, snapshot: &Snapshot) {
        let mut batches: Vec<Vec<Outbound>> = self.mailboxes.iter().map(|_| Vec::new()).collect();
        let received = sys::cycles();
        for Reply { port, bytes } in replies {
            let Some(owner) = snapshot.port(port).and_then(|port| port.owners.first()) else {
                self.counters.port_gone.add(1);
                continue;
            };
            match self.pool.alloc_copy(&bytes) {
                Some(frame) => {
                    batches[owner.index()].push(Outbound { port, frame, hash: 0, made: true, received });
                }
                None => self.counters.no_frames.add(1),
            }
        }
        for (mailbox, mut batch) in self.mailboxes.iter().zip(batches) {
            if !batch.is_empty() && mailbox.push(&mut batch).is_err() {
                self.counters.handoff_full.add(batch.len() as u64);
                batch.into_iter().for_each(|outbound| self.pool.free(outbound.frame));
            }
        }
    }

    /// Asks routers again what somebody says they said, and forgets what none repeats.
    fn look_after_paths(&mut self) {
        let snapshot = self.reader.get().clone();
        let mut probes = Vec::new();
        let ask = |question: &path_mtu::probe::Question| {
            let (probe, mark) = path_mtu::probe::build(question, &snapshot)?;
            probes.push(probe);
            Some(mark)
        };
        // Every one has a key of its own, of the system's randomness.
        let random = || RandomState::new().hash_one("a path");
        let changed = self.path_mtus.lock().look_after(Instant::now(), random, ask);
        for Reply { port, bytes } in probes {
            self.send(port, &bytes, &snapshot);
        }
        if changed {
            (self.report)(Report::PathMtu);
        }
    }

    /// Leaves a frame with the thread that owns the port's first queue.
    fn send(&mut self, port: PortId, bytes: &[u8], snapshot: &Snapshot) {
        let Some(owner) = snapshot.port(port).and_then(|port| port.owners.first()) else {
            return self.counters.port_gone.add(1);
        };
        let Some(frame) = self.pool.alloc_copy(bytes) else { return self.counters.no_frames.add(1) };
        let mut batch = vec![Outbound { port, frame, hash: 0, made: true, received: sys::cycles() }];
        if self.mailboxes[owner.index()].push(&mut batch).is_err() {
            self.counters.handoff_full.add(1);
            batch.into_iter().for_each(|outbound| self.pool.free(outbound.frame));
        }
    }
}
