//! Devices that are the switch's alone ([`ports::is_kept`]): what they receive is kept from the node's stack for as long as the
//! configuration has them, whether their ports are open, closed for a while or lost, and whether weftd runs.

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, Instant},
};

use weft_ctl_api::spec::{PortKind, PortSpec, QueuesSpec};

use super::Switch;
use crate::{desired::Desired, netlink, ports};

/// Ports looked after at each tick, in turn: each is asked for its filter by netlink, under the kernel's one lock for devices,
const PER_TICK: usize = 8;
/// which others may hold: then fewer, so that nobody waits for the control thread.
const TIME_PER_TICK: Duration = Duration::from_millis(2);

/// Ports of `before` whose devices were the switch's alone and are not any more in `after`.
pub(super) fn released(before: &Desired, after: &Desired) -> Vec<PortSpec> {
    let names: BTreeMap<&str, &PortSpec> =
        after.ports.iter().map(|port| (port.name.as_str(), &port.spec)).collect();
    let is_gone = |spec: &&PortSpec| {
        ports::is_kept(spec) && names.get(spec.name.as_str()).is_none_or(|new| new != spec)
    };
    let gone: Vec<&PortSpec> = before.ports.iter().map(|port| &port.spec).filter(is_gone).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let kept = after.ports.iter().map(|port| &port.spec).filter(|spec| ports::is_kept(spec));
    let kept: Vec<_> = kept.filter_map(ports::place).collect();
    let is_free = |spec: &&PortSpec| ports::place(spec).is_some_and(|place| !kept.contains(&place));
    gone.into_iter().filter(is_free).cloned().collect()
}

impl Switch {
    /// Open ports give their devices to the node's stack when they are closed, whatever these are called by now.
    pub(super) fn pass(&mut self, specs: &[PortSpec]) {
        for spec in specs {
            let open = self.ports.get_mut(&spec.name).filter(|open| open.spec == *spec);
            if let Some(keeper) = open.and_then(|open| open.guard.keeper()) {
                keeper.pass();
            }
        }
    }

    /// Gives devices to the node's stack that the configuration has no more.
    pub(super) fn release(&mut self, specs: Vec<PortSpec>) {
        for spec in specs {
            match ports::release(&spec) {
                Ok(_) => {}
                Err(error) if error.is_absence() => {}
                Err(error) => self.warn(format!("port \"{}\": {error}", spec.name)),
            }
        }
    }

    /// Keeps devices from the node's stack whose ports are not open: one that has come back, or the next of its name, is some
    /// pod's, and must not be open until the port is tried again.
    pub(super) fn keep_waiting(&mut self) {
        let last = std::mem::take(&mut self.waiting_looked_at);
        let behind = self.waiting.range_mut::<String, _>((Bound::Excluded(last), Bound::Unbounded));
        let began = Instant::now();
        for (port, waiting) in behind.take(PER_TICK).take_while(|_| began.elapsed() < TIME_PER_TICK) {
            self.waiting_looked_at.clone_from(port);
            if waiting.at_work || !ports::is_kept(&waiting.spec) {
                continue;
            }
            let unkept = match ports::keep(&waiting.spec) {
                Ok(true) => {
                    tracing::info!(port, "its device is there: kept from the node's stack");
                    String::new()
                }
                Err(error) if !error.is_absence() => error.to_string(),
                Ok(false) | Err(_) => String::new(),
            };
            if !unkept.is_empty() && waiting.unkept != unkept {
                tracing::warn!(port, error = unkept, "its device is open to the node's stack");
            }
            waiting.unkept = unkept;
        }
    }

    /// Puts back what somebody has taken off, of some ports, in turn.
    pub(super) fn renew_keepers(&mut self) {
        let last = std::mem::take(&mut self.keepers_looked_at);
        let behind = self.ports.range_mut::<String, _>((Bound::Excluded(last), Bound::Unbounded));
        let began = Instant::now();
        for (name, open) in behind.take(PER_TICK).take_while(|_| began.elapsed() < TIME_PER_TICK) {
            self.keepers_looked_at.clone_from(name);
            let Some(keeper) = open.guard.keeper() else { continue };
            match keeper.renew() {
                Ok(false) => {}
                Ok(true) => tracing::warn!(
                    port = name,
                    "somebody took off the tc filter that keeps its frames from the node's stack: put back"
                ),
                Err(error) => {
                    tracing::warn!(port = name, %error, "its device is open to the node's stack");
                }
            }
        }
    }
}

/// A tap of several queues stays where it is if somebody there has attached a queue of their own, or told it to: it goes all the
/// same, or its name would be taken when the port is opened again.
pub(super) fn remove_shared_tap(spec: &PortSpec) {
    let (PortKind::Tap, QueuesSpec::Count(2..), Some(device)) = (spec.kind, &spec.queues, &spec.device)
    else {
        return;
    };
    let netns = spec.netns.as_deref().map(ports::netns);
    // Mostly it is gone by itself, as it should be, or with its namespace.
    if let Ok(true) = netlink::tap::remove(netns.as_ref(), device) {
        tracing::warn!(port = spec.name, "the tap was still there, and is removed");
    }
}
