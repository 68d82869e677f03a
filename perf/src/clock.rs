//! One clock for both ends: stamps and latencies are of `CLOCK_MONOTONIC`, which all of a machine's processes share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine's start.
#[inline]
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
