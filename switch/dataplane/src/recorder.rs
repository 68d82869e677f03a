//! The flight recorder: the last dropped packets of a PMD thread, as they looked when they were dropped.
//!
//! A ring of [`SLOTS`] with one writer, the PMD thread, and any number of readers, who never hold the writer up: a slot has
//! a sequence number, odd while it is written (a seqlock of atomic words). A reader that was overtaken leaves the slot out.
//!
//! What is recorded is a sample: of each reason [`AT_ONCE`] packets in a row, then one every [`EVERY_NS`]. So a flood costs
//! a comparison a packet, and does not wash what was dropped for other reasons out of the ring. Counters count all.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use weft_wire::PortId;

use crate::{
    key::Origin,
    reason::DropReason,
    stats::Counter,
    sync::{AtomicU64, fence},
};

/// Dropped packets that a thread remembers.
pub const SLOTS: usize = 256;
/// Bytes kept of each, from its start.
pub const HEADER: usize = 128;
/// Of one reason, so many are recorded in a row.
pub const AT_ONCE: u64 = 64;
/// After these, one every so many nanoseconds: 250 a second.
pub const EVERY_NS: u64 = 4_000_000;

/// Words of a slot that are not the header's.
const FACTS: usize = 5;
/// Words of a slot behind its sequence number.
const WORDS: usize = FACTS + HEADER / 8;

/// A dropped packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// When, on the PMD threads' clock, nanoseconds.
    pub at_ns: u64,
    /// The generation of the configuration it was dropped under: names ports and rules.
    pub generation: u64,
    /// Why.
    pub reason: DropReason,
    /// Where it came from, where that is still known.
    pub origin: Option<Origin>,
    /// The port it was to leave by, where that was decided.
    pub egress: Option<PortId>,
    /// The rule that decided it, as [`crate::rules::RuleTable::get`] numbers them.
    pub rule: Option<u16>,
    /// The packet's length, bytes.
    pub len: u32,
    /// Its first bytes, up to [`HEADER`].
    pub header: Vec<u8>,
}

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) at_ns: u64,
    pub(crate) generation: u64,
    pub(crate) reason: DropReason,
    pub(crate) origin: Option<Origin>,
    pub(crate) egress: Option<PortId>,
    pub(crate) rule: Option<u16>,
}

#[derive(Debug)]
struct Slot {
    /// Twice the packet's number, and two; one more than that of the packet before while it is written.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// One thread's ring.
#[derive(Debug)]
pub struct Recorder {
    slots: Box<[Slot]>,
    /// Packets recorded so far.
    written: AtomicU64,
    /// Packets dropped that are in no slot and never were: the sample left them out.
    pub left_out: Counter,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::with_slots(SLOTS)
    }
}

impl Recorder {
    fn with_slots(slots: usize) -> Self {
        let words = || std::array::from_fn(|_| AtomicU64::new(0));
        let slots = (0..slots).map(|_| Slot { sequence: AtomicU64::new(0), words: words() }).collect();
        Self { slots, written: AtomicU64::new(0), left_out: Counter::default() }
    }

    /// Remembers a packet. Only the ring's one writer may call this.
    pub(crate) fn record(&self, facts: &Facts, packet: &[u8]) {
        let number = self.written.load(Relaxed);
        let slot = &self.slots[number as usize % self.slots.len()];
        slot.sequence.store(2 * number + 1, Relaxed);
        fence(Release); // whoever sees one of the words that follow sees the odd number, too
        let (facts, header) = (facts.pack(packet.len()), &packet[..packet.len().min(HEADER)]);
        let (front, back) = slot.words.split_at(facts.len());
        front.iter().zip(facts).for_each(|(word, value)| word.store(value, Relaxed));
        for (word, bytes) in back.iter().zip(header.chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Relaxed);
        }
        slot.sequence.store(2 * number + 2, Release);
        self.written.store(number + 1, Release);
    }

    /// Packets recorded so far: the number that the next one gets.
    pub fn written(&self) -> u64 {
        self.written.load(Acquire)
    }

    /// The packets that are remembered, from number `from` on, oldest first, with their numbers.
    pub fn read(&self, from: u64) -> Vec<(u64, Dropped)> {
        let end = self.written();
        let begin = end.saturating_sub(self.slots.len() as u64).max(from);
        (begin..end).filter_map(|number| Some((number, self.read_slot(number)?))).collect()
    }

    /// None: the writer has been here meanwhile.
    fn read_slot(&self, number: u64) -> Option<Dropped> {
        let slot = &self.slots[number as usize % self.slots.len()];
        let sequence = slot.sequence.load(Acquire);
        let words: [u64; WORDS] = std::array::from_fn(|i| slot.words[i].load(Relaxed));
        fence(Acquire); // the words are read before the number is read again
        let is_whole = sequence == 2 * number + 2 && slot.sequence.load(Relaxed) == sequence;
        is_whole.then(|| Dropped::unpack(&words)).flatten()
    }
}

/// An optional 16-bit number in a word; `NONE` is no port's, and no rule table has so many.
const NONE: u16 = u16::MAX;

impl Facts {
    fn pack(&self, len: usize) -> [u64; FACTS] {
        let egress = self.egress.map_or(NONE, |port| port.index() as u16);
        let numbers = u64::from(self.rule.unwrap_or(NONE)) | u64::from(egress) << 16;
        let origin = self.origin.map_or(u64::MAX, Origin::to_bits);
        let reason = (self.reason as u64) << 32;
        [self.at_ns, self.generation, numbers | reason, origin, len as u64]
    }
}

impl Dropped {
    fn unpack(words: &[u64; WORDS]) -> Option<Self> {
        let (&[at_ns, generation, numbers, origin, len], header) = words.split_first_chunk::<FACTS>()?;
        let number = |shift: u32| Some((numbers >> shift) as u16).filter(|number| *number != NONE);
        let kept = (len as usize).min(HEADER);
        Some(Self {
            at_ns,
            generation,
            reason: *DropReason::ALL.get((numbers >> 32) as usize)?,
            origin: (origin != u64::MAX).then(|| Origin::from_bits(origin)),
            egress: number(16).and_then(PortId::from_index),
            rule: number(0),
            len: len as u32,
            header: header.iter().flat_map(|word| word.to_le_bytes()).take(kept).collect(),
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn facts(n: u64) -> Facts {
        Facts {
            at_ns: n,
            generation: n + 1,
            reason: DropReason::ALL[n as usize % DropReason::COUNT],
            origin: (!n.is_multiple_of(3))
                .then(|| Origin::by_port(PortId::from_index(n as u16 % 1000).expect("few"))),
            egress: n.is_multiple_of(2).then(|| PortId::from_index(7).expect("few")),
            rule: n.is_multiple_of(5).then_some(n as u16),
        }
    }

    #[test]
    fn the_last_ones_are_remembered_as_they_were() {
        let recorder = Recorder::default();
        for n in 0..1000 {
            recorder.record(&facts(n), &vec![n as u8; n as usize]);
        }
        let all = recorder.read(0);
        assert_eq!(
            all.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            (744..1000).collect::<Vec<_>>()
        );
        for (n, dropped) in all {
            let Facts { at_ns, generation, reason, origin, egress, rule } = facts(n);
            let header = vec![n as u8; HEADER.min(n as usize)];
            let expected = Dropped { at_ns, generation, reason, origin, egress, rule, len: n as u32, header };
            assert_eq!(dropped, expected);
        }
        assert_eq!(recorder.read(998).len(), 2);
        recorder.record(&facts(1), b"abc");
        assert_eq!(recorder.read(1000)[0].1.header, b"abc");
    }

    /// While one thread writes as fast as it can, another reads: no packet is half another's.
    #[test]
    fn readers_see_whole_packets_or_none() {
        let recorder = Recorder::with_slots(4);
        let seen = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..200_000).for_each(|n| recorder.record(&facts(n), &[n as u8; HEADER]));
            });
            let mut seen = 0;
            while !writer.is_finished() {
                for (n, dropped) in recorder.read(0) {
                    assert_eq!((dropped.at_ns, dropped.generation), (n, n + 1));
                    assert!(dropped.header.iter().all(|byte| *byte == n as u8), "packet {n}");
                    seen += 1;
                }
            }
            seen
        });
        println!("{seen} packets read while 200,000 were written");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn a_slot_is_read_whole_or_not_at_all() {
        loom::model(|| {
            let recorder = loom::sync::Arc::new(Recorder::with_slots(1));
            let facts = |n| Facts {
                at_ns: n,
                generation: n,
                reason: DropReason::Rule,
                origin: None,
                egress: None,
                rule: None,
            };
            let writer = loom::thread::spawn({
                let recorder = recorder.clone();
                move || (0..2).for_each(|n| recorder.record(&facts(n), &[]))
            });
            for (n, dropped) in recorder.read(0) {
                assert_eq!((dropped.at_ns, dropped.generation), (n, n));
            }
            writer.join().unwrap();
        });
    }
}
