//! Replies as tables for people.

mod config;
mod drops;
mod fabric;
mod history;
mod queues;
mod trace;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use weft_ctl_api::{
    Done,
    config::ConfigText,
    endpoint::EndpointRows,
    fdb::FdbRows,
    flow::{CachedFlows, FlowRows},
    network::NetworkRows,
    pmd::{PmdRow, PmdRows},
    port::{PortDetails, PortRow, PortRows},
    stats::StatsReply,
    status::StatusReply,
};

/// What a reply looks like to a person.
pub(crate) trait Render {
    /// The text, of one or more lines.
    fn render(&self) -> String;
}

/// A table without lines: header, rows, columns from `numbers` on aligned right.
pub(crate) fn table(
    header: &[&str],
    numbers: std::ops::Range<usize>,
    rows: Vec<Vec<String>>,
    empty: &str,
) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|word| word.to_uppercase()));
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Lines of `name: value`, aligned.
fn lines(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {value}");
    pairs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// 1234567 → 1.23 M.
pub(crate) fn human(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e9 => (value / 1e9, " G"),
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    if unit.is_empty() { format!("{scaled:.0}") } else { format!("{scaled:.2}{unit}") }
}

pub(crate) fn dash(text: Option<impl ToString>) -> String {
    text.map_or("-".into(), |text| text.to_string())
}

fn join<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "-".into();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Render for Done {
    fn render(&self) -> String {
        let warnings = self.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
        format!("{} (generation {}){}", self.summary, self.generation, warnings.collect::<String>())
    }
}

impl Render for StatusReply {
    fn render(&self) -> String {
        let removed =
            if self.ports_removed > 0 { format!(" ({} removed)", self.ports_removed) } else { String::new() };
        let dead = match self.threads_dead {
            0 => String::new(),
            dead => format!(" ({dead} DEAD: restart weftd; what it said is in its log)"),
        };
        let pending = self.confirm_within_s.map_or(String::new(), |left| {
            format!(" (taken back in {left} s unless confirmed: weftctl config confirm)")
        });
        let captures = match self.captures {
            0 => "none".into(),
            running => running.to_string(),
        };
        let pages = if self.hugepages { "hugepages" } else { "ordinary pages" };
        lines(&[
            ("node", self.node.clone()),
            ("weftd", format!("{}, pid {}, up {} s", self.version, self.pid, self.uptime_s)),
            ("generation", format!("{}{pending}", self.generation)),
            ("PMD threads", format!("{}{dead}", self.threads)),
            ("ports", format!("{}{removed}", self.ports)),
            ("networks", self.networks.to_string()),
            ("endpoints", self.endpoints.to_string()),
            ("flow rules", self.rules.to_string()),
            ("cached flows", self.flows.to_string()),
            ("dropped", format!("{} packets (weftctl drops)", self.dropped)),
            ("not learnt", format!("{} times, over the share of a port", self.learn_lost)),
            (
                "frame memory",
                format!("{} MiB on {pages}, {} % free", self.memory_bytes >> 20, self.memory_free_percent),
            ),
            ("captures", captures),
        ])
    }
}

fn device(port: &PortRow) -> String {
    match (&port.device, &port.netns) {
        (Some(device), Some(netns)) => format!("{device}@{netns}"),
        (device, _) => dash(device.as_ref()),
    }
}

impl Render for PortRows {
    fn render(&self) -> String {
        let row = |port: &PortRow| {
            vec![
                port.name.clone(),
                port.kind.to_string(),
                port.role.to_string(),
                device(port),
                port.state.clone(),
                port.mtu.to_string(),
                join(&port.cores),
                if port.mode.is_empty() { "-".into() } else { port.mode.clone() },
                port.why.clone(),
            ]
        };
        let header = ["name", "kind", "role", "device", "state", "mtu", "cores", "mode", "why not better"];
        table(
            &header,
            5..6,
            self.ports.iter().map(row).collect(),
            "no ports: add one with `weftctl port add`",
        )
    }
}

impl Render for PortDetails {
    fn render(&self) -> String {
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let port = &self.port;
        let details = lines(&[
            ("name", port.name.clone()),
            ("kind", port.kind.to_string()),
            ("role", port.role.to_string()),
            ("device", device(port)),
            ("state", port.state.clone()),
            ("MAC", dash(port.mac)),
            ("MTU", port.mtu.to_string()),
            ("mode", port.mode.clone()),
            ("why not better", if port.why.is_empty() { "-".into() } else { port.why.clone() }),
            ("partial checksums", yes(self.takes_partial_checksums)),
            ("64 KiB super-frames", yes(self.takes_super_frames)),
            ("endpoints", join(&self.endpoints)),
            ("forwarded", self.forwarded.to_string()),
            ("flooded", self.flooded.to_string()),
            ("punted", self.punted.to_string()),
            ("dropped", self.dropped.to_string()),
        ]);
        let queues = StatsReply { at_ms: 0, queues: self.queues.clone() };
        format!("{details}\n\n{}", queues.render())
    }
}

impl Render for NetworkRows {
    fn render(&self) -> String {
        let rows = self.networks.iter().map(|row| {
            vec![
                row.spec.name.clone(),
                row.spec.mode.to_string(),
                dash(row.spec.vlan),
                dash(row.spec.vni),
                join(&row.spec.prefixes),
                join(&row.spec.gateways),
                row.gateway_mac.to_string(),
                row.endpoints.to_string(),
                row.ports.to_string(),
                row.learnt.to_string(),
                row.refused.to_string(),
            ]
        });
        let header = [
            "name",
            "mode",
            "vlan",
            "vni",
            "prefixes",
            "gateways",
            "gateway mac",
            "endpoints",
            "ports",
            "learnt",
            "refused",
        ];
        table(&header, 7..11, rows.collect(), "no networks: add one with `weftctl network add`")
    }
}

impl Render for EndpointRows {
    fn render(&self) -> String {
        let rows = self.endpoints.iter().map(|spec| {
            vec![
                spec.name.clone(),
                spec.network.clone(),
                spec.port.clone(),
                spec.mac.to_string(),
                join(&spec.addresses),
            ]
        });
        let header = ["name", "network", "port", "mac", "addresses"];
        table(&header, 9..9, rows.collect(), "no endpoints: add one with `weftctl endpoint add`")
    }
}

impl Render for FlowRows {
    fn render(&self) -> String {
        let rows = self.flows.iter().map(|row| {
            let matching = row.spec.matching.to_string();
            vec![
                row.spec.name.clone(),
                row.spec.priority.to_string(),
                if matching.is_empty() { "everything".into() } else { matching },
                join(&row.spec.actions),
                row.packets.to_string(),
                row.bytes.to_string(),
            ]
        });
        let header = ["name", "priority", "match", "actions", "packets", "bytes"];
        table(&header, 4..6, rows.collect(), "no flow rules: add one with `weftctl flow add`")
    }
}

impl Render for CachedFlows {
    fn render(&self) -> String {
        let rows = self.flows.iter().map(|flow| {
            vec![
                flow.core.to_string(),
                flow.port.clone(),
                flow.flow.clone(),
                flow.actions.clone(),
                flow.packets.to_string(),
                flow.bytes.to_string(),
                flow.idle_ms.to_string(),
                if flow.stale { "stale" } else { "" }.into(),
            ]
        });
        let header = ["core", "port", "flow", "actions", "packets", "bytes", "idle ms", ""];
        let shown = table(&header, 4..7, rows.collect(), "no cached flows");
        let more = if self.truncated { ", more than the limit: use a filter or --limit" } else { "" };
        format!("{shown}\n{} shown of {} cached{more}", self.flows.len(), self.total)
    }
}

impl Render for FdbRows {
    fn render(&self) -> String {
        let rows = self.stations.iter().map(|row| {
            vec![
                row.network.clone(),
                row.mac.to_string(),
                row.port.clone(),
                dash(row.vlan),
                row.idle_s.map_or("endpoint".into(), |idle| idle.to_string()),
                row.moves.to_string(),
            ]
        });
        let header = ["network", "mac", "port", "vlan", "idle s", "moves"];
        table(&header, 4..6, rows.collect(), "no addresses")
    }
}

fn state(row: &PmdRow) -> &'static str {
    match row {
        PmdRow { alive: false, .. } => " (DEAD)",
        PmdRow { pinned: false, .. } => " (not pinned)",
        _ => "",
    }
}

impl Render for PmdRows {
    fn render(&self) -> String {
        let rows = self.threads.iter().map(|row| {
            vec![
                format!("{}{}", row.core, state(row)),
                join(&row.queues),
                format!("{:.1}", row.busy_percent),
                human(row.packets_per_second),
                format!("{:.0}", row.cycles_per_packet),
                format!("{:.1}", row.packets_per_burst),
                format!("{:.0}", row.sleeps_per_second),
                row.flows.to_string(),
                format!("{:.1}", row.hit_percent),
            ]
        });
        let header = [
            "core",
            "queues",
            "busy %",
            "packets/s",
            "cycles/packet",
            "packets/burst",
            "sleeps/s",
            "flows",
            "hit %",
        ];
        let threads = table(&header, 2..9, rows.collect(), "no PMD threads");
        let Some(first) = self.threads.first() else { return threads };
        let names = first.stages.iter().map(|stage| stage.stage.as_str());
        let header: Vec<&str> = ["core"].into_iter().chain(names).collect();
        let rows = self.threads.iter().map(|row| {
            let cycles = row.stages.iter().map(|stage| format!("{:.0}", stage.cycles_per_packet));
            [row.core.to_string()].into_iter().chain(cycles).collect()
        });
        let stages = table(&header, 1..header.len(), rows.collect(), "");
        format!("{threads}\n\ncycles per packet by stage (one burst in 64 is timed)\n{stages}")
    }
}

impl Render for StatsReply {
    fn render(&self) -> String {
        let rows = self.queues.iter().map(|row| {
            vec![
                row.port.clone(),
                row.queue.to_string(),
                row.rx_packets.to_string(),
                row.rx_bytes.to_string(),
                row.rx_lost.to_string(),
                row.tx_packets.to_string(),
                row.tx_bytes.to_string(),
            ]
        });
        table(
            &["port", "queue", "rx packets", "rx bytes", "rx lost", "tx packets", "tx bytes"],
            1..7,
            rows.collect(),
            "no queues",
        )
    }
}

impl Render for ConfigText {
    fn render(&self) -> String {
        self.toml.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_header() {
        let queues = vec![weft_ctl_api::stats::QueueStats {
            port: "web".into(),
            queue: 0,
            rx_packets: 1,
            rx_bytes: 2,
            rx_lost: 3,
            tx_packets: 4,
            tx_bytes: 5,
        }];
        assert_eq!(
            StatsReply { at_ms: 0, queues }.render(),
            "PORT  QUEUE  RX PACKETS  RX BYTES  RX LOST  TX PACKETS  TX BYTES\n\
             web       0           1         2        3           4         5"
        );
    }

    #[test]
    fn a_dead_thread_is_plain_to_see() {
        let row = PmdRow {
            core: 3,
            alive: false,
            pinned: true,
            queues: Vec::new(),
            busy_percent: 0.0,
            cycles_per_packet: 0.0,
            packets_per_burst: 0.0,
            packets_per_second: 0.0,
            sleeps_per_second: 0.0,
            flows: 0,
            hit_percent: 0.0,
            flow_table_full: 0,
            stages: Vec::new(),
        };
        assert!(PmdRows { threads: vec![row] }.render().contains("3 (DEAD)"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(human(999.0), "999");
        assert_eq!(human(1_234_567.0), "1.23 M");
        assert_eq!(human(12_345.0), "12.35 k");
    }
}
