//! Cycles by the processor's own counters, on every core, user and kernel apart: `perf_event_open(2)`.

use perf_event::{Builder, Counter, events::Hardware};

use super::CoreTime;

/// One pair for each core.
#[derive(Debug)]
pub(super) struct Counters {
    user: Vec<Counter>,
    kernel: Vec<Counter>,
}

impl Counters {
    /// Counts on these cores from now; `None` if there are no such counters (virtual machines), or no right to them.
    pub(super) fn open(cores: &[CoreTime]) -> Option<Self> {
        let open =
            |kernel: bool| cores.iter().map(|core| counter(core.id, kernel)).collect::<Option<Vec<_>>>();
        Some(Self { user: open(false)?, kernel: open(true)? })
    }

    /// Cycles until now.
    pub(super) fn read(mut self) -> Option<(u64, u64)> {
        let sum = |counters: &mut Vec<Counter>| {
            counters.iter_mut().map(|counter| counter.read().ok()).sum::<Option<u64>>()
        };
        Some((sum(&mut self.user)?, sum(&mut self.kernel)?))
    }
}

fn counter(core: usize, kernel: bool) -> Option<Counter> {
    let mut builder = Builder::new(Hardware::CPU_CYCLES);
    builder.any_pid().one_cpu(core).exclude_kernel(!kernel).exclude_user(kernel).exclude_hv(true);
    let mut counter = builder.build().ok()?;
    counter.enable().ok()?;
    Some(counter)
}
