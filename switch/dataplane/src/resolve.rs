//! The slow half of `classify`: what to do with a flow, from the snapshot alone. A pure function of key and snapshot.
//!
//! Order: operators' rules, then the ingress port's role, then the network's way of forwarding. Later parts (connection
//! tracking, services, policy, masquerade, forwards) have their place between rules and forwarding.

mod bridged;
mod notes;
mod pod;
mod routed;
mod scope;

use weft_wire::{Mac, NetworkId, PeerId, PortId, ethertype};

pub use notes::Note;
use notes::Notes;

use crate::{
    key::{FlowKey, Origin},
    mailbox::Learn,
    parse::Flaw,
    program::{Action, Program, Verdict},
    reason::{DropReason, PuntReason},
    rules::Step,
    snapshot::{Mode, PortView, Role, Snapshot},
};

/// What `resolve` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// What to do with the flow's packets.
    pub program: Program,
    /// A source address that is new or has moved.
    pub learn: Option<Learn>,
}

impl From<Program> for Resolved {
    fn from(program: Program) -> Self {
        Self { program, learn: None }
    }
}

fn dropped(program: Program, reason: DropReason) -> Resolved {
    program.ending(Verdict::Drop(reason)).into()
}

/// Decides a flow.
pub fn resolve(key: &FlowKey, snapshot: &Snapshot) -> Resolved {
    resolve_noting(key, true, snapshot, &mut ())
}

/// The same of a frame that is not sound and is relayed all the same ([`relays_flawed`]).
pub fn resolve_flawed(key: &FlowKey, flaw: Flaw, snapshot: &Snapshot) -> Resolved {
    resolve_noting(key, flaw.is_readable(), snapshot, &mut ())
}

/// Whether a frame that is not sound is relayed like any other, by its MACs (802.1D-2004 §7.7: a bridge looks at nothing
/// else). Not by a router; nor where its sender may speak for certain addresses only, or a rule is about what can't be
/// read: whoever receives it may read it otherwise.
pub fn relays_flawed(key: &FlowKey, flaw: Flaw, snapshot: &Snapshot) -> bool {
    let Some((port, ingress)) = arrived_by(key, snapshot) else { return false };
    let network = network_of(key, key.origin(), ingress).ok().flatten();
    let Some((id, network)) = network.and_then(|id| Some((id, snapshot.network(id)?))) else { return false };
    let is_bound = || {
        let endpoint = snapshot.endpoint(id, key.src_mac);
        ingress.role == Role::Pod && endpoint.is_some_and(|endpoint| !endpoint.addresses.is_empty())
    };
    network.mode == Mode::Bridged
        && (flaw.is_readable()
            || !(is_bound() || key.ethertype != ethertype::ARP && snapshot.rules.look_inside(port, id)))
}

/// Decides a flow, and says by which tables.
pub fn explain(key: &FlowKey, snapshot: &Snapshot) -> (Resolved, Vec<Note>) {
    let mut notes = Vec::new();
    (resolve_noting(key, true, snapshot, &mut notes), notes)
}

/// `is_read`: the key is all of it, not only what comes before what could not be read.
fn resolve_noting(key: &FlowKey, is_read: bool, snapshot: &Snapshot, notes: &mut impl Notes) -> Resolved {
    let program = Program::end(Verdict::Drop(DropReason::NoRoute));
    let Some((port, ingress)) = arrived_by(key, snapshot) else {
        return dropped(program, DropReason::PortGone);
    };
    // From here on a packet that came through a tunnel looks like one of the uplink's.
    let (origin, key) = (key.origin(), &key.arrived_by(port));
    // No station has it: it is not to be learnt, and nobody could answer.
    if key.src_mac == Mac::ZERO {
        return dropped(program, DropReason::BadSource);
    }
    let network = network_of(key, origin, ingress);
    notes.add(Note::Arrived { port, network: network.ok().flatten() });
    let mut rewritten = *key;
    let (mut program, end) = apply_rules(&mut rewritten, network.ok().flatten(), snapshot, program, notes);
    if let Some(end) = end {
        return program.ending(end).into();
    }
    let network = match network {
        Ok(network) => network,
        Err(reason) => return dropped(program, reason),
    };
    if let Some(id) = network.filter(|_| key.ethertype == ethertype::ARP || key.nd_type().is_some()) {
        program.push(Action::Claim(id));
    }
    let peer = origin.tunnel().map(|(peer, _)| peer);
    let arrival = Arrival { port, ingress, network, peer, is_read };
    let found = network.and_then(|id| Some((id, snapshot.network(id)?)));
    if let Some((id, network)) = found
        && network.mode == Mode::Bridged
    {
        return bridged::resolve((key, &rewritten), (id, network), &arrival, snapshot, program, notes);
    }
    // What is routed leaves untagged. A rule may have taken the tag off already: go by what the packet looks like.
    let tagged = program;
    if rewritten.vlan().is_some() {
        program.push(Action::PopVlan);
    }
    let resolved = routed::resolve(key, &rewritten, &arrival, snapshot, program, notes);
    match resolved.program.verdict() {
        Verdict::Punt(reason) => {
            // The slow path tells a packet's network by its tag, and answers with the same.
            let mut program = tagged;
            let is_whole = key.tag & (FlowKey::FIRST_FRAGMENT | FlowKey::LATER_FRAGMENT) == 0;
            let is_message = matches!(reason, PuntReason::Local | PuntReason::PathMtu) && is_whole;
            if is_message && key.icmp_type().is_some() {
                program.push(Action::Checksum);
            }
            Resolved { program: program.ending(resolved.program.verdict()), ..resolved }
        }
        _ => resolved,
    }
}

/// Where a frame came from.
struct Arrival<'a> {
    /// The port.
    port: PortId,
    /// What the port is.
    ingress: &'a PortView,
    /// The frame's network; none for the host and fabric ports, which reach every routed network.
    network: Option<NetworkId>,
    /// The other node, of what came through a tunnel.
    peer: Option<PeerId>,
    /// The addresses are in the key.
    is_read: bool,
}

fn arrived_by<'a>(key: &FlowKey, snapshot: &'a Snapshot) -> Option<(PortId, &'a PortView)> {
    let port = match key.origin().tunnel() {
        Some(_) => snapshot.unwraps.as_ref()?.port,
        None => key.ingress()?,
    };
    Some((port, snapshot.port(port)?))
}

/// What the tunnel, or the ingress port and tag, say of a frame's network.
fn network_of(key: &FlowKey, origin: Origin, ingress: &PortView) -> Result<Option<NetworkId>, DropReason> {
    if let Some((_, network)) = origin.tunnel() {
        return Ok(Some(network));
    }
    let vlan = key.vlan().filter(|&id| id != 0);
    match (&ingress.role, vlan) {
        (Role::Trunk(vlans), Some(vlan)) => {
            let network = vlans.iter().find(|(id, _)| id.get() == vlan).map(|(_, network)| *network);
            network.map(Some).ok_or(DropReason::VlanNotAllowed)
        }
        (Role::Trunk(_), None) | (_, Some(_)) => Err(DropReason::VlanNotAllowed),
        (Role::Pod, None) => ingress.network.map(Some).ok_or(DropReason::NoEndpoint),
        (Role::Access(network), None) => Ok(Some(*network)),
        (Role::Host | Role::Fabric, None) => Ok(None),
    }
}

/// Runs the packet past the rules: `key` becomes what the matched rules make of it.
fn apply_rules(
    key: &mut FlowKey,
    network: Option<NetworkId>,
    snapshot: &Snapshot,
    mut program: Program,
    notes: &mut impl Notes,
) -> (Program, Option<Verdict>) {
    let mut from = 0;
    // Tags that lie below the one in the key, because rules have put others on top.
    let mut below = Vec::new();
    while let Some((index, rule)) = snapshot.rules.next_match(from, key, network) {
        program.push(Action::Rule(index as u16));
        notes.add(Note::Rule(index as u16));
        for step in &rule.steps {
            match step {
                Step::Set(field) => field.apply_to_key(key),
                Step::PushVlan(vlan) => {
                    below.push(key.tag);
                    key.tag = (key.tag & 0x6000) | FlowKey::TAGGED | vlan.get();
                }
                Step::PopVlan => key.tag = below.pop().unwrap_or(key.tag & 0x6000),
                Step::Mirror(_) | Step::Police(_) => {}
            }
        }
        if rule.end.is_some() {
            return (program, rule.end);
        }
        from = index + 1;
    }
    notes.add(Note::NoRule);
    (program, None)
}
