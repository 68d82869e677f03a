//! A rate limit shared by all PMD threads: GCRA, the virtual-scheduling form of the leaky bucket (ITU-T I.371 annex A).
//! One atomic word, no refill timer, no floating point.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use weft_pmd::offload::WireSize;

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes of the frame, without FCS.
    Bytes,
}

/// A policer: `per_second` units, of which `burst` may come at once.
#[derive(Debug)]
pub struct Policer {
    unit: Unit,
    /// Nanoseconds per unit, in 1/65536, so that high rates keep their precision.
    increment: u64,
    /// How far ahead of the clock the virtual schedule may run, nanoseconds.
    tolerance_ns: u64,
    /// When the virtual schedule would be even, nanoseconds.
    due_ns: AtomicU64,
}

impl Policer {
    /// A policer with a full bucket. Zero rates and bursts count as one.
    pub fn new(unit: Unit, per_second: u64, burst: u64) -> Self {
        let increment = ((1_000_000_000_u128 << 16) / u128::from(per_second.max(1))) as u64;
        let tolerance_ns = cost(increment, burst.max(1));
        Self { unit, increment, tolerance_ns, due_ns: AtomicU64::new(0) }
    }

    /// One that is as full as this one is now, and has nothing to do with it from then on.
    pub(crate) fn shadow(&self) -> Self {
        let Self { unit, increment, tolerance_ns, .. } = *self;
        Self { unit, increment, tolerance_ns, due_ns: AtomicU64::new(self.due_ns.load(Relaxed)) }
    }

    /// Whether a packet of `bytes` bytes is within the rate at `now_ns`; if so it is accounted for.
    #[inline]
    pub fn allow(&self, bytes: u64, now_ns: u64) -> bool {
        self.allow_all(WireSize { packets: 1, bytes }, now_ns)
    }

    /// The same for a frame that may be several packets on the wire, of which all pass or none. One that comes to more than
    /// the burst passes where all of the burst is left, and is paid for afterwards: the rate holds, and TCP gets through.
    #[inline]
    pub fn allow_all(&self, size: WireSize, now_ns: u64) -> bool {
        let cost = cost(self.increment, if self.unit == Unit::Bytes { size.bytes } else { size.packets });
        let wanted = if size.packets > 1 { cost.min(self.tolerance_ns) } else { cost };
        let mut due = self.due_ns.load(Relaxed);
        loop {
            let begin = due.max(now_ns);
            if begin.saturating_add(wanted) > now_ns.saturating_add(self.tolerance_ns) {
                return false;
            }
            let next = begin.saturating_add(cost);
            match self.due_ns.compare_exchange_weak(due, next, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(current) => due = current,
            }
        }
    }
}

fn cost(increment: u64, units: u64) -> u64 {
    u64::try_from((u128::from(increment) * u128::from(units)) >> 16).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_burst_hold() {
        let policer = Policer::new(Unit::Packets, 1000, 10);
        let burst = (0..100).filter(|_| policer.allow(64, 5_000_000_000)).count();
        assert_eq!(burst, 10);
        // Offered 10,000 per second for one second: 1000 pass (and what the bucket regained meanwhile).
        let passed = (1..=10_000).filter(|i| policer.allow(64, 5_000_000_000 + i * 100_000)).count();
        assert!((999..=1001).contains(&passed), "{passed}");
    }

    #[test]
    fn no_rate_or_burst_overflows() {
        for (rate, burst) in
            [(1, u64::MAX), (1, u64::MAX / 1_000_000_000), (0, u64::MAX), (u64::MAX, u64::MAX)]
        {
            let policer = Policer::new(Unit::Bytes, rate, burst);
            for now_ns in [0, 1_u64 << 40, u64::MAX - 1] {
                assert!(policer.allow(1, now_ns), "{rate} {burst} {now_ns}");
            }
        }
        // A packet that takes for ever to pay for does not pass, and does no harm.
        let policer = Policer::new(Unit::Bytes, 1, 1);
        assert!(!policer.allow(u64::MAX, u64::MAX / 2));
        assert!(policer.allow(1, u64::MAX / 2));
    }

    /// A super-frame counts as what it is on the wire; one larger than the burst does not starve, and gets no more than the
    /// rate.
    #[test]
    fn super_frames_count_as_their_packets() {
        let size = WireSize { packets: 45, bytes: 67_000 };
        for burst in [10, 45, 100] {
            let policer = Policer::new(Unit::Packets, 1000, burst);
            let passed =
                (1..=100_000_u64).filter(|i| policer.allow_all(size, i * 100_000)).count() as u64 * 45;
            assert!((9_900..=10_000 + burst.max(45)).contains(&passed), "{burst}: {passed}");
            let policer = Policer::new(Unit::Bytes, 125_000, burst * 1500);
            let passed =
                (1..=100_000_u64).filter(|i| policer.allow_all(size, i * 100_000)).count() as u64 * 67_000;
            assert!(
                (1_150_000..=1_250_000 + (burst * 1500).max(67_000)).contains(&passed),
                "{burst}: {passed}"
            );
        }
    }

    #[test]
    fn bytes_count_as_bytes() {
        let policer = Policer::new(Unit::Bytes, 125_000_000, 3000); // 1 Gbit/s
        let passed: u64 = (0..100_000_u64).filter(|i| policer.allow(1500, i * 1000)).map(|_| 1500).sum();
        assert!((12_490_000..=12_510_000).contains(&passed), "{passed}");
    }
}
