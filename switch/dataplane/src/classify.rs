//! Stage 2: flow key → program. A hit costs one probe whatever stands behind it.

use weft_wire::l4::tcp_flags::{FIN, RST, SYN};

use crate::{
    batch::Batch,
    mailbox::Exits,
    resolve,
    snapshot::Snapshot,
    stats::ThreadCounters,
    table::flow::{FlowTable, Installed, State},
};

/// Finds each packet's program: from the flow table where a valid entry is there, else by `resolve`.
#[inline(never)]
pub(crate) fn classify(
    batch: &mut Batch,
    flows: &mut FlowTable,
    snapshot: &Snapshot,
    exits: &Exits,
    counters: &ThreadCounters,
    now_ms: u32,
) {
    for i in batch.live() {
        batch.places[i] = flows.locate(batch.hashes[i], &batch.keys[i]);
    }
    let generation = snapshot.generation as u32;
    let mut hits = 0;
    for i in batch.live() {
        let bytes = batch.frames.as_slice()[i].len() as u64;
        // What opens or closes a connection is looked at each time: connection state hangs on it.
        let is_handshake = batch.headers[i].tcp_flags & (SYN | FIN | RST) != 0;
        if let Some((state, program)) = flows.at(batch.places[i], &batch.keys[i])
            && state.generation == generation
            && !is_handshake
        {
            state.count(bytes, now_ms);
            batch.programs[i] = *program;
            hits += 1;
        } else {
            hits += u64::from(unsure(batch, i, flows, snapshot, exits, counters, now_ms));
        }
    }
    counters.flow_hits.add(hits);
}

/// A packet whose flow is not where it probably was, or that wants more than its flow's program; whether it hit after all.
#[cold]
#[inline(never)]
fn unsure(
    batch: &mut Batch,
    i: usize,
    flows: &mut FlowTable,
    snapshot: &Snapshot,
    exits: &Exits,
    counters: &ThreadCounters,
    now_ms: u32,
) -> bool {
    let bytes = batch.frames.as_slice()[i].len() as u64;
    let is_handshake = batch.headers[i].tcp_flags & (SYN | FIN | RST) != 0;
    if !is_handshake
        && let Some((state, program)) = flows.find(batch.hashes[i], &batch.keys[i])
        && state.generation == snapshot.generation as u32
    {
        state.count(bytes, now_ms);
        batch.programs[i] = *program;
        return true;
    }
    miss(batch, i, flows, snapshot, exits, counters, now_ms);
    false
}

fn miss(
    batch: &mut Batch,
    i: usize,
    flows: &mut FlowTable,
    snapshot: &Snapshot,
    exits: &Exits,
    counters: &ThreadCounters,
    now_ms: u32,
) {
    let key = batch.keys[i];
    let resolved = resolve::resolve(&key, snapshot);
    batch.programs[i] = resolved.program;
    counters.flow_misses.add(1);
    if let Some(learn) = resolved.learn {
        if exits.learns.push(learn).is_ok() {
            exits.bell.ring();
        } else {
            counters.learn_lost.add(1);
        }
    }
    let bytes = batch.frames.as_slice()[i].len() as u64;
    let state = State::first(bytes, snapshot.generation as u32, now_ms);
    if flows.install(batch.hashes[i], &key, resolved.program, state) == Installed::TableFull {
        counters.flow_table_full.add(1);
    }
    counters.flows.set(flows.len() as u64);
}
