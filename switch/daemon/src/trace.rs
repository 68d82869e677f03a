//! A packet's path in words: what [`weft_dataplane::trace`] saw, with the tables, rules and names behind it.
//!
//! Pure: the same packet and [`View`] give the same words.

mod peer;
mod sender;
mod steps;

use weft_ctl_api::trace::{Change, TraceOutput, TracedPacket};
use weft_dataplane::{
    key::FlowKey,
    program::Verdict,
    trace::{Outcome, Traced, what_if},
};
use weft_pmd::{Csum, Offload};
use weft_wire::PortId;

pub use sender::Sender;

use crate::{packet, slowpath, switch::View};

impl View<'_> {
    /// Takes a packet of no sender through the tables; nothing is sent, counted or learnt. Its flow key comes with it, if it
    /// got one. Fails where there is no memory.
    pub fn what_if(
        &self,
        from: PortId,
        bytes: &[u8],
        now_ns: u64,
    ) -> std::io::Result<(TracedPacket, Option<FlowKey>)> {
        let outcome = what_if(&self.snapshot.shadow(), from, bytes, Offload::default(), now_ns)?;
        let Some(traced) = &outcome.traced else {
            return Err(std::io::Error::other("the packet is larger than any frame"));
        };
        let mut packet = self.describe(traced);
        packet.outputs = outcome
            .sent
            .iter()
            .map(|sent| self.output(sent.port, &traced.before, &sent.bytes, sent.offload))
            .collect();
        packet.answers = self.answers(&outcome);
        packet.drops = outcome
            .drops
            .iter()
            .map(|(port, reason, _)| format!("{}: {}", self.names.port(*port), reason.word()))
            .collect();
        Ok((packet, traced.key))
    }

    /// What became of a packet, as far as its thread saw it.
    pub fn describe(&self, traced: &Traced) -> TracedPacket {
        let ends = packet::addresses(inner(traced));
        let reason = match traced.verdict {
            Verdict::Drop(reason) => Some(reason.text()),
            Verdict::Punt(reason) => Some(reason.text()),
            Verdict::Forward(_) | Verdict::Flood(_) => None,
        };
        let outputs = match traced.verdict {
            Verdict::Forward(port) => vec![self.output(port, &traced.before, &traced.after, traced.offload)],
            _ => Vec::new(),
        };
        TracedPacket {
            at_ms: 0,
            core: None,
            generation: traced.generation,
            from: self.names.origin(traced.origin),
            source: ends.and_then(|(src, _)| self.endpoint_of(src)),
            destination: ends.and_then(|(_, dst)| self.endpoint_of(dst)),
            packet: packet::describe(&traced.before, traced.before.len()),
            hex: packet::hex(&traced.before),
            steps: self.steps(traced),
            cached: Vec::new(),
            verdict: self.verdict_words(traced.verdict),
            meaning: reason.map(str::to_owned),
            decided_by: self.decided_by(traced),
            outputs,
            answers: Vec::new(),
            drops: Vec::new(),
        }
    }

    fn output(&self, port: PortId, before: &[u8], after: &[u8], offload: Offload) -> TraceOutput {
        TraceOutput {
            port: self.names.port(port).to_owned(),
            packet: packet::describe(after, after.len()),
            offload: offload_word(offload),
            changes: changes(before, after),
            hex: packet::hex(after),
        }
    }

    /// What the slow path would answer.
    fn answers(&self, outcome: &Outcome) -> Vec<TraceOutput> {
        let (Some((reason, origin, bytes)), Some(traced)) = (&outcome.punted, &outcome.traced) else {
            return Vec::new();
        };
        let replies = slowpath::answer(bytes, traced.ingress, *origin, *reason, &self.snapshot);
        let answer = |reply: &slowpath::Reply| TraceOutput {
            changes: Vec::new(),
            ..self.output(reply.port, &[], &reply.bytes, Offload::default())
        };
        replies.replies.iter().map(answer).collect()
    }

    fn decided_by(&self, traced: &Traced) -> Option<String> {
        match (traced.verdict, traced.rule) {
            (Verdict::Drop(_), Some(rule)) => Some(format!("rule:{}", self.names.rule(rule))),
            (Verdict::Drop(reason), None) => Some(reason.decided_by().to_owned()),
            _ => None,
        }
    }

    fn endpoint_of(&self, address: std::net::IpAddr) -> Option<String> {
        let mut all = self.desired.endpoints.iter();
        all.find(|endpoint| endpoint.addresses.contains(&address)).map(|endpoint| endpoint.name.clone())
    }
}

/// What was in the tunnel, of a tunnel packet; else the packet.
fn inner(traced: &Traced) -> &[u8] {
    match traced.origin.tunnel() {
        // The outer header is what is too much in front: the inner frame ends where the packet ends, or is padded.
        Some(_) => packet::inner(&traced.before).unwrap_or(&traced.before),
        None => &traced.before,
    }
}

fn offload_word(offload: Offload) -> Option<String> {
    match (offload.gso, offload.csum) {
        (Some(gso), _) => Some(format!("to be cut into segments of {} bytes", gso.size)),
        (None, Csum::Partial { .. }) => Some("its checksum is to be completed".into()),
        (None, _) => None,
    }
}

/// Fields that differ.
pub fn changes(before: &[u8], after: &[u8]) -> Vec<Change> {
    let (old, new) = (packet::fields(before), packet::fields(after));
    let value = |list: &[packet::Field], name: &str| {
        list.iter().find(|field| field.name == name).map_or_else(|| "-".into(), |field| field.value.clone())
    };
    let mut names: Vec<&String> = old.iter().chain(&new).map(|field| &field.name).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let change =
        |name: &String| Change { what: name.clone(), before: value(&old, name), after: value(&new, name) };
    names.into_iter().map(change).filter(|change| change.before != change.after).collect()
}

/// What another configuration changes for a packet.
pub fn differences(now: &TracedPacket, against: &TracedPacket) -> Vec<Change> {
    let sent = |packet: &TracedPacket| {
        let outputs = packet.outputs.iter().map(|output| format!("{}: {}", output.port, output.packet));
        outputs.collect::<Vec<_>>().join("; ")
    };
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".into());
    let all = [
        ("verdict", now.verdict.clone(), against.verdict.clone()),
        ("decided by", word(&now.decided_by), word(&against.decided_by)),
        ("leaves as", sent(now), sent(against)),
        ("drops", now.drops.join(", "), against.drops.join(", ")),
    ];
    let change = |(what, before, after): (&str, String, String)| Change { what: what.into(), before, after };
    all.into_iter().map(change).filter(|change| change.before != change.after).collect()
}
