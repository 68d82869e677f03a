//! What new flows may cost while established ones keep a thread busy.
//!
//! Resolving a flow costs several times what a cached one costs. So whoever sends nothing but new flows could take the
//! thread away from everybody else. While some queue is behind with packets of flows that are cached, new flows get one
//! part in [`SHARE`] of the time, by what they cost as a rule; what they want beyond that is dropped, with a reason.
//! Otherwise they get what they want.

/// New flows get one part in so many. Established ones lose that part, and what it costs to drop the rest.
const SHARE: u64 = 10;
/// What resolving a flow costs, nanoseconds: behind a thousand rules 250 on the fastest and 400 on the slowest machine that
/// it was measured on (`weft-perf core --case miss`). So a busy thread takes in 250,000 new flows a second.
const COST_NS: i64 = 400;
/// Time that is saved up at most, nanoseconds: 20,000 new flows at once, such as after a restart, pass without loss.
const SAVED_NS: i64 = 8_000_000;

/// Turns for which a queue is left alone that had nothing but new flows, all refused: taking frames in to drop them
/// costs the others, too. What overflows meanwhile is lost in front of the switch, and counted there.
pub(crate) const REST: u8 = 15;

/// A thread's account.
#[derive(Debug)]
pub(crate) struct Budget {
    credit_ns: i64,
    paid_ns: u64,
    /// Some queue was behind with established flows, in this turn and in the one before.
    behind: [bool; 2],
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { credit_ns: SAVED_NS, paid_ns: 0, behind: [false; 2] }
    }

    /// A turn begins.
    pub(crate) fn turn(&mut self, now_ns: u64) {
        let share = now_ns.saturating_sub(self.paid_ns) / SHARE;
        // What division leaves over is paid with the next turn's.
        self.paid_ns += share * SHARE;
        self.credit_ns = self.credit_ns.saturating_add_unsigned(share).min(SAVED_NS);
        self.behind = [false, self.behind[0]];
    }

    /// A burst was as large as bursts get, and had packets of established flows in it.
    #[inline]
    pub(crate) fn fell_behind(&mut self) {
        self.behind[0] = true;
    }

    /// Whether a new flow may be resolved now; if so, it is charged for.
    #[inline]
    pub(crate) fn allows(&mut self) -> bool {
        let allowed = self.credit_ns > 0 || self.behind == [false; 2];
        if allowed {
            self.credit_ns = (self.credit_ns - COST_NS).max(0);
        }
        allowed
    }
}
