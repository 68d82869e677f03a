//! What the processor did during a measurement: every core of the machine, and the switch's threads apart.
//!
//! A switch's own threads are not all it costs. Interrupt work (softirq: NAPI polls, the receiving half of every veth, AF_XDP's
//! sends) is done on whichever core it comes up, in the name of whoever runs there: on the sender's core for a Linux
//! bridge, on a NIC's interrupt core for AF_XDP, where it is half of the cost. So the whole path is what all cores did, user and
//! kernel apart; threads tell which part of that is the switch's own doing.
//!
//! # What it can't see
//! - **Who.** Cores are counted, not causes: everything else that runs is in the figure, first of all the traffic's source
//!   and sink. Two systems measured with the same source compare; a figure alone says little. Measure on a quiet machine.
//! - **Which cycles.** With hardware counters (`perf_event_open(2)`, per core) they are the core's own. Without (most virtual
//!   machines), time is multiplied by the time-stamp counter's frequency: a core that runs faster than its TSC does more in
//!   each of these, and what other guests take from it is in there, unless the host reports it as stolen.
//! - **Short stretches.** `/proc/stat` is made by a timer tick (4 or 10 ms) that looks at what is running, unless the kernel has
//!   `VIRT_CPU_ACCOUNTING_GEN` or `IRQ_TIME_ACCOUNTING`: measure a second or more.
//! - **Borrowed time.** Without `IRQ_TIME_ACCOUNTING`, softirq work that interrupts a thread is in that thread's kernel time
//!   as well as in its core's softirq time. So threads are shown beside the whole, never added to it.
//! - **Idle spinning.** A thread that polls without rest takes its whole core, whether packets come or not: below the
//!   switch's limit, cycles per packet are mostly waiting. Compare them at the limit.
//! - **Threads that ended** in between count in the cores', not in the threads' figures.

mod pmu;
mod stat;
mod threads;

use std::time::{Duration, Instant};

use weft_pmd::sys;

use crate::{
    lab::Error,
    results::{Axes, Better, Figure, Results},
};

pub use stat::CoreTime;
pub use threads::ThreadTime;

/// Measures from its start to its end.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    began: Instant,
    tsc: u64,
    cores: Vec<CoreTime>,
    threads: Vec<ThreadTime>,
    counters: Option<pmu::Counters>,
}

/// What the processor did.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// For so long.
    pub elapsed: Duration,
    /// The time-stamp counter's frequency, Hz.
    pub tsc_hz: f64,
    /// Each core's time.
    pub cores: Vec<CoreTime>,
    /// The time of each of the switch's threads.
    pub threads: Vec<ThreadTime>,
    /// Cycles of all cores by hardware counters, user and kernel, where there are such counters.
    pub counted: Option<(u64, u64)>,
}

/// Cycles that a packet cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerPacket {
    /// On all cores, in user space.
    pub user: f64,
    /// On all cores, in the kernel: system calls, interrupts and softirqs.
    pub kernel: f64,
    /// Of the kernel's, those in softirqs and interrupts, by time.
    pub softirq: f64,
    /// Those of the switch's threads in user space, by time.
    pub switch_user: f64,
    /// Those of the switch's threads in the kernel, by time.
    pub switch_kernel: f64,
}

impl Meter {
    /// Begins. `pids` are the switch's processes: none if the kernel is the switch.
    pub fn start(pids: &[u32]) -> Result<Self, Error> {
        let counters = pmu::Counters::open(&stat::read()?);
        Ok(Self {
            pids: pids.to_vec(),
            counters,
            threads: threads::read(pids),
            cores: stat::read()?,
            tsc: sys::cycles(),
            began: Instant::now(),
        })
    }

    /// Ends.
    pub fn stop(self) -> Result<Usage, Error> {
        let (elapsed, tsc) = (self.began.elapsed(), sys::cycles().wrapping_sub(self.tsc));
        let cores = stat::read()?;
        let threads = threads::read(&self.pids);
        Ok(Usage {
            elapsed,
            tsc_hz: tsc as f64 / elapsed.as_secs_f64(),
            cores: cores.iter().zip(&self.cores).map(|(now, before)| now.since(before)).collect(),
            threads: threads::since(&threads, &self.threads),
            counted: self.counters.and_then(pmu::Counters::read),
        })
    }
}

impl Usage {
    fn sum(&self, of: fn(&CoreTime) -> f64) -> f64 {
        self.cores.iter().map(of).sum()
    }

    fn switch(&self, of: fn(&ThreadTime) -> f64) -> f64 {
        self.threads.iter().map(of).sum()
    }

    /// Divided by packets; `None` without any.
    pub fn per_packet(&self, packets: u64) -> Option<PerPacket> {
        let cycles = |seconds: f64| seconds * self.tsc_hz / packets as f64;
        let (user, kernel) = match self.counted {
            Some((user, kernel)) => (user as f64 / packets as f64, kernel as f64 / packets as f64),
            None => (cycles(self.sum(|core| core.user)), cycles(self.sum(CoreTime::kernel))),
        };
        (packets > 0).then(|| PerPacket {
            user,
            kernel,
            softirq: cycles(self.sum(|core| core.softirq + core.irq)),
            switch_user: cycles(self.switch(|thread| thread.user)),
            switch_kernel: cycles(self.switch(|thread| thread.kernel)),
        })
    }

    /// Notes it among results: shares of a core, and cycles per packet if packets were counted.
    pub fn record(&self, results: &mut Results, test: &str, system: &str, axes: &Axes, packets: Option<u64>) {
        let percent = |seconds: f64| 100.0 * seconds / self.elapsed.as_secs_f64();
        let mut add = |metric: &str, title: &str, unit: &str, better, value: f64| {
            let title = format!("{test}: {title}");
            results.add(Figure { test, metric, title: &title, unit, better }, system, axes, value);
        };
        let shares = [
            ("cpu", "CPU, all cores", self.sum(CoreTime::busy)),
            ("cpu-user", "CPU in user space, all cores", self.sum(|core| core.user)),
            (
                "cpu-softirq",
                "CPU in softirqs and interrupts, all cores",
                self.sum(|core| core.softirq + core.irq),
            ),
            ("cpu-switch", "CPU of the switch's threads", self.switch(|thread| thread.user + thread.kernel)),
            ("cpu-stolen", "CPU taken by other guests", self.sum(|core| core.steal)),
        ];
        for (metric, title, seconds) in shares {
            add(metric, title, "% of a core", Better::Neither, percent(seconds));
        }
        let Some(PerPacket { user, kernel, softirq, switch_user, switch_kernel }) =
            packets.and_then(|packets| self.per_packet(packets))
        else {
            return;
        };
        let (less, neither) = (Better::Less, Better::Neither);
        let unit = if self.counted.is_some() { "cycles" } else { "TSC cycles" };
        add("cycles", "cycles per packet, all cores", unit, less, user + kernel);
        add("cycles-user", "cycles per packet in user space, all cores", unit, neither, user);
        add("cycles-kernel", "cycles per packet in the kernel, all cores", unit, neither, kernel);
        add("cycles-softirq", "of these in softirqs and interrupts", "TSC cycles", neither, softirq);
        if !self.threads.is_empty() {
            add(
                "cycles-switch-user",
                "of the switch's threads in user space",
                "TSC cycles",
                neither,
                switch_user,
            );
            add(
                "cycles-switch-kernel",
                "of the switch's threads in the kernel",
                "TSC cycles",
                neither,
                switch_kernel,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{hint, process};

    use super::*;

    #[test]
    fn a_busy_thread_is_seen_by_its_core_and_by_its_process() {
        let meter = Meter::start(&[process::id()]).unwrap();
        let took = || threads::read(&[process::id()]).iter().map(|one| one.user + one.kernel).sum::<f64>();
        // Others may have the core meanwhile: it is the thread's own time that counts, not the clock's.
        let (began, before) = (Instant::now(), took());
        while took() < before + 0.2 && began.elapsed() < Duration::from_secs(60) {
            (0..100_000).for_each(|_| hint::spin_loop());
        }
        let usage = meter.stop().unwrap();
        let (busy, own) = (usage.sum(CoreTime::busy), usage.switch(|thread| thread.user + thread.kernel));
        assert!(own > 0.05, "other tests' threads may just have ended: {usage:?}");
        assert!(busy > 0.1, "a tick is up to 10 ms: {usage:?}");
        assert!(usage.tsc_hz > 1e8, "{usage:?}");
        let per_packet = usage.per_packet(1000).unwrap();
        assert!(per_packet.switch_user + per_packet.switch_kernel > 0.0 && usage.per_packet(0).is_none());
    }

    #[test]
    fn the_whole_path_is_every_core_and_hardware_counters_come_first() {
        let core = |user, system, softirq| CoreTime { user, system, softirq, ..CoreTime::default() };
        let thread = ThreadTime { tid: 1, user: 0.5, kernel: 0.25 };
        let mut usage = Usage {
            elapsed: Duration::from_secs(1),
            tsc_hz: 2e9,
            cores: vec![core(0.5, 0.25, 0.25), core(0.0, 0.0, 0.5)],
            threads: vec![thread],
            counted: None,
        };
        let by_time = usage.per_packet(1_000_000).unwrap();
        assert_eq!((by_time.user, by_time.kernel, by_time.softirq), (1000.0, 2000.0, 1500.0));
        assert_eq!((by_time.switch_user, by_time.switch_kernel), (1000.0, 500.0));
        usage.counted = Some((700_000_000, 1_100_000_000));
        let counted = usage.per_packet(1_000_000).unwrap();
        assert_eq!((counted.user, counted.kernel), (700.0, 1100.0));
        let mut results = Results::new("test");
        usage.record(&mut results, "udp64", "weft-xsk", &Axes::new(), Some(1_000_000));
        let figure = |metric| results.measurements.iter().find(|one| one.metric == metric).unwrap().runs[0];
        assert_eq!((figure("cycles"), figure("cpu"), figure("cpu-softirq")), (1800.0, 150.0, 75.0));
    }
}
