//! Stage 3: runs each packet's program. Bytes are rewritten in place; the outcome is the verdict.
//!
//! **To add an action:** a file below `action/` with the function that changes the packet, a variant of
//! [`Action`] or [`Step`], an arm here, and the place in `resolve` (or the daemon's `compile`) that emits it.

mod edit;
mod encap;
mod route;
mod vlan;

pub(crate) use encap::{encap, entropy};
use weft_pmd::{Frame, FramePool, offload};
use weft_wire::{PortId, ThreadId};

use crate::{
    batch::Batch,
    parse::Headers,
    program::{Action, Program, Verdict},
    reason::DropReason,
    rules::{Rule, Step},
    snapshot::Snapshot,
};

/// What an action may use beside the packet.
struct Context<'a> {
    pool: &'a mut FramePool,
    snapshot: &'a Snapshot,
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
                let policed_by = &mut batch.policed_by[i];
                let mut context = Context { pool, snapshot, copies, thread, now_ns, entropy, policed_by };
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
    for action in program.actions() {
        match *action {
            Action::Route(rewrite) => route::route(frame, headers, rewrite, context.pool, context.snapshot)?,
            Action::Encap(tunnel) => {
                let tunnel = &context.snapshot.tunnels[usize::from(tunnel)];
                encap::encap(frame, headers, tunnel, context.entropy, context.pool, context.thread)?;
            }
            Action::PushVlan(vlan) => vlan::push(frame, headers, vlan, context.pool)?,
            Action::PopVlan => vlan::pop(frame, headers, context.pool),
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

/// Puts a VLAN tag on a frame whose headers nobody needs any more (flooding).
pub(crate) fn push_vlan(
    frame: &mut Frame,
    vlan: weft_wire::VlanId,
    pool: &FramePool,
) -> Result<(), DropReason> {
    match vlan::push(frame, &mut Headers::default(), vlan, pool) {
        Err(Verdict::Drop(reason)) => Err(reason),
        _ => Ok(()),
    }
}
