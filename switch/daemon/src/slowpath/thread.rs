//! The thread that empties what PMD threads leave for the control side.

use std::{
    net::IpAddr,
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
    desk::{Desk, DeskCounters},
    learnt::Waiting,
    path_mtu,
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
    /// The way to another node takes no larger packets.
    PathMtu {
        /// The other node's address.
        peer: IpAddr,
        /// Bytes.
        mtu: u32,
    },
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
}

impl SlowPath {
    /// Serves until stopped.
    pub fn run(mut self) {
        /// Only a bound for the case that nothing ever happens.
        const SLEEP_MAX_MS: i32 = 1000;
        /// While learnt addresses wait.
        const SLEEP_LEARNT_MS: i32 = 10;
        /// While answers do, for a thread that is behind.
        const SLEEP_ANSWERS_MS: i32 = 1;
        let start = Instant::now();
        let mut turns = Turns {
            desk: Desk::new(self.counters.desk.clone()),
            answers: self.mailboxes.iter().map(|_| Vec::with_capacity(BURST)).collect(),
            learnt: Waiting::default(),
            passed_on_ns: 0,
        };
        while !self.stop.load(Ordering::Acquire) {
            // An hour ahead, so that all begins with full buckets.
            let now_ns = start.elapsed().as_nanos() as u64 + 3_600_000_000_000;
            self.turn(&mut turns, now_ns);
            let has_work = || self.exits.has_work() || self.stop.load(Ordering::Acquire);
            self.exits.bell.sleep(has_work, |bell| {
                let timeout_ms = match turns.answers.iter().all(Vec::is_empty) {
                    true if turns.learnt.is_empty() => SLEEP_MAX_MS,
                    true => SLEEP_LEARNT_MS,
                    false => SLEEP_ANSWERS_MS,
                };
                // An error means there is nothing to wait for; the loop goes on at its own pace.
                let _ = sys::wait_readable(std::iter::once(bell), timeout_ms);
            });
        }
        turns.answers.into_iter().flatten().for_each(|outbound| self.pool.free(outbound.frame));
        self.exits.drain(&mut self.pool);
    }

    /// One burst of packets, then all that was learnt: who asks much does not keep others from being learnt.
    fn turn(&mut self, turns: &mut Turns, now_ns: u64) {
        let snapshot = self.reader.get().clone();
        turns.desk.expire(now_ns);
        for punt in std::iter::from_fn(|| self.exits.punts.pop()).take(BURST).collect::<Vec<_>>() {
            self.serve(punt, turns, &snapshot, now_ns);
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
    }

    fn serve(&mut self, punt: Punt, turns: &mut Turns, snapshot: &Snapshot, now_ns: u64) {
        let bytes = self.pool.bytes(&punt.frame);
        if punt.reason == PuntReason::PathMtu
            && let Some((peer, mtu)) = path_mtu(bytes, snapshot)
        {
            (self.report)(Report::PathMtu { peer, mtu });
        }
        for reply in turns.desk.serve(&punt, bytes, snapshot, now_ns) {
            self.send(&reply, &mut turns.answers, snapshot);
        }
        self.pool.free(punt.frame);
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
