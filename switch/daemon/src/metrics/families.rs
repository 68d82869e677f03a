//! Every metric: its name, what it means, and where it is read.

use hashbrown::HashMap;
use weft_dataplane::{
    reason::{DropReason, PuntReason},
    stats::{PortStats, QueueCounters, Residence, ResidenceTotal, Stage, ThreadCounters},
};
use weft_pmd::sys::cycles_to_ns;

use super::{Family, Kind, Labels, Metrics, Value};
use crate::{
    bfd::State,
    switch::{OpenPort, Switch},
};

/// Collects families.
#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn add(&mut self, kind: Kind, name: &'static str, help: &'static str, rows: Vec<(Labels, Value)>) {
        self.0.push(Family { name, help, kind, rows });
    }
}

impl Metrics {
    /// Reads all counters.
    pub fn read(switch: &Switch) -> Self {
        let mut families = Families::default();
        whole(switch, &mut families);
        queues(switch, &mut families);
        ports(switch, &mut families);
        endpoints(switch, &mut families);
        threads(switch, &mut families);
        rules_and_peers(switch, &mut families);
        Self { families: families.0 }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn label(name: &'static str, value: impl ToString) -> (&'static str, String) {
    (name, value.to_string())
}

fn whole(switch: &Switch, families: &mut Families) {
    let mut one = |name, help, labels, value| {
        families.add(Kind::Gauge, name, help, vec![(labels, Value::Gauge(value))])
    };
    let build = vec![label("version", env!("CARGO_PKG_VERSION")), label("node", &switch.desired.node.name)];
    one("weft_build_info", "Which weftd this is; always 1", build, 1.0);
    one("weft_uptime_seconds", "Time since weftd started", vec![], switch.started.elapsed().as_secs_f64());
    one("weft_generation", "Generation of the configuration in force", vec![], switch.generation() as f64);
    let memory = &switch.runtime.memory;
    one("weft_frame_memory_bytes", "Frame memory", vec![], memory.bytes_total() as f64);
    let free = memory.available() as f64 / memory.total().max(1) as f64;
    one("weft_frame_memory_free_ratio", "Part of the frame memory that nothing holds, 0 to 1", vec![], free);
}

/// A column of the queues' table.
type QueueColumn = (&'static str, &'static str, fn(&QueueCounters) -> u64);

const QUEUES: [QueueColumn; 5] = [
    ("weft_port_receive_packets", "Frames received", |row| row.rx_packets.get()),
    ("weft_port_receive_bytes", "Bytes of the frames received", |row| row.rx_bytes.get()),
    ("weft_port_receive_lost_packets", "Frames lost before the switch saw them", |row| row.rx_lost.get()),
    ("weft_port_transmit_packets", "Frames sent", |row| row.tx_packets.get()),
    ("weft_port_transmit_bytes", "Bytes of the frames sent", |row| row.tx_bytes.get()),
];

fn queues(switch: &Switch, families: &mut Families) {
    for (name, help, read) in QUEUES {
        let of_port = |(port, open): (&String, &OpenPort)| {
            let row = |(queue, row): (usize, &QueueCounters)| {
                (vec![label("port", port), label("queue", queue)], Value::Count(read(row)))
            };
            open.stats.queues().enumerate().map(row).collect::<Vec<_>>()
        };
        families.add(Kind::Counter, name, help, switch.ports.iter().flat_map(of_port).collect());
    }
}

/// A column of the ports' table.
type PortColumn = (&'static str, &'static str, fn(&PortStats) -> u64);

const PORTS: [PortColumn; 2] = [
    ("weft_port_forwarded_packets", "Frames received here and forwarded", |stats| {
        stats.threads().map(|row| row.forwarded.get()).sum()
    }),
    ("weft_port_flooded_packets", "Frames received here and flooded", |stats| {
        stats.threads().map(|row| row.flooded.get()).sum()
    }),
];

fn ports(switch: &Switch, families: &mut Families) {
    let up = switch.desired.ports.iter().map(|port| {
        let labels =
            vec![label("port", &port.name), label("kind", port.spec.kind), label("role", port.spec.role)];
        (labels, Value::Gauge(f64::from(u8::from(switch.ports.contains_key(&port.name)))))
    });
    let help = "1 if the port is open, 0 if it waits for its device";
    families.add(Kind::Gauge, "weft_port_up", help, up.collect());
    for (name, help, read) in PORTS {
        let row =
            |(port, open): (&String, &OpenPort)| (vec![label("port", port)], Value::Count(read(&open.stats)));
        families.add(Kind::Counter, name, help, switch.ports.iter().map(row).collect());
    }
    let sole = sole_endpoints(switch);
    let (mut punts, mut drops, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (port, open) in &switch.ports {
        let labels = |reason: &str| vec![label("port", port), label("reason", reason)];
        for reason in PuntReason::ALL {
            let count: u64 = open.stats.threads().map(|row| row.punts[reason as usize].get()).sum();
            punts.extend((count > 0).then(|| (labels(reason.word()), Value::Count(count))));
        }
        for reason in DropReason::ALL {
            let count = open.stats.drops(reason);
            drops.extend((count > 0).then(|| (labels(reason.word()), Value::Count(count))));
        }
        let whose = vec![label("port", port), label("endpoint", sole.get(port.as_str()).unwrap_or(&""))];
        times.push((whose, histogram(&open.stats.residence())));
    }
    let help = "Frames received here that the slow path answered, by reason; reasons that have occurred";
    families.add(Kind::Counter, "weft_port_punted_packets", help, punts);
    let help = "Frames dropped at this port, by reason; reasons that have occurred";
    families.add(Kind::Counter, "weft_port_drop_packets", help, drops);
    let help = "Time in the switch of frames that left by this port, from the receipt of their burst until the port \
                took them; the endpoint is named if it has the port to itself";
    families.add(Kind::Histogram, "weft_port_residence_seconds", help, times);
}

fn histogram(total: &ResidenceTotal) -> Value {
    let bound = |bucket| Residence::bound_ns(bucket).map_or(f64::INFINITY, seconds);
    let buckets = total.buckets.iter().enumerate().map(|(bucket, frames)| (bound(bucket), *frames));
    Value::Histogram(buckets.collect(), seconds(total.sum_ns))
}

/// Endpoints that have a port to themselves, by the port's name.
fn sole_endpoints(switch: &Switch) -> HashMap<&str, &str> {
    let desired = &switch.desired;
    let mut behind = vec![0_usize; desired.ports.len()];
    desired.endpoints.iter().for_each(|endpoint| behind[endpoint.port] += 1);
    let alone = desired.endpoints.iter().filter(|endpoint| behind[endpoint.port] == 1);
    alone.map(|endpoint| (desired.ports[endpoint.port].name.as_str(), endpoint.name.as_str())).collect()
}

fn endpoints(switch: &Switch, families: &mut Families) {
    let desired = &switch.desired;
    let sole = sole_endpoints(switch);
    let labels = |endpoint: &crate::desired::Endpoint| {
        vec![
            label("endpoint", &endpoint.name),
            label("network", &desired.networks[endpoint.network].name),
            label("port", &desired.ports[endpoint.port].name),
        ]
    };
    let info = desired.endpoints.iter().map(|endpoint| (labels(endpoint), Value::Gauge(1.0)));
    let help = "Where an endpoint is; always 1. Joins the metrics of ports to endpoints";
    families.add(Kind::Gauge, "weft_endpoint_info", help, info.collect());
    let columns: [QueueColumn; 4] = [
        ("weft_endpoint_receive_packets", "Frames from an endpoint that has its port to itself", |row| {
            row.rx_packets.get()
        }),
        ("weft_endpoint_receive_bytes", "Bytes from an endpoint that has its port to itself", |row| {
            row.rx_bytes.get()
        }),
        ("weft_endpoint_transmit_packets", "Frames to an endpoint that has its port to itself", |row| {
            row.tx_packets.get()
        }),
        ("weft_endpoint_transmit_bytes", "Bytes to an endpoint that has its port to itself", |row| {
            row.tx_bytes.get()
        }),
    ];
    for (name, help, read) in columns {
        let rows = desired.endpoints.iter().filter_map(|endpoint| {
            let port = desired.ports[endpoint.port].name.as_str();
            let open = switch.ports.get(port).filter(|_| sole.contains_key(port))?;
            Some((labels(endpoint), Value::Count(open.stats.queues().map(read).sum())))
        });
        families.add(Kind::Counter, name, help, rows.collect());
    }
}

/// A column of the PMD threads' table.
type ThreadColumn = (Kind, &'static str, &'static str, fn(&ThreadCounters) -> Value);

const THREADS: [ThreadColumn; 12] = [
    (Kind::Counter, "weft_pmd_packets", "Frames received by the PMD thread", |row| {
        Value::Count(row.packets.get())
    }),
    (Kind::Counter, "weft_pmd_bursts", "Bursts that had a frame in them", |row| {
        Value::Count(row.bursts.get())
    }),
    (Kind::Counter, "weft_pmd_busy_seconds", "Time in turns that moved frames", |row| {
        Value::Seconds(seconds(cycles_to_ns(row.busy_cycles.get())))
    }),
    (Kind::Counter, "weft_pmd_idle_seconds", "Time in turns that found nothing, without sleep", |row| {
        Value::Seconds(seconds(cycles_to_ns(row.idle_cycles.get())))
    }),
    (Kind::Counter, "weft_pmd_sleeps", "Times it slept", |row| Value::Count(row.sleeps.get())),
    (Kind::Counter, "weft_pmd_flow_hits", "Lookups that the flow table answered", |row| {
        Value::Count(row.flow_hits.get())
    }),
    (Kind::Counter, "weft_pmd_flow_misses", "Lookups that had to be decided", |row| {
        Value::Count(row.flow_misses.get())
    }),
    (Kind::Counter, "weft_pmd_flow_table_full", "Flows not kept because the table was full", |row| {
        Value::Count(row.flow_table_full.get())
    }),
    (Kind::Gauge, "weft_pmd_flows", "Flows in the table", |row| Value::Gauge(row.flows.get() as f64)),
    (Kind::Counter, "weft_pmd_orphan_packets", "Frames for a port that no thread has any more", |row| {
        Value::Count(row.orphans.get())
    }),
    (
        Kind::Counter,
        "weft_pmd_learn_lost",
        "Times an address was not passed on to be learnt, over its port's share",
        |row| Value::Count(row.learn_lost.get()),
    ),
    (
        Kind::Counter,
        "weft_pmd_timed_packets",
        "Frames in the bursts whose stages were timed, one burst in 64",
        |row| Value::Count(row.stages.packets.get()),
    ),
];

fn threads(switch: &Switch, families: &mut Families) {
    let threads = &switch.runtime.threads;
    let alive = threads.iter().map(|thread| {
        (vec![label("core", thread.core)], Value::Gauge(f64::from(u8::from(thread.is_alive()))))
    });
    families.add(Kind::Gauge, "weft_pmd_alive", "1 while the PMD thread runs", alive.collect());
    for (kind, name, help, read) in THREADS {
        let row =
            |thread: &crate::runtime::Thread| (vec![label("core", thread.core)], read(&thread.counters));
        families.add(kind, name, help, threads.iter().map(row).collect());
    }
    let stages = threads.iter().flat_map(|thread| {
        Stage::ALL.map(|stage| {
            let cycles = thread.counters.stages.cycles[stage as usize].get();
            let labels = vec![label("core", thread.core), label("stage", stage.word())];
            (labels, Value::Seconds(seconds(cycles_to_ns(cycles))))
        })
    });
    let help = "Time of the timed bursts, by stage of the packet's path";
    families.add(Kind::Counter, "weft_pmd_stage_seconds", help, stages.collect());
}

fn rules_and_peers(switch: &Switch, families: &mut Families) {
    let (mut packets, mut bytes) = (Vec::new(), Vec::new());
    for rule in &switch.desired.rules {
        let (hit_packets, hit_bytes) = switch.rule_hits(&rule.name);
        packets.push((vec![label("rule", &rule.name)], Value::Count(hit_packets)));
        bytes.push((vec![label("rule", &rule.name)], Value::Count(hit_bytes)));
    }
    families.add(Kind::Counter, "weft_rule_packets", "Frames that an operator's rule matched", packets);
    families.add(Kind::Counter, "weft_rule_bytes", "Bytes that an operator's rule matched", bytes);
    let snapshot = switch.runtime.snapshot();
    let mut peers: [Vec<(Labels, Value)>; 5] = Default::default();
    let mut sessions = Vec::new();
    for peer in &switch.desired.peers {
        let Some(view) = switch.peer_id(&peer.name).and_then(|id| snapshot.peer(id)) else { continue };
        let labels = || vec![label("peer", &peer.name)];
        peers[0].push((labels(), Value::Gauge(f64::from(u8::from(view.hop.is_some())))));
        if let Some((state, _)) = switch.bfd_session(peer.address) {
            sessions.push((labels(), Value::Gauge(f64::from(u8::from(state == State::Up)))));
        }
        let mut sums = [0; 4];
        for row in view.stats.threads() {
            let row = [&row.tx_packets, &row.tx_bytes, &row.rx_packets, &row.rx_bytes];
            sums.iter_mut().zip(row).for_each(|(sum, counter)| *sum += counter.get());
        }
        for (rows, sum) in peers[1..].iter_mut().zip(sums) {
            rows.push((labels(), Value::Count(sum)));
        }
    }
    let [hops, tx_packets, tx_bytes, rx_packets, rx_bytes] = peers;
    families.add(Kind::Gauge, "weft_peer_reachable", "1 while the next hop to the node is known", hops);
    families.add(Kind::Gauge, "weft_peer_bfd_up", "1 while the node's BFD session is up", sessions);
    for (name, help, rows) in [
        ("weft_peer_transmit_packets", "Packets wrapped up for the node", tx_packets),
        ("weft_peer_transmit_bytes", "Bytes wrapped up for the node", tx_bytes),
        ("weft_peer_receive_packets", "Packets of the node's unwrapped", rx_packets),
        ("weft_peer_receive_bytes", "Bytes of the node's unwrapped", rx_bytes),
    ] {
        families.add(Kind::Counter, name, help, rows);
    }
}
