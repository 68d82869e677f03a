//! What is, as people and programs read it.

use std::time::{Duration, Instant};

use weft_ctl_api::{
    Error,
    pmd::{PmdRow, PmdRows, StageRow},
    port::{self, PortDetails, PortRow},
    stats::{QueueStats, Stats, StatsReply},
    status::{ChunkRow, StatusReply},
};
use weft_dataplane::{
    reason::DropReason,
    stats::{PortStats, Stage, ThreadCounters},
};
use weft_pmd::PoolSize;
use weft_wire::{Mac, ThreadId};

use super::{Session, not_found};
use crate::switch::PortState;

/// `pmd list` tells of so long.
const PMD_WINDOW: Duration = Duration::from_secs(10);
/// Looks at PMD threads are so far apart.
const PMD_APART: Duration = Duration::from_secs(1);

/// All PMD threads' counters at one moment.
pub(super) struct PmdLook {
    at: Instant,
    threads: Vec<PmdSample>,
}

/// A PMD thread's counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PmdSample {
    busy_cycles: u64,
    packets: u64,
    bursts: u64,
    sleeps: u64,
    hits: u64,
    misses: u64,
    cycles: u64,
    stages: [u64; Stage::ALL.len()],
    timed_packets: u64,
}

impl PmdSample {
    fn take(counters: &ThreadCounters) -> Self {
        Self {
            busy_cycles: counters.busy_cycles.get(),
            packets: counters.packets.get(),
            bursts: counters.bursts.get(),
            sleeps: counters.sleeps.get(),
            hits: counters.flow_hits.get(),
            misses: counters.flow_misses.get(),
            cycles: weft_pmd::sys::cycles(),
            stages: Stage::ALL.map(|stage| counters.stages.cycles[stage as usize].get()),
            timed_packets: counters.stages.packets.get(),
        }
    }

    fn since(&self, old: &Self) -> Self {
        Self {
            busy_cycles: self.busy_cycles - old.busy_cycles,
            packets: self.packets - old.packets,
            bursts: self.bursts - old.bursts,
            sleeps: self.sleeps - old.sleeps,
            hits: self.hits - old.hits,
            misses: self.misses - old.misses,
            cycles: self.cycles - old.cycles,
            stages: std::array::from_fn(|stage| self.stages[stage] - old.stages[stage]),
            timed_packets: self.timed_packets - old.timed_packets,
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Session {
    pub(super) fn show_status(&self) -> StatusReply {
        let switch = &self.switch;
        let memory = &switch.runtime.memory;
        StatusReply {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            node: switch.desired.node.name.clone(),
            uptime_s: switch.started.elapsed().as_secs(),
            generation: switch.generation(),
            confirm_within_s: self.confirm_within_s(),
            threads: switch.runtime.threads.len(),
            threads_dead: switch.runtime.threads.iter().filter(|thread| !thread.is_alive()).count(),
            ports: switch.desired.ports.len(),
            ports_waiting: switch.waiting.len(),
            ports_degraded: switch.ports.values().filter(|open| !open.shortcomings().is_empty()).count(),
            networks: switch.desired.networks.len(),
            endpoints: switch.desired.endpoints.len(),
            rules: switch.desired.rules.len(),
            flows: switch.runtime.threads.iter().map(|thread| thread.counters.flows.get()).sum(),
            dropped: self.drops_total(),
            learn_lost: self.learn_lost(),
            memory_bytes: memory.bytes_total() as u64,
            memory_free_percent: (memory.available() * 100 / memory.total().max(1)) as u8,
            chunks: crate::memory::pools(memory).map(chunk_row).into(),
            hugepages: memory.hugepages(),
            captures: self.captures.count(),
            problems: [self.state.problems(), self.audit.problems().to_vec()].concat(),
        }
    }

    pub(super) fn port_row(&self, index: usize) -> PortRow {
        let switch = &self.switch;
        let wanted = &switch.desired.ports[index];
        let spec = &wanted.spec;
        let open = switch.ports.get(&wanted.name);
        let core = |owner: &ThreadId| switch.runtime.threads[owner.index()].core;
        let (state, short) = match switch.port_state(&wanted.name) {
            PortState::Up => (port::UP, None),
            PortState::Degraded(why) => (port::DEGRADED, Some(why)),
            PortState::Waiting(why) => (port::WAITING, Some(why)),
        };
        let mode_why = open.map(|open| open.info.why.clone()).filter(|why| !why.is_empty());
        PortRow {
            name: wanted.name.clone(),
            kind: spec.kind,
            role: spec.role,
            device: spec.device.clone(),
            netns: spec.netns.clone(),
            state: state.into(),
            mac: open.map(|open| open.info.mac).filter(|mac| *mac != Mac::ZERO),
            mtu: open.map_or(0, |open| open.info.caps.mtu),
            cores: open.map(|open| open.owners.iter().map(core).collect()).unwrap_or_default(),
            mode: open.map(|open| open.info.mode.clone()).unwrap_or_default(),
            why: short.into_iter().chain(mode_why).collect::<Vec<_>>().join("; "),
        }
    }

    pub(super) fn port_details(&self, name: &str) -> Result<PortDetails, Error> {
        let desired = &self.switch.desired;
        let found = desired.ports.iter().position(|port| port.name == name);
        let names = || desired.ports.iter().map(|port| port.name.as_str());
        let index = found.ok_or_else(|| not_found("port", name, names()))?;
        let open = self.switch.ports.get(name);
        let stats = open.map(|open| &open.stats);
        let sum = |count: fn(&PortStats) -> u64| stats.map_or(0, |stats| count(stats));
        let endpoints = desired.endpoints.iter().filter(|endpoint| endpoint.port == index);
        Ok(PortDetails {
            port: self.port_row(index),
            spec: desired.ports[index].spec.clone(),
            takes_partial_checksums: open.is_some_and(|open| open.info.caps.csum),
            takes_super_frames: open.is_some_and(|open| open.info.caps.gso),
            endpoints: endpoints.map(|endpoint| endpoint.name.clone()).collect(),
            queues: stats.map(|stats| queue_rows(name, stats)).unwrap_or_default(),
            forwarded: sum(|stats| stats.threads().map(|row| row.forwarded.get()).sum()),
            flooded: sum(|stats| stats.threads().map(|row| row.flooded.get()).sum()),
            punted: sum(|stats| {
                stats.threads().flat_map(|row| &row.punts).map(|counter| counter.get()).sum()
            }),
            dropped: sum(|stats| DropReason::ALL.iter().map(|reason| stats.drops(*reason)).sum()),
        })
    }

    pub(super) fn show_stats(&self, call: &Stats) -> Result<StatsReply, Error> {
        self.check_port(call.port.as_deref())?;
        let wanted = |name: &String| call.port.as_ref().is_none_or(|wanted| wanted == name);
        let ports = self.switch.ports.iter().filter(|(name, _)| wanted(name));
        Ok(StatsReply {
            at_ms: self.switch.started.elapsed().as_millis() as u64,
            queues: ports.flat_map(|(name, open)| queue_rows(name, &open.stats)).collect(),
        })
    }

    pub(super) fn check_port(&self, name: Option<&str>) -> Result<(), Error> {
        let mut names = self.switch.desired.ports.iter().map(|port| port.name.as_str());
        match name {
            Some(name) if !names.clone().any(|other| other == name) => {
                Err(not_found("port", name, names.by_ref()))
            }
            _ => Ok(()),
        }
    }

    /// Takes a look at PMD threads, if it is time to; every tick.
    pub fn look_at_pmds(&mut self) {
        let looks = &mut self.pmd_looks;
        if looks.back().is_some_and(|last| last.at.elapsed() < PMD_APART) {
            return;
        }
        let sample = |thread: &crate::runtime::Thread| PmdSample::take(&thread.counters);
        let threads = self.switch.runtime.threads.iter().map(sample).collect();
        looks.push_back(PmdLook { at: Instant::now(), threads });
        while looks.get(1).is_some_and(|next| next.at.elapsed() >= PMD_WINDOW) {
            looks.pop_front();
        }
    }

    pub(super) fn pmd_rows(&self) -> PmdRows {
        let start = PmdSample { cycles: self.switch.started_cycles, ..PmdSample::default() };
        let then = self.pmd_looks.front();
        let seconds = then.map_or(self.switch.started, |look| look.at).elapsed().as_secs_f64().max(0.001);
        let row = |(index, thread): (usize, &crate::runtime::Thread)| {
            let old = then.and_then(|look| look.threads.get(index)).unwrap_or(&start);
            self.pmd_row(index, PmdSample::take(&thread.counters).since(old), seconds)
        };
        PmdRows { threads: self.switch.runtime.threads.iter().enumerate().map(row).collect() }
    }

    fn pmd_row(&self, index: usize, passed: PmdSample, seconds: f64) -> PmdRow {
        let thread = &self.switch.runtime.threads[index];
        let own = ThreadId(index as u16);
        let queues = self
            .switch
            .desired
            .ports
            .iter()
            .filter_map(|port| Some((port, self.switch.ports.get(&port.name)?)));
        let queues = queues.flat_map(|(port, open)| {
            let mine = open.owners.iter().enumerate().filter(|(_, owner)| **owner == own);
            mine.map(|(queue, _)| format!("{}:{queue}", port.name)).collect::<Vec<_>>()
        });
        PmdRow {
            core: thread.core,
            alive: thread.is_alive(),
            pinned: thread.pinned.get().copied(),
            queues: queues.collect(),
            busy_percent: 100.0 * share(passed.busy_cycles, passed.cycles).min(1.0),
            cycles_per_packet: share(passed.busy_cycles, passed.packets),
            packets_per_burst: share(passed.packets, passed.bursts),
            packets_per_second: passed.packets as f64 / seconds,
            sleeps_per_second: passed.sleeps as f64 / seconds,
            flows: thread.counters.flows.get(),
            hit_percent: 100.0 * share(passed.hits, passed.hits + passed.misses),
            flow_table_full: thread.counters.flow_table_full.get(),
            stages: Stage::ALL
                .map(|stage| StageRow {
                    stage: stage.word().to_owned(),
                    cycles_per_packet: share(passed.stages[stage as usize], passed.timed_packets),
                })
                .into(),
        }
    }
}

fn chunk_row((size, pool): (&str, PoolSize)) -> ChunkRow {
    let PoolSize { chunk_bytes: bytes, total, free } = pool;
    ChunkRow { size: size.into(), bytes, total, free }
}

fn queue_rows(port: &str, stats: &PortStats) -> Vec<QueueStats> {
    let row = |(queue, row): (usize, &weft_dataplane::stats::QueueCounters)| QueueStats {
        port: port.to_owned(),
        queue: queue as u16,
        rx_packets: row.rx_packets.get(),
        rx_bytes: row.rx_bytes.get(),
        rx_lost: row.rx_lost.get(),
        tx_packets: row.tx_packets.get(),
        tx_bytes: row.tx_bytes.get(),
    };
    stats.queues().enumerate().map(row).collect()
}
