//! What a sink tells.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::expect::Figure;
use super::track::{Counts, Tracker};
use crate::generator::report::gbps;

/// One run of a sink.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The device.
    pub device: String,
    /// Its queues that were looked at.
    pub queues: usize,
    /// The run.
    pub run_id: Option<u16>,
    /// From its first frame to its last.
    pub seconds: f64,
    /// Millions of frames a second between these: intact ones of the run.
    pub mpps: f64,
    /// Gigabits a second, of all frames with FCS (L2).
    pub l2_gbps: f64,
    /// Everything counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Numbers that never came, neither whole nor corrupt.
    pub lost: u64,
    /// Of those that came or should have, percent.
    pub lost_percent: f64,
    /// Distinct flows.
    pub flows: usize,
    /// Flows that came by several threads.
    pub split_flows: u64,
    /// Frames that the kernel could not deliver, as the sink was too slow: its own loss, not the network's.
    pub sink_missed: u64,
    /// One way, generator to sink.
    pub latency: Option<Latency>,
    /// Each second's.
    pub series: Vec<Second>,
}

/// What one second brought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Second {
    /// Its end, since the beginning.
    pub at_s: f64,
    /// Intact frames of the run so far.
    pub received: u64,
    /// Millions of frames a second in it.
    pub mpps: f64,
}

/// Microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// The least.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// 99.99th percentile.
    pub p9999_us: f64,
    /// The most.
    pub max_us: f64,
    /// Percentile and microseconds, closer and closer to 100: for a plot on a logarithmic axis.
    pub percentiles: Vec<(f64, f64)>,
}

impl Latency {
    /// Of a histogram of nanoseconds; nothing if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1000.0;
        let each = histogram.iter_quantiles(2);
        Some(Self {
            min_us: histogram.min() as f64 / 1000.0,
            mean_us: histogram.mean() / 1000.0,
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p999_us: at(99.9),
            p9999_us: at(99.99),
            max_us: histogram.max() as f64 / 1000.0,
            percentiles: each
                .map(|step| (100.0 * step.quantile_iterated_to(), step.value_iterated_to() as f64 / 1000.0))
                .collect(),
        })
    }
}

impl Report {
    /// Of what was seen.
    pub fn new(
        device: &str,
        queues: usize,
        tracker: &Tracker,
        sink_missed: u64,
        series: Vec<Second>,
    ) -> Self {
        let (counts, lost, seconds) = (*tracker.counts(), tracker.lost(), tracker.seconds());
        let all = counts.received + lost + counts.corrupt;
        Self {
            device: device.to_owned(),
            queues,
            run_id: tracker.run(),
            seconds,
            mpps: if seconds > 0.0 { counts.received as f64 / seconds / 1e6 } else { 0.0 },
            l2_gbps: if seconds > 0.0 { gbps(counts.frames, counts.bytes, seconds).0 } else { 0.0 },
            counts,
            lost,
            lost_percent: if all > 0 { 100.0 * lost as f64 / all as f64 } else { 0.0 },
            flows: tracker.flows(),
            split_flows: tracker.split_flows(),
            sink_missed,
            latency: Latency::of(tracker.latency_ns()),
            series,
        }
    }

    /// For `--expect`.
    pub fn figures(&self) -> Vec<Figure> {
        let us = |pick: fn(&Latency) -> f64| self.latency.as_ref().map_or(f64::INFINITY, pick);
        vec![
            ("frames", self.counts.frames as f64),
            ("received", self.counts.received as f64),
            ("lost", self.lost as f64),
            ("lost_percent", self.lost_percent),
            ("duplicates", self.counts.duplicates as f64),
            ("reordered", self.counts.reordered as f64),
            ("corrupt", self.counts.corrupt as f64),
            ("late", self.counts.late as f64),
            ("foreign", self.counts.foreign as f64),
            ("flows", self.flows as f64),
            ("sink_missed", self.sink_missed as f64),
            ("mpps", self.mpps),
            ("l2_gbps", self.l2_gbps),
            ("p50_us", us(|latency| latency.p50_us)),
            ("p99_us", us(|latency| latency.p99_us)),
            ("max_us", us(|latency| latency.max_us)),
        ]
    }

    /// For people.
    pub fn table(&self) -> String {
        let (counts, mut text) = (&self.counts, String::new());
        let run = self.run_id.map_or("no run".into(), |run| format!("run {run}"));
        let _ = writeln!(
            text,
            "\n{run}: received {} intact frames of {} flows in {:.2} s: {:.4} Mpps, {:.3} Gb/s (L2, with FCS)",
            counts.received, self.flows, self.seconds, self.mpps, self.l2_gbps
        );
        let _ = writeln!(text, "lost          {} ({:.4} %)", self.lost, self.lost_percent);
        let _ = writeln!(text, "duplicates    {}", counts.duplicates);
        let _ = writeln!(
            text,
            "reordered     {} (by {} numbers at most), {} too late to tell",
            counts.reordered, counts.reorder_distance, counts.late
        );
        let _ = writeln!(text, "corrupt       {}", counts.corrupt);
        let _ =
            writeln!(text, "others        {} of other runs, {} foreign", counts.other_runs, counts.foreign);
        if self.sink_missed > 0 {
            let _ = writeln!(
                text,
                "missed        {} by the sink itself: it is too slow for this rate",
                self.sink_missed
            );
        }
        if self.split_flows > 0 {
            let _ = writeln!(
                text,
                "split         {} flows came by several threads: use -t 1 to judge their order and duplicates",
                self.split_flows
            );
        }
        if let Some(latency) = &self.latency {
            let _ = writeln!(
                text,
                "latency       min {:.1}, median {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, p99.99 {:.1}, max {:.1} µs",
                latency.min_us,
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.p999_us,
                latency.p9999_us,
                latency.max_us
            );
        }
        text
    }
}
