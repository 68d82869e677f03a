//! Opening ports. What the configuration gets wrong is refused, before anything is touched where that can be told; what a pod
//! has done to its namespace or its device concerns its port alone, which waits.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use weft_ctl_api::{
    Error,
    spec::{PortKind, PortSpec},
};
use weft_dataplane::stats::PortStats;
use weft_pmd::PortInfo;
use weft_wire::{PortId, ThreadId};

use super::{
    OpenPort, Retry, Switch, not_opened,
    waiting::{Pace, Patience, Waiting, strings},
};
use crate::{
    assign::assign,
    compile::PortFacts,
    desired::{Desired, Port, Role},
    netlink::{self, NetlinkError},
    ports::{self, OpenError, Ready},
};

/// Ports that are open and not taken in yet, by their place in the configuration.
pub(super) type Fresh = BTreeMap<usize, Ready>;

/// A port that is left out.
#[derive(Debug)]
pub(super) struct Absent {
    why: String,
    /// It is still being opened.
    at_work: bool,
}

fn is_the_nodes(port: &Port) -> bool {
    matches!(port.role, Role::Host | Role::Fabric)
}

impl Switch {
    /// Looks, without touching anything, whether ports that are to be opened can be. Returns those that are left out, and
    /// why.
    pub(super) fn probe(&self, desired: &Desired, retry: Retry) -> Result<BTreeMap<String, Absent>, Error> {
        let mut absent = BTreeMap::new();
        for port in &desired.ports {
            if self.ports.get(&port.name).is_some_and(|open| open.spec == port.spec) {
                continue;
            }
            let waiting = self.waiting.get(&port.name).filter(|waiting| waiting.spec == port.spec);
            if let Some(waiting) = waiting.filter(|waiting| waiting.at_work || retry == Retry::Nothing) {
                let (why, at_work) = (waiting.why.clone(), waiting.at_work);
                absent.insert(port.name.clone(), Absent { why, at_work });
                continue;
            }
            match ports::probe(&port.spec) {
                Ok(()) => {}
                Err(error) if self.may_wait(port, &error, retry) => {
                    absent.insert(port.name.clone(), Absent { why: error.to_string(), at_work: false });
                }
                Err(error) => return Err(not_opened(&port.name, &error)),
            }
        }
        Ok(absent)
    }

    /// Whether a port that can't be opened is left out until it can be, or the change is refused.
    ///
    /// weftd comes up whatever has become of devices and namespaces meanwhile. Later, the node's own ports must open, and a
    /// device of the node's that is named for the first time must be there, as must a namespace that a verb names: it may be a
    /// slip of the pen. What is in a pod's namespace is the pod's doing.
    fn may_wait(&self, port: &Port, error: &OpenError, retry: Retry) -> bool {
        let has_device = matches!(port.spec.kind, PortKind::Xsk | PortKind::Packet | PortKind::Tap);
        if !has_device || error.is_a_mistake() {
            return false;
        }
        let is_same = |spec: &PortSpec| (&spec.device, &spec.netns) == (&port.spec.device, &port.spec.netns);
        let waited = self.waiting.get(&port.name).is_some_and(|waiting| is_same(&waiting.spec));
        let was_open = self.ports.get(&port.name).is_some_and(|open| is_same(&open.spec));
        let (is_pods, is_in_pod) = (!is_the_nodes(port), port.spec.netns.is_some());
        // The name of a tap in the node's own namespace is for the node to give.
        let is_pods_doing = is_in_pod || port.spec.kind != PortKind::Tap;
        retry == Retry::Start
            || waited
            || error.is_absence() && is_pods && (was_open || is_in_pod && retry != Retry::Nothing)
            || error.is_of_the_place() && is_pods && is_pods_doing
            || error.is_not_kept() && is_pods && is_in_pod
    }

    /// Opens every port that is wanted and not there, but for those that wait until `stale` ones have let go.
    pub(super) fn open_missing(
        &self,
        desired: &Arc<Desired>,
        retry: Retry,
        absent: &mut BTreeMap<String, Absent>,
        stale: &[String],
        fresh: &mut Fresh,
    ) -> Result<(), Error> {
        let held: Vec<_> =
            stale.iter().filter_map(|name| ports::place(&self.ports.get(name)?.spec)).collect();
        let mut patience = if retry == Retry::Start { Patience::at_the_start() } else { Patience::new() };
        for (index, port) in desired.ports.iter().enumerate() {
            let is_there = self.ports.contains_key(&port.name) || fresh.contains_key(&index);
            let waits = || ports::place(&port.spec).is_some_and(|place| held.contains(&place));
            if is_there || absent.contains_key(&port.name) || !held.is_empty() && waits() {
                continue;
            }
            match self.open_one(desired, index, retry, &mut patience) {
                Ok(Ok(ready)) => drop(fresh.insert(index, ready)),
                Ok(Err(out)) => drop(absent.insert(port.name.clone(), out)),
                Err(error) => return Err(not_opened(&port.name, &error)),
            }
        }
        Ok(())
    }

    /// Opens a port, or says why it is left out, or why it can't be had at all.
    fn open_one(
        &self,
        desired: &Arc<Desired>,
        index: usize,
        retry: Retry,
        patience: &mut Patience,
    ) -> Result<Result<Ready, Absent>, OpenError> {
        let port = &desired.ports[index];
        let mut ready = match self.open_in_time(desired, index, patience) {
            Some(Ok(ready)) => ready,
            Some(Err(error)) if self.may_wait(port, &error, retry) => {
                return Ok(Err(Absent { why: error.to_string(), at_work: false }));
            }
            Some(Err(error)) => return Err(error),
            None => {
                let why = "opening it takes long; it goes on by itself".into();
                return Ok(Err(Absent { why, at_work: true }));
            }
        };
        // A tap of the node's own is what the configuration says, or there is something wrong with that.
        let is_wrong =
            |error: &NetlinkError| retry != Retry::Start || matches!(error, NetlinkError::NoAddress(_));
        if is_the_nodes(port)
            && let Some(wrong) = ready.short.iter().position(is_wrong)
        {
            return Err(ready.short.swap_remove(wrong).into());
        }
        Ok(Ok(ready))
    }

    /// Opens a port; none: it is still being opened. What is in the node's own namespace is not somebody else's to slow down.
    fn open_in_time(
        &self,
        desired: &Arc<Desired>,
        index: usize,
        patience: &mut Patience,
    ) -> Option<Result<Ready, OpenError>> {
        let port = &desired.ports[index];
        if port.spec.netns.is_none() || is_the_nodes(port) {
            return Some(ports::open(desired, index, &self.runtime.memory));
        }
        match self.work_at_opening(desired, index) {
            Ok(taken) => patience.wait(&taken),
            Err(source) => Some(Err(NetlinkError::Io { place: "a thread of its own".into(), source }.into())),
        }
    }

    /// Says which ports are left out: those that did not wait before, and all that were tried again.
    pub(super) fn warn_of_absent(&mut self, absent: &BTreeMap<String, Absent>, retry: Retry) {
        for (port, Absent { why, .. }) in absent {
            if retry != Retry::Nothing || !self.waiting.contains_key(port) {
                self.warn(format!(
                    "port left out: \"{port}\": {why}; it is tried again until it can be opened"
                ));
            }
        }
    }

    /// Remembers which ports wait, and forgets those that no longer do.
    pub(super) fn note_absent(&mut self, desired: &Desired, mut absent: BTreeMap<String, Absent>) {
        let mut before = std::mem::take(&mut self.waiting);
        for port in &desired.ports {
            let Some(Absent { why, at_work }) = absent.remove(&port.name) else { continue };
            let known = before.remove(&port.name).filter(|waiting| waiting.spec == port.spec);
            let waiting = match known {
                Some(known) => known.again(why, at_work),
                None => Waiting::new(port.spec.clone(), why, at_work),
            };
            self.waiting.insert(port.name.clone(), waiting);
        }
    }

    /// Opens what was set aside again; the error says of what could not be.
    pub(super) fn put_back(&mut self, specs: Vec<PortSpec>, mut error: Error) -> Error {
        if specs.is_empty() {
            return error;
        }
        let mut patience = Patience::new();
        for spec in specs {
            let desired = self.desired.clone();
            let Some(index) = desired.ports.iter().position(|port| port.name == spec.name) else { continue };
            let (why, at_work) = match self.open_in_time(&desired, index, &mut patience) {
                Some(Ok(ready)) => {
                    self.take_in(&desired, index, ready);
                    continue;
                }
                Some(Err(why)) => (why.to_string(), false),
                None => ("opening it takes long".to_owned(), true),
            };
            tracing::error!(port = spec.name, why, "port could not be opened again");
            error.message += &format!("; then port \"{}\" could not be opened again: {why}", spec.name);
            self.waiting.insert(spec.name.clone(), Waiting::new(spec, why, at_work));
        }
        self.publish();
        // An uplink opened again has been told nothing yet.
        self.steer();
        self.watch_next_hops();
        self.watch_peers();
        error
    }

    /// Gives an opened port a number and its queues to threads. It is not in a snapshot yet.
    pub(super) fn take_in(&mut self, desired: &Desired, index: usize, ready: Ready) {
        let port = &desired.ports[index];
        let Some(id) = self.free_id() else { return };
        let allowed: Vec<ThreadId> =
            port.spec.cores.iter().filter_map(|core| self.thread_of(*core)).collect();
        let mut load = self.load();
        let Ready { opened, placed, short, facts, held } = ready;
        let weft_pmd::port::Opened { queues, mut info, mut guard, probe } = opened;
        if let Some(keeper) = guard.keeper() {
            keeper.stay();
        }
        if let Some(facts) = &facts {
            (info.mac, info.caps.mtu) = (facts.mac, facts.mtu);
        }
        let owners = assign(queues.len(), &allowed, &mut load);
        let stats = Arc::new(PortStats::new(queues.len(), self.runtime.threads.len()));
        self.log_port("port added", &port.name, &info, &owners);
        self.runtime.attach(id, queues, &owners, info.caps, &stats);
        let known =
            PortFacts { id, mac: info.mac, caps: info.caps, owners: owners.clone(), stats: stats.clone() };
        self.facts.ports.insert(port.name.clone(), known);
        let opened_at_pace = self.waiting.remove(&port.name).map_or_else(Pace::new, Waiting::pace);
        self.tickets += 1;
        let open = OpenPort {
            spec: port.spec.clone(),
            info,
            owners,
            stats,
            spread: None,
            id,
            guard,
            probe: Arc::new(probe),
            ticket: self.tickets,
            queues_then: facts.as_ref().and_then(|facts| facts.rx_queues),
            facts,
            placed,
            short: strings(&short),
            pace: Pace::new(),
            at_work: false,
            since: Instant::now(),
            opened_at_pace,
            _held: held,
        };
        self.devices.add(open.ticket, open.probe.clone(), open.facts.clone());
        let short = open.shortcomings();
        self.ports.insert(port.name.clone(), open);
        if !short.is_empty() {
            self.warn(format!("port \"{}\" is degraded: {}", port.name, short.join("; ")));
        }
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

    /// The node's own taps whose pods' prefixes have changed get the routes of the new configuration: all of them or none.
    /// (Pods' taps: [`Self::settle_taps`].)
    pub(super) fn replace_host_taps(&mut self, desired: &Desired) -> Result<(), Error> {
        let pod_mtu = ports::pod_mtu(desired);
        for (index, port) in desired.ports.iter().enumerate().filter(|(_, port)| is_the_nodes(port)) {
            let Some(open) = self.ports.get_mut(&port.name) else { continue };
            let (old, new) = (open.placed.clone(), ports::placement(desired, index, pod_mtu));
            let Some(old) = old.filter(|old| *old != new && !open.at_work) else { continue };
            let ifindex = open.probe.ifindex();
            match netlink::tap::configure(&new, ifindex, Some(&old)) {
                Ok(mut short) => {
                    // What could not be done at the start is known, and is tried again.
                    let news = short.iter().position(|error| !open.short.contains(&error.to_string()));
                    if let Some(wrong) = news {
                        let error = short.swap_remove(wrong);
                        if let Err(error) = netlink::tap::configure(&old, ifindex, Some(&new)) {
                            tracing::error!(port = port.name, %error, "the tap could not be brought back");
                        }
                        return Err(not_opened(&port.name, &error.into()));
                    }
                    open.note_placed(new, strings(&short));
                }
                // A device that is gone is removed at the next look.
                Err(error) => {
                    self.warn(format!("port \"{}\": the tap is not brought up to date: {error}", port.name))
                }
            }
        }
        Ok(())
    }
}
