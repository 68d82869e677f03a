//! Damage done on purpose, and counted, so that a sink's findings can be checked to the last frame.

use std::{collections::VecDeque, str::FromStr};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;

use crate::stamp;

/// How often something happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// To each so many-th frame.
    Every(u64),
    /// To each frame with this probability.
    Chance(f64),
}

/// What to do to which frames. At most one thing happens to a frame; earlier fields go first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Impair {
    /// Not sent; its number is used up.
    pub drop: Option<When>,
    /// Sent twice.
    pub dup: Option<When>,
    /// Sent after so many later frames of its flow, damaged ones not counted.
    pub reorder: Option<(When, u32)>,
    /// One bit of the payload changed.
    pub corrupt: Option<When>,
}

impl FromStr for Impair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut impair = Self::default();
        for part in text.split(',') {
            let bad = || {
                format!(
                    "`{part}` is no impairment: give some of drop=WHEN, dup=WHEN, reorder=WHEN or reorder=WHEN:DISTANCE \
                     and corrupt=WHEN, where WHEN is every:N (2 or more) or P%"
                )
            };
            let (what, when) = part.split_once('=').ok_or_else(bad)?;
            match what {
                "drop" => impair.drop = Some(when_of(when).ok_or_else(bad)?),
                "dup" => impair.dup = Some(when_of(when).ok_or_else(bad)?),
                "corrupt" => impair.corrupt = Some(when_of(when).ok_or_else(bad)?),
                "reorder" => impair.reorder = Some(reorder_of(when).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
        }
        Ok(impair)
    }
}

fn when_of(text: &str) -> Option<When> {
    if let Some(every) = text.strip_prefix("every:") {
        return every.parse().ok().filter(|every| *every >= 2).map(When::Every);
    }
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (percent > 0.0 && percent < 100.0).then_some(When::Chance(percent / 100.0))
}

fn reorder_of(text: &str) -> Option<(When, u32)> {
    if let Some(when) = when_of(text) {
        return Some((when, 1));
    }
    let (when, distance) = text.rsplit_once(':')?;
    Some((when_of(when)?, distance.parse().ok().filter(|distance| (1..=1000).contains(distance))?))
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Frames not sent.
    pub dropped: u64,
    /// Frames sent twice.
    pub duplicated: u64,
    /// Frames sent after later ones of their flow.
    pub reordered: u64,
    /// Frames with a wrong bit.
    pub corrupted: u64,
}

impl std::ops::AddAssign for Damage {
    fn add_assign(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
    }
}

/// What becomes of a frame that was made.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent.
    Sent,
    /// It is not, or not now.
    Withheld,
}

/// Does it, to one thread's frames.
#[derive(Debug)]
pub struct Impairer {
    impair: Impair,
    random: SmallRng,
    made: u64,
    held: Vec<Held>,
    due: VecDeque<Vec<u8>>,
    damage: Damage,
}

#[derive(Debug)]
struct Held {
    flow: u32,
    /// Later frames of the flow that it still waits for.
    left: u32,
    frame: Vec<u8>,
}

impl Impairer {
    /// Reproducible by its seed.
    pub fn new(impair: Impair, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed ^ 0x1a9a_17ed);
        Self { impair, random, made: 0, held: Vec::new(), due: VecDeque::new(), damage: Damage::default() }
    }

    fn happens(&mut self, when: Option<When>) -> bool {
        match when {
            None => false,
            Some(When::Every(every)) => self.made.is_multiple_of(every),
            Some(When::Chance(chance)) => self.random.random_bool(chance),
        }
    }

    /// Decides what becomes of a frame whose payload begins there.
    pub fn fate(&mut self, frame: &mut [u8], payload: usize, flow: u32) -> Fate {
        self.made += 1;
        if self.happens(self.impair.drop) {
            self.damage.dropped += 1;
            return Fate::Withheld;
        }
        if self.happens(self.impair.dup) {
            self.damage.duplicated += 1;
            self.due.push_back(frame.to_vec());
        } else if let Some((when, left)) = self.impair.reorder
            && self.happens(Some(when))
        {
            self.held.push(Held { flow, left, frame: frame.to_vec() });
            return Fate::Withheld;
        } else if self.happens(self.impair.corrupt) {
            self.damage.corrupted += 1;
            self.corrupt(frame, payload);
            // It overtakes nothing: a sink can't tell whose it is.
            return Fate::Sent;
        }
        self.release(flow);
        Fate::Sent
    }

    /// Behind the magic and the run, by which the sink knows whose frame it is.
    fn corrupt(&mut self, frame: &mut [u8], payload: usize) {
        let at = self.random.random_range(payload + 4..frame.len().max(payload + stamp::LEN));
        frame[at] ^= 1 << self.random.random_range(0..8);
    }

    /// One more frame of this flow goes out whole.
    fn release(&mut self, flow: u32) {
        let mut at = 0;
        while at < self.held.len() {
            if self.held[at].flow == flow {
                self.held[at].left -= 1;
                if self.held[at].left == 0 {
                    self.damage.reordered += 1;
                    self.due.push_back(self.held.remove(at).frame);
                    continue;
                }
            }
            at += 1;
        }
    }

    /// A frame that is due before any new one.
    pub fn due(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let frame = self.due.pop_front()?;
        buffer[..frame.len()].copy_from_slice(&frame);
        Some(frame.len())
    }

    /// There will be no later frames to wait for: what was held goes out now. It is reordered only if one overtook it.
    pub fn finish(&mut self) {
        let distance = self.impair.reorder.map_or(0, |(_, distance)| distance);
        for held in std::mem::take(&mut self.held) {
            self.damage.reordered += u64::from(held.left < distance);
            self.due.push_back(held.frame);
        }
    }

    /// What was done so far.
    pub fn damage(&self) -> Damage {
        self.damage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impairments_are_read() {
        let impair: Impair = "drop=every:100,dup=1.5%,reorder=every:70:3,corrupt=every:9".parse().unwrap();
        assert_eq!(impair.drop, Some(When::Every(100)));
        assert_eq!(impair.dup, Some(When::Chance(0.015)));
        assert_eq!(impair.reorder, Some((When::Every(70), 3)));
        assert_eq!("reorder=2%".parse::<Impair>().unwrap().reorder, Some((When::Chance(0.02), 1)));
        for bad in ["", "drop", "drop=every:1", "drop=100%", "lose=every:5", "reorder=every:5:0", "dup=5"] {
            assert!(bad.parse::<Impair>().unwrap_err().contains("every:N"), "{bad}");
        }
    }
}
