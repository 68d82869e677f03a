//! The flows that carry most: two looks at the flow caches, some time apart.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use weft_ctl_api::flow::{FlowTop, TopFlow, TopFlows};
use weft_dataplane::table::flow::FlowEntry;
use weft_wire::ThreadId;

use super::Session;

/// The control thread has other things to do: tables that take longer to look through are looked at in part.
const TIME_MAX: Duration = Duration::from_millis(100);
/// Flows remembered from one look to the next (6 MiB); more are not compared.
const FLOWS_MAX: usize = 1 << 18;
/// Two looks are at least so far apart.
const APART_MIN: Duration = Duration::from_millis(500);
/// Flows in a reply, at most, whatever is asked.
const LIMIT_MAX: usize = 1000;

/// What the last look saw.
#[derive(Default)]
pub(super) struct LastLook {
    at: Option<Instant>,
    /// Packets and bytes, by a hash of thread and key.
    seen: HashMap<u64, (u64, u64)>,
    complete: bool,
    hasher: RandomState,
    reply: TopFlows,
}

/// One flow, and what passed since the last look.
struct Candidate {
    thread: usize,
    packets: u64,
    bytes: u64,
    entry: FlowEntry,
    now_ms: u32,
    stale: bool,
}

impl Session {
    pub(super) fn biggest_flows(&mut self, call: &FlowTop) -> TopFlows {
        let limit = call.limit.min(LIMIT_MAX);
        let is_fresh = self.biggest.at.is_some_and(|at| at.elapsed() < APART_MIN);
        if !is_fresh {
            self.look_at_flows();
        }
        let mut reply = self.biggest.reply.clone();
        reply.flows.truncate(limit);
        reply
    }

    fn look_at_flows(&mut self) {
        let last = std::mem::take(&mut self.biggest);
        let began = Instant::now();
        let mut look =
            LastLook { at: Some(began), complete: true, hasher: last.hasher, ..LastLook::default() };
        let mut top: Vec<Candidate> = Vec::new();
        for index in 0..self.switch.runtime.threads.len() {
            self.switch.runtime.flows(ThreadId(index as u16), |flow, dump| {
                let hash = look.hasher.hash_one((index, flow.key.words()));
                let (packets, bytes) = (flow.state.packets, flow.state.bytes);
                look.seen.insert(hash, (packets, bytes));
                // A flow that was not there when all were looked at is new: all of it is of this time.
                let before = match last.seen.get(&hash) {
                    None if last.at.is_some() && !last.complete => Some((packets, bytes)),
                    before => before.copied(),
                };
                let before = before.filter(|(before, _)| *before <= packets).unwrap_or_default();
                let candidate = Candidate {
                    thread: index,
                    packets: packets - before.0,
                    bytes: bytes.saturating_sub(before.1),
                    entry: flow.clone(),
                    now_ms: dump.now_ms,
                    stale: flow.state.generation != dump.generation,
                };
                if candidate.packets > 0 {
                    top.push(candidate);
                }
                if top.len() > 4 * LIMIT_MAX {
                    keep_biggest(&mut top);
                }
                look.complete = began.elapsed() < TIME_MAX && look.seen.len() < FLOWS_MAX;
                look.complete
            });
        }
        keep_biggest(&mut top);
        let flows = top.iter().map(|found| TopFlow {
            packets_since: found.packets,
            bytes_since: found.bytes,
            flow: self.cached_flow(
                self.switch.runtime.threads[found.thread].core,
                &found.entry,
                found.now_ms,
                found.stale,
            ),
        });
        look.reply = TopFlows {
            seconds: last.at.map_or(0.0, |at| began.duration_since(at).as_secs_f64()),
            flows: flows.collect(),
            total: self.switch.runtime.threads.iter().map(|thread| thread.counters.flows.get()).sum(),
            complete: look.complete,
        };
        self.biggest = look;
    }
}

fn keep_biggest(top: &mut Vec<Candidate>) {
    top.sort_by_key(|found| std::cmp::Reverse(found.bytes));
    top.truncate(LIMIT_MAX);
}
