//! What happened in the last minutes: weftd reads all counters once a second and keeps what changed.

use serde::{Deserialize, Serialize};

/// Show what happened in the last 15 minutes, second by second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct History {
    /// Begin so long ago: 90s, 3m (a minus sign before it is understood, too).
    #[cfg_attr(feature = "clap", arg(long = "from", value_name = "AGO", default_value = "1m", value_parser = parse_ago, allow_hyphen_values = true))]
    pub from_s: u64,
    /// End so long ago.
    #[cfg_attr(feature = "clap", arg(long = "to", value_name = "AGO", default_value = "0s", value_parser = parse_ago, allow_hyphen_values = true))]
    pub to_s: u64,
    /// One moment for so long, from one second on.
    #[cfg_attr(feature = "clap", arg(long = "step", value_name = "TIME", default_value = "10s", value_parser = parse_ago))]
    pub step_s: u64,
    /// Of this port only.
    #[cfg_attr(feature = "clap", arg(long))]
    pub port: Option<String>,
    /// Sums only, neither ports nor threads nor reasons.
    #[cfg_attr(feature = "clap", arg(long))]
    pub sums: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { from_s: 60, to_s: 0, step_s: 10, port: None, sums: false }
    }
}

/// Seconds ago, from what people type: `90`, `90s`, `-3m`, `0.25h`.
pub fn parse_ago(text: &str) -> Result<u64, String> {
    let bare = text.trim().trim_start_matches('-');
    let unit_at = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    let (number, unit) = bare.split_at(unit_at);
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("\"{text}\" is no time; use 90s, 3m or 0.25h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("\"{text}\" is no time; use 90s, 3m or 0.25h"))?;
    Ok((number * seconds).round() as u64)
}

/// The past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReply {
    /// When it was asked for, milliseconds since 1970.
    pub now_ms: u64,
    /// How far weftd remembers, seconds: 15 minutes, less after a start or with very many busy ports.
    pub reaches_s: u64,
    /// The oldest first.
    pub moments: Vec<Moment>,
}

/// What happened in one step of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Its end, milliseconds since 1970.
    pub at_ms: u64,
    /// How long it was, milliseconds.
    pub lasted_ms: u64,
    /// All ports together.
    pub sum: Counts,
    /// Ports where anything happened.
    pub ports: Vec<PortMoment>,
    /// PMD threads.
    pub threads: Vec<ThreadMoment>,
    /// Drops.
    pub drops: Vec<DropMoment>,
}

impl Moment {
    /// A count as a rate.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1000.0 / self.lasted_ms.max(1) as f64
    }
}

/// Frames and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames lost before the switch saw them.
    pub rx_lost: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped.
    pub dropped: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.rx_lost += other.rx_lost;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.dropped += other.dropped;
    }
}

/// A port's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMoment {
    /// The port.
    pub port: String,
    /// What it did.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A PMD thread's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadMoment {
    /// Its core.
    pub core: usize,
    /// Time-stamp-counter cycles that passed.
    pub cycles: u64,
    /// Of these, cycles of turns that moved packets.
    pub busy_cycles: u64,
    /// Frames received.
    pub packets: u64,
    /// Bursts that had any.
    pub bursts: u64,
    /// Times it slept.
    pub sleeps: u64,
    /// Lookups answered by the flow table.
    pub hits: u64,
    /// Lookups that had to be decided.
    pub misses: u64,
    /// Flows in its table, at the end.
    pub flows: u64,
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl ThreadMoment {
    /// Share of the time it was moving packets, percent.
    pub fn busy_percent(&self) -> f64 {
        100.0 * share(self.busy_cycles, self.cycles).min(1.0)
    }

    /// Cycles of busy turns per packet.
    pub fn cycles_per_packet(&self) -> f64 {
        share(self.busy_cycles, self.packets)
    }

    /// How full bursts were.
    pub fn packets_per_burst(&self) -> f64 {
        share(self.packets, self.bursts)
    }

    /// Lookups answered by the table, percent.
    pub fn hit_percent(&self) -> f64 {
        100.0 * share(self.hits, self.hits + self.misses)
    }

    /// Adds what happened next.
    pub fn add(&mut self, next: &Self) {
        self.cycles += next.cycles;
        self.busy_cycles += next.busy_cycles;
        self.packets += next.packets;
        self.bursts += next.bursts;
        self.sleeps += next.sleeps;
        self.hits += next.hits;
        self.misses += next.misses;
        self.flows = next.flows;
    }
}

/// Drops at one port for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropMoment {
    /// The port.
    pub port: String,
    /// The reason's word.
    pub reason: String,
    /// Frames.
    pub packets: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("-3m", 180), ("0.25h", 900), ("0", 0), (" 2min ", 120)]
        {
            assert_eq!(parse_ago(text), Ok(seconds), "{text}");
        }
        for text in ["", "-", "3d", "m", "1.2.3s", "three"] {
            assert!(parse_ago(text).is_err_and(|error| error.contains("use 90s")), "{text}");
        }
    }
}
