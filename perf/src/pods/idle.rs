//! `weft-perf idle`: what weftd costs while nothing happens, and how soon it is back.

use std::time::Duration;

use clap::Args;

use super::{system::Cores, topology::Pods, weft::Weft};
use crate::{
    cpu::Meter,
    lab::{Error, pause, tell, watch},
    results::{self, Axes, Better, Figure, Output, Results},
};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Idle for so long.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// The core of both pods' programs.
    #[arg(long, default_value_t = 0)]
    pub cpu_pods: usize,
    /// The core of the PMD thread.
    #[arg(long, default_value_t = 1)]
    pub cpu_switch: usize,
    /// Other ways to give results.
    #[command(flatten)]
    pub output: Output,
}

/// Four ports, two of them taps of pods; `idle = "adaptive"`. Whether all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    watch()?;
    let pods = Pods::new()?;
    let cores = Cores { pods: options.cpu_pods, switch: options.cpu_switch, threads: 1, queues: 1 };
    let weftd = Weft::Tap.start(&pods, cores, "adaptive")?;
    pods.wait_until_reachable()?;
    let mut results = Results::new("idle");
    results.notes.push("weftd with four ports, two of them taps of pods; idle = \"adaptive\".".into());
    let system = results::System {
        name: "weft-tap".into(),
        about: "weft, tap".into(),
        version: format!("weft {}", env!("CARGO_PKG_VERSION")),
        mode: weftd.mode.clone(),
        is_weft: true,
        is_baseline: false,
    };
    results.systems.push(system);
    let mut add = |metric: &str, title: &str, unit: &str, values: &[f64]| {
        let figure = Figure { test: "idle", metric, title, unit, better: Better::Less };
        values.iter().for_each(|value| results.add(figure, "weft-tap", &Axes::new(), *value));
    };
    pause(Duration::from_secs(1))?;
    for _ in 0..options.seconds {
        let meter = Meter::start(&[weftd.daemon.id()])?;
        pause(Duration::from_secs(1))?;
        let usage = meter.stop()?;
        let took: f64 = usage.threads.iter().map(|thread| thread.user + thread.kernel).sum();
        let share = 100.0 * took / usage.elapsed.as_secs_f64();
        add("cpu", "weftd at rest, each second", "% of a core", &[share]);
    }
    let pings = [("ping-after-silence", "a ping after 0.3 s of silence", 15, "0.3")];
    for (metric, title, count, interval) in
        pings.into_iter().chain([("ping", "a ping every 10 ms", 50, "0.01")])
    {
        add(metric, title, "µs", &ping(&pods, options.cpu_pods, count, interval)?);
    }
    if !options.output.is_for_a_program() {
        tell(&results.tables());
    }
    options.output.finish(&results)
}

fn ping(pods: &Pods, cpu: usize, count: u32, interval: &str) -> Result<Vec<f64>, Error> {
    let (count, cpu) = (count.to_string(), cpu.to_string());
    let command = ["taskset", "-c", &cpu, "ping", "-n", "-c", &count, "-i", interval, pods.b.address];
    let said = pods.a.ns.output(&command)?;
    Some(times(&said)).filter(|times| !times.is_empty()).ok_or_else(|| Error::unread("ping", "time", &said))
}

/// Microseconds, of `… time=0.129 ms`.
fn times(said: &str) -> Vec<f64> {
    let time = |line: &str| line.split_once("time=")?.1.split_whitespace().next()?.parse::<f64>().ok();
    said.lines().filter_map(time).map(|ms| ms * 1000.0).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read() {
        let said =
            "64 bytes from 10.244.0.6: icmp_seq=1 ttl=63 time=0.129 ms\n\n15 packets transmitted, time 5ms\n";
        assert_eq!(super::times(said), [129.0]);
    }
}
