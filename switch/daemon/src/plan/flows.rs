//! Which cached flows would go another way.

use weft_ctl_api::{
    plan::{FlowChange, FlowImpact},
    spec::Config,
};
use weft_dataplane::{key::FlowKey, resolve::resolve};
use weft_wire::ThreadId;

use crate::{
    desired::Desired,
    server::describe_flow,
    switch::{Switch, View},
};

/// So many are resolved: a tenth of a second.
const CHECKED_MAX: u64 = 100_000;
/// So many are shown.
const EXAMPLES_MAX: usize = 10;

/// Resolves cached flows against what is in force and against the candidate.
pub(super) fn impact(switch: &Switch, config: &Config, desired: &Desired) -> FlowImpact {
    let (old, new) = (switch.view(), switch.view_of(config, desired));
    let mut impact = FlowImpact::default();
    for (index, thread) in switch.runtime.threads.iter().enumerate() {
        impact.cached += thread.counters.flows.get();
        switch.runtime.flows(ThreadId(index as u16), |flow, _| {
            if impact.checked >= CHECKED_MAX {
                return false;
            }
            if let Some((before, after)) = ways(&flow.key, &old, &new) {
                impact.checked += 1;
                if before != after {
                    impact.changed += 1;
                    if impact.examples.len() < EXAMPLES_MAX {
                        impact.examples.push(FlowChange {
                            port: old.names.origin(flow.key.origin()),
                            flow: describe_flow(&flow.key),
                            old: before,
                            new: after,
                        });
                    }
                }
            }
            true
        });
    }
    impact
}

/// What is done with a flow, and what would be; none: what came through a tunnel whose number means another node then.
fn ways(key: &FlowKey, old: &View<'_>, new: &View<'_>) -> Option<(String, String)> {
    if let Some((peer, network)) = key.origin().tunnel() {
        let (old, new) = (&old.names, &new.names);
        if (old.peer(peer), old.network(network)) != (new.peer(peer), new.network(network)) {
            return None;
        }
    }
    let way = |view: &View<'_>| view.program_words(&resolve(key, &view.snapshot).program);
    Some((way(old), way(new)))
}
