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
    publish::Reader,
    reason::PuntReason,
    snapshot::Snapshot,
    stats::Counter,
};
use weft_pmd::{BURST, FramePool, sys};
use weft_wire::PortId;

use super::{
    Reply,
    announce::Announcer,
    desk::{Desk, DeskCounters},
    learnt::Waiting,
    path_mtu::{self, PathMtus},
};

/// Answers for one PMD thread that may wait while it is behind: a turn of its takes as many as there are in one batch.
const ANSWERS_MAX: usize = 1024;

/// Learnt addresses are passed on this often, nanoseconds.
const LEARN_EVERY_NS: u64 = 10_000_000;

/// What PMD threads report that concerns the control plane rather than the sender of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Addresses were seen.
    Learnt(Vec<Learn>),
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
    /// Learnt addresses that were not passed on: too many of one sender's.
    pub learn_lost: Counter,
    /// What was not answered.
    pub desk: Arc<DeskCounters>,
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

/// What the thread keeps from turn to turn.
struct Turns {
    desk: Desk,
    /// Answers on their way, by the thread that is to send them.
    answers: Vec<Vec<Outbound>>,
    learnt: Waiting,
    passed_on_ns: u64,
    announcer: Announcer,
}

impl SlowPath {
    /// Serves until stopped.
    pub fn run(mut self) {
        /// Only a bound for the case that nothing ever happens.
        const SLEEP_MAX_MS: u64 = 1000;
        /// While learnt addresses wait.
        const SLEEP_LEARNT_MS: u64 = 10;
        /// While answers do, for a thread that is behind.
        const SLEEP_ANSWERS_MS: u64 = 1;
        let start = Instant::now();
        let mut turns = Turns {
            desk: Desk::new(self.counters.desk.clone()),
            answers: self.mailboxes.iter().map(|_| Vec::with_capacity(BURST)).collect(),
            learnt: Waiting::default(),
            passed_on_ns: 0,
            announcer: Announcer::default(),
        };
        while !self.stop.load(Ordering::Acquire) {
            // An hour ahead, so that all begins with full buckets.
            let now_ns = start.elapsed().as_nanos() as u64 + 3_600_000_000_000;
            let next_ns = self.turn(&mut turns, now_ns);
            let next_ms = next_ns.map_or(SLEEP_MAX_MS, |next| next.saturating_sub(now_ns) / 1_000_000 + 1);
            let has_work =
                || self.exits.has_work() || self.reader.is_stale() || self.stop.load(Ordering::Acquire);
            self.exits.bell.sleep(has_work, |bell| {
                let timeout_ms = match turns.answers.iter().all(Vec::is_empty) {
                    true if turns.learnt.is_empty() => SLEEP_MAX_MS,
                    true => SLEEP_LEARNT_MS,
                    false => SLEEP_ANSWERS_MS,
                };
                // An error means there is nothing to wait for; the loop goes on at its own pace.
                let _ = sys::wait_readable(std::iter::once(bell), timeout_ms.min(next_ms) as i32);
            });
        }
        turns.answers.into_iter().flatten().for_each(|outbound| self.pool.free(outbound.frame));
        self.exits.drain(&mut self.pool);
    }

    /// One burst of packets, what is said unasked, then all that was learnt: who asks much does not keep others from being
    /// learnt. Returns when there is more to do, if nothing comes before.
    fn turn(&mut self, turns: &mut Turns, now_ns: u64) -> Option<u64> {
        let snapshot = self.reader.get().clone();
        turns.desk.expire(now_ns);
        for punt in std::iter::from_fn(|| self.exits.punts.pop()).take(BURST).collect::<Vec<_>>() {
            self.serve(punt, turns, &snapshot, now_ns);
        }
        self.look_after_paths(turns, &snapshot);
        let (announcements, next_ns) = turns.announcer.turn(&snapshot, now_ns);
        for announcement in announcements {
            self.send(&announcement, &mut turns.answers, &snapshot);
        }
        for owner in 0..turns.answers.len() {
            self.deliver(owner, &mut turns.answers[owner]);
        }
        while let Some(learn) = self.exits.learns.pop() {
            if !turns.learnt.add(learn) {
                self.counters.learn_lost.add(1);
            }
        }
        if !turns.learnt.is_empty() && now_ns.saturating_sub(turns.passed_on_ns) >= LEARN_EVERY_NS {
            turns.passed_on_ns = now_ns;
            let learnt = turns.learnt.take();
            let count = learnt.len() as u64;
            if !(self.report)(Report::Learnt(learnt)) {
                self.counters.learn_lost.add(count);
            }
        }
        while let Some((port, errno)) = self.exits.vanished.pop() {
            (self.report)(Report::Vanished { port, errno });
        }
        next_ns
    }

    fn serve(&mut self, punt: Punt, turns: &mut Turns, snapshot: &Snapshot, now_ns: u64) {
        let bytes = self.pool.bytes(&punt.frame);
        if punt.reason == PuntReason::PathMtu {
            let heard = path_mtu::read(bytes, snapshot);
            if self.path_mtus.lock().hear(heard, Instant::now()) {
                (self.report)(Report::PathMtu);
            }
        }
        for reply in turns.desk.serve(&punt, bytes, snapshot, now_ns) {
            self.send(&reply, &mut turns.answers, snapshot);
        }
        self.pool.free(punt.frame);
    }

    /// Asks routers again what somebody says they said, and forgets what none repeats.
    fn look_after_paths(&mut self, turns: &mut Turns, snapshot: &Snapshot) {
        let mut probes = Vec::new();
        let ask = |question: &path_mtu::probe::Question| {
            let (probe, mark) = path_mtu::probe::build(question, snapshot)?;
            probes.push(probe);
            Some(mark)
        };
        // Every one has a key of its own, of the system's randomness.
        let random = || RandomState::new().hash_one("a path");
        let changed = self.path_mtus.lock().look_after(Instant::now(), random, ask);
        for probe in probes {
            self.send(&probe, &mut turns.answers, snapshot);
        }
        if changed {
            (self.report)(Report::PathMtu);
        }
    }

    /// Puts a frame to the others for the thread that owns the port's first queue.
    fn send(&mut self, reply: &Reply, answers: &mut [Vec<Outbound>], snapshot: &Snapshot) {
        let Reply { port, bytes } = reply;
        let Some(owner) = snapshot.port(*port).and_then(|port| port.owners.first()) else {
            return self.counters.port_gone.add(1);
        };
        let Some(frame) = self.pool.alloc_copy(bytes) else { return self.counters.no_frames.add(1) };
        let batch = &mut answers[owner.index()];
        if batch.len() >= BURST {
            self.deliver(owner.index(), batch);
        }
        if batch.len() >= ANSWERS_MAX {
            self.counters.handoff_full.add(1);
            return self.pool.free(frame);
        }
        batch.push(Outbound { port: *port, frame, hash: 0, made: true, received: sys::cycles() });
    }

    /// Leaves what there is for a thread; where there is no room it waits, and the next batch is the larger.
    fn deliver(&self, owner: usize, batch: &mut Vec<Outbound>) {
        if !batch.is_empty() {
            let _ = self.mailboxes[owner].push_answers(batch);
        }
    }
}
