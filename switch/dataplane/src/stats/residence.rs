//! How long frames are in the switch: from when their burst was received until their port has taken them. One reading of
//! the time-stamp counter and one addition per burst and port they leave by, so that a packet costs nothing that counts.
//!
//! A port that takes only part of what waits for it makes the rest look younger than it is by a burst or two. What the
//! slow path makes counts from when it was made; what the kernel or the device does afterwards is not in it.

use weft_pmd::sys;

use super::Counter;

/// Upper bounds are this and its doubles.
const FIRST_NS: u64 = 512;
/// log₂ of it.
const FIRST_BITS: u32 = FIRST_NS.trailing_zeros();

/// A histogram: bucket `i` counts frames that took at most [`Residence::bound_ns`] of `i`, and longer than the one before.
#[derive(Debug, Default)]
pub struct Residence {
    buckets: [Counter; Self::BUCKETS],
    sum_ns: Counter,
}

impl Residence {
    /// From half a microsecond to 33 ms, and one for all that took longer.
    pub const BUCKETS: usize = 18;

    /// The largest time that a bucket counts; none: there is no bound.
    pub const fn bound_ns(bucket: usize) -> Option<u64> {
        if bucket + 1 < Self::BUCKETS { Some(FIRST_NS << bucket) } else { None }
    }

    /// So many frames took so many cycles.
    #[inline]
    pub(crate) fn add(&self, cycles: u64, frames: u64) {
        let ns = sys::cycles_to_ns(cycles);
        self.buckets[bucket(ns)].add(frames);
        self.sum_ns.add(ns.wrapping_mul(frames));
    }
}

fn bucket(ns: u64) -> usize {
    let above = u64::BITS - (ns.saturating_sub(1) >> FIRST_BITS).leading_zeros();
    (above as usize).min(Residence::BUCKETS - 1)
}

/// Several threads' histograms together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResidenceTotal {
    /// Frames by bucket.
    pub buckets: [u64; Residence::BUCKETS],
    /// All frames' times, nanoseconds.
    pub sum_ns: u64,
}

impl ResidenceTotal {
    pub(super) fn with(mut self, one: &Residence) -> Self {
        self.buckets.iter_mut().zip(&one.buckets).for_each(|(sum, bucket)| *sum += bucket.get());
        self.sum_ns += one.sum_ns.get();
        self
    }

    /// Frames in it.
    pub fn frames(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_whose_bounds_enclose_it() {
        for ns in (0..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]).chain([u64::MAX]) {
            let found = bucket(ns);
            assert!(Residence::bound_ns(found).is_none_or(|bound| ns <= bound), "{ns}");
            let before = found.checked_sub(1).and_then(Residence::bound_ns);
            assert!(before.is_none_or(|bound| ns > bound), "{ns}");
        }
    }

    #[test]
    fn frames_are_counted_once_each() {
        let residence = Residence::default();
        residence.add(0, 64);
        residence.add(1 << 50, 1);
        let total = ResidenceTotal::default().with(&residence);
        assert_eq!((total.frames(), total.buckets[0], total.buckets[Residence::BUCKETS - 1]), (65, 64, 1));
    }
}
