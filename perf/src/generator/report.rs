//! What the generator tells: a line a second, and at the end everything.

use std::path::Path;

use serde::Serialize;

use super::{
    capture::Capture,
    options::Options,
    sender::Sent,
    sizes::{FCS, Sizes, WIRE_GAP},
};
use crate::{lab::Error, lines::Lines};

/// One run of the generator.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The device.
    pub device: String,
    /// What was sent, in words.
    pub what: String,
    /// Of this run, in each frame.
    pub run_id: Option<u16>,
    /// Distinct flows.
    pub flows: Option<u32>,
    /// The seed.
    pub seed: u64,
    /// What was asked for, if there was a limit: frames a second.
    pub asked_pps: Option<f64>,
    /// How long it took.
    pub seconds: f64,
    /// All threads' sums.
    pub total: Sent,
    /// Millions of frames a second.
    pub mpps: f64,
    /// Gigabits a second of frames with FCS (L2).
    pub l2_gbps: f64,
    /// Gigabits a second with FCS, preamble and gap (L1).
    pub l1_gbps: f64,
    /// Each thread's.
    pub threads: Vec<Sent>,
    /// Each second's.
    pub series: Vec<Second>,
    #[serde(skip)]
    lines: Lines,
}

/// What one second brought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Second {
    /// Its end, since the beginning.
    pub at_s: f64,
    /// Frames so far.
    pub frames: u64,
    /// Millions of frames a second in it.
    pub mpps: f64,
    /// Gigabits a second in it (L2).
    pub l2_gbps: f64,
}

/// Gigabits a second of frames and their bytes without FCS: of L2, with FCS, and of L1.
pub fn gbps(frames: u64, bytes: u64, seconds: f64) -> (f64, f64) {
    let bits = |beside: usize| 8.0 * (bytes as f64 + (frames * beside as u64) as f64);
    let seconds = seconds.max(1e-9);
    (bits(FCS) / seconds / 1e9, bits(FCS + WIRE_GAP) / seconds / 1e9)
}

impl Report {
    /// Of stamped frames.
    pub fn of_stream(options: &Options, sizes: &Sizes, flows: u32, run: u16) -> Self {
        let each: Vec<u16> = sizes.each().collect();
        let lengths = match each[..] {
            [size] => format!("{size} bytes ({} with FCS)", usize::from(size) + FCS),
            _ => format!(
                "{sizes}: {:.0} bytes on average ({:.0} with FCS)",
                sizes.mean(),
                sizes.mean() + FCS as f64
            ),
        };
        let what = format!("UDP frames of {lengths}, {flows} flows");
        let mut report = Self::new(options, what, options.packets_per_second(sizes.mean()));
        (report.run_id, report.flows) = (Some(run), Some(flows));
        report
    }

    /// Of a file's frames.
    pub fn of_capture(options: &Options, path: &Path, capture: &Capture) -> Self {
        let what = format!("{} frames of {}, {} times", capture.frames(), path.display(), options.rounds);
        Self::new(options, what, options.packets_per_second(capture.mean_size()))
    }

    fn new(options: &Options, what: String, pps_of_thread: Option<f64>) -> Self {
        Self {
            device: options.device.clone(),
            what,
            run_id: None,
            flows: None,
            seed: options.seed,
            asked_pps: pps_of_thread.map(|rate| rate * f64::from(options.threads)),
            seconds: 0.0,
            total: Sent::default(),
            mpps: 0.0,
            l2_gbps: 0.0,
            l1_gbps: 0.0,
            threads: Vec::new(),
            series: Vec::new(),
            lines: Lines::of(options.json, options.csv),
        }
    }

    /// Says what is going to happen.
    pub fn begin(&self) {
        let run = self.run_id.map(|run| format!(", run {run}")).unwrap_or_default();
        let rate =
            self.asked_pps.map_or("as fast as it goes".into(), |rate| format!("{:.4} Mpps", rate / 1e6));
        eprintln!("{}: {}, {rate}{run}, seed {}", self.device, self.what, self.seed);
        let heading = format!("{:>8} {:>14} {:>9} {:>9}", "seconds", "frames", "Mpps", "Gb/s (L2)");
        self.lines.line(&heading, "seconds,frames,mpps,l2_gbps");
    }

    /// One more second.
    pub fn second(&mut self, at_s: f64, frames: u64, bytes: u64) {
        let before =
            self.series.last().map_or((0.0, 0, 0), |last| (last.at_s, last.frames, self.total.bytes));
        let (span, more) = (at_s - before.0, frames - before.1);
        self.total.bytes = bytes; // until all is known
        let (l2_gbps, _) = gbps(more, bytes - before.2, span);
        let second = Second { at_s, frames, mpps: more as f64 / span.max(1e-9) / 1e6, l2_gbps };
        let Second { at_s, frames, mpps, l2_gbps } = second;
        self.lines.line(
            &format!("{at_s:>8.2} {frames:>14} {mpps:>9.4} {l2_gbps:>9.3}"),
            &format!("{at_s:.3},{frames},{mpps:.6},{l2_gbps:.6}"),
        );
        self.series.push(second);
    }

    /// Sums up, and prints the result.
    pub fn finish(mut self) -> Result<(), Error> {
        self.total = Sent::default();
        for thread in &self.threads {
            self.total += *thread;
        }
        let Sent { frames, bytes, .. } = self.total;
        self.mpps = frames as f64 / self.seconds.max(1e-9) / 1e6;
        (self.l2_gbps, self.l1_gbps) = gbps(frames, bytes, self.seconds);
        self.lines.end(&self, || self.table())
    }

    fn table(&self) -> String {
        use std::fmt::Write;
        let (total, mut text) = (&self.total, String::new());
        let _ = writeln!(
            text,
            "\nsent          {} frames, {} bytes in {:.2} s",
            total.frames, total.bytes, self.seconds
        );
        let _ = writeln!(
            text,
            "rate          {:.4} Mpps, {:.3} Gb/s (L2, with FCS), {:.3} Gb/s (L1)",
            self.mpps, self.l2_gbps, self.l1_gbps
        );
        if total.missed > 0 {
            let _ = writeln!(
                text,
                "missed        {} frames: the device or this machine is too slow",
                total.missed
            );
        }
        let damage = total.damage;
        if damage != super::impair::Damage::default() {
            let _ = writeln!(
                text,
                "on purpose    {} dropped, {} duplicated, {} reordered, {} corrupted, of {} made",
                damage.dropped, damage.duplicated, damage.reordered, damage.corrupted, total.made
            );
        }
        if self.threads.len() > 1 {
            for (at, thread) in self.threads.iter().enumerate() {
                let _ = writeln!(text, "thread {at:<6} {} frames", thread.frames);
            }
        }
        text
    }
}
