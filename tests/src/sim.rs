//! The whole path with in-memory ports, on a clock that the test moves: configuration, compile, PMD thread, slow path.

use std::{collections::BTreeMap, sync::Arc};

use crossbeam::channel::{self, Sender};
use weft_ctl_api::spec::{Config, PortKind};
use weft_dataplane::{
    capture::{self, Capture},
    key::HashSecret,
    mailbox::{Exits, Learn, Mailbox, Outbound},
    police::Policer,
    publish::Publisher,
    reason::DropReason,
    recorder::Dropped,
    snapshot::Snapshot,
    stats::{EndpointStats, PeerStats, PortStats, RuleStats, ThreadCounters},
    thread::{Command, Parts, PmdThread},
};
use weft_pmd::{
    Caps, FramePool, Memory, Offload,
    port::sim::{self, Tape},
};
use weft_wire::{Mac, PeerId, PortId, QueueId, ThreadId, VlanId};
use weftd::{
    compile::{Facts, PeerFacts, Place, PortFacts, RuleFacts, compile, flood_limits},
    desired::{Desired, Role, RuleStep},
    slowpath::desk::{Desk, DeskCounters},
};

/// A switch in memory, with one PMD thread.
pub struct Sim {
    /// Its configuration, as meant.
    pub desired: Desired,
    /// What is so.
    pub facts: Facts,
    /// Now, nanoseconds.
    pub now_ns: u64,
    tapes: BTreeMap<String, Tape>,
    thread: PmdThread,
    commands: Sender<Command>,
    publisher: Publisher<Snapshot>,
    mailboxes: Arc<[Mailbox]>,
    exits: Arc<Exits>,
    pool: FramePool,
    memory: Arc<Memory>,
    counters: Arc<ThreadCounters>,
    desk: Desk,
    desk_counters: Arc<DeskCounters>,
}

/// MAC of an in-memory fabric or host port.
pub const DEVICE_MAC: Mac = Mac([2, 0xde, 0, 0, 0, 1]);

impl Sim {
    /// From a configuration file's text. Every port is in memory, whatever its kind says; a kind that takes super-frames
    /// does so here, too.
    pub fn new(config: &str) -> Self {
        Self::with_memory(config, 2048, 64)
    }

    /// With so much memory.
    pub fn with_memory(config: &str, small: u32, large: u32) -> Self {
        let config: Config = weftd::config::parse(config).expect("the test's configuration parses");
        let desired = Desired::try_from(&config).expect("the test's configuration is valid");
        let memory = Memory::heap(small, large).expect("memory");
        let mailboxes: Arc<[Mailbox]> = [Mailbox::new().expect("eventfd")].into();
        let exits = Arc::new(Exits::new().expect("eventfd"));
        let publisher = Publisher::new(Snapshot::default());
        let (commands, receiver) = channel::unbounded();
        let counters = Arc::new(ThreadCounters::default());
        let thread = PmdThread::new(Parts {
            id: ThreadId(0),
            pool: FramePool::new(memory.clone()),
            reader: publisher.reader(),
            mailboxes: mailboxes.clone(),
            exits: exits.clone(),
            commands: receiver,
            counters: counters.clone(),
            flows: desired.pmd.flows,
            secret: HashSecret::new([11, 22, 33, 44]),
        })
        .expect("memory for flows");
        let pool = FramePool::new(memory.clone());
        let desk_counters = Arc::new(DeskCounters::default());
        let mut sim = Self {
            desired,
            facts: Facts::default(),
            now_ns: 1_000_000_000,
            tapes: BTreeMap::new(),
            thread,
            commands,
            publisher,
            mailboxes,
            exits,
            pool,
            memory,
            counters,
            desk: Desk::new(desk_counters.clone()),
            desk_counters,
        };
        sim.open_ports();
        for endpoint in &sim.desired.endpoints {
            sim.facts.endpoints.insert(endpoint.name.clone(), Arc::new(EndpointStats::new(1)));
        }
        sim.keep_rules();
        sim.facts.flood_limits = flood_limits(&sim.desired);
        for (i, peer) in sim.desired.peers.iter().enumerate() {
            sim.facts.next_hops.insert(peer.address, Mac([2, 0x99, 0, 0, 0, i as u8]));
            let known = PeerFacts { id: PeerId(i as u16), stats: Arc::new(PeerStats::new(1)) };
            sim.facts.peers.insert(peer.name.clone(), known);
        }
        sim.publish();
        sim
    }

    fn open_ports(&mut self) {
        for (index, port) in self.desired.ports.iter().enumerate() {
            let whole = matches!(port.spec.kind, PortKind::Tap | PortKind::Packet);
            let caps = Caps { mtu: port.spec.mtu.unwrap_or(1500), csum: whole, gso: whole };
            let mac = if matches!(port.role, Role::Host | Role::Fabric) { DEVICE_MAC } else { Mac::ZERO };
            let (mut opened, tape) = sim::open(caps, mac);
            let id = PortId::from_index(index as u16).expect("few ports");
            let stats = Arc::new(PortStats::new(1, 1));
            let queue = opened.queues.remove(0);
            let attach = Command::Attach { port: id, id: QueueId(0), queue, caps, stats: stats.clone() };
            self.commands.send(attach).expect("the thread lives");
            let facts = PortFacts { id, mac, caps, owners: vec![ThreadId(0)], stats };
            self.facts.ports.insert(port.name.clone(), facts);
            self.tapes.insert(port.name.clone(), tape);
        }
    }

    fn keep_rules(&mut self) {
        for rule in &self.desired.rules {
            let policer = |step: &RuleStep| match step {
                RuleStep::Police { unit, rate, burst } => Some(Arc::new(Policer::new(*unit, *rate, *burst))),
                _ => None,
            };
            let policers = rule.steps.iter().filter_map(policer).collect();
            self.facts
                .rules
                .insert(rule.name.clone(), RuleFacts { stats: Arc::new(RuleStats::new(1)), policers });
        }
    }

    /// Compiles and publishes what is meant and known now.
    pub fn publish(&mut self) {
        self.facts.generation += 1;
        let snapshot = compile(&self.desired, &self.facts);
        self.publisher.publish(snapshot);
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.current().clone()
    }

    /// The other side of a port.
    pub fn tape(&self, port: &str) -> &Tape {
        &self.tapes[port]
    }

    /// Makes a packet arrive at a port.
    pub fn put(&self, port: &str, bytes: Vec<u8>) {
        self.tape(port).put(bytes, Offload::default());
    }

    /// Turns until nothing is left to do, punts answered and addresses learnt as the daemon would.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            self.now_ns += 1_000;
            let worked = self.thread.turn(self.now_ns);
            if !worked & !self.serve() {
                return;
            }
        }
        panic!("the switch does not come to rest");
    }

    /// One turn of the PMD thread, nothing else.
    pub fn turn(&mut self) {
        self.now_ns += 1_000;
        self.thread.turn(self.now_ns);
    }

    /// The control side's part: answers punts, takes in learnt addresses.
    fn serve(&mut self) -> bool {
        let mut worked = false;
        let (snapshot, mut answers) = (self.snapshot(), Vec::new());
        while let Some(punt) = self.exits.punts.pop() {
            let replies = self.desk.serve(&punt, self.pool.bytes(&punt.frame), &snapshot, self.now_ns);
            for reply in replies {
                let frame = self.pool.alloc_copy(&reply.bytes).expect("memory for a reply");
                let outbound = Outbound {
                    port: reply.port,
                    frame,
                    hash: 0,
                    made: true,
                    received: weft_pmd::sys::cycles(),
                };
                answers.push(outbound);
            }
            self.pool.free(punt.frame);
            worked = true;
        }
        if !answers.is_empty() {
            self.mailboxes[0].push_answers(&mut answers).expect("room in the mailbox");
        }
        let mut learnt = false;
        while let Some(learn) = self.exits.learns.pop() {
            learnt |= self.learn(learn);
        }
        if learnt {
            self.publish();
        }
        worked | learnt
    }

    fn learn(&mut self, learn: Learn) -> bool {
        if let Some((peer, network)) = learn.origin.tunnel() {
            let key = (self.desired.networks[network.index()].name.clone(), learn.mac);
            let here = Place::Peer(self.desired.peers[peer.index()].name.clone());
            return !learn.refresh && self.facts.fdb.insert(key, here.clone()) != Some(here);
        }
        let port = &self.desired.ports[learn.origin.port().expect("by a port").index()];
        let vlan = VlanId::try_from(u32::from(learn.vlan)).ok();
        let network = match &port.role {
            Role::Access(network) => *network,
            Role::Trunk(networks) => *networks
                .iter()
                .find(|index| self.desired.networks[**index].vlan == vlan)
                .expect("learnt in a network of the trunk"),
            role => panic!("learnt on a port of role {role:?}"),
        };
        let key = (self.desired.networks[network].name.clone(), learn.mac);
        let here = Place::Port(port.name.clone(), vlan);
        if learn.refresh {
            return false;
        }
        self.facts.fdb.insert(key, here.clone()) != Some(here)
    }

    /// A port's number.
    pub fn port(&self, port: &str) -> PortId {
        self.facts.ports[port].id
    }

    /// Begins a capture.
    pub fn capture(&self, spec: capture::Spec, memory: usize) -> Arc<Capture> {
        let capture = Arc::new(Capture::new(spec, memory).expect("eventfd"));
        self.commands.send(Command::Capture(capture.clone())).expect("the thread lives");
        capture
    }

    /// Ends it.
    pub fn end_capture(&mut self, capture: &Arc<Capture>) {
        let (reply, answer) = channel::bounded(1);
        let end = Command::EndCapture { capture: capture.clone(), reply };
        self.commands.send(end).expect("the thread lives");
        self.turn();
        answer.recv().expect("an answer");
    }

    /// A port's counters.
    pub fn stats(&self, port: &str) -> &PortStats {
        &self.facts.ports[port].stats
    }

    /// Drops at a port for a reason.
    pub fn drops(&self, port: &str, reason: DropReason) -> u64 {
        self.stats(port).drops(reason)
    }

    /// What the slow path did not answer.
    pub fn unanswered(&self) -> &DeskCounters {
        &self.desk_counters
    }

    /// What the flight recorder remembers, and how many packets it left out.
    pub fn recorded(&self) -> (Vec<Dropped>, u64) {
        let recorder = &self.counters.recorder;
        (recorder.read(0).into_iter().map(|(_, dropped)| dropped).collect(), recorder.left_out.get())
    }

    /// An endpoint's drops for a reason.
    pub fn endpoint_drops(&self, endpoint: &str, reason: DropReason) -> u64 {
        self.facts.endpoints[endpoint].drops(reason)
    }

    /// The laws every run obeys, whatever came in; nothing may be pending.
    pub fn check_laws(&self) {
        let (mut forwarded, mut made, mut offered, mut dropped) = (0, 0, 0, 0);
        for (name, port) in &self.facts.ports {
            let row = port.stats.thread(ThreadId(0));
            let queue = port.stats.queue(QueueId(0));
            let (ingress, egress) = DropReason::ALL.split_at(DropReason::PortGone as usize);
            let drops =
                |reasons: &[DropReason]| reasons.iter().map(|reason| port.stats.drops(*reason)).sum::<u64>();
            let punted: u64 = row.punts.iter().map(|counter| counter.get()).sum();
            let decided = row.forwarded.get() + row.flooded.get() + punted + drops(ingress);
            assert_eq!(queue.rx_packets.get(), decided, "{name}: verdicts partition what was received");
            let sent = queue.tx_packets.get() + drops(egress);
            assert_eq!(
                row.offered.get(),
                sent,
                "{name}: what came to be sent was sent or dropped with a reason"
            );
            // A device's refusals leave no packet to remember.
            dropped += drops(&DropReason::ALL) - drops(&[DropReason::Refused]);
            forwarded += row.forwarded.get();
            made += row.made.get();
            offered += row.offered.get();
        }
        let recorder = &self.counters.recorder;
        assert_eq!(
            dropped + self.counters.orphans.get(),
            recorder.written() + recorder.left_out.get(),
            "what is dropped is remembered, or counted as not remembered"
        );
        assert_eq!(
            offered,
            forwarded + made - self.counters.orphans.get(),
            "frames do not come from nowhere"
        );
    }

    /// Ends the thread and checks that every chunk of memory has come back.
    pub fn finish(self) {
        let Self { mut thread, commands, exits, mut pool, memory, mailboxes, .. } = self;
        commands.send(Command::Stop).expect("the thread lives");
        thread.run(weft_dataplane::thread::Idle::Spin, || 2_000_000_000);
        exits.drain(&mut pool);
        drop((thread, pool, mailboxes));
        assert_eq!(memory.available(), memory.total(), "no frame is lost");
    }
}
