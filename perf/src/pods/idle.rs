//! `weft-perf idle`: what weftd costs while nothing happens, and how soon it is back.

use std::{fs, path::Path, time::Duration};

use clap::Args;

use super::{system::Cores, topology::Pods, weft::Weft};
use crate::{
    lab::{Error, pause, watch},
    summary::Summary,
};

/// What to measure.
#[derive(Debug, Clone, Copy, Args)]
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
}

/// Four ports, two of them taps of pods; `idle = "adaptive"`.
pub fn run(options: &Options) -> Result<(), Error> {
    watch()?;
    let pods = Pods::new()?;
    let cores = Cores { pods: options.cpu_pods, switch: options.cpu_switch };
    let weftd = Weft::Tap.start(&pods, cores, "adaptive")?;
    pods.wait_until_reachable()?;
    pause(Duration::from_secs(1))?;
    let before = cpu_time_ns(weftd.daemon.id())?;
    pause(Duration::from_secs(options.seconds))?;
    let took = cpu_time_ns(weftd.daemon.id())?.saturating_sub(before);
    let share = took as f64 / (options.seconds * 1_000_000_000) as f64;
    println!("weftd, idle, took {:.2} % of a core", 100.0 * share);
    for (what, count, interval) in [("after 0.3 s of silence", 15, "0.3"), ("every 10 ms", 50, "0.01")] {
        let Summary { median, min, max, .. } = ping(&pods, options.cpu_pods, count, interval)?;
        println!("a ping {what}: {median:.0} µs there and back (median of {count}; {min:.0}–{max:.0})");
    }
    Ok(())
}

/// Of all threads.
fn cpu_time_ns(pid: u32) -> Result<u64, Error> {
    let tasks = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&tasks).map_err(Error::file(Path::new(&tasks)))?;
    // A thread that ends meanwhile took nothing worth counting.
    let of_thread = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok(entries.filter_map(Result::ok).filter_map(of_thread).sum())
}

fn ping(pods: &Pods, cpu: usize, count: u32, interval: &str) -> Result<Summary, Error> {
    let (count, cpu) = (count.to_string(), cpu.to_string());
    let command = ["taskset", "-c", &cpu, "ping", "-n", "-c", &count, "-i", interval, pods.b.address];
    let said = pods.a.ns.output(&command)?;
    Summary::of(times(&said)).ok_or_else(|| Error::unread("ping", "time", &said))
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
