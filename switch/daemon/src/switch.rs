//! The switch as the control side holds it: what is configured, what is open, what is known; and [`Switch::apply`], the one
//! way from one configuration to the next.
//!
//! Every change, from a file or a verb, is a new [`Config`] that is checked whole, then applied: ports that are new are
//! opened before anything is published, so that a failure leaves things as they were; then the snapshot is published;
//! then ports that are gone are closed. Nobody waits for a PMD thread but the closing of ports. What a pod has made of its
//! namespace or device fails nothing but its own port (`waiting`), and holds nobody up for long.

mod devices;
mod fabric;
mod gone;
mod keep;
mod learning;
mod names;
mod opening;
mod paths;
mod queues;
mod view;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use crossbeam::channel::Sender;
use weft_ctl_api::{
    Code, Error,
    spec::{Config, PortSpec},
};
use weft_dataplane::{
    police::Policer,
    stats::{PortStats, RuleStats},
};
use weft_pmd::{
    PortInfo, Queue,
    port::{Guard, LinkProbe},
    sys::net::LinkFacts,
};
use weft_wire::{PortId, ThreadId};

use crate::{
    compile::{Compiler, Facts, RuleFacts},
    desired::{Checker, Desired, Invalid, Rule, RuleStep},
    event::Event,
    memory,
    netlink::{devices as watched, nexthop, rss::Spread, tap::Placement},
    ports::{self, Ready},
    runtime::{Runtime, RuntimeError},
};
use opening::Fresh;

pub use gone::{Gone, Lost};
pub use learning::Learnt;
pub use names::{Names, PastNames};
pub use queues::{Loads, QueueName};
pub use view::View;
pub use waiting::{PortState, Waiting};

/// A port that is open.
pub struct OpenPort {
    /// As it was opened.
    pub spec: PortSpec,
    /// What it turned out to be.
    pub info: PortInfo,
    /// Which thread owns each queue.
    pub owners: Vec<ThreadId>,
    /// Its counters.
    pub stats: Arc<PortStats>,
    /// Whether its device sends packets where the switch looks (an uplink's, once it was asked).
    pub spread: Option<Spread>,
    id: PortId,
    guard: Guard,
    probe: Arc<LinkProbe>,
    /// What its device is watched under.
    ticket: u64,
    /// What its device was last.
    facts: Option<LinkFacts>,
    /// Receive queues that its device had when it was opened.
    queues_then: Option<u16>,
    /// A tap: where it was put, and what it was to get there;
    placed: Option<Placement>,
    /// what of that could not be done,
    short: Vec<String>,
    /// and when it is tried again.
    pace: waiting::Pace,
    /// It is being configured.
    at_work: bool,
    /// When it was opened,
    since: Instant,
    /// and how often that had been tried before.
    opened_at_pace: waiting::Pace,
    /// The last to go: its device is another's to open then.
    _held: Option<ports::Held>,
}

impl OpenPort {
    /// Its number.
    pub fn id(&self) -> PortId {
        self.id
    }
}

/// Everything the control side holds.
pub struct Switch {
    /// As typed.
    pub config: Config,
    /// As meant.
    pub desired: Arc<Desired>,
    /// The file weftd was started with.
    pub path: Option<PathBuf>,
    /// Threads, memory, publication.
    pub runtime: Runtime,
    /// Ports that are open, by name.
    pub ports: BTreeMap<String, OpenPort>,
    /// Ports that can't be opened yet, or whose device is gone, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// Learnt addresses, beyond what the snapshot needs.
    pub learnt: Learnt,
    /// What numbers stand for, and stood for.
    pub names: PastNames,
    /// What ports and endpoints had dropped that are gone.
    pub gone: Gone,
    /// When weftd started.
    pub started: Instant,
    /// The time-stamp counter then.
    pub started_cycles: u64,
    facts: Facts,
    checker: Checker,
    compiler: Compiler,
    /// What the change under way could not do, though it is in force.
    warnings: Vec<String>,
    events: Sender<Event>,
    devices: watched::Watcher,
    /// Ports that were opened so far.
    tickets: u64,
    watcher: Option<(BTreeSet<IpAddr>, u32, nexthop::Watcher)>,
    peer_watch: fabric::PeerWatch,
    queue_watch: queues::QueueWatch,
    /// The port whose keeper was looked after last,
    keepers_looked_at: String,
    /// and the waiting port whose device was.
    waiting_looked_at: String,
    /// Threads that open or configure ports.
    workers: Arc<AtomicUsize>,
}

/// How a configuration is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// weftd starts: whatever can't be opened waits.
    Start,
    /// Ports that wait are tried again now, and those opened anew whose device has other queues than it had.
    Waiting,
    /// Those that wait are left to their pace.
    Nothing,
}

fn is_xsk(ready: &Ready) -> bool {
    matches!(ready.opened.queues.first(), Some(Queue::Xsk(_)))
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::new(Code::Invalid, format!("{}: {}", invalid.key, invalid.problem)).remedy(invalid.remedy)
    }
}

fn not_opened(port: &str, error: &ports::OpenError) -> Error {
    Error::new(Code::Unavailable, format!("port \"{port}\": {error}"))
}

/// Of a rule that is new.
fn rule_facts(rule: &Rule, threads: usize) -> RuleFacts {
    let policer = |step: &RuleStep| match step {
        RuleStep::Police { unit, rate, burst } => Some(Arc::new(Policer::new(*unit, *rate, *burst))),
        _ => None,
    };
    RuleFacts {
        stats: Arc::new(RuleStats::new(threads)),
        policers: rule.steps.iter().filter_map(policer).collect(),
    }
}

impl Switch {
    /// A switch with nothing in it but threads. Generations go on from the one given.
    pub fn new(
        config: Config,
        runtime: Runtime,
        path: Option<PathBuf>,
        events: Sender<Event>,
        generation: u64,
    ) -> Result<Self, Error> {
        let empty = Config {
            node: config.node,
            pmd: config.pmd,
            log: config.log,
            metrics: config.metrics,
            ..Config::default()
        };
        let desired = Arc::new(Desired::try_from(&empty)?);
        let devices = watched::watch({
            let events = events.clone();
            // The control thread is gone only when weftd ends.
            move |changes| drop(events.send(Event::Devices(changes)))
        });
        let unwatched = |error| Error::new(Code::Internal, RuntimeError::from(error).to_string());
        let devices = devices.map_err(unwatched)?;
        Ok(Self {
            config: empty,
            desired,
            path,
            runtime,
            ports: BTreeMap::new(),
            waiting: BTreeMap::new(),
            learnt: Learnt::default(),
            names: PastNames::default(),
            gone: Gone::default(),
            started: Instant::now(),
            started_cycles: weft_pmd::sys::cycles(),
            facts: Facts { generation, ..Facts::default() },
            checker: Checker::default(),
            compiler: Compiler::default(),
            warnings: Vec::new(),
            events,
            devices,
            tickets: 0,
            watcher: None,
            peer_watch: fabric::PeerWatch::default(),
            queue_watch: queues::QueueWatch::default(),
            keepers_looked_at: String::new(),
            waiting_looked_at: String::new(),
            workers: Arc::default(),
        })
    }

    /// The configuration's generation.
    pub fn generation(&self) -> u64 {
        self.facts.generation
    }

    /// Goes over to another configuration, or leaves everything as it is and says why. Returns what could not be done
    /// though the configuration is in force, a sentence each.
    pub fn apply(&mut self, config: Config, retry: Retry) -> Result<Vec<String>, Error> {
        self.warnings.clear();
        let desired = Arc::new(self.checker.check(&config)?);
        self.refuse_start_only(&config, &desired)?;
        let mut stale = self.stale_ports(&desired, retry);
        let mut absent = self.probe(&desired, retry)?;
        // Whatever can fail fails while all is as it was: ports that take no other's device are opened first.
        let mut fresh = Fresh::new();
        self.open_missing(&desired, retry, &mut absent, &stale, &mut fresh)?;
        let replaced = self.set_aside(&desired, &stale);
        stale.retain(|name| self.ports.contains_key(name));
        let outcome = self.open_missing(&desired, retry, &mut absent, &[], &mut fresh);
        let outcome = outcome.and_then(|()| self.admit(retry, &fresh));
        if let Err(error) = outcome.and_then(|()| self.replace_host_taps(&desired)) {
            drop(fresh);
            return Err(self.put_back(replaced, error));
        }
        self.warn_of_memory(&fresh);
        self.warn_of_absent(&absent, retry);
        for (index, ready) in fresh {
            self.take_in(&desired, index, ready);
        }
        self.note_absent(&desired, absent);
        self.keep_rules(&desired);
        self.keep_peers(&desired);
        self.keep_endpoints(&desired);
        let released = keep::released(&self.desired, &desired);
        self.config = config;
        self.desired = desired;
        self.facts.ports.retain(|name, _| !stale.contains(name));
        self.publish();
        self.pass(&released);
        for name in stale {
            self.close(&name);
        }
        self.release(released);
        self.keep_waiting();
        self.steer();
        self.watch_next_hops();
        self.watch_peers();
        self.settle_taps(true);
        Ok(std::mem::take(&mut self.warnings))
    }

    /// Says something to whoever asked for the change, and to the log.
    fn warn(&mut self, warning: String) {
        /// What nobody has asked for is in the log; whoever asks for a change next begins anew.
        const MOST: usize = 1000;
        tracing::warn!("{warning}");
        if self.warnings.len() < MOST {
            self.warnings.push(warning);
        }
    }

    /// Whether there is memory enough for ports that are new. A weftd that starts comes up with what there is, and says so:
    /// its other ports have pods that wait for it.
    fn admit(&mut self, retry: Retry, fresh: &Fresh) -> Result<(), Error> {
        match memory::admit(self.runtime.memory.fill_share()) {
            Err(error) if retry == Retry::Start => {
                let Error { message, remedy, .. } = error;
                self.warn(format!("{message}; {}", remedy.unwrap_or_default()));
                Ok(())
            }
            Err(error) if fresh.values().any(is_xsk) => Err(error),
            _ => Ok(()),
        }
    }

    /// Ports that are new and share what they receive into with others may leave little for each.
    fn warn_of_memory(&mut self, fresh: &Fresh) {
        if let Some(warning) =
            memory::scarce(self.runtime.memory.fill_share()).filter(|_| fresh.values().any(is_xsk))
        {
            self.warn(warning);
        }
    }

    fn refuse_start_only(&self, config: &Config, desired: &Desired) -> Result<(), Error> {
        let of_start = |config: &Config| {
            let Config { node, log, metrics, .. } = config;
            (node.control.clone(), node.control_group.clone(), node.state.clone(), *log, metrics.clone())
        };
        if desired.pmd == self.desired.pmd && of_start(config) == of_start(&self.config) {
            return Ok(());
        }
        let message =
            "[pmd], [log], [metrics], node.control, node.control_group and node.state are read at start only";
        Err(Error::new(Code::Invalid, message).remedy("leave them as they are, or restart weftd"))
    }

    /// Ports that are open and no longer wanted, or wanted otherwise, or not what they should be until they are opened anew.
    fn stale_ports(&self, desired: &Desired, retry: Retry) -> Vec<String> {
        let is_wanted = |(name, open): &(&String, &OpenPort)| {
            let serves = retry == Retry::Nothing || !open.needs_reopening();
            serves && desired.ports.iter().any(|port| port.name == **name && port.spec == open.spec)
        };
        self.ports.iter().filter(|entry| !is_wanted(entry)).map(|(name, _)| name.clone()).collect()
    }

    /// A port that comes back otherwise gives its device up before the new one can have it. Returns what to put back if
    /// that fails.
    fn set_aside(&mut self, desired: &Desired, stale: &[String]) -> Vec<PortSpec> {
        let mut specs = Vec::new();
        for name in stale {
            let Some(open) = self.ports.get(name) else { continue };
            let place = ports::place(&open.spec);
            let takes = |place_of: Option<_>| place_of.is_some() && place_of == place;
            let returns =
                desired.ports.iter().any(|port| port.name == *name || takes(ports::place(&port.spec)));
            if returns {
                specs.push(open.spec.clone());
                self.facts.ports.remove(name);
                self.publish();
                self.close(name);
            }
        }
        specs
    }

    fn thread_of(&self, core: usize) -> Option<ThreadId> {
        self.runtime.threads.iter().position(|thread| thread.core == core).map(|index| ThreadId(index as u16))
    }

    fn load(&self) -> Vec<usize> {
        let mut load = vec![0; self.runtime.threads.len()];
        self.ports.values().flat_map(|port| &port.owners).for_each(|owner| load[owner.index()] += 1);
        load
    }

    /// Counters and buckets of rules live on as long as the rule does.
    fn keep_rules(&mut self, desired: &Desired) {
        let threads = self.runtime.threads.len();
        let mut kept = BTreeMap::new();
        for rule in &desired.rules {
            let old = self.desired.rules.iter().find(|old| *old == rule);
            let facts = old.and_then(|_| self.facts.rules.remove(&rule.name));
            let facts = facts.unwrap_or_else(|| rule_facts(rule, threads));
            kept.insert(rule.name.clone(), facts);
        }
        self.facts.rules = kept;
    }

    /// Compiles and publishes what is meant and known now.
    pub fn publish(&mut self) {
        self.publish_facts();
        self.note_names();
    }

    /// The same, where no name or place of anything has changed.
    fn publish_facts(&mut self) {
        self.facts.generation += 1;
        self.facts.fdb = self.learnt.stations();
        let snapshot = self.compiler.compile(&self.desired, &self.facts);
        self.runtime.publish(snapshot);
    }

    /// Takes a port that no snapshot names any more out of its threads, and lets its device go.
    fn close(&mut self, name: &str) {
        let Some(open) = self.ports.remove(name) else { return };
        let id = open.id;
        if self.facts.ports.get(name).is_some_and(|facts| facts.id == id) {
            self.facts.ports.remove(name);
            self.publish();
        }
        if !self.runtime.detach(id, &open.owners) {
            self.warn(format!("port \"{name}\": a PMD thread is stuck and still has a queue of the port"));
        }
        self.devices.remove(open.ticket);
        self.learnt.forget_port(name);
        self.forget_queues(name);
        self.gone.note_port(name, open.stats.clone());
        let spec = open.spec.clone();
        drop(open);
        keep::remove_shared_tap(&spec);
        tracing::info!(port = name, "port closed");
    }

    /// Ends everything; returns how many frame chunks did not come back.
    pub fn stop(mut self) -> usize {
        self.watcher = None;
        let Self { runtime, ports, .. } = self; // devices are not watched any more
        let lost = runtime.stop(); // queues are closed by their threads
        let specs: Vec<PortSpec> = ports.values().map(|open| open.spec.clone()).collect();
        drop(ports); // programs are detached
        specs.iter().for_each(keep::remove_shared_tap);
        lost
    }

    /// Packets and bytes that a rule matched.
    pub fn rule_hits(&self, name: &str) -> (u64, u64) {
        self.facts.rules.get(name).map_or((0, 0), |facts| facts.stats.total())
    }

    /// A port's number leads back to its name.
    pub fn port_name(&self, id: PortId) -> Option<&str> {
        self.ports.iter().find(|(_, port)| port.id == id).map(|(name, _)| name.as_str())
    }
}

/// How often the control thread looks after things.
pub const TICK: Duration = Duration::from_millis(500);
