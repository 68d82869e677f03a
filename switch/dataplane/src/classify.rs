//! Stage 2: flow key → program. A hit costs one probe whatever stands behind it.

use weft_wire::l4::tcp_flags::{FIN, RST, SYN};

use crate::{
    batch::Batch,
    mailbox::Exits,
    resolve,
    snapshot::Snapshot,
    stats::ThreadCounters,
    table::flow::{FlowEntry, FlowTable, Installed},
};

/// Finds each packet's program: from the flow table where a valid entry is there, else by `resolve`.
pub(crate) fn classify(
    batch: &mut Batch,
    flows: &mut FlowTable,
    snapshot: &Snapshot,
    exits: &Exits,
    counters: &ThreadCounters,
    now_ns: u64,
) {
    for i in batch.live() {
        batch.hashes[i] = flows.hash(&batch.keys[i]);
    }
    let mut hits = 0;
    for i in batch.live() {
        let bytes = batch.frames.as_slice()[i].len() as u64;
        // What opens or closes a connection is looked at each time: connection state hangs on it.
        let is_handshake = batch.headers[i].tcp_flags & (SYN | FIN | RST) != 0;
        if let Some(entry) = flows.find(batch.hashes[i], &batch.keys[i])
            && entry.generation == snapshot.generation
            && !is_handshake
        {
            entry.used_ns = now_ns;
            entry.packets += 1;
            entry.bytes += bytes;
            batch.programs[i] = entry.program;
            hits += 1;
        } else {
            miss(batch, i, flows, snapshot, exits, counters, now_ns);
        }
    }
    counters.flow_hits.add(hits);
}

#[cold]
#[inline(never)]
fn miss(
    batch: &mut Batch,
    i: usize,
    flows: &mut FlowTable,
    snapshot: &Snapshot,
    exits: &Exits,
    counters: &ThreadCounters,
    now_ns: u64,
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
    let entry = FlowEntry {
        key,
        program: resolved.program,
        generation: snapshot.generation,
        used_ns: now_ns,
        packets: 1,
        bytes: batch.frames.as_slice()[i].len() as u64,
    };
    if flows.install(batch.hashes[i], entry) == Installed::TableFull {
        counters.flow_table_full.add(1);
    }
    counters.flows.set(flows.len() as u64);
}
