//! The past as tables.

use weft_ctl_api::{
    flow::TopFlows,
    history::{HistoryReply, Moment},
};

use super::{Render, human, table};

/// The time of day, UTC.
fn clock(at_ms: u64) -> String {
    let seconds = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl Render for HistoryReply {
    fn render(&self) -> String {
        let row = |moment: &Moment| {
            let (rate, sum) = (|count| human(moment.per_second(count)), &moment.sum);
            let busiest = moment.threads.iter().map(|thread| thread.busy_percent()).fold(0.0, f64::max);
            let most = moment.drops.iter().max_by_key(|row| row.packets);
            vec![
                clock(moment.at_ms),
                rate(sum.rx_packets),
                rate(sum.rx_bytes * 8),
                rate(sum.tx_packets),
                rate(sum.tx_bytes * 8),
                rate(sum.dropped),
                rate(sum.rx_lost),
                if moment.threads.is_empty() { "-".into() } else { format!("{busiest:.0}") },
                most.map_or(String::new(), |row| format!("{} at {}", row.reason, row.port)),
            ]
        };
        let header = [
            "until (utc)",
            "rx packets/s",
            "rx bit/s",
            "tx packets/s",
            "tx bit/s",
            "dropped/s",
            "lost/s",
            "busiest %",
            "most drops",
        ];
        let rows = self.moments.iter().map(row).collect();
        let shown = table(&header, 1..8, rows, "nothing is known of this time");
        format!(
            "{shown}\nweftd remembers the last {} s; --json has ports, threads and reasons",
            self.reaches_s
        )
    }
}

impl Render for TopFlows {
    fn render(&self) -> String {
        let rows = self.flows.iter().map(|row| {
            let rate = |count: u64| match self.seconds {
                0.0 => count.to_string(),
                seconds => human(count as f64 / seconds),
            };
            vec![
                row.flow.core.to_string(),
                row.flow.port.clone(),
                row.flow.flow.clone(),
                rate(row.packets_since),
                rate(if self.seconds == 0.0 { row.bytes_since } else { row.bytes_since * 8 }),
                row.flow.actions.clone(),
            ]
        });
        let (of, header) = if self.seconds == 0.0 {
            let of = "since the flows began; ask again for rates".to_owned();
            (of, ["core", "port", "flow", "packets", "bytes", "actions"])
        } else {
            let of = format!("of the last {:.1} s", self.seconds);
            (of, ["core", "port", "flow", "packets/s", "bit/s", "actions"])
        };
        let shown = table(&header, 3..5, rows.collect(), "no flow had a packet");
        let part = if self.complete { "" } else { ", not all of which were looked at" };
        format!("{shown}\n{of}; {} flows cached{part}", self.total)
    }
}
