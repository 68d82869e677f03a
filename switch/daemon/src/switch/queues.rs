//! Which thread polls which queue, and how busy it keeps it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use weft_ctl_api::{Code, Error};
use weft_wire::{QueueId, ThreadId};

use super::Switch;
use crate::assign::QueueLoad;

/// Load is that of so long.
const WINDOW: Duration = Duration::from_secs(10);

/// What a queue will cost is known no better than to this share: on another thread its bursts and its part of the cache are
/// others.
const NOISE_SHARE: f64 = 0.1;

/// A load that came out otherwise than planned is doubted for so long: what OVS-DPDK's auto load balance waits from one time to
/// the next (`pmd-auto-lb-rebal-interval`, a minute unless set).
const SURPRISE: Duration = Duration::from_secs(60);

/// A queue: its port and its number.
pub type QueueName = (String, u16);

/// Counters at one moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    cycles: u64,
    /// By thread.
    busy: Vec<u64>,
    /// Received and sent: a packet costs the thread that has the queue it leaves by, too.
    packets: BTreeMap<QueueName, u64>,
}

/// What the last seconds tell of queues.
#[derive(Debug, Default)]
pub(super) struct QueueWatch {
    samples: VecDeque<Sample>,
    /// Queues that somebody has put where they are.
    pinned: BTreeSet<QueueName>,
    /// What each queue was to cost after they were last rebalanced, percent, and when that was.
    expected: Option<(Instant, BTreeMap<QueueName, f64>)>,
}

/// How busy queues keep their threads.
#[derive(Debug)]
pub struct Loads {
    /// Over how long.
    pub time: Duration,
    /// Each queue, by port and number.
    pub queues: Vec<(QueueName, QueueLoad)>,
    /// Each thread, percent.
    pub threads: Vec<f64>,
}

impl Switch {
    /// Takes a sample; every tick.
    pub fn watch_queues(&mut self) {
        let sample = self.sample();
        let samples = &mut self.queue_watch.samples;
        samples.push_back(sample);
        while samples.get(1).is_some_and(|next| next.at.elapsed() >= WINDOW) {
            samples.pop_front();
        }
    }

    /// A port that is opened again is another.
    pub(super) fn forget_queues(&mut self, port: &str) {
        self.queue_watch.pinned.retain(|(pinned, _)| pinned != port);
        self.queue_watch.expected = None;
        self.queue_watch.samples.clear();
    }

    fn sample(&self) -> Sample {
        let packets = self.ports.iter().flat_map(|(name, open)| {
            let rows = open.stats.queues().enumerate();
            rows.map(move |(queue, row)| {
                ((name.clone(), queue as u16), row.rx_packets.get() + row.tx_packets.get())
            })
        });
        let threads = self.runtime.threads.iter();
        Sample {
            at: Instant::now(),
            cycles: weft_pmd::sys::cycles(),
            busy: threads.map(|thread| thread.counters.busy_cycles.get()).collect(),
            packets: packets.collect(),
        }
    }

    /// The load of the last seconds.
    pub fn queue_loads(&self) -> Loads {
        let (samples, now) = (&self.queue_watch.samples, self.sample());
        let Some(then) = samples.front() else {
            return Loads { time: Duration::ZERO, queues: Vec::new(), threads: Vec::new() };
        };
        let (threads, percents) = self.between(then, &now);
        let steps: Vec<_> =
            samples.iter().zip(samples.iter().skip(1)).map(|(then, now)| self.between(then, now).1).collect();
        let expected = self.queue_watch.expected.as_ref().filter(|(since, _)| since.elapsed() < SURPRISE);
        let load = |(name, (owner, percent)): (QueueName, (ThreadId, f64))| {
            let steps: Vec<f64> =
                steps.iter().map(|step| step.get(&name).map_or(0.0, |(_, percent)| *percent)).collect();
            let cores = &self.ports[&name.0].spec.cores;
            let load = QueueLoad {
                owner,
                percent,
                noise: noise(percent, &steps, expected.and_then(|(_, all)| all.get(&name).copied())),
                allowed: cores.iter().filter_map(|core| self.thread_of(*core)).collect(),
                pinned: self.queue_watch.pinned.contains(&name),
            };
            (name, load)
        };
        Loads { time: now.at - then.at, queues: percents.into_iter().map(load).collect(), threads }
    }

    /// The load of threads, and of queues with their owners, percent: a thread's busy cycles are its queues', as the packets
    /// received and sent are.
    fn between(&self, then: &Sample, now: &Sample) -> (Vec<f64>, BTreeMap<QueueName, (ThreadId, f64)>) {
        let cycles = now.cycles.saturating_sub(then.cycles).max(1) as f64;
        let busy = now.busy.iter().zip(&then.busy);
        let threads: Vec<f64> =
            busy.map(|(now, then)| 100.0 * (now.saturating_sub(*then) as f64 / cycles).min(1.0)).collect();
        let mut totals = vec![0_u64; threads.len()];
        let mut passed = Vec::new();
        for (name, count) in &now.packets {
            let open = self.ports.get(&name.0);
            let Some(owner) = open.and_then(|open| open.owners.get(usize::from(name.1)).copied()) else {
                continue;
            };
            // Counters begin again with a port that is opened again.
            let count = count.saturating_sub(then.packets.get(name).copied().unwrap_or(0));
            totals[owner.index()] += count;
            passed.push((name.clone(), owner, count));
        }
        let percent = |(name, owner, count): (QueueName, ThreadId, u64)| {
            let share = count as f64 / totals[owner.index()].max(1) as f64;
            (name, (owner, threads[owner.index()] * share))
        };
        let queues = passed.into_iter().map(percent).collect();
        (threads, queues)
    }

    /// Puts a queue to a thread for as long as its port is open: rebalancing leaves it there.
    pub fn pin_queue(&mut self, name: &QueueName, to: ThreadId) -> Result<(), Error> {
        self.move_queue(name, to)?;
        self.queue_watch.pinned.insert(name.clone());
        self.queue_watch.expected = None;
        Ok(())
    }

    /// Moves queues, and remembers the loads they were moved for.
    pub fn rebalance(&mut self, loads: &Loads, moves: &[(usize, ThreadId)]) -> Result<(), Error> {
        for (index, to) in moves {
            self.move_queue(&loads.queues[*index].0, *to)?;
        }
        if !moves.is_empty() {
            let expected = loads.queues.iter().map(|(name, load)| (name.clone(), load.percent));
            self.queue_watch.expected = Some((Instant::now(), expected.collect()));
        }
        Ok(())
    }

    /// Moves a queue to another thread while traffic flows.
    pub fn move_queue(&mut self, (port, queue): &QueueName, to: ThreadId) -> Result<(), Error> {
        let Some(open) = self.ports.get(port) else { return Ok(()) };
        let (id, Some(from)) = (open.id, open.owners.get(usize::from(*queue)).copied()) else {
            return Ok(());
        };
        if from == to {
            return Ok(());
        }
        if !self.runtime.move_queue(id, QueueId(*queue), from, to) {
            let core = |thread: ThreadId| self.runtime.threads[thread.index()].core;
            let message = format!(
                "queue {port}:{queue} was not handed over from core {} to core {}",
                core(from),
                core(to)
            );
            return Err(Error::new(Code::Unavailable, message)
                .remedy("its device may be gone, or a PMD thread dead: see weftctl status"));
        }
        if let Some(open) = self.ports.get_mut(port) {
            open.owners[usize::from(*queue)] = to;
        }
        if let Some(facts) = self.facts.ports.get_mut(port) {
            facts.owners[usize::from(*queue)] = to;
        }
        self.publish();
        // What was measured before is of another assignment.
        self.queue_watch.samples.clear();
        Ok(())
    }
}

/// How far a queue's load may be off that was measured in steps: the standard error of their mean; and as far as it came out
/// otherwise than `expected`, since who was wrong once may be wrong again.
fn noise(percent: f64, steps: &[f64], expected: Option<f64>) -> f64 {
    let count = steps.len() as f64;
    if steps.len() < 2 {
        return percent; // nothing is known
    }
    let mean = steps.iter().sum::<f64>() / count;
    let variance = steps.iter().map(|step| (step - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let surprise = expected.map_or(0.0, |expected| (percent - expected).abs());
    (variance / count).sqrt().max(percent * NOISE_SHARE).max(surprise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_varies_is_known_less_well() {
        let steady = noise(20.0, &[20.0; 16], None);
        assert_eq!(steady, 20.0 * NOISE_SHARE);
        // Half the time 10, half the time 30: standard deviation 10 or so, a quarter of it after 16 steps.
        let varying: Vec<f64> = (0..16).map(|step| if step % 2 == 0 { 10.0 } else { 30.0 }).collect();
        assert!((noise(20.0, &varying, None) - 2.5).abs() < 0.1, "{}", noise(20.0, &varying, None));
        assert!(noise(20.0, &varying[..4], None) > noise(20.0, &varying, None));
        assert_eq!(noise(20.0, &[20.0], None), 20.0);
        assert_eq!(noise(20.0, &[20.0; 16], Some(35.0)), 15.0, "it was to be another");
    }
}
