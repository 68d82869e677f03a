//! What new flows may cost while established ones keep a thread busy.
//!
//! Resolving a flow costs several times what a cached one costs. So whoever sends nothing but new flows could take the
//! thread away from everybody else. While some queue is behind with packets of flows that are cached, new flows get one
//! part in [`SHARE`] of the time; what they want beyond that is dropped, with a reason. Otherwise they get what they want.

use weft_pmd::sys;

/// New flows get one part in so many. Established ones lose that part, and what it costs to drop the rest.
const SHARE: u64 = 10;
/// Time that is saved up at most, cycles, some 20 ms: a burst of 80,000 new flows, such as after a restart, passes without
/// loss.
const SAVED: i64 = 50_000_000;

/// What one flow is charged at most, cycles: the time while the kernel ran something else is not its doing.
const MOST: i64 = 10_000;

/// Turns for which a queue is left alone that had nothing but new flows, all refused: taking frames in to drop them
/// costs the others, too. What overflows meanwhile is lost in front of the switch, and counted there.
pub(crate) const REST: u8 = 15;

/// A thread's account, in time-stamp-counter cycles.
#[derive(Debug)]
pub(crate) struct Budget {
    credit: i64,
    paid_at: u64,
    /// Some queue was behind with established flows, in this turn and in the one before.
    behind: [bool; 2],
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { credit: SAVED, paid_at: sys::cycles(), behind: [false; 2] }
    }

    /// A turn begins.
    pub(crate) fn turn(&mut self) {
        let now = sys::cycles();
        let share = now.wrapping_sub(self.paid_at) / SHARE;
        self.paid_at = now;
        self.credit = self.credit.saturating_add_unsigned(share).min(SAVED);
        self.behind = [false, self.behind[0]];
    }

    /// A burst was as large as bursts get, and had packets of established flows in it.
    #[inline]
    pub(crate) fn fell_behind(&mut self) {
        self.behind[0] = true;
    }

    /// Whether a new flow may be resolved now.
    #[inline]
    pub(crate) fn allows(&self) -> bool {
        self.credit > 0 || self.behind == [false; 2]
    }

    /// Does the work, and charges for it.
    #[inline]
    pub(crate) fn charge<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = sys::cycles();
        let done = work();
        let cycles = i64::try_from(sys::cycles().wrapping_sub(began)).unwrap_or(MOST);
        self.credit = (self.credit - cycles.min(MOST)).max(-SAVED);
        done
    }
}
