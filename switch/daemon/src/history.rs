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

/// The samples, as many as memory and time allow.
#[derive(Default)]
struct Ring {
    samples: VecDeque<Sample>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, sample: Sample) {
        self.bytes += sample.bytes();
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES || self.bytes > BYTES && self.samples.len() > 1 {
            self.bytes -= self.samples.pop_front().map_or(0, |old| old.bytes());
        }
    }
}

/// The last minutes.
pub struct History {
    ring: Ring,
    last: Reading,
    taken: Instant,
}

impl History {
    /// An empty one: what has been counted until now is of its first second.
    pub fn new(switch: &Switch) -> Self {
        Self { ring: Ring::default(), last: Reading::default(), taken: switch.started }
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
        self.ring.push(sample);
    }

    /// A piece of it.
    pub fn read(&self, asked: &Asked) -> Result<HistoryReply, Error> {
        self.ring.read(asked)
    }
}

impl Ring {
    fn read(&self, asked: &Asked) -> Result<HistoryReply, Error> {
        let samples = &self.samples;
        let invalid = |message: String, remedy: &str| Error::new(Code::Invalid, message).remedy(remedy);
        if asked.step_s == 0 {
            return Err(invalid("a step of no time at all".into(), "use 1s or more"));
        }
        if asked.from_s <= asked.to_s {
            let message = format!("from {} s ago to {} s ago is no time at all", asked.from_s, asked.to_s);
            return Err(invalid(message, "begin longer ago than you end"));
        }
        let now_ms = samples.back().map_or_else(wall_ms, |newest| newest.at_ms);
        let ago_ms = |sample: &Sample| now_ms.saturating_sub(sample.at_ms);
        let (from_ms, to_ms) = (asked.from_s.saturating_mul(1000), asked.to_s.saturating_mul(1000));
        let step_ms = asked.step_s.saturating_mul(1000);
        let mut moments: Vec<(u64, Moment)> = Vec::new();
        let mut rows = 0;
        // Samples are a second and a little apart: half a second's grace puts each into the step it is nearest to.
        let wanted = |sample: &&Sample| (to_ms..from_ms).contains(&((ago_ms(sample) + 500) / 1000 * 1000));
        for sample in samples.iter().filter(wanted) {
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
        let reaches_s = samples.iter().map(|sample| sample.lasted_ms).sum::<u64>() / 1000;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds, each with so many busy ports that received as many packets as seconds had passed.
    fn made(seconds: u64, ports: usize) -> Ring {
        let mut ring = Ring::default();
        let name: std::sync::Arc<str> = "web".into();
        for second in 0..seconds {
            let counts = Counts { rx_packets: second, ..Counts::default() };
            let port = PortSample { port: name.clone(), counts };
            let at_ms = 1_000_000 + second * 1003; // as late as timers are
            let ports = vec![port; ports].into();
            ring.push(Sample { at_ms, lasted_ms: 1003, ports, ..Sample::default() });
        }
        ring
    }

    fn received(ring: &Ring, from_s: u64, to_s: u64, step_s: u64) -> Vec<u64> {
        let asked = Asked { from_s, to_s, step_s, ..Asked::default() };
        let reply = ring.read(&asked).unwrap_or_else(|error| panic!("{error}"));
        reply.moments.iter().map(|moment| moment.sum.rx_packets).collect()
    }

    #[test]
    fn it_remembers_a_quarter_of_an_hour_and_takes_no_more_than_its_memory() {
        let ring = made(2 * SAMPLES as u64, 1);
        assert_eq!(ring.samples.len(), SAMPLES);
        let busy = made(200, 10_000);
        assert!(busy.bytes <= BYTES && busy.samples.len() < 200 && busy.samples.len() > 10);
        let counted: usize = busy.samples.iter().map(Sample::bytes).sum();
        assert_eq!(busy.bytes, counted);
        let reach = busy.read(&Asked::default()).unwrap_or_else(|error| panic!("{error}")).reaches_s;
        assert_eq!(reach, busy.samples.len() as u64 * 1003 / 1000, "it says how far it reaches");
    }

    #[test]
    fn steps_partition_time() {
        let ring = made(100, 1);
        assert_eq!(received(&ring, 5, 0, 1), [95, 96, 97, 98, 99]);
        assert_eq!(received(&ring, 5, 0, 2), [95 + 96, 97 + 98, 99]);
        assert_eq!(received(&ring, 5, 2, 10), [95 + 96 + 97]);
        let all: u64 = (0..100).sum();
        for step in 1..120 {
            assert_eq!(received(&ring, 300, 0, step).iter().sum::<u64>(), all, "{step}");
        }
    }
}
