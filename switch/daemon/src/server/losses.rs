//! Drops: what was counted, and what was remembered.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use weft_ctl_api::{
    Error,
    drops::{DropRow, DropRows, DroppedPacket, Drops},
};
use weft_dataplane::{
    reason::{DropReason, PuntReason},
    recorder::Dropped,
};

use super::{Session, not_found};
use crate::{packet, switch::Lost};

/// How the reasons begin of what is no packet, but an answer to one that was received.
const ICMP_LIMITED: &str = "icmp_limited";

/// Word and text of ICMP errors that were not sent.
const fn icmp_limited(reason: PuntReason) -> (&'static str, &'static str) {
    match reason {
        PuntReason::TtlExpired => {
            ("icmp_limited_ttl_expired", "ICMP time exceeded, not sent: its receiver has had enough")
        }
        PuntReason::TooBig => ("icmp_limited_too_big", "ICMP too big, not sent: its receiver has had enough"),
        PuntReason::Unreachable => {
            ("icmp_limited_unreachable", "ICMP host unreachable, not sent: its receiver has had enough")
        }
        PuntReason::Local => {
            ("icmp_limited_port", "ICMP port unreachable, not sent: its receiver has had enough")
        }
        PuntReason::Arp | PuntReason::Nd | PuntReason::PathMtu => {
            (ICMP_LIMITED, "an ICMP error that was not sent")
        }
    }
}

const LOST: (&str, &str) = ("rx_lost", "lost before the switch saw them: it was offered more than it takes");

impl Session {
    pub(super) fn show_drops(&self, call: &Drops) -> Result<DropRows, Error> {
        let mut drops = self.drop_rows();
        self.check_drops_of(call, &drops)?;
        drops.retain(|row| {
            call.port.as_ref().is_none_or(|port| row.port.as_ref() == Some(port))
                && call.endpoint.as_ref().is_none_or(|endpoint| row.endpoint.as_ref() == Some(endpoint))
        });
        let recorders = || self.switch.runtime.threads.iter().map(|thread| &thread.counters.recorder);
        Ok(DropRows {
            at_ms: self.switch.started.elapsed().as_millis() as u64,
            drops,
            last: call.last.map(|last| self.dropped_last(call, last)).unwrap_or_default(),
            not_remembered: recorders().map(|recorder| recorder.left_out.get()).sum(),
        })
    }

    /// Ports and endpoints may be gone, and are still asked for.
    fn check_drops_of(&self, call: &Drops, rows: &[DropRow]) -> Result<(), Error> {
        if let Some(port) = &call.port
            && !rows.iter().any(|row| row.port.as_ref() == Some(port))
        {
            self.check_port(Some(port))?;
        }
        let Some(endpoint) = &call.endpoint else { return Ok(()) };
        let mut names = self.switch.desired.endpoints.iter().map(|endpoint| endpoint.name.as_str());
        let is_known = names.clone().any(|name| name == endpoint)
            || rows.iter().any(|row| row.endpoint.as_ref() == Some(endpoint));
        if is_known { Ok(()) } else { Err(not_found("endpoint", endpoint, names.by_ref())) }
    }

    fn drop_rows(&self) -> Vec<DropRow> {
        let account = self.switch.account();
        let mut rows = Vec::new();
        for (port, lost) in &account.ports {
            let removed = !self.switch.desired.ports.iter().any(|other| other.name == *port);
            let mut rest = lost.clone();
            for ((_, endpoint), drops) in account.endpoints.iter().filter(|((of, _), _)| of == port) {
                for reason in DropReason::ALL {
                    let packets = drops[reason as usize];
                    let left = &mut rest.drops[reason as usize];
                    *left = left.saturating_sub(packets);
                    rows.extend(row(Some(port), Some(endpoint), of(reason), packets, removed));
                }
            }
            rows.extend(rows_of(Some(port), &rest, removed));
        }
        rows.extend(rows_of(None, &account.older, true));
        rows.extend(self.drops_of_no_port());
        rows
    }

    fn drops_of_no_port(&self) -> Vec<DropRow> {
        let orphans = self.switch.runtime.threads.iter().map(|thread| thread.counters.orphans.get()).sum();
        let slowpath = &self.switch.runtime.slowpath_counters;
        let mut all = vec![
            ("orphan", "decided for a port that no PMD thread has any more", orphans),
            ("answer_port_gone", "an answer of the slow path's whose port is gone", slowpath.port_gone.get()),
            (
                "answer_no_frames",
                "an answer of the slow path's without frame memory",
                slowpath.no_frames.get(),
            ),
            (
                "answer_handoff_full",
                "an answer of the slow path's to a PMD thread that is behind",
                slowpath.handoff_full.get(),
            ),
            (
                DropReason::StormLimited.word(),
                "a neighbour solicitation that the slow path did not flood: over its network's rate",
                slowpath.desk.storm_limited.get(),
            ),
            (
                DropReason::FloodLimited.word(),
                "a copy of one for another node: over the rate of copies",
                slowpath.desk.copies_limited.get(),
            ),
            (
                "not_reassembled",
                "a fragment of an echo request to the switch that overlaps another, or came too late",
                slowpath.desk.not_reassembled.get(),
            ),
        ];
        all.extend(PuntReason::ALL.map(|reason| {
            let (word, text) = icmp_limited(reason);
            (word, text, slowpath.desk.errors_limited[reason as usize].get())
        }));
        all.into_iter()
            .filter_map(|(word, text, packets)| row(None, None, (word, text), packets, false))
            .collect()
    }

    /// All drops there have been.
    pub(super) fn drops_total(&self) -> u64 {
        let is_packet = |row: &&DropRow| !row.reason.starts_with(ICMP_LIMITED);
        self.drop_rows().iter().filter(is_packet).map(|row| row.packets).sum()
    }

    /// Learnt addresses that went lost between PMD threads, slow path and control thread.
    pub(super) fn learn_lost(&self) -> u64 {
        let threads = self.switch.runtime.threads.iter().map(|thread| thread.counters.learn_lost.get());
        threads.sum::<u64>() + self.switch.runtime.slowpath_counters.learn_lost.get()
    }

    fn dropped_last(&self, call: &Drops, last: usize) -> Vec<DroppedPacket> {
        let mut packets = Vec::new();
        for thread in &self.switch.runtime.threads {
            let recorded = thread.counters.recorder.read(0);
            packets
                .extend(recorded.iter().map(|(number, dropped)| self.dropped(thread.core, *number, dropped)));
        }
        packets.retain(|packet| {
            let is_of = |of: &Option<String>, name: &String| of.as_ref() == Some(name);
            call.port.as_ref().is_none_or(|port| is_of(&packet.ingress, port) || is_of(&packet.egress, port))
                && call.endpoint.as_ref().is_none_or(|endpoint| {
                    is_of(&packet.source, endpoint) || is_of(&packet.destination, endpoint)
                })
        });
        packets.sort_by_key(|packet| (packet.at_ms, packet.core, packet.number));
        packets.split_off(packets.len().saturating_sub(last))
    }

    fn dropped(&self, core: usize, number: u64, dropped: &Dropped) -> DroppedPacket {
        let names = self.switch.names.at(dropped.generation);
        let ago_ns = self.switch.runtime.now_ns().saturating_sub(dropped.at_ns);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let (source, destination) = match packet::addresses(&dropped.header) {
            Some((src, dst)) => (self.endpoint_of(src), self.endpoint_of(dst)),
            None => (None, None),
        };
        DroppedPacket {
            core,
            number,
            at_ms: now_ms.saturating_sub(ago_ns / 1_000_000),
            reason: dropped.reason.word().into(),
            meaning: dropped.reason.text().into(),
            decided_by: match dropped.rule {
                Some(rule) => format!("rule:{}", names.rule(rule)),
                None => dropped.reason.decided_by().into(),
            },
            generation: dropped.generation,
            ingress: dropped.origin.map(|origin| names.origin(origin)),
            egress: dropped.egress.map(|port| names.port(port).to_owned()),
            source,
            destination,
            len: dropped.len,
            packet: packet::describe(&dropped.header, dropped.len as usize),
            hex: packet::hex(&dropped.header),
        }
    }

    /// The endpoint that has an address.
    pub(super) fn endpoint_of(&self, address: IpAddr) -> Option<String> {
        let mut all = self.switch.desired.endpoints.iter();
        all.find(|endpoint| endpoint.addresses.contains(&address)).map(|endpoint| endpoint.name.clone())
    }
}

fn of(reason: DropReason) -> (&'static str, &'static str) {
    (reason.word(), reason.text())
}

fn row(
    port: Option<&String>,
    endpoint: Option<&String>,
    (reason, meaning): (&str, &str),
    packets: u64,
    removed: bool,
) -> Option<DropRow> {
    (packets > 0).then(|| DropRow {
        port: port.cloned(),
        endpoint: endpoint.cloned(),
        reason: reason.into(),
        packets,
        meaning: meaning.into(),
        removed,
    })
}

fn rows_of(port: Option<&String>, lost: &Lost, removed: bool) -> Vec<DropRow> {
    let before = row(port, None, LOST, lost.before, removed);
    let drops = DropReason::ALL
        .into_iter()
        .filter_map(|reason| row(port, None, of(reason), lost.drops[reason as usize], removed));
    before.into_iter().chain(drops).collect()
}
