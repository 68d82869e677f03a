//! `weft-perf scale`: what several PMD threads move together, beside one alone, and what handing frames over costs.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use clap::Args;
use weft_dataplane::thread::{Command, Idle};

use crate::{
    core::{self, Bench, Case, Layout, Setup, verb},
    lab::{Error, Progress, pause, tell, watch},
    results::{Axes, Better, Figure, Output, Results, axes},
};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What the packets go through.
    #[arg(long, value_enum, default_value = "l3")]
    pub case: Case,
    /// Distinct flows, in random order, of each thread.
    #[arg(long, default_value_t = 100_000)]
    pub flows: u32,
    /// Runs of each, in turns; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Each run for so long, seconds.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// The cores.
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    pub cpus: Vec<usize>,
    /// Other ways to give results.
    #[command(flatten)]
    pub output: Output,
}

/// Runs the case on each core alone, on two and more at once, and handed over from the first core to the second.
pub fn run(options: &Options) -> Result<bool, Error> {
    watch()?;
    let Options { case, runs, seconds, .. } = *options;
    let setup = Setup { case, flows: options.flows.max(1), rules: 0, ipv6: false, seconds };
    let mut results = verb::results("scale", options.cpus[0]);
    results.notes =
        vec![format!("64-byte frames, gen to null; the cores are {:?}, in this order.", options.cpus)];
    let mut progress = Progress::new("scale", runs.into());
    for run in 1..=runs {
        progress.begin(&format!("run {run} of {runs}"));
        once(&setup, &options.cpus, &mut results, &progress)?;
        progress.done();
    }
    progress.finish();
    if !options.output.is_for_a_program() {
        tell(&results.tables());
    }
    options.output.finish(&results)
}

fn once(setup: &Setup, cpus: &[usize], results: &mut Results, progress: &Progress) -> Result<(), Error> {
    let test = format!("{}-scale", setup.case.word());
    let mut add = |metric: &str, words: &str, better, value: f64, under: [(&str, usize); 1]| {
        let under: Axes = axes([(under[0].0, under[0].1.into()), ("flows", setup.flows.into())]);
        let title = format!("{}: {words}", setup.case.word());
        results.add(
            Figure { test: &test, metric, title: &title, unit: "Mpps", better },
            "weft",
            &under,
            value,
        );
        progress.say(&format!("{words}: {value:.1} Mpps"));
    };
    let measure = |layout: &Layout, cpus: &[usize]| {
        pause(Duration::ZERO)?; // Ctrl-C
        measure(setup, layout, cpus).map_err(Error::io("threads in memory"))
    };
    let mut sum = 0.0;
    for cpu in cpus {
        let alone = measure(&Layout::apart(1), &[*cpu])?;
        add("rate-alone", "packets per second of a core alone", Better::Neither, alone, [("core", *cpu)]);
        sum += alone;
    }
    add("rate", "packets per second, together", Better::More, sum / cpus.len() as f64, [("cores", 1)]);
    for count in 2..=cpus.len() {
        let together = measure(&Layout::apart(count), &cpus[..count])?;
        add("rate", "packets per second, together", Better::More, together, [("cores", count)]);
    }
    if let Some(pair) = cpus.get(..2) {
        let handed_over = measure(&Layout::handed_over(), pair)?;
        let words = "packets per second, handed from one core to another";
        add("rate-handed-over", words, Better::More, handed_over, [("cores", 2)]);
    }
    Ok(())
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
