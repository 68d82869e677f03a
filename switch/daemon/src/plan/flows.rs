//! Which cached flows would go another way.

use weft_ctl_api::plan::{FlowChange, FlowImpact};
use weft_dataplane::{
    key::FlowKey,
    program::{Action, Program, Verdict},
    resolve::resolve,
};
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
pub(super) fn impact(switch: &Switch, desired: &Desired) -> FlowImpact {
    let (old, new) = (switch.view(), switch.view_of(desired));
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
                            port: origin(&flow.key, &old),
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
        let names = |view: &View<'_>| {
            let network = view.desired.networks.get(network.index()).map(|network| network.name.clone());
            (view.peer(peer).map(str::to_owned), network)
        };
        if names(old) != names(new) {
            return None;
        }
    }
    let way = |view: &View<'_>| describe_program(&resolve(key, &view.snapshot).program, view);
    Some((way(old), way(new)))
}

fn origin(key: &FlowKey, view: &View<'_>) -> String {
    match key.origin().tunnel() {
        Some((peer, _)) => view.peer(peer).map_or("?".into(), |peer| format!("peer:{peer}")),
        None => key.origin().port().map_or("?".into(), |port| view.port(port).to_owned()),
    }
}

/// A program in words. One of an older snapshot is named as far as its operands still are.
pub fn describe_program(program: &Program, view: &View<'_>) -> String {
    let action = |action: &Action| match action {
        Action::Rule(index) => format!("rule:{}", view.rule(*index)),
        Action::PopVlan => "pop_vlan".into(),
        Action::PushVlan(vlan) => format!("push_vlan:{vlan}"),
        Action::Encap(index) => format!("encap:{}", peer_of_tunnel(*index, view).unwrap_or("?")),
        Action::Route(index) => match view.snapshot.rewrites.get(usize::from(*index)) {
            Some(rewrite) => format!("route:{}", rewrite.dst()),
            None => "route".into(),
        },
    };
    let end = match program.verdict() {
        Verdict::Forward(port) => format!("output:{}", view.port(port)),
        Verdict::Flood(network) => {
            let network = view.desired.networks.get(network.index());
            format!("flood:{}", network.map_or("?", |network| &network.name))
        }
        Verdict::Punt(reason) => format!("punt:{}", reason.word()),
        Verdict::Drop(reason) => format!("drop:{}", reason.word()),
    };
    program.actions().iter().map(action).chain([end]).collect::<Vec<_>>().join(", ")
}

/// The peer that a tunnel leads to.
fn peer_of_tunnel<'a>(index: u16, view: &'a View<'_>) -> Option<&'a str> {
    view.snapshot.peer_of_tunnel(index).and_then(|peer| view.peer(peer))
}
