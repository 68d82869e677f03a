//! Counters: one writer each (the thread that owns the row), any number of readers.
//!
//! A reader sees each counter whole, but not several of one instant; sums are exact once traffic has stopped.

mod residence;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use weft_pmd::sys;
use weft_wire::{QueueId, ThreadId};

use crate::{
    reason::{DropReason, PuntReason},
    recorder::Recorder,
};
pub use residence::{Residence, ResidenceTotal};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the counter's one writer may call this: it is a plain load and store, not an atomic add.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets it. Only the counter's one writer may call this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What passed one queue. Written by the thread that owns the queue.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Frames received.
    pub rx_packets: Counter,
    /// Their bytes.
    pub rx_bytes: Counter,
    /// Frames lost before the switch saw them.
    pub rx_lost: Counter,
    /// Frames the port took.
    pub tx_packets: Counter,
    /// Their bytes.
    pub tx_bytes: Counter,
}

/// What one thread decided about one port's packets.
#[derive(Debug)]
pub struct PortCounters {
    /// Received here and forwarded.
    pub forwarded: Counter,
    /// Received here and flooded.
    pub flooded: Counter,
    /// Received here and punted, by reason.
    pub punts: [Counter; PuntReason::COUNT],
    /// Dropped, by reason: of the ingress side where received here, of the egress side where it was to leave here.
    pub drops: [Counter; DropReason::COUNT],
    /// Frames that were made here on their way out: flood and mirror copies, segments, fragments, the slow path's.
    pub made: Counter,
    /// Frames that came to be sent here, whatever became of them.
    pub offered: Counter,
    /// How long frames sent here were in the switch.
    pub residence: Residence,
}

impl Default for PortCounters {
    fn default() -> Self {
        Self {
            forwarded: Counter::default(),
            flooded: Counter::default(),
            punts: std::array::from_fn(|_| Counter::default()),
            drops: std::array::from_fn(|_| Counter::default()),
            made: Counter::default(),
            offered: Counter::default(),
            residence: Residence::default(),
        }
    }
}

/// All counters of one port. They live as long as the port, across snapshots.
#[derive(Debug)]
pub struct PortStats {
    queues: Box<[CachePadded<QueueCounters>]>,
    threads: Box<[CachePadded<PortCounters>]>,
}

impl PortStats {
    /// Zeroes for so many queues and PMD threads.
    pub fn new(queues: usize, threads: usize) -> Self {
        Self {
            queues: (0..queues).map(|_| CachePadded::default()).collect(),
            threads: (0..threads).map(|_| CachePadded::default()).collect(),
        }
    }

    /// One queue's row.
    #[inline]
    pub fn queue(&self, queue: QueueId) -> &QueueCounters {
        &self.queues[queue.index()]
    }

    /// One thread's row.
    #[inline]
    pub fn thread(&self, thread: ThreadId) -> &PortCounters {
        &self.threads[thread.index()]
    }

    /// All queues' rows.
    pub fn queues(&self) -> impl Iterator<Item = &QueueCounters> {
        self.queues.iter().map(|row| &**row)
    }

    /// All threads' rows.
    pub fn threads(&self) -> impl Iterator<Item = &PortCounters> {
        self.threads.iter().map(|row| &**row)
    }

    /// Drops of one reason, all threads.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.threads().map(|row| row.drops[reason as usize].get()).sum()
    }

    /// How long frames sent here were in the switch, all threads.
    pub fn residence(&self) -> ResidenceTotal {
        self.threads().fold(ResidenceTotal::default(), |sum, row| sum.with(&row.residence))
    }
}

/// The stages of the packet's path, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Port → burst.
    Receive,
    /// Tunnel packets → what is in them.
    Decap,
    /// Headers → flow key.
    Parse,
    /// Flow key → program.
    Classify,
    /// Program → bytes rewritten, verdict.
    Act,
    /// Verdict → transmit burst.
    Egress,
    /// Transmit burst → port.
    Transmit,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Receive, Self::Decap, Self::Parse, Self::Classify, Self::Act, Self::Egress, Self::Transmit];

    /// Its word in tables and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Decap => "decap",
            Self::Parse => "parse",
            Self::Classify => "classify",
            Self::Act => "act",
            Self::Egress => "egress",
            Self::Transmit => "transmit",
        }
    }
}

/// Where the cycles go: one burst in [`StageCounters::EVERY`] is timed, so that the clock costs nothing that counts.
#[derive(Debug, Default)]
pub struct StageCounters {
    /// Time-stamp-counter cycles of the timed bursts, by [`Stage`].
    pub cycles: [Counter; Stage::ALL.len()],
    /// Frames in the timed bursts.
    pub packets: Counter,
}

impl StageCounters {
    /// One burst of so many is timed.
    pub const EVERY: u64 = 64;
}

/// A watch on one burst's stages, which mostly stands still.
#[derive(Debug)]
pub(crate) struct Lap {
    last: Option<u64>,
}

impl Lap {
    /// Before burst number `burst`.
    #[inline]
    pub(crate) fn start(burst: u64) -> Self {
        Self { last: burst.is_multiple_of(StageCounters::EVERY).then(sys::cycles) }
    }

    /// A stage has ended.
    #[inline]
    pub(crate) fn ended(&mut self, stage: Stage, counters: &StageCounters) {
        if let Some(last) = &mut self.last {
            let now = sys::cycles();
            counters.cycles[stage as usize].add(now.wrapping_sub(*last));
            *last = now;
        }
    }

    /// The burst had so many frames.
    pub(crate) fn finish(&self, packets: u64, counters: &StageCounters) {
        if self.last.is_some() {
            counters.packets.add(packets);
        }
    }
}

/// What one PMD thread did.
#[derive(Debug, Default)]
pub struct ThreadCounters {
    /// Turns of the loop.
    pub turns: Counter,
    /// Turns that received or sent something.
    pub busy_turns: Counter,
    /// Bursts received that had a frame in them.
    pub bursts: Counter,
    /// Frames received.
    pub packets: Counter,
    /// Time-stamp-counter cycles of busy turns.
    pub busy_cycles: Counter,
    /// Time-stamp-counter cycles of turns that found nothing, without sleep.
    pub idle_cycles: Counter,
    /// Times it slept.
    pub sleeps: Counter,
    /// Flow lookups that hit a valid entry.
    pub flow_hits: Counter,
    /// Lookups that went to `resolve`.
    pub flow_misses: Counter,
    /// Flows not installed because the table was full.
    pub flow_table_full: Counter,
    /// Flows in the table.
    pub flows: Counter,
    /// Frames for a port that no thread has any more.
    pub orphans: Counter,
    /// Learn events that were not passed on: over their source's share, or the ring was full.
    pub learn_lost: Counter,
    /// Where the cycles of busy turns go.
    pub stages: StageCounters,
    /// Packets it dropped last.
    pub recorder: Recorder,
}

/// Drops of one endpoint's packets: those that came from it, and those that were to reach it.
#[derive(Debug)]
pub struct EndpointStats {
    threads: Box<[CachePadded<[Counter; DropReason::COUNT]>]>,
}

impl EndpointStats {
    /// Zeroes for so many PMD threads.
    pub fn new(threads: usize) -> Self {
        let row = |_| CachePadded::new(std::array::from_fn(|_| Counter::default()));
        Self { threads: (0..threads).map(row).collect() }
    }

    /// Counts in one thread's row.
    pub(crate) fn dropped(&self, thread: ThreadId, reason: DropReason, packets: u64) {
        if let Some(row) = self.threads.get(thread.index()) {
            row[reason as usize].add(packets);
        }
    }

    /// Drops of one reason, all threads.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.threads.iter().map(|row| row[reason as usize].get()).sum()
    }
}

/// What went to another node and came from it, through tunnels. Inner bytes.
#[derive(Debug)]
pub struct PeerStats {
    threads: Box<[CachePadded<PeerCounters>]>,
}

/// One thread's share of [`PeerStats`].
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// Packets wrapped up for it.
    pub tx_packets: Counter,
    /// Their bytes.
    pub tx_bytes: Counter,
    /// Packets of its unwrapped.
    pub rx_packets: Counter,
    /// Their bytes.
    pub rx_bytes: Counter,
}

impl PeerStats {
    /// Zeroes for so many PMD threads.
    pub fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| CachePadded::default()).collect() }
    }

    #[inline]
    pub(crate) fn sent(&self, thread: ThreadId, bytes: usize) {
        let row = &self.threads[thread.index()];
        row.tx_packets.add(1);
        row.tx_bytes.add(bytes as u64);
    }

    #[inline]
    pub(crate) fn received(&self, thread: ThreadId, bytes: usize) {
        let row = &self.threads[thread.index()];
        row.rx_packets.add(1);
        row.rx_bytes.add(bytes as u64);
    }

    /// All threads' rows.
    pub fn threads(&self) -> impl Iterator<Item = &PeerCounters> {
        self.threads.iter().map(|row| &**row)
    }
}

/// Hits of an operator's rule.
#[derive(Debug)]
pub struct RuleStats {
    threads: Box<[CachePadded<(Counter, Counter)>]>,
}

impl RuleStats {
    /// Zeroes for so many PMD threads.
    pub fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| CachePadded::default()).collect() }
    }

    #[inline]
    pub(crate) fn count(&self, thread: ThreadId, packets: u64, bytes: u64) {
        let row = &self.threads[thread.index()];
        row.0.add(packets);
        row.1.add(bytes);
    }

    /// Packets and bytes that matched.
    pub fn total(&self) -> (u64, u64) {
        self.threads.iter().fold((0, 0), |sum, row| (sum.0 + row.0.get(), sum.1 + row.1.get()))
    }
}
