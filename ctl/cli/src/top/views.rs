//! The views: which rows and columns each has.

use std::collections::BTreeMap;

use clap::ValueEnum;
use weft_ctl_api::history::{Counts, Moment};

use super::{
    data::Data,
    grid::{Cell, Column, Grid, Sort, Tone, numbers, words},
};
use crate::render::human;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// Ports.
    Ports,
    /// PMD threads.
    Pmd,
    /// Endpoints (pods).
    Endpoints,
    /// The biggest flows.
    Flows,
    /// Drops by port and reason.
    Drops,
}

impl View {
    pub(super) const ALL: [Self; 5] = [Self::Ports, Self::Pmd, Self::Endpoints, Self::Flows, Self::Drops];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Pmd => "PMD threads",
            Self::Endpoints => "endpoints",
            Self::Flows => "flows",
            Self::Drops => "drops",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Ports => PORTS,
            Self::Pmd => PMD,
            Self::Endpoints => ENDPOINTS,
            Self::Flows => FLOWS,
            Self::Drops => DROPS,
        }
    }

    /// What it is sorted by at first: what takes most.
    pub(super) fn sort(self) -> Sort {
        let column = match self {
            Self::Ports | Self::Endpoints => 3,
            Self::Pmd => 1,
            Self::Flows => 2,
            Self::Drops => 2,
        };
        Sort { column, reversed: false }
    }

    pub(super) fn grid(self, data: &Data) -> Grid {
        match self {
            Self::Ports => ports(data),
            Self::Pmd => pmd(data),
            Self::Endpoints => endpoints(data),
            Self::Flows => flows(data),
            Self::Drops => drops(data),
        }
    }
}

const PORTS: &[Column] = &[
    words("port"),
    words("kind"),
    numbers("rx pps"),
    numbers("rx bit/s"),
    numbers("tx pps"),
    numbers("tx bit/s"),
    numbers("drops/s"),
    numbers("lost/s"),
    words("state"),
];

fn rate(moment: &Moment, count: u64) -> Cell {
    let rate = moment.per_second(count);
    Cell::number(rate, human(rate))
}

fn trouble(moment: &Moment, count: u64) -> Cell {
    let cell = rate(moment, count);
    if count > 0 { cell.tone(Tone::Warning) } else { cell }
}

fn traffic(moment: &Moment, counts: &Counts) -> [Cell; 4] {
    [
        rate(moment, counts.rx_packets),
        rate(moment, counts.rx_bytes * 8),
        rate(moment, counts.tx_packets),
        rate(moment, counts.tx_bytes * 8),
    ]
}

fn counts_by_port(moment: &Moment) -> BTreeMap<&str, Counts> {
    moment.ports.iter().map(|row| (row.port.as_str(), row.counts)).collect()
}

fn ports(data: &Data) -> Grid {
    let mut counts = counts_by_port(&data.moment);
    let row = |name: &str, kind: String, state: Cell, counts: Counts| {
        let [rx, rx_bits, tx, tx_bits] = traffic(&data.moment, &counts);
        let (dropped, lost) = (trouble(&data.moment, counts.dropped), trouble(&data.moment, counts.rx_lost));
        vec![Cell::text(name), Cell::text(kind), rx, rx_bits, tx, tx_bits, dropped, lost, state]
    };
    let mut rows = Vec::new();
    for port in &data.ports {
        let state = match port.state.as_str() {
            "up" => Cell::text(format!("up, {}", port.mode)),
            other => Cell::text(format!("{other}: {}", port.why)).tone(Tone::Bad),
        };
        let kind = format!("{} {}", port.kind, port.role);
        rows.push(row(&port.name, kind, state, counts.remove(port.name.as_str()).unwrap_or_default()));
    }
    for (name, counts) in counts {
        rows.push(row(name, "-".into(), Cell::text("gone since").tone(Tone::Dim), counts));
    }
    Grid { columns: PORTS, rows, empty: "no ports", note: String::new() }
}

const PMD: &[Column] = &[
    words("core"),
    numbers("busy %"),
    numbers("pps"),
    numbers("cycles/packet"),
    numbers("packets/burst"),
    numbers("sleeps/s"),
    numbers("flows"),
    numbers("hit %"),
    words("queues"),
];

/// From here on a thread has little left for a burst of new flows.
const BUSY_WARNING: f64 = 80.0;
/// From here on it is most likely losing frames.
const BUSY_BAD: f64 = 95.0;

fn pmd(data: &Data) -> Grid {
    let rows = data.moment.threads.iter().map(|thread| {
        let busy = thread.busy_percent();
        let tone = match busy {
            busy if busy >= BUSY_BAD => Tone::Bad,
            busy if busy >= BUSY_WARNING => Tone::Warning,
            _ => Tone::Plain,
        };
        let queues: Vec<String> = data.ports.iter().flat_map(|port| queues_on(port, thread.core)).collect();
        let one = |number: f64| Cell::number(number, format!("{number:.1}"));
        vec![
            Cell::number(thread.core as f64, thread.core.to_string()).tone(Tone::Plain),
            one(busy).tone(tone),
            rate(&data.moment, thread.packets),
            Cell::number(thread.cycles_per_packet(), format!("{:.0}", thread.cycles_per_packet())),
            one(thread.packets_per_burst()),
            rate(&data.moment, thread.sleeps),
            Cell::number(thread.flows as f64, thread.flows.to_string()),
            one(thread.hit_percent()),
            Cell::text(queues.join(" ")),
        ]
    });
    let note = "busy %: time in turns that moved packets; packets/burst: of 64 at most".into();
    Grid { columns: PMD, rows: rows.collect(), empty: "nothing is known of this time", note }
}

fn queues_on(port: &weft_ctl_api::port::PortRow, core: usize) -> impl Iterator<Item = String> {
    let queues = port.cores.iter().enumerate().filter(move |(_, owner)| **owner == core);
    queues.map(|(queue, _)| format!("{}:{queue}", port.name))
}

const ENDPOINTS: &[Column] = &[
    words("endpoint"),
    words("network"),
    numbers("rx pps"),
    numbers("rx bit/s"),
    numbers("tx pps"),
    numbers("tx bit/s"),
    numbers("drops/s"),
    words("port"),
    words("addresses"),
];

fn endpoints(data: &Data) -> Grid {
    let counts = counts_by_port(&data.moment);
    let mut behind: BTreeMap<&str, usize> = BTreeMap::new();
    data.endpoints.iter().for_each(|endpoint| *behind.entry(&endpoint.port).or_default() += 1);
    let mut is_shared = false;
    let rows = data.endpoints.iter().map(|endpoint| {
        let counts = counts.get(endpoint.port.as_str()).copied().unwrap_or_default();
        let [rx, rx_bits, tx, tx_bits] = traffic(&data.moment, &counts);
        let shared = behind.get(endpoint.port.as_str()).copied().unwrap_or(1);
        is_shared |= shared > 1;
        let port = if shared > 1 {
            Cell::text(format!("{} (shared by {shared})", endpoint.port)).tone(Tone::Warning)
        } else {
            Cell::text(&endpoint.port)
        };
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        let (name, network) = (Cell::text(&endpoint.name), Cell::text(&endpoint.network));
        let dropped = trouble(&data.moment, counts.dropped);
        vec![name, network, rx, rx_bits, tx, tx_bits, dropped, port, Cell::text(addresses.join(" "))]
    });
    let rows = rows.collect();
    let shared = if is_shared { "; endpoints that share a port all show what the port did" } else { "" };
    let note = format!("rx: from the pod, tx: to it{shared}");
    Grid { columns: ENDPOINTS, rows, empty: "no endpoints", note }
}

const FLOWS: &[Column] =
    &[words("flow"), numbers("pps"), numbers("bit/s"), numbers("core"), words("from"), words("actions")];

fn flows(data: &Data) -> Grid {
    let empty = "no flow had a packet since the last look";
    let Some(top) = &data.flows else {
        return Grid { columns: FLOWS, rows: Vec::new(), empty: "not looked yet", note: String::new() };
    };
    if top.seconds == 0.0 {
        let empty = "rates come with the second look, in a moment";
        return Grid { columns: FLOWS, rows: Vec::new(), empty, note: String::new() };
    }
    let rows = top.flows.iter().map(|row| {
        let rate = |count: u64| {
            let rate = count as f64 / top.seconds;
            Cell::number(rate, human(rate))
        };
        vec![
            Cell::text(&row.flow.flow),
            rate(row.packets_since),
            rate(row.bytes_since * 8),
            Cell::number(row.flow.core as f64, row.flow.core.to_string()).tone(Tone::Plain),
            Cell::text(&row.flow.port),
            Cell::text(&row.flow.actions),
        ]
    });
    let part = if top.complete { "" } else { "; the tables are large: a part of them was looked at" };
    let note =
        format!("now, whatever time is looked at: {} of {} cached flows{part}", top.flows.len(), top.total);
    Grid { columns: FLOWS, rows: rows.collect(), empty, note }
}

const DROPS: &[Column] =
    &[words("port"), words("reason"), numbers("pps"), numbers("packets"), words("meaning")];

fn drops(data: &Data) -> Grid {
    let rows = data.moment.drops.iter().map(|row| {
        let meaning = data.meanings.iter().find(|(reason, _)| *reason == row.reason);
        vec![
            Cell::text(&row.port),
            Cell::text(&row.reason),
            trouble(&data.moment, row.packets),
            Cell::number(row.packets as f64, row.packets.to_string()),
            Cell::text(meaning.map_or("", |(_, meaning)| meaning)),
        ]
    });
    let empty = "no drops at this time (weftctl drops: since the ports were opened)";
    Grid { columns: DROPS, rows: rows.collect(), empty, note: String::new() }
}
