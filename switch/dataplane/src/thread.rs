//! A PMD thread's loop: every queue it owns, once per turn; then what others left for it, and a bounded bit of
//! housekeeping. Spawning and pinning are the daemon's.

use std::{io, os::fd::RawFd, sync::Arc};

use crossbeam::channel::{Receiver, Sender};
use weft_pmd::{Caps, FramePool, PortQueue, Queue, sys};
use weft_wire::{PortId, QueueId, ThreadId};

use crate::{
    capture::Capture,
    egress::{Egress, Moving},
    key::{FlowKey, HashSecret},
    mailbox::{Exits, Learn, Mailbox, Outbound},
    pipeline::{Pipeline, Polled},
    publish::Reader,
    share::Source,
    snapshot::Snapshot,
    stats::{PortStats, ThreadCounters},
    table::flow::{FlowEntry, FlowTable},
    trace::live::Live,
};

/// What the control side asks of a PMD thread.
#[derive(Debug)]
pub enum Command {
    /// Own and poll a queue from now on. Sent before the snapshot that names the port is published.
    Attach {
        /// The port.
        port: PortId,
        /// Which of its queues.
        id: QueueId,
        /// The queue.
        queue: Queue,
        /// What the port can carry.
        caps: Caps,
        /// Its counters.
        stats: Arc<PortStats>,
    },
    /// Give a port's queues back, to be closed by whoever asked. Sent after a snapshot without the port was published.
    Detach {
        /// The port.
        port: PortId,
        /// Where to.
        reply: Sender<Vec<Queue>>,
    },
    /// Hand a queue over to another thread while traffic flows.
    Move {
        /// The port.
        port: PortId,
        /// Which of its queues.
        id: QueueId,
        /// The other thread,
        to: ThreadId,
        /// and the way to it.
        next: Sender<Command>,
        /// Whether it was handed over. The snapshot that says so comes after.
        reply: Sender<bool>,
    },
    /// What the other thread then gets.
    Adopt(Box<Moving>),
    /// A piece of the flow table, for people.
    DumpFlows {
        /// Slot to begin at.
        from: usize,
        /// Where to.
        reply: Sender<FlowDump>,
    },
    /// What the flow table knows of a flow.
    FindFlow {
        /// The flow.
        key: FlowKey,
        /// Where to; none: it is not there.
        reply: Sender<Option<FoundFlow>>,
    },
    /// Trace packets until it has enough of them.
    Trace(Arc<Live>),
    /// Copy packets from now on.
    Capture(Arc<Capture>),
    /// No more; what was copied is passed on first.
    EndCapture {
        /// Which.
        capture: Arc<Capture>,
        /// Told when that is done.
        reply: Sender<()>,
    },
    /// End: queues are closed and dropped with the thread.
    Stop,
}

/// A piece of a flow table.
#[derive(Debug)]
pub struct FlowDump {
    /// The flows.
    pub flows: Vec<FlowEntry>,
    /// Where to go on; `None`: that was the last piece.
    pub next: Option<usize>,
    /// The thread's clock, milliseconds, to tell idle times.
    pub now_ms: u32,
    /// The generation in force: entries of another are stale.
    pub generation: u32,
}

/// A flow in a table.
#[derive(Debug, Clone)]
pub struct FoundFlow {
    /// The flow.
    pub flow: FlowEntry,
    /// Since its last packet, milliseconds.
    pub idle_ms: u32,
    /// It was decided under another generation than that in force.
    pub stale: bool,
}

/// The clock that flow entries keep: it wraps after 49 days, which no idle flow lives to see.
#[inline]
pub(crate) fn milliseconds(now_ns: u64) -> u32 {
    (now_ns / 1_000_000) as u32
}

/// How a thread with nothing to do behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: lowest latency, a whole core.
    Spin,
    /// Sleeps in poll() once nothing has come for a while.
    Adaptive,
}

/// What a thread is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its place among the threads.
    pub id: ThreadId,
    /// Its frames.
    pub pool: FramePool,
    /// Its view of the configuration.
    pub reader: Reader<Snapshot>,
    /// Everybody's mailboxes; its own is at its place.
    pub mailboxes: Arc<[Mailbox]>,
    /// The way to the control side.
    pub exits: Arc<Exits>,
    /// Commands to it.
    pub commands: Receiver<Command>,
    /// Its counters.
    pub counters: Arc<ThreadCounters>,
    /// Flows its table holds.
    pub flows: usize,
    /// Secret of its flow table.
    pub secret: HashSecret,
}

/// A poll-mode thread.
#[derive(Debug)]
pub struct PmdThread {
    pipeline: Pipeline,
    reader: Reader<Snapshot>,
    mailboxes: Arc<[Mailbox]>,
    commands: Receiver<Command>,
    polled: Vec<Polled>,
    swept_ns: u64,
    counted_ns: u64,
    /// Somebody wants to see packets.
    trace: Option<Arc<Live>>,
    stopping: bool,
    /// A queue has come from another thread: what that thread left in the mailbox before goes first.
    has_adopted: bool,
}

/// Nothing came for so long: sleep. Longer than the pauses inside a TCP transfer between two local pods (measured
/// request-response turn-round: 10–60 µs), short enough that an idle node stays idle.
const SPIN_NS: u64 = 100_000;
/// The longest sleep; housekeeping wants its turn.
const SLEEP_MAX_MS: i32 = 500;
/// While a device owes us room to send: it does not wake us when it has it.
const SLEEP_PENDING_MS: i32 = 1;

impl PmdThread {
    /// A thread without queues; they come by [`Command::Attach`]. Fails where there is no memory for its flow table.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let egress = Egress::new(parts.id, parts.mailboxes.clone(), parts.exits, parts.counters.clone());
        let flows = FlowTable::new(parts.flows, parts.secret, true)?;
        sys::cycle_ns_q32(); // measured here, where there are no packets yet
        Ok(Self {
            pipeline: Pipeline::new(parts.pool, egress, flows, parts.counters),
            reader: parts.reader,
            mailboxes: parts.mailboxes,
            commands: parts.commands,
            polled: Vec::new(),
            swept_ns: 0,
            counted_ns: 0,
            trace: None,
            stopping: false,
            has_adopted: false,
        })
    }

    /// Turns until stopped. `clock` gives nanoseconds.
    pub fn run(&mut self, idle: Idle, clock: impl Fn() -> u64) {
        let mut busy_ns = clock();
        let mut began = sys::cycles();
        while !self.stopping {
            let now_ns = clock();
            let worked = self.turn(now_ns);
            let ended = sys::cycles();
            let counters = &self.pipeline.counters;
            counters.turns.add(1);
            if worked {
                counters.busy_turns.add(1);
                counters.busy_cycles.add(ended.wrapping_sub(began));
                busy_ns = now_ns;
            } else {
                counters.idle_cycles.add(ended.wrapping_sub(began));
                if idle == Idle::Adaptive && now_ns.saturating_sub(busy_ns) > SPIN_NS {
                    self.sleep();
                }
            }
            began = if worked { ended } else { sys::cycles() };
        }
        self.close();
    }

    /// One turn; whether there was anything to do.
    pub fn turn(&mut self, now_ns: u64) -> bool {
        let mut worked = false;
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command, now_ns);
            worked = true;
        }
        if std::mem::take(&mut self.has_adopted) {
            self.take_mail(Mailbox::DEPTH, now_ns);
            self.take_answers(Mailbox::ANSWERS, now_ns);
        }
        self.trace = self.trace.take().filter(|trace| trace.is_on(now_ns));
        let Self { pipeline, reader, polled, trace, .. } = self;
        pipeline.budget.turn(now_ns);
        let snapshot = reader.get();
        pipeline.egress.losses.turn(now_ns, snapshot.generation);
        if pipeline.egress.losses.taps.is_on() {
            pipeline.egress.losses.taps.turn(now_ns, snapshot.generation);
        }
        for from in polled.iter_mut() {
            worked |= from.resting > 0; // there is something in it
            let received = match trace {
                None => pipeline.poll(from, snapshot, now_ns),
                Some(trace) => trace.poll(pipeline, from, snapshot, now_ns),
            };
            if received > 0 {
                pipeline.counters.bursts.add(1);
                pipeline.counters.packets.add(received as u64);
                worked = true;
            }
        }
        // Not more: a neighbour's flood must not starve this thread's own queues.
        const BATCHES: usize = 4;
        worked |= self.take_mail(BATCHES, now_ns);
        worked |= self.take_answers(1, now_ns);
        let Self { pipeline, reader, .. } = self;
        if pipeline.egress.has_pending() {
            pipeline.egress.transmit(&mut pipeline.pool, reader.get());
        }
        if pipeline.egress.losses.taps.is_on() {
            pipeline.egress.losses.taps.flush(!worked);
        }
        self.sweep(now_ns);
        self.count_lost(now_ns);
        worked
    }

    /// Queues what other threads left, so many batches at most; whether there was anything.
    fn take_mail(&mut self, most: usize, now_ns: u64) -> bool {
        self.take(most, now_ns, Mailbox::pop)
    }

    /// The same of what the slow path left.
    fn take_answers(&mut self, most: usize, now_ns: u64) -> bool {
        self.take(most, now_ns, Mailbox::pop_answers)
    }

    fn take(&mut self, most: usize, now_ns: u64, pop: impl Fn(&Mailbox) -> Option<Vec<Outbound>>) -> bool {
        let own = self.pipeline.egress.thread.index();
        for taken in 0..most {
            let Some(mut batch) = pop(&self.mailboxes[own]) else { return taken > 0 };
            // A queue that another thread gave away came before the frames that it passed on.
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command, now_ns);
            }
            let Self { pipeline, reader, .. } = self;
            let snapshot = reader.get();
            pipeline.egress.losses.origin = None;
            batch
                .drain(..)
                .for_each(|outbound| pipeline.egress.receive(outbound, &mut pipeline.pool, snapshot));
            self.mailboxes[own].give_back(batch);
        }
        true
    }

    /// Expires idle flows, and keeps the addresses of live ones from ageing: a round of the table takes some seconds,
    /// spread over the turns.
    fn sweep(&mut self, now_ns: u64) {
        const PERIOD_NS: u64 = 1_000_000;
        const PERIODS_PER_ROUND: usize = 4096;
        let elapsed = now_ns.saturating_sub(self.swept_ns) / PERIOD_NS;
        if elapsed == 0 {
            return;
        }
        const ROUND_MS: u32 = (PERIODS_PER_ROUND as u64 * PERIOD_NS / 1_000_000) as u32;
        self.swept_ns = now_ns;
        let Pipeline { flows, counters, egress, .. } = &mut self.pipeline;
        let snapshot = self.reader.get();
        let (now_ms, generation) = (milliseconds(now_ns), snapshot.generation as u32);
        let n = (flows.slots() / PERIODS_PER_ROUND + 1).saturating_mul(elapsed as usize).min(flows.slots());
        flows.sweep(n, now_ms, snapshot.flow_idle_ms.max(1), |entry| {
            // An entry of an older generation may tell of where an address was before it moved.
            if entry.program.learnt
                && entry.state.generation == generation
                && now_ms.wrapping_sub(entry.state.used_ms) <= ROUND_MS
            {
                let (origin, vlan) = (entry.key.origin(), entry.key.vlan().unwrap_or(0));
                let learn = Learn { mac: entry.key.src_mac, origin, vlan, refresh: true };
                let is_within = egress.shares.learn(Source::at(origin, vlan), true, now_ns);
                if !is_within || egress.exits.learns.push(learn).is_err() {
                    counters.learn_lost.add(1);
                }
            }
        });
        counters.flows.set(flows.len() as u64);
    }

    /// Asks the ports what they lost on receipt: a system call each, so not often.
    fn count_lost(&mut self, now_ns: u64) {
        const PERIOD_NS: u64 = 500_000_000;
        if now_ns.saturating_sub(self.counted_ns) < PERIOD_NS {
            return;
        }
        self.counted_ns = now_ns;
        for local in self.pipeline.egress.ports.iter_mut().flatten() {
            for queue in &mut local.queues {
                local.stats.queue(queue.id).rx_lost.set(queue.queue.lost());
            }
        }
    }

    fn sleep(&mut self) {
        let Self { pipeline, reader, mailboxes, commands, polled, .. } = self;
        let ports = &pipeline.egress.ports;
        let queue =
            |from: &Polled| Some(&ports.get(from.port.index())?.as_ref()?.queues.get(from.queue)?.queue);
        let alive = polled.iter().filter(|from| !pipeline.egress.is_gone(from.port));
        let fds: Vec<RawFd> = alive.filter_map(|from| queue(from)?.poll_fd()).collect();
        let pending =
            pipeline.egress.has_pending() || polled.iter().filter_map(queue).any(PortQueue::is_sending);
        let timeout_ms = if pending { SLEEP_PENDING_MS } else { SLEEP_MAX_MS };
        let mailbox = &mailboxes[pipeline.egress.thread.index()];
        let has_work = || !mailbox.is_empty() || !commands.is_empty() || reader.is_stale();
        mailbox.bell.sleep(has_work, |bell| {
            pipeline.counters.sleeps.add(1);
            // An error here means that a descriptor is gone: the next turn finds out which.
            let _ = sys::wait_readable(fds.iter().copied().chain([bell]), timeout_ms);
        });
    }

    fn obey(&mut self, command: Command, now_ns: u64) {
        if matches!(command, Command::Move { .. }) {
            // What is to leave by the queue and is here already does not go the long way.
            self.take_mail(Mailbox::DEPTH, now_ns);
            self.take_answers(Mailbox::ANSWERS, now_ns);
            self.pipeline.egress.transmit(&mut self.pipeline.pool, self.reader.get());
        }
        let snapshot = self.reader.get().clone();
        let Pipeline { egress, pool, flows, .. } = &mut self.pipeline;
        match command {
            Command::Attach { port, id, queue, caps, stats } => egress.attach(port, id, queue, caps, stats),
            Command::Detach { port, reply } => {
                if let Err(unwanted) = reply.send(egress.detach(port, pool, &snapshot)) {
                    close_all(unwanted.into_inner(), pool); // nobody waits for them any more
                }
            }
            Command::Move { port, id, to, next, reply } => {
                let moving = egress.give(port, id, to);
                let is_here = moving.is_some();
                // One that has ended takes nothing: it stays.
                let refused = moving.and_then(|moving| next.send(Command::Adopt(Box::new(moving))).err());
                let _ = reply.send(is_here && refused.is_none());
                match refused.map(|refused| refused.into_inner()) {
                    Some(Command::Adopt(moving)) => egress.adopt(*moving),
                    _ => self.mailboxes[to.index()].bell.ring(),
                }
            }
            Command::Adopt(moving) => {
                egress.adopt(*moving);
                self.has_adopted = true;
            }
            Command::DumpFlows { from, reply } => {
                /// Slots per piece: some microseconds of copying.
                const PIECE: usize = 256;
                let (entries, next) = flows.dump(from, PIECE);
                let (generation, now_ms) = (snapshot.generation as u32, milliseconds(now_ns));
                let _ = reply.send(FlowDump { flows: entries, next, now_ms, generation });
                return;
            }
            Command::FindFlow { key, reply } => {
                let found = flows.find(flows.hash(&key), &key).map(|(state, program)| FoundFlow {
                    flow: FlowEntry { key, program: *program, state: *state },
                    idle_ms: milliseconds(now_ns).wrapping_sub(state.used_ms),
                    stale: state.generation != snapshot.generation as u32,
                });
                let _ = reply.send(found); // nobody waits for it any more: just as well
                return;
            }
            Command::Trace(live) => {
                self.trace = Some(live);
                return;
            }
            Command::Capture(capture) => {
                egress.watch(capture);
                return;
            }
            Command::EndCapture { capture, reply } => {
                egress.unwatch(&capture);
                drop(capture); // the last reference is the asker's: it frees the memory
                let _ = reply.send(());
                return;
            }
            Command::Stop => self.stopping = true,
        }
        self.list_polled();
    }

    fn list_polled(&mut self) {
        self.polled.clear();
        for (index, local) in self.pipeline.egress.ports.iter().enumerate() {
            let (Some(local), Some(port)) = (local, PortId::from_index(index as u16)) else { continue };
            self.polled.extend((0..local.queues.len()).map(|queue| Polled { port, queue, resting: 0 }));
        }
    }

    /// Closes every queue and takes what others left: no chunk stays behind.
    fn close(&mut self) {
        let snapshot = self.reader.get().clone();
        for index in 0..self.pipeline.egress.ports.len() {
            if let Some(port) = PortId::from_index(index as u16) {
                let queues = self.pipeline.egress.detach(port, &mut self.pipeline.pool, &snapshot);
                close_all(queues, &mut self.pipeline.pool);
            }
        }
        let mailbox = &self.mailboxes[self.pipeline.egress.thread.index()];
        while let Some(batch) = mailbox.pop().or_else(|| mailbox.pop_answers()) {
            batch.into_iter().for_each(|outbound| self.pipeline.pool.free(outbound.frame));
        }
    }
}

fn close_all(queues: Vec<Queue>, pool: &mut FramePool) {
    for mut queue in queues {
        queue.close(pool);
    }
}
