//! Stage 2: flow key → program. A hit costs one probe whatever stands behind it.

use weft_wire::l4::tcp_flags::{FIN, RST, SYN};

use crate::{
    batch::Batch,
    budget::Budget,
    mailbox::{Exits, Learn},
    program::Verdict,
    reason::DropReason,
    resolve,
    share::{Shares, Source},
    snapshot::Snapshot,
    stats::ThreadCounters,
    table::flow::{FlowTable, Installed, State},
};

/// What deciding new flows needs beside the flow.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) exits: &'a Exits,
    pub(crate) counters: &'a ThreadCounters,
    pub(crate) budget: &'a mut Budget,
    pub(crate) shares: &'a mut Shares,
    pub(crate) now_ns: u64,
    pub(crate) now_ms: u32,
    /// A packet of the burst was refused.
    pub(crate) refused: bool,
}

/// What a burst was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// New flows only, of which at least one was refused.
    OnlyRefused,
    /// Anything else.
    Mixed,
}

/// Finds each packet's program: from the flow table where a valid entry is there, else by `resolve`.
#[inline(never)]
pub(crate) fn classify(batch: &mut Batch, flows: &mut FlowTable, mut resolver: Resolver<'_>) -> Found {
    for i in batch.live() {
        batch.places[i] = flows.locate(batch.hashes[i], &batch.keys[i]);
    }
    let (generation, now_ms) = (resolver.snapshot.generation as u32, resolver.now_ms);
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
            hits += u64::from(resolver.look_again(batch, i, flows, is_handshake));
        }
    }
    for i in batch.take_aside() {
        resolver.resolve_flawed(batch, i);
    }
    if hits > 0 && batch.frames.is_full() {
        resolver.budget.fell_behind();
    }
    resolver.counters.flow_hits.add(hits);
    if hits == 0 && resolver.refused { Found::OnlyRefused } else { Found::Mixed }
}

impl Resolver<'_> {
    /// A packet whose flow is not where it probably was, or that wants more than its flow's program; whether it hit after
    /// all.
    #[cold]
    #[inline(never)]
    fn look_again(&mut self, batch: &mut Batch, i: usize, flows: &mut FlowTable, is_handshake: bool) -> bool {
        let bytes = batch.frames.as_slice()[i].len() as u64;
        let known = flows.find(batch.hashes[i], &batch.keys[i]);
        let is_new = known.is_none();
        if let Some((state, program)) = known
            && state.generation == self.snapshot.generation as u32
            && !is_handshake
        {
            state.count(bytes, self.now_ms);
            batch.programs[i] = *program;
            return true;
        }
        // A flow that is known is decided again at any price: its packets are those of an established one.
        if is_new && !self.budget.allows() {
            self.refused = true;
            batch.decide(i, Verdict::Drop(DropReason::ResolveLimited));
            return false;
        }
        self.resolve(batch, i, flows);
        false
    }

    /// A frame that is not sound is decided by itself: the flow table knows sound packets only.
    #[cold]
    #[inline(never)]
    fn resolve_flawed(&mut self, batch: &mut Batch, i: usize) {
        let (key, flaw) = (&batch.keys[i], batch.flaw(i));
        if !resolve::relays_flawed(key, flaw, self.snapshot) {
            return batch.decide(i, Verdict::Drop(flaw.reason()));
        }
        if !self.budget.allows() {
            self.refused = true;
            return batch.decide(i, Verdict::Drop(DropReason::ResolveLimited));
        }
        let resolved = resolve::resolve_flawed(key, flaw, self.snapshot);
        batch.programs[i] = resolved.program;
        self.learn(resolved.learn);
    }

    fn learn(&mut self, learn: Option<Learn>) {
        let Some(learn) = learn else { return };
        let is_within = self.shares.learn(Source::at(learn.origin, learn.vlan), false, self.now_ns);
        if is_within && self.exits.learns.push(learn).is_ok() {
            self.exits.bell.ring();
        } else {
            self.counters.learn_lost.add(1);
        }
    }

    fn resolve(&mut self, batch: &mut Batch, i: usize, flows: &mut FlowTable) {
        let Self { snapshot, counters, now_ms, .. } = *self;
        let key = batch.keys[i];
        let resolved = resolve::resolve(&key, snapshot);
        batch.programs[i] = resolved.program;
        counters.flow_misses.add(1);
        self.learn(resolved.learn);
        let bytes = batch.frames.as_slice()[i].len() as u64;
        let state = State::first(bytes, snapshot.generation as u32, now_ms);
        if flows.install(batch.hashes[i], &key, resolved.program, state) == Installed::TableFull {
            counters.flow_table_full.add(1);
        }
        counters.flows.set(flows.len() as u64);
    }
}
