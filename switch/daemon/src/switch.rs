//! The switch as the control side holds it: what is configured, what is open, what is known; and [`Switch::apply`], the one
//! way from one configuration to the next.
//!
//! Every change, from a file or a verb, is a new [`Config`] that is checked whole, then applied: ports that are new are
//! opened before anything is published, so that a failure leaves things as they were; then the snapshot is published;
//! then ports that are gone are closed. Nobody waits for a PMD thread but the closing of ports.

mod fabric;
mod gone;
mod keep;
mod learning;
mod names;
mod paths;
mod queues;
mod vanish;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam::channel::Sender;
use weft_ctl_api::{
    Code, Error,
    spec::{Config, PortKind, PortSpec},
};
use weft_dataplane::{
    police::Policer,
    stats::{PortStats, RuleStats},
};
use weft_pmd::{
    PortInfo, Queue,
    port::{Guard, LinkProbe, Opened},
};
use weft_wire::{PortId, ThreadId};

use crate::{
    assign::assign,
    compile::{Compiler, Facts, PortFacts, RuleFacts},
    desired::{Checker, Desired, Invalid, Role, Rule, RuleStep},
    event::Event,
    memory,
    netlink::{self, NetlinkError, nexthop, rss::Spread},
    ports,
    runtime::Runtime,
};

pub use gone::{Gone, Lost};
pub use learning::Learnt;
pub use names::{Names, PastNames};
pub use queues::{Loads, QueueName};
pub use view::View;

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
    probe: LinkProbe,
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
    pub desired: Desired,
    /// The file weftd was started with.
    pub path: Option<PathBuf>,
    /// Threads, memory, publication.
    pub runtime: Runtime,
    /// Ports that are open, by name.
    pub ports: BTreeMap<String, OpenPort>,
    /// Ports whose device is gone, and why.
    pub removed: BTreeMap<String, String>,
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
    watcher: Option<(BTreeSet<IpAddr>, u32, nexthop::Watcher)>,
    peer_watch: fabric::PeerWatch,
    queue_watch: queues::QueueWatch,
    /// The port whose keeper was looked after last.
    keepers_looked_at: String,
}

/// How a configuration is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// weftd starts: ports whose device is not there yet, but for the node's and the uplink, are taken for removed.
    Start,
    /// Ports whose device was gone are tried again, and stay removed if it still is.
    Removed,
    /// They are left as they are.
    Nothing,
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::new(Code::Invalid, format!("{}: {}", invalid.key, invalid.problem)).remedy(invalid.remedy)
    }
}

fn not_opened(port: &str, error: &ports::OpenError) -> Error {
    Error::new(Code::Unavailable, format!("port \"{port}\": {error}"))
}

type Fresh = BTreeMap<usize, Opened>;

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
        let desired = Desired::try_from(&empty)?;
        Ok(Self {
            config: empty,
            desired,
            path,
            runtime,
            ports: BTreeMap::new(),
            removed: BTreeMap::new(),
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
            watcher: None,
            peer_watch: fabric::PeerWatch::default(),
            queue_watch: queues::QueueWatch::default(),
            keepers_looked_at: String::new(),
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
        let desired = self.checker.check(&config)?;
        self.refuse_start_only(&config, &desired)?;
        let mut stale = self.stale_ports(&desired);
        let mut absent = self.probe(&desired, retry)?;
        self.warn_of_absent(&absent, retry);
        // Whatever can fail fails while all is as it was: ports that take no other's device are opened first.
        let mut fresh = Fresh::new();
        self.open_missing(&desired, &mut absent, &stale, &mut fresh)?;
        let replaced = self.set_aside(&desired, &stale);
        stale.retain(|name| self.ports.contains_key(name));
        let outcome = self.open_missing(&desired, &mut absent, &[], &mut fresh);
        let outcome = outcome.and_then(|()| memory::admit(self.runtime.memory.fill_share()));
        if let Err(error) = outcome.and_then(|()| self.replace_taps(&desired)) {
            drop(fresh);
            return Err(self.put_back(replaced, error));
        }
        self.warn_of_memory(&fresh);
        for (index, opened) in fresh {
            self.take_in(&desired, index, opened);
        }
        self.removed.extend(absent);
        self.keep_rules(&desired);
        self.keep_peers(&desired);
        self.keep_endpoints(&desired);
        let released = keep::released(&self.desired, &desired);
        self.config = config;
        self.desired = desired;
        self.removed.retain(|name, _| self.desired.ports.iter().any(|port| port.name == *name));
        self.facts.ports.retain(|name, _| !stale.contains(name));
        self.publish();
        self.pass(&released);
        for name in stale {
            self.close(&name);
        }
        self.release(released);
        self.keep_removed();
        self.steer();
        self.watch_next_hops();
        self.watch_peers();
        Ok(std::mem::take(&mut self.warnings))
    }

    /// Says something to whoever asked for the change, and to the log.
    fn warn(&mut self, warning: String) {
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }

    /// Ports that are new and share what they receive into with others may leave little for each.
    fn warn_of_memory(&mut self, fresh: &Fresh) {
        let is_xsk = |opened: &Opened| matches!(opened.queues.first(), Some(Queue::Xsk(_)));
        if let Some(warning) =
            memory::scarce(self.runtime.memory.fill_share()).filter(|_| fresh.values().any(is_xsk))
        {
            self.warn(warning);
        }
    }

    fn warn_of_absent(&mut self, absent: &BTreeMap<String, String>, retry: Retry) {
        for (port, why) in absent.iter().filter(|_| retry != Retry::Nothing) {
            self.warn(format!("port left out: \"{port}\": {why}; a reload tries it again"));
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

    /// Ports that are open and no longer wanted, or wanted otherwise.
    fn stale_ports(&self, desired: &Desired) -> Vec<String> {
        let is_wanted = |(name, open): &(&String, &OpenPort)| {
            desired.ports.iter().any(|port| port.name == **name && port.spec == open.spec)
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

    /// Opens what was set aside again; the error says of what could not be.
    fn put_back(&mut self, specs: Vec<PortSpec>, mut error: Error) -> Error {
        if specs.is_empty() {
            return error;
        }
        for spec in specs {
            let desired = self.desired.clone();
            let Some(index) = desired.ports.iter().position(|port| port.name == spec.name) else { continue };
            match ports::open(&desired, index, &self.runtime.memory) {
                Ok(opened) => self.take_in(&desired, index, opened),
                Err(why) => {
                    tracing::error!(port = spec.name, error = %why, "port could not be opened again");
                    error.message +=
                        &format!("; then port \"{}\" could not be opened again: {why}", spec.name);
                    self.removed.insert(spec.name, why.to_string());
                }
            }
        }
        self.publish();
        // An uplink opened again has been told nothing yet.
        self.steer();
        self.watch_next_hops();
        self.watch_peers();
        error
    }

    /// Looks, without touching anything, whether ports that are to be opened can be. Returns those that are left out, and
    /// why.
    fn probe(&self, desired: &Desired, retry: Retry) -> Result<BTreeMap<String, String>, Error> {
        let mut absent = BTreeMap::new();
        for port in &desired.ports {
            if self.ports.get(&port.name).is_some_and(|open| open.spec == port.spec) {
                continue;
            }
            let removed = self.removed.get(&port.name);
            if let (Some(why), Retry::Nothing) = (removed, retry) {
                absent.insert(port.name.clone(), why.clone());
                continue;
            }
            let may_come_later = retry == Retry::Start && !matches!(port.role, Role::Host | Role::Fabric);
            match ports::probe(&port.spec) {
                Ok(()) => {}
                Err(error) if removed.is_some() || may_come_later && error.is_absence() => {
                    absent.insert(port.name.clone(), error.to_string());
                }
                Err(error) => return Err(not_opened(&port.name, &error)),
            }
        }
        Ok(absent)
    }

    /// Opens every port that is wanted and not there, but for those that wait until `stale` ones have let go.
    fn open_missing(
        &self,
        desired: &Desired,
        absent: &mut BTreeMap<String, String>,
        stale: &[String],
        fresh: &mut Fresh,
    ) -> Result<(), Error> {
        let held: Vec<_> =
            stale.iter().filter_map(|name| ports::place(&self.ports.get(name)?.spec)).collect();
        for (index, port) in desired.ports.iter().enumerate() {
            let is_there = self.ports.contains_key(&port.name) || fresh.contains_key(&index);
            let waits = || ports::place(&port.spec).is_some_and(|place| held.contains(&place));
            if is_there || absent.contains_key(&port.name) || !held.is_empty() && waits() {
                continue;
            }
            match ports::open(desired, index, &self.runtime.memory) {
                Ok(opened) => drop(fresh.insert(index, opened)),
                Err(error) if self.removed.contains_key(&port.name) => {
                    absent.insert(port.name.clone(), error.to_string());
                }
                Err(error) => return Err(not_opened(&port.name, &error)),
            }
        }
        Ok(())
    }

    /// Gives an opened port a number and its queues to threads. It is not in a snapshot yet.
    fn take_in(&mut self, desired: &Desired, index: usize, opened: Opened) {
        let port = &desired.ports[index];
        let Some(id) = self.free_id() else { return };
        let allowed: Vec<ThreadId> =
            port.spec.cores.iter().filter_map(|core| self.thread_of(*core)).collect();
        let mut load = self.load();
        let Opened { queues, info, mut guard, probe } = opened;
        if let Some(keeper) = guard.keeper() {
            keeper.stay();
        }
        let owners = assign(queues.len(), &allowed, &mut load);
        let stats = Arc::new(PortStats::new(queues.len(), self.runtime.threads.len()));
        self.log_port("port added", &port.name, &info, &owners);
        self.runtime.attach(id, queues, &owners, info.caps, &stats);
        let facts =
            PortFacts { id, mac: info.mac, caps: info.caps, owners: owners.clone(), stats: stats.clone() };
        self.facts.ports.insert(port.name.clone(), facts);
        self.removed.remove(&port.name);
        let open = OpenPort { spec: port.spec.clone(), info, owners, stats, spread: None, id, guard, probe };
        self.ports.insert(port.name.clone(), open);
    }

    fn log_port(&self, what: &str, port: &str, info: &PortInfo, owners: &[ThreadId]) {
        let cores: Vec<usize> = owners.iter().map(|owner| self.runtime.threads[owner.index()].core).collect();
        tracing::info!(port, mode = info.mode, why = info.why, mtu = info.caps.mtu, ?cores, "{what}");
    }

    /// A number that no open port has; the one free longest, so that counters and caches of the last do not mix.
    fn free_id(&self) -> Option<PortId> {
        let taken: Vec<usize> = self.ports.values().map(|port| port.id.index()).collect();
        (0..u16::MAX).find(|index| !taken.contains(&usize::from(*index))).and_then(PortId::from_index)
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

    /// Taps whose pod or prefixes have changed get the addresses and routes of the new configuration: all of them or none.
    fn replace_taps(&mut self, desired: &Desired) -> Result<(), Error> {
        let mut done = Vec::new();
        for (index, port) in desired.ports.iter().enumerate() {
            let is_open_tap = port.spec.kind == PortKind::Tap && self.ports.contains_key(&port.name);
            let Some(old) = self.desired.ports.iter().position(|old| old.name == port.name) else { continue };
            let (old, new) = (ports::placement(&self.desired, old), ports::placement(desired, index));
            if !is_open_tap || old == new {
                continue;
            }
            let outcome = match netlink::tap::configure(&new, Some(&old)) {
                // A pod that ends takes its device with it before anybody says so: it is removed at the next tick.
                Err(error @ (NetlinkError::NoDevice(_) | NetlinkError::Io { .. })) => {
                    self.warn(format!("port \"{}\": the tap is not brought up to date: {error}", port.name));
                    continue;
                }
                outcome => outcome,
            };
            done.push((old, new));
            if let Err(error) = outcome {
                for (old, new) in &done {
                    if let Err(error) = netlink::tap::configure(old, Some(new)) {
                        tracing::error!(port = port.name, %error, "the tap could not be brought back");
                    }
                }
                return Err(not_opened(&port.name, &error.into()));
            }
        }
        Ok(())
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
        self.learnt.forget_port(name);
        self.forget_queues(name);
        self.gone.note_port(name, open.stats.clone());
        let spec = open.spec.clone();
        drop(open);
        vanish::remove_shared_tap(&spec);
        tracing::info!(port = name, "port closed");
    }

    /// Ends everything; returns how many frame chunks did not come back.
    pub fn stop(mut self) -> usize {
        self.watcher = None;
        let Self { runtime, ports, .. } = self;
        let lost = runtime.stop(); // queues are closed by their threads
        let specs: Vec<PortSpec> = ports.values().map(|open| open.spec.clone()).collect();
        drop(ports); // programs are detached
        specs.iter().for_each(vanish::remove_shared_tap);
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

/// How often devices are looked at.
pub const TICK: Duration = Duration::from_millis(500);
