//! Answers one packet after the other, within everybody's shares. Pure but for its memory: time is an argument.

use std::sync::Arc;

use weft_dataplane::{
    mailbox::Punt,
    parse::{icmp_sum_is_right, parse_packet},
    reason::PuntReason,
    share::{Shares, Source},
    snapshot::Snapshot,
    stats::Counter,
};

use super::{
    Answer, AnswerKind, Reply, answer,
    reassemble::{Outcome, Reassembly},
};

/// What was not answered. Written by the slow path's thread alone.
#[derive(Debug)]
pub struct DeskCounters {
    /// ICMP errors that were not sent, for whom they would have told has had enough of them; by what asked for them.
    pub errors_limited: [Counter; PuntReason::COUNT],
    /// Packets that were not flooded: over their network's rate.
    pub storm_limited: Counter,
    /// Copies that were not sent to other nodes: over the rate of copies.
    pub copies_limited: Counter,
    /// Fragments that made no whole packet.
    pub not_reassembled: Counter,
}

impl Default for DeskCounters {
    fn default() -> Self {
        Self {
            errors_limited: std::array::from_fn(|_| Counter::default()),
            storm_limited: Counter::default(),
            copies_limited: Counter::default(),
            not_reassembled: Counter::default(),
        }
    }
}

/// What is remembered from packet to packet.
#[derive(Debug)]
pub struct Desk {
    counters: Arc<DeskCounters>,
    shares: Shares,
    reassembly: Reassembly,
}

impl Desk {
    /// One that remembers nothing yet.
    pub fn new(counters: Arc<DeskCounters>) -> Self {
        Self { counters, shares: Shares::new(Arc::default()), reassembly: Reassembly::default() }
    }

    /// What to send for a punted packet, whose bytes these are.
    pub fn serve(&mut self, punt: &Punt, bytes: &[u8], snapshot: &Snapshot, now_ns: u64) -> Vec<Reply> {
        let whole;
        let bytes = match punt.reason {
            PuntReason::Local => match self.reassembly.add(punt.source, bytes, now_ns) {
                Outcome::NotOurs => bytes,
                Outcome::Kept => return Vec::new(),
                Outcome::Refused => {
                    self.counters.not_reassembled.add(1);
                    return Vec::new();
                }
                // Of a fragment nothing could be said of the sum.
                Outcome::Whole(packet) if !is_sound(&packet) => {
                    self.counters.not_reassembled.add(1);
                    return Vec::new();
                }
                Outcome::Whole(packet) => {
                    whole = packet;
                    &whole
                }
            },
            _ => bytes,
        };
        let answer = answer(bytes, punt.ingress, punt.origin, punt.reason, snapshot);
        self.limited(answer, punt.source, punt.reason, snapshot, now_ns)
    }

    fn limited(
        &mut self,
        answer: Answer,
        source: Source,
        reason: PuntReason,
        snapshot: &Snapshot,
        now_ns: u64,
    ) -> Vec<Reply> {
        let Answer { mut replies, kind } = answer;
        match kind {
            AnswerKind::Error if !self.shares.error(source, now_ns) => {
                self.counters.errors_limited[reason as usize].add(1);
                replies.clear();
            }
            AnswerKind::Flood { network, remote } => {
                let Some(network) = snapshot.network(network) else { return Vec::new() };
                if !self.shares.flood(source, network, 1, now_ns) {
                    self.counters.storm_limited.add(1);
                    return Vec::new();
                }
                let allowed =
                    (0..remote).filter(|_| self.shares.may_copy(network, source, 1, now_ns)).count();
                self.counters.copies_limited.add((remote - allowed) as u64);
                replies.truncate(replies.len() - (remote - allowed));
            }
            AnswerKind::Reply | AnswerKind::Error => {}
        }
        replies
    }

    /// Forgets what has waited too long.
    pub fn expire(&mut self, now_ns: u64) {
        let forgotten = self.reassembly.expire(now_ns);
        self.counters.not_reassembled.add(forgotten as u64);
    }
}

/// Whether an ICMP message that came in fragments has the right sum.
fn is_sound(packet: &[u8]) -> bool {
    parse_packet(packet).is_ok_and(|(key, headers)| icmp_sum_is_right(packet, &key, &headers))
}
