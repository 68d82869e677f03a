//! All counters at one moment, and what has happened since the one before.

use std::{collections::BTreeMap, sync::Arc};

use weft_ctl_api::history::{Counts, ThreadMoment};
use weft_dataplane::{
    reason::DropReason,
    stats::{PortStats, ThreadCounters},
};

use super::{DropSample, PortSample, Sample};
use crate::switch::Switch;

type Drops = [u64; DropReason::COUNT];

/// A port's counters.
struct PortReading {
    name: Arc<str>,
    /// Whose counters they are: a port that was opened again counts from zero.
    stats: Arc<PortStats>,
    counts: Counts,
    drops: Drops,
}

/// All counters.
#[derive(Default)]
pub(super) struct Reading {
    ports: BTreeMap<String, PortReading>,
    threads: Vec<ThreadMoment>,
}

impl Reading {
    /// Reads anew: the reading, and what has changed. The sample's time is the caller's to set.
    pub(super) fn next(mut self, switch: &Switch) -> (Self, Sample) {
        let mut now = Self::default();
        let (mut ports, mut drops) = (Vec::new(), Vec::new());
        for (name, open) in &switch.ports {
            let old = self.ports.remove(name);
            let same = old.as_ref().filter(|old| Arc::ptr_eq(&old.stats, &open.stats));
            let zeros = [0; DropReason::COUNT];
            let (counts_before, drops_before) =
                same.map_or((Counts::default(), &zeros), |old| (old.counts, &old.drops));
            let reading = PortReading {
                name: old.as_ref().map_or_else(|| Arc::from(name.as_str()), |old| old.name.clone()),
                stats: open.stats.clone(),
                counts: counts(&open.stats),
                drops: DropReason::ALL.map(|reason| open.stats.drops(reason)),
            };
            let mut passed = since(&reading.counts, &counts_before);
            for reason in DropReason::ALL {
                let packets = reading.drops[reason as usize].saturating_sub(drops_before[reason as usize]);
                passed.dropped += packets;
                if packets > 0 {
                    drops.push(DropSample { port: reading.name.clone(), reason: reason.word(), packets });
                }
            }
            if passed.rx_lost > 0 {
                let port = reading.name.clone();
                drops.push(DropSample { port, reason: "rx_lost", packets: passed.rx_lost });
            }
            if passed != Counts::default() {
                ports.push(PortSample { port: reading.name.clone(), counts: passed });
            }
            now.ports.insert(name.clone(), reading);
        }
        let mut threads = Vec::new();
        for (index, thread) in switch.runtime.threads.iter().enumerate() {
            let cycles = weft_pmd::sys::cycles().wrapping_sub(switch.started_cycles);
            let read = thread_counters(thread.core, cycles, &thread.counters);
            threads.push(self.threads.get(index).map_or(read, |old| thread_since(&read, old)));
            now.threads.push(read);
        }
        let sample =
            Sample { ports: ports.into(), threads: threads.into(), drops: drops.into(), ..Sample::default() };
        (now, sample)
    }
}

fn counts(stats: &PortStats) -> Counts {
    let mut sum = Counts::default();
    for row in stats.queues() {
        sum.rx_packets += row.rx_packets.get();
        sum.rx_bytes += row.rx_bytes.get();
        sum.rx_lost += row.rx_lost.get();
        sum.tx_packets += row.tx_packets.get();
        sum.tx_bytes += row.tx_bytes.get();
    }
    sum
}

fn since(now: &Counts, before: &Counts) -> Counts {
    Counts {
        rx_packets: now.rx_packets.saturating_sub(before.rx_packets),
        rx_bytes: now.rx_bytes.saturating_sub(before.rx_bytes),
        rx_lost: now.rx_lost.saturating_sub(before.rx_lost),
        tx_packets: now.tx_packets.saturating_sub(before.tx_packets),
        tx_bytes: now.tx_bytes.saturating_sub(before.tx_bytes),
        dropped: 0,
    }
}

fn thread_counters(core: usize, cycles: u64, counters: &ThreadCounters) -> ThreadMoment {
    ThreadMoment {
        core,
        cycles,
        busy_cycles: counters.busy_cycles.get(),
        packets: counters.packets.get(),
        bursts: counters.bursts.get(),
        sleeps: counters.sleeps.get(),
        hits: counters.flow_hits.get(),
        misses: counters.flow_misses.get(),
        flows: counters.flows.get(),
    }
}

fn thread_since(now: &ThreadMoment, before: &ThreadMoment) -> ThreadMoment {
    ThreadMoment {
        core: now.core,
        cycles: now.cycles.wrapping_sub(before.cycles),
        busy_cycles: now.busy_cycles.saturating_sub(before.busy_cycles),
        packets: now.packets.saturating_sub(before.packets),
        bursts: now.bursts.saturating_sub(before.bursts),
        sleeps: now.sleeps.saturating_sub(before.sleeps),
        hits: now.hits.saturating_sub(before.hits),
        misses: now.misses.saturating_sub(before.misses),
        flows: now.flows,
    }
}
