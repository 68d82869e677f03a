//! The last 15 minutes: all counters are read once a second, and what has changed since is kept.
//!
//! Memory is bounded by [`SAMPLES`] and by [`BYTES`]: ports on which nothing happens cost nothing, and some 400 ports
//! that are busy every second fill it; with more of them it reaches less far, and says how far.

mod reading;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use weft_ctl_api::{
    Code, Error,
    history::{Counts, DropMoment, History as Asked, HistoryReply, Moment, PortMoment, ThreadMoment},
};

use crate::switch::Switch;
use reading::Reading;

/// How often counters are read.
pub const PERIOD: Duration = Duration::from_secs(1);
/// 15 minutes.
const SAMPLES: usize = 900;
/// The most that samples take.
const BYTES: usize = 16 << 20;
/// Rows in one reply: it has a limit, and whoever reads it, too.
const ROWS_MAX: usize = 200_000;

/// What one port did in one second.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PortSample {
    port: std::sync::Arc<str>,
    counts: Counts,
}

/// Drops at one port for one reason in one second.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DropSample {
    port: std::sync::Arc<str>,
    reason: &'static str,
    packets: u64,
}

/// One second.
#[derive(Debug, Default)]
struct Sample {
    at_ms: u64,
    lasted_ms: u64,
    ports: Box<[PortSample]>,
    threads: Box<[ThreadMoment]>,
    drops: Box<[DropSample]>,
}

impl Sample {
    fn bytes(&self) -> usize {
        size_of_val(self)
            + size_of_val(&*self.ports)
            + size_of_val(&*self.threads)
            + size_of_val(&*self.drops)
    }
}

/// The ring.
pub struct History {
    samples: VecDeque<Sample>,
    bytes: usize,
    last: Reading,
    taken: Instant,
}

impl History {
    /// An empty one; what has been counted until now happened before.
    pub fn new(switch: &Switch) -> Self {
        let (last, _) = Reading::default().next(switch);
        Self { samples: VecDeque::new(), bytes: 0, last, taken: Instant::now() }
    }

    /// Takes a sample, when a second has passed.
    pub fn tick(&mut self, switch: &Switch) {
        let lasted = self.taken.elapsed();
        if lasted < PERIOD {
            return;
        }
        let (reading, mut sample) = std::mem::take(&mut self.last).next(switch);
        self.last = reading;
        self.taken = Instant::now();
        sample.at_ms = wall_ms();
        sample.lasted_ms = lasted.as_millis() as u64;
        self.push(sample);
    }

    fn push(&mut self, sample: Sample) {
        self.bytes += sample.bytes();
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES || self.bytes > BYTES && self.samples.len() > 1 {
            self.bytes -= self.samples.pop_front().map_or(0, |old| old.bytes());
        }
    }

    /// A piece of it.
    pub fn read(&self, asked: &Asked) -> Result<HistoryReply, Error> {
        let invalid = |message: String, remedy: &str| Error::new(Code::Invalid, message).remedy(remedy);
        if asked.step_s == 0 {
            return Err(invalid("a step of no time at all".into(), "use 1s or more"));
        }
        if asked.from_s <= asked.to_s {
            let message = format!("from {} s ago to {} s ago is no time at all", asked.from_s, asked.to_s);
            return Err(invalid(message, "begin longer ago than you end"));
        }
        let now_ms = self.samples.back().map_or_else(wall_ms, |newest| newest.at_ms);
        let ago_ms = |sample: &Sample| now_ms.saturating_sub(sample.at_ms);
        let (from_ms, to_ms) = (asked.from_s.saturating_mul(1000), asked.to_s.saturating_mul(1000));
        let step_ms = asked.step_s.saturating_mul(1000);
        let mut moments: Vec<(u64, Moment)> = Vec::new();
        let mut rows = 0;
        // Samples are a second and a little apart: half a second's grace puts each into the step it is nearest to.
        let wanted = |sample: &&Sample| (to_ms..from_ms).contains(&((ago_ms(sample) + 500) / 1000 * 1000));
        for sample in self.samples.iter().filter(wanted) {
            let step = (from_ms - (ago_ms(sample) + 500) / 1000 * 1000 - 1) / step_ms;
            if moments.last().is_none_or(|(last, _)| *last != step) {
                rows += moments.last().map_or(0, |(_, moment)| 1 + moment.ports.len() + moment.drops.len());
                moments.push((step, Moment::default()));
            }
            if rows > ROWS_MAX {
                let message = format!("more than {ROWS_MAX} rows");
                return Err(invalid(message, "use a longer --step, a shorter time, --port or --sums"));
            }
            if let Some((_, moment)) = moments.last_mut() {
                merge(moment, sample, asked);
            }
        }
        let reaches_s = self.samples.iter().map(|sample| sample.lasted_ms).sum::<u64>() / 1000;
        Ok(HistoryReply {
            now_ms,
            reaches_s,
            moments: moments.into_iter().map(|(_, moment)| moment).collect(),
        })
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Adds a second to a moment.
fn merge(moment: &mut Moment, sample: &Sample, asked: &Asked) {
    let wanted = |port: &str| asked.port.as_deref().is_none_or(|wanted| wanted == port);
    moment.at_ms = sample.at_ms;
    moment.lasted_ms += sample.lasted_ms;
    for row in sample.ports.iter().filter(|row| wanted(&row.port)) {
        moment.sum.add(&row.counts);
    }
    if asked.sums {
        return;
    }
    let mut ports: BTreeMap<&str, Counts> =
        moment.ports.iter().map(|row| (row.port.as_str(), row.counts)).collect();
    for row in sample.ports.iter().filter(|row| wanted(&row.port)) {
        ports.entry(&row.port).or_default().add(&row.counts);
    }
    let ports =
        ports.into_iter().map(|(port, counts)| PortMoment { port: port.to_owned(), counts }).collect();
    moment.ports = ports;
    let mut drops: BTreeMap<(&str, &str), u64> =
        moment.drops.iter().map(|row| ((row.port.as_str(), row.reason.as_str()), row.packets)).collect();
    for row in sample.drops.iter().filter(|row| wanted(&row.port)) {
        *drops.entry((&row.port, row.reason)).or_default() += row.packets;
    }
    let drop_row = |((port, reason), packets): ((&str, &str), u64)| DropMoment {
        port: port.to_owned(),
        reason: reason.to_owned(),
        packets,
    };
    moment.drops = drops.into_iter().map(drop_row).collect();
    for row in &*sample.threads {
        match moment.threads.iter_mut().find(|thread| thread.core == row.core) {
            Some(thread) => thread.add(row),
            None => moment.threads.push(*row),
        }
    }
}
