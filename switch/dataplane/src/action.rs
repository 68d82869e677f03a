//! Stage 3: runs each packet's program. Bytes are rewritten in place; the outcome is the verdict.
//!
//! **To add an action:** a file below `action/` with the function that changes the packet, a variant of
//! [`Action`] or [`Step`], an arm here, and the place in `resolve` (or the daemon's `compile`) that emits it.

mod claim;
mod edit;
mod encap;
mod route;
mod vlan;

pub(crate) use encap::{encap_bridged, entropy};
use weft_pmd::{Frame, FramePool, offload};
use weft_wire::{PortId, ThreadId};

use crate::{
    batch::Batch,
    key::FlowKey,
    parse::{Headers, icmp_sum_is_right},
    program::{Action, Program, Verdict},
    reason::DropReason,
    rules::{Rule, Step},
    snapshot::Snapshot,
};

/// What an action may use beside the packet.
struct Context<'a> {
    pool: &'a mut FramePool,
    snapshot: &'a Snapshot,
    /// The packet as it came.
    key: &'a FlowKey,
    copies: &'a mut Vec<(PortId, Frame)>,
    thread: ThreadId,
    now_ns: u64,
    /// Spreads flows over the underlay's paths.
    entropy: u64,
    /// Where to say whose rate a packet is over.
    policed_by: &'a mut u16,
}

/// Runs the programs of all undecided packets.
#[inline(never)]
pub(crate) fn apply(
    batch: &mut Batch,
    pool: &mut FramePool,
    snapshot: &Snapshot,
    thread: ThreadId,
    now_ns: u64,
) {
    for i in batch.all_decided() {
        let program = &batch.programs[i];
        let frame = &mut batch.frames.as_mut_slice()[i];
        let headers = &mut batch.headers[i];
        let outcome = match *program.actions() {
            [] => Ok(()),
            [Action::Route(rewrite)] => route::route(frame, headers, rewrite, pool, snapshot),
            [Action::Route(rewrite), Action::Encap(tunnel)] => {
                let entropy = encap::entropy(batch.hashes[i], &batch.keys[i]);
                let tunnel = &snapshot.tunnels[usize::from(tunnel)];
                route::route(frame, headers, rewrite, pool, snapshot)
                    .and_then(|()| encap::encap(frame, headers, tunnel, entropy, pool, thread))
            }
            _ => {
                let entropy = encap::entropy(batch.hashes[i], &batch.keys[i]);
                let copies = &mut batch.copies;
                let (key, policed_by) = (&batch.keys[i], &mut batch.policed_by[i]);
                let mut context =
                    Context { pool, snapshot, key, copies, thread, now_ns, entropy, policed_by };
                run(program, frame, headers, &mut context)
            }
        };
        let verdict = outcome.err().unwrap_or(program.verdict());
        batch.verdicts[i] = verdict;
    }
}

/// Any program. The verdict of an action that ends the program early is its error.
fn run(
    program: &Program,
    frame: &mut Frame,
    headers: &mut Headers,
    context: &mut Context<'_>,
) -> Result<(), Verdict> {
    let mut is_routed = false;
    for action in program.actions() {
        match *action {
            Action::Route(rewrite) => {
                route::route(frame, headers, rewrite, context.pool, context.snapshot)?;
                is_routed = true;
            }
            Action::Encap(tunnel) => {
                let tunnel = &context.snapshot.tunnels[usize::from(tunnel)];
                let (entropy, thread) = (context.entropy, context.thread);
                match is_routed {
                    // It is held to its way's MTU already.
                    true => encap::encap(frame, headers, tunnel, entropy, context.pool, thread)?,
                    false => {
                        let tables = (&*context.pool, context.snapshot);
                        encap_bridged(frame, headers, tunnel, entropy, tables, thread)?;
                    }
                }
            }
            Action::SetVlan(vlan) => vlan::set(frame, headers, vlan, context.pool)?,
            Action::PopVlan => vlan::pop(frame, headers, context.pool),
            Action::Claim(network) => {
                let packet = context.pool.bytes(frame);
                claim::check(packet, context.key, headers, network, context.snapshot)
                    .map_err(Verdict::Drop)?;
            }
            Action::Checksum => {
                if !icmp_sum_is_right(context.pool.bytes(frame), context.key, headers) {
                    return Err(Verdict::Drop(DropReason::BadChecksum));
                }
            }
            Action::Rule(index) => {
                // The program and the snapshot are of one generation: the rule is there.
                if let Some(rule) = context.snapshot.rules.get(index) {
                    run_rule(rule, frame, headers, context).inspect_err(|_| *context.policed_by = index)?;
                }
            }
        }
    }
    Ok(())
}

fn run_rule(
    rule: &Rule,
    frame: &mut Frame,
    headers: &mut Headers,
    context: &mut Context<'_>,
) -> Result<(), Verdict> {
    rule.stats.count(context.thread, 1, frame.len() as u64);
    for step in &rule.steps {
        match step {
            Step::Set(field) => edit::set(*field, frame, headers, context.pool),
            Step::PushVlan(vlan) => vlan::push(frame, headers, *vlan, context.pool)?,
            Step::PopVlan => vlan::pop(frame, headers, context.pool),
            Step::Mirror(port) => {
                // A mirror that finds no memory loses its copy, never the packet.
                if let Some(copy) = context.pool.duplicate(frame) {
                    context.copies.push((*port, copy));
                }
            }
            Step::Police(policer) => {
                let size = offload::wire_size(context.pool.bytes(frame), headers.l4.into(), &frame.offload());
                if !policer.allow_all(size, context.now_ns) {
                    return Err(Verdict::Drop(DropReason::Policed));
                }
            }
        }
    }
    Ok(())
}

/// Takes a priority tag off, which switches of the underlay may put on whatever they pass on; whether there was one.
#[inline]
pub(crate) fn pop_priority_tag(frame: &mut Frame, pool: &FramePool) -> bool {
    let is_priority = matches!(pool.bytes(frame).get(12..16), Some([0x81, 0, tci, 0]) if tci & 0xf == 0);
    if is_priority {
        vlan::pop(frame, &mut Headers::default(), pool);
    }
    is_priority
}

/// Gives a copy of a flooded frame the tag that its member needs, or none. False: there is no room for it.
pub(crate) fn tag(
    frame: &mut Frame,
    headers: &mut Headers,
    vlan: Option<weft_wire::VlanId>,
    pool: &FramePool,
) -> bool {
    match vlan {
        Some(vlan) => vlan::set(frame, headers, vlan, pool).is_ok(),
        None => {
            if headers.is_tagged() {
                vlan::pop(frame, headers, pool);
            }
            true
        }
    }
}
