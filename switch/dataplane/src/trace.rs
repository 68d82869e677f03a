//! Looking on while packets take their path: what each stage found out about them.
//!
//! The path itself calls an [`Observer`] between its stages. The one of every day, `()`, does nothing and is compiled away.
//! A [`Tracer`] notes what becomes of the packets it is after: [`what_if()`] lets it watch a packet of no sender through
//! tables that nobody else uses, [`live`] real ones on their thread.

pub mod live;
mod what_if;

use weft_pmd::{FramePool, Offload};
use weft_wire::PortId;

pub use what_if::{Outcome, Sent, what_if};

use crate::{
    batch::{Batch, rule_behind},
    key::{FlowKey, Origin},
    program::{Program, Verdict},
    snapshot::Snapshot,
    stats::Stage,
    table::flow::{FlowTable, State},
};

/// Who looks on while a burst takes its path.
pub(crate) trait Observer {
    /// The burst is there, as it came.
    fn received(&mut self, _: &Batch, _: &FramePool, _: &Snapshot, _now_ns: u64) {}
    /// Flow keys are there; nothing has been looked up yet.
    fn parsed(&mut self, _: &Batch, _: &FramePool, _: &mut FlowTable) {}
    /// Another stage has ended.
    fn ended(&mut self, _: Stage, _: &Batch) {}
    /// Every packet is decided and rewritten; none has left.
    fn decided(&mut self, _: &Batch, _: &FramePool) {}
}

/// Nobody.
impl Observer for () {}

/// What became of a packet on its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// When, on the PMD threads' clock, nanoseconds.
    pub at_ns: u64,
    /// The generation of the configuration.
    pub generation: u64,
    /// The port it came by.
    pub ingress: PortId,
    /// As it came.
    pub before: Vec<u8>,
    /// What was left to do to it then.
    pub offload: Offload,
    /// Where it came from, when that was another node by a tunnel.
    pub origin: Origin,
    /// Its flow key; none: it was decided before it had one.
    pub key: Option<FlowKey>,
    /// What the flow table knew of its flow before it came.
    pub cached: Option<(State, Program)>,
    /// What to do with it, by classify.
    pub program: Option<Program>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The stage that decided.
    pub decided: Stage,
    /// The rule that it is dropped for.
    pub rule: Option<u16>,
    /// As it was when it was decided.
    pub after: Vec<u8>,
}

/// Notes what becomes of packets that `wants` says yes to: port and bytes.
#[derive(Debug)]
pub(crate) struct Tracer<W> {
    wants: W,
    /// Place in the burst, and what is known so far.
    underway: Vec<(usize, Traced)>,
    pub(crate) done: Vec<Traced>,
}

impl<W: FnMut(PortId, &[u8]) -> bool> Tracer<W> {
    pub(crate) fn new(wants: W) -> Self {
        Self { wants, underway: Vec::new(), done: Vec::new() }
    }
}

/// Whether no stage has decided a packet yet.
fn is_live(batch: &Batch, i: usize) -> bool {
    batch.live().any(|live| live == i)
}

impl<W: FnMut(PortId, &[u8]) -> bool> Observer for Tracer<W> {
    fn received(&mut self, batch: &Batch, pool: &FramePool, snapshot: &Snapshot, now_ns: u64) {
        for (i, frame) in batch.frames.as_slice().iter().enumerate() {
            let bytes = pool.bytes(frame);
            if !(self.wants)(batch.ingress, bytes) {
                continue;
            }
            let traced = Traced {
                at_ns: now_ns,
                generation: snapshot.generation,
                ingress: batch.ingress,
                before: bytes.to_vec(),
                offload: frame.offload(),
                origin: Origin::by_port(batch.ingress),
                key: None,
                cached: None,
                program: None,
                verdict: batch.verdicts[i],
                decided: Stage::Receive, // a cross-connect goes by no other
                rule: None,
                after: Vec::new(),
            };
            self.underway.push((i, traced));
        }
    }

    fn parsed(&mut self, batch: &Batch, _: &FramePool, flows: &mut FlowTable) {
        self.ended(Stage::Parse, batch);
        for (i, traced) in self.underway.iter_mut().filter(|(i, _)| is_live(batch, *i)) {
            let key = batch.keys[*i];
            traced.key = Some(key);
            traced.cached = flows.find(batch.hashes[*i], &key).map(|(state, program)| (*state, *program));
        }
    }

    fn ended(&mut self, stage: Stage, batch: &Batch) {
        for (i, traced) in &mut self.underway {
            if batch.has_tunnelled {
                traced.origin = batch.origins[*i];
            }
            let was_live = matches!(traced.decided, Stage::Receive | Stage::Act);
            if is_live(batch, *i) {
                traced.decided = Stage::Act; // unless another stage ends it
                if stage == Stage::Classify {
                    traced.program = Some(batch.programs[*i]);
                }
            } else if was_live {
                traced.decided = stage;
            }
        }
    }

    fn decided(&mut self, batch: &Batch, pool: &FramePool) {
        for (i, mut traced) in self.underway.drain(..) {
            traced.verdict = batch.verdicts[i];
            if let (Verdict::Drop(reason), Some(program)) = (traced.verdict, &traced.program) {
                traced.rule = rule_behind(reason, program, batch.policed_by[i]);
            }
            traced.after = pool.bytes(&batch.frames.as_slice()[i]).to_vec();
            self.done.push(traced);
        }
    }
}
