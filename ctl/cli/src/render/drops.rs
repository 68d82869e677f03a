//! Drops.

use weft_ctl_api::drops::{DropRow, DropRows, DroppedPacket};

use super::{Render, dash, table};

fn port(row: &DropRow) -> String {
    match (&row.port, row.removed) {
        (Some(port), true) => format!("{port} (removed)"),
        (None, true) => "(removed long ago)".into(),
        (port, false) => dash(port.as_ref()),
    }
}

impl Render for DropRows {
    fn render(&self) -> String {
        if !self.last.is_empty() {
            return self.last.as_slice().render();
        }
        let rows = self.drops.iter().map(|row| {
            let packets = row.packets.to_string();
            vec![port(row), dash(row.endpoint.as_ref()), row.reason.clone(), packets, row.meaning.clone()]
        });
        table(&["port", "endpoint", "reason", "packets", "meaning"], 3..4, rows.collect(), "no drops")
    }
}

impl Render for [DroppedPacket] {
    fn render(&self) -> String {
        let rows = self.iter().map(|packet| {
            let pods = match (&packet.source, &packet.destination) {
                (None, None) => "-".into(),
                (source, destination) => {
                    format!("{} > {}", dash(source.as_ref()), dash(destination.as_ref()))
                }
            };
            vec![
                clock(packet.at_ms),
                packet.core.to_string(),
                dash(packet.ingress.as_ref()),
                dash(packet.egress.as_ref()),
                pods,
                packet.reason.clone(),
                packet.decided_by.clone(),
                packet.generation.to_string(),
                packet.packet.clone(),
            ]
        });
        let header =
            ["time (utc)", "core", "in", "out", "endpoints", "reason", "decided by", "generation", "packet"];
        table(&header, 1..2, rows.collect(), "no drops")
    }
}

/// The time of day, to the millisecond.
pub(super) fn clock(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(port: Option<&str>, removed: bool) -> DropRow {
        DropRow {
            port: port.map(str::to_owned),
            endpoint: port.map(|_| "default/web".into()),
            reason: "spoofed".into(),
            packets: 12,
            meaning: "not its own".into(),
            removed,
        }
    }

    #[test]
    fn tables_are_plain_and_aligned() {
        let drops = vec![row(Some("web-1"), false), row(Some("db"), true), row(None, false)];
        assert_eq!(
            DropRows { at_ms: 0, drops, last: Vec::new(), not_remembered: 0 }.render(),
            "PORT          ENDPOINT     REASON   PACKETS  MEANING\n\
             web-1         default/web  spoofed       12  not its own\n\
             db (removed)  default/web  spoofed       12  not its own\n\
             -             -            spoofed       12  not its own"
        );
        let none = DropRows { at_ms: 0, drops: Vec::new(), last: Vec::new(), not_remembered: 0 };
        assert_eq!(none.render(), "no drops");
    }

    #[test]
    fn packets_are_a_line_each() {
        let packet = DroppedPacket {
            core: 1,
            number: 7,
            at_ms: 1_700_000_000_123,
            reason: "rule".into(),
            meaning: "an operator's rule says drop".into(),
            decided_by: "rule:no-telnet".into(),
            generation: 5,
            ingress: Some("web".into()),
            egress: None,
            source: Some("default/web".into()),
            destination: None,
            len: 54,
            packet: "tcp 10.0.0.1:1 > 10.0.0.2:23 flags syn ttl 64 size 54".into(),
            hex: "00".into(),
        };
        let text = [packet].as_slice().render();
        assert!(
            text.ends_with(
                "22:13:20.123     1  web  -    default/web > -  rule    rule:no-telnet  5           \
             tcp 10.0.0.1:1 > 10.0.0.2:23 flags syn ttl 64 size 54"
            ),
            "{text}"
        );
    }
}
