//! The packet's path alone: a `gen` port in, a `null` port out, one pinned core, no kernel.

mod scene;
pub mod verb;

use std::{sync::Arc, time::Instant};

use crossbeam::channel;
use weft_dataplane::{
    capture::Capture,
    key::HashSecret,
    mailbox::{Exits, Mailbox},
    publish::Publisher,
    snapshot::Snapshot,
    stats::{Counter, PortStats, Stage, ThreadCounters},
    thread::{Command, Parts, PmdThread},
};
use weft_pmd::{
    Burst, FramePool, Memory, PortQueue,
    port::{Opened, gen_udp, null},
    sys,
};
use weft_wire::{QueueId, ThreadId};

use scene::{CAPS, IDLE_MS, PORTS, intruder, outer_header, snapshot, spec};

/// What the packets go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// A rule: port to port.
    Xconnect,
    /// A bridged network, both stations learnt.
    L2,
    /// A routed network, pod to pod.
    L3,
    /// The same behind operators' rules of many mask shapes, of which none matches.
    Rules,
    /// The same, every packet a new flow.
    Miss,
    /// Established flows, as in `rules`, while another port offers nothing but new ones.
    Mixed,
    /// A routed network, pod to another node's pod, by VXLAN over IPv4.
    VxlanEncap,
    /// The other way: from another node's pod.
    VxlanDecap,
}

impl Case {
    fn is_routed(self) -> bool {
        !matches!(self, Self::Xconnect | Self::L2)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The case.
    pub case: Case,
    /// Distinct flows, in random order.
    pub flows: u32,
    /// Operators' rules, in the cases that have some.
    pub rules: usize,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// For so long.
    pub seconds: f64,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Packets per second, millions.
    pub mpps: f64,
    /// Time-stamp-counter cycles per packet, generator and sink included.
    pub cycles_per_packet: f64,
    /// Of these, what generator and sink cost alone.
    pub source_and_sink_cycles: f64,
    /// Cycles per packet of each stage, by its word.
    pub stages: Vec<(&'static str, f64)>,
    /// Share of lookups that the flow table answered, percent.
    pub hit_percent: f64,
    /// In the case `mixed`: what new flows did to established ones.
    pub mixed: Option<MixedOutcome>,
}

/// Established flows beside a flood of new ones.
#[derive(Debug, Clone)]
pub struct MixedOutcome {
    /// Packets of established flows per second while nothing else came, millions.
    pub alone_mpps: f64,
    /// The same during the flood.
    pub established_mpps: f64,
    /// New flows decided per second, millions.
    pub resolved_mpps: f64,
}

/// How many PMD threads there are, and which of them owns each queue of each port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    threads: usize,
    owners: [Vec<ThreadId>; 3],
}

impl Layout {
    /// Every thread has a queue of its own of every port.
    pub fn apart(threads: usize) -> Self {
        let all: Vec<ThreadId> = (0..threads as u16).map(ThreadId).collect();
        Self { threads, owners: [all.clone(), all, vec![ThreadId(0)]] }
    }

    /// One thread receives, another sends: every frame is handed over.
    pub fn handed_over() -> Self {
        Self { threads: 2, owners: [vec![ThreadId(0)], vec![ThreadId(1)], vec![ThreadId(0)]] }
    }
}

/// A PMD thread with the case's ports and configuration, ready to turn.
pub fn thread(setup: &Setup) -> std::io::Result<Bench> {
    threads(setup, &Layout::apart(1)).map(|mut threads| threads.remove(0))
}

fn source(setup: &Setup, queues: u16) -> std::io::Result<Opened> {
    let spec = gen_udp::Spec { queues, ..spec(setup) };
    let front = if setup.case == Case::VxlanDecap { outer_header(spec.size) } else { Vec::new() };
    gen_udp::open_behind(&front, &spec).map_err(|error| std::io::Error::other(error.to_string()))
}

/// PMD threads of one switch: one memory, one configuration, each with a table of its own.
pub fn threads(setup: &Setup, layout: &Layout) -> std::io::Result<Vec<Bench>> {
    let other = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
    let memory = Memory::new(16 * layout.threads).map_err(|error| other(&error))?;
    let stats =
        std::array::from_fn(|port| Arc::new(PortStats::new(layout.owners[port].len(), layout.threads)));
    let publisher = Arc::new(Publisher::new(snapshot(setup, layout, &stats)));
    let mailboxes: Arc<[Mailbox]> = (0..layout.threads).map(|_| Mailbox::new()).collect::<Result<_, _>>()?;
    let exits = Arc::new(Exits::new()?);
    let queues = |port: usize| layout.owners[port].len() as u16;
    let open = |spec: gen_udp::Spec| gen_udp::open(&spec).map_err(|error| other(&error));
    let source = source(setup, queues(0))?;
    let mut opened = vec![source, null::open(queues(1), 1500)];
    if setup.case == Case::Mixed {
        opened.push(open(intruder(setup))?);
    }
    let mut benches = Vec::new();
    for id in 0..layout.threads {
        let (commands, receiver) = channel::unbounded();
        let counters = Arc::new(ThreadCounters::default());
        let thread = PmdThread::new(Parts {
            id: ThreadId(id as u16),
            pool: FramePool::new(memory.clone()),
            reader: publisher.reader(),
            mailboxes: mailboxes.clone(),
            exits: exits.clone(),
            commands: receiver,
            counters: counters.clone(),
            flows: (setup.flows as usize * 2).max(1024),
            secret: HashSecret::new([0x5eed, 0xfeed, 0xbeef, 0xcafe]),
        })?;
        benches.push(Bench {
            thread,
            counters,
            commands,
            stats: stats.clone(),
            _publisher: publisher.clone(),
        });
    }
    for (port, opened) in opened.into_iter().enumerate() {
        for (id, (queue, owner)) in opened.queues.into_iter().zip(&layout.owners[port]).enumerate() {
            let (id, stats) = (QueueId(id as u16), stats[port].clone());
            let attach = Command::Attach { port: PORTS[port], id, queue, caps: CAPS, stats };
            benches[owner.index()].commands.send(attach).map_err(|error| other(&error))?;
        }
    }
    Ok(benches)
}

/// A thread under test.
#[derive(Debug)]
pub struct Bench {
    /// The thread.
    pub thread: PmdThread,
    /// What it counts.
    pub counters: Arc<ThreadCounters>,
    commands: channel::Sender<Command>,
    stats: [Arc<PortStats>; 3],
    _publisher: Arc<Publisher<Snapshot>>,
}

impl Bench {
    /// The way to tell the thread something.
    pub fn commands(&self) -> channel::Sender<Command> {
        self.commands.clone()
    }

    /// What the sink counts, for all threads.
    pub fn sink(&self) -> Arc<PortStats> {
        self.stats[1].clone()
    }

    /// Lets time pass, without packets, until no flow is left; how much.
    fn forget_flows(&mut self, mut now_ns: u64) -> u64 {
        const STEP_NS: u64 = 100_000_000;
        let (reply, queues) = channel::bounded(1);
        let began = now_ns;
        // A command fails when the thread is gone, which this one, being no thread at all, never is.
        let _ = self.commands.send(Command::Detach { port: PORTS[0], reply });
        now_ns += u64::from(IDLE_MS) * 1_000_000;
        while self.counters.flows.get() > 0 {
            now_ns += STEP_NS;
            self.thread.turn(now_ns);
        }
        for queue in queues.try_recv().into_iter().flatten() {
            let stats = self.stats[0].clone();
            let _ = self.commands.send(Command::Attach {
                port: PORTS[0],
                id: QueueId(0),
                queue,
                caps: CAPS,
                stats,
            });
        }
        now_ns - began
    }
}

/// Runs a case on this core, with somebody watching or not.
pub fn run(setup: &Setup, capture: Option<Arc<Capture>>) -> std::io::Result<Outcome> {
    let alone = match setup.case {
        Case::Mixed => Some(run(&Setup { case: Case::Rules, ..*setup }, capture.clone())?),
        _ => None,
    };
    let mut bench = thread(setup)?;
    if let Some(capture) = capture {
        let _ = bench.commands.send(Command::Capture(capture)); // the thread is there
    }
    let (start, mut ahead_ns) = (Instant::now(), 0);
    // Every flow is in the table before counting begins. Unless new ones are what is measured: then all are forgotten
    // again, so that what is measured is neither the kernel's memory nor the table's growth, and it ends with the last.
    let (warm_up, end) = match setup.case {
        Case::Miss => (u64::from(setup.flows), 2 * u64::from(setup.flows)),
        _ => (u64::from(setup.flows) * 8 + 100_000, u64::MAX),
    };
    while bench.counters.packets.get() < warm_up {
        bench.thread.turn(start.elapsed().as_nanos() as u64);
    }
    if setup.case == Case::Miss {
        ahead_ns = bench.forget_flows(start.elapsed().as_nanos() as u64);
    }
    let Bench { thread, counters, stats, .. } = &mut bench;
    let established = || stats[0].queue(QueueId(0)).rx_packets.get();
    let established_before = established();
    let clock = || ahead_ns + start.elapsed().as_nanos() as u64;
    let (packets, hits, misses) =
        (counters.packets.get(), counters.flow_hits.get(), counters.flow_misses.get());
    let before = stage_counts(counters);
    let (began, cycles) = (Instant::now(), sys::cycles());
    while began.elapsed().as_secs_f64() < setup.seconds && counters.packets.get() < end {
        for _ in 0..64 {
            thread.turn(clock());
        }
    }
    let cycles = sys::cycles() - cycles;
    let elapsed = began.elapsed().as_secs_f64();
    let packets = (counters.packets.get() - packets) as f64;
    let (hits, misses) =
        ((counters.flow_hits.get() - hits) as f64, (counters.flow_misses.get() - misses) as f64);
    Ok(Outcome {
        mpps: packets / elapsed / 1e6,
        cycles_per_packet: cycles as f64 / packets,
        source_and_sink_cycles: source_and_sink(setup)?,
        stages: stages(counters, &before),
        mixed: alone.map(|alone| MixedOutcome {
            alone_mpps: alone.mpps,
            established_mpps: (established() - established_before) as f64 / elapsed / 1e6,
            resolved_mpps: misses / elapsed / 1e6,
        }),
        hit_percent: 100.0 * hits / (hits + misses).max(1.0),
    })
}

fn stage_counts(counters: &ThreadCounters) -> (Vec<u64>, u64) {
    (counters.stages.cycles.iter().map(Counter::get).collect(), counters.stages.packets.get())
}

fn stages(counters: &ThreadCounters, before: &(Vec<u64>, u64)) -> Vec<(&'static str, f64)> {
    let (cycles, packets) = stage_counts(counters);
    let per_packet = |i: usize| (cycles[i] - before.0[i]) as f64 / (packets - before.1).max(1) as f64;
    Stage::ALL.iter().map(|stage| (stage.word(), per_packet(*stage as usize))).collect()
}

/// Cycles per packet of making and taking packets, with nothing in between.
fn source_and_sink(setup: &Setup) -> std::io::Result<f64> {
    let other = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
    const PACKETS: usize = 4_000_000;
    let mut pool = FramePool::new(Memory::new(16).map_err(|error| other(&error))?);
    let mut source = source(setup, 1)?.queues.remove(0);
    let mut sink = null::open(1, 1500).queues.remove(0);
    let mut burst = Burst::new();
    let (began, mut done) = (sys::cycles(), 0);
    while done < PACKETS {
        source.rx(&mut pool, &mut burst).map_err(|error| other(&error))?;
        done += burst.len();
        sink.tx(&mut pool, &mut burst).map_err(|error| other(&error))?;
    }
    Ok((sys::cycles() - began) as f64 / done as f64)
}
