//! `weft-perf scale`: what several PMD threads move together, beside one alone, and what handing frames over costs.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use weft_dataplane::thread::{Command, Idle};

use crate::core::{self, Bench, Layout, Setup};

/// What several threads did.
#[derive(Debug, Clone, Serialize)]
pub struct Scaling {
    /// The cores, one thread each.
    pub cpus: Vec<usize>,
    /// Each alone, one after the other, packets per second, millions.
    pub alone_mpps: Vec<f64>,
    /// All at once, their sum.
    pub together_mpps: f64,
    /// One thread receives and decides, another sends: packets that arrived per second, millions.
    pub handed_over_mpps: Option<f64>,
}

/// Runs the case on each core alone, on all at once, and handed over from the first core to the second.
pub fn run(setup: &Setup, cpus: &[usize]) -> io::Result<Scaling> {
    let alone = |&cpu: &usize| measure(setup, &Layout::apart(1), &[cpu]);
    let alone_mpps = cpus.iter().map(alone).collect::<io::Result<_>>()?;
    let together_mpps = measure(setup, &Layout::apart(cpus.len()), cpus)?;
    let pair = cpus.get(..2);
    let handed_over_mpps = pair.map(|pair| measure(setup, &Layout::handed_over(), pair)).transpose()?;
    Ok(Scaling { cpus: cpus.to_vec(), alone_mpps, together_mpps, handed_over_mpps })
}

/// Packets that the sink takes per second, millions, once every flow is known.
fn measure(setup: &Setup, layout: &Layout, cpus: &[usize]) -> io::Result<f64> {
    let benches = core::threads(setup, layout)?;
    let taken = {
        let stats = benches[0].sink();
        move || stats.queues().map(|queue| queue.tx_packets.get()).sum::<u64>()
    };
    let warm_up = (u64::from(setup.flows) * 8 + 100_000) * benches.len() as u64;
    let stops: Vec<_> = benches.iter().map(Bench::commands).collect();
    let rate = thread::scope(|scope| {
        for (bench, &cpu) in benches.into_iter().zip(cpus) {
            scope.spawn(move || turn(bench, cpu));
        }
        while taken() < warm_up {
            thread::sleep(Duration::from_millis(1));
        }
        let (began, before) = (Instant::now(), taken());
        thread::sleep(Duration::from_secs_f64(setup.seconds));
        let rate = (taken() - before) as f64 / began.elapsed().as_secs_f64() / 1e6;
        for stop in stops {
            // It fails when the thread has ended already.
            let _ = stop.send(Command::Stop);
        }
        rate
    });
    Ok(rate)
}

fn turn(mut bench: Bench, cpu: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    let start = Instant::now();
    bench.thread.run(Idle::Spin, || start.elapsed().as_nanos() as u64);
}
