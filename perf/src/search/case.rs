//! One case: one system in one topology with one length and one number of flows.

use std::time::Duration;

use super::{
    Options,
    bounds::{self, Bounds, Goal, Limits, NDR, PDR},
    topology::Path,
};
use crate::{
    clock::now_ns,
    cpu::Meter,
    disrupt::{self, scenario::Scenario},
    generator::{rate::Rate, sizes::Sizes},
    lab::{Error, Progress},
    pods::weft::Weft,
    results::{Axes, Better, Dimension, Figure, Output, Point, Results, Scale, Series},
    sink::report::Latency,
    tester::{Load, Tester, Trial, Until},
};

/// Where a case's results go.
pub struct Case<'a> {
    /// The command line.
    pub options: &'a Options,
    /// The system's name.
    pub system: &'a str,
    /// Its circumstances.
    pub axes: Axes,
    /// Lengths.
    pub sizes: &'a Sizes,
    /// Distinct flows.
    pub flows: u32,
    /// What generator and sink do alone, frames a second.
    pub alone: f64,
    /// All results.
    pub results: &'a mut Results,
    /// Tells what is happening.
    pub progress: &'a Progress,
}

/// Less is not worth a trial, frames a second.
const LEAST: f64 = 500.0;
/// At full rate what is between must lose this share, else the generator may be what limits.
const OVERLOAD_SHARE: f64 = 0.02;
/// A trial in which less than this share of the asked load was offered says nothing of that load.
const OFFERED_SHARE: f64 = 0.98;

/// Opens generator and sink around a path.
pub fn tester(
    path: &Path,
    options: &Options,
    sizes: &Sizes,
    flows: u32,
    queues: usize,
) -> Result<Tester, Error> {
    let mut headers = path.headers.clone();
    // As many destination ports as the flows need, from 9 on: a source port range serves 64,000.
    let ports = flows.div_ceil(64_000) as u16;
    headers.dst_ports = (9, 9 + ports - 1);
    let load = Load { headers, sizes: sizes.clone(), flows, pattern: options.pattern, seed: options.seed };
    Tester::open(&path.generator, &path.sink, load, options.tester_cores(), queues)
}

impl Case<'_> {
    fn add(&mut self, figure: Figure<'_>, value: f64) {
        let (system, axes) = (self.system, self.axes.clone());
        self.results.add(figure, system, &axes, value);
    }

    fn rate(&mut self, metric: &str, title: &str, better: Better, pps: f64) {
        let title = format!("{title}, frames of {} bytes without FCS", self.sizes);
        self.add(Figure { test: "throughput", metric, title: &title, unit: "Mpps", better }, pps / 1e6);
    }

    fn trial_time(&self) -> Until<'static> {
        Until::Time(Duration::from_secs_f64(self.options.trial))
    }

    fn trial(&self, tester: &mut Tester, pps: Option<f64>) -> Result<Trial, Error> {
        let trial = tester.trial(pps, self.trial_time())?;
        let asked = pps.map_or("full".into(), |pps| Rate::Packets(pps.round()).to_string());
        self.progress.say(&format!(
            "{asked}: offered {:.4}, received {:.4} Mpps, lost {:.4} %",
            trial.offered_pps() / 1e6,
            trial.received_pps() / 1e6,
            100.0 * trial.loss()
        ));
        Ok(trial)
    }

    /// Everything that was asked for, but for a reset; returns the PDR, frames a second. An error that says why is what makes
    /// a case missing.
    pub fn run(&mut self, path: &Path, tester: &mut Tester) -> Result<f64, Error> {
        self.check_that_frames_arrive(tester)?;
        let most = self.trial(tester, None)?;
        let (mrr, offered) = (most.received_pps(), most.offered_pps());
        self.check_that_it_is_overloaded(&most)?;
        self.rate("mrr", "Received at full rate", Better::More, mrr);
        self.rate("offered", "Offered at full rate", Better::Neither, offered);
        let limits = Limits { width: self.options.width / 100.0, least: LEAST, most: offered };
        let mut pdr = self.search(tester, PDR, mrr * 0.95, limits)?;
        let ndr = self.search(tester, NDR, pdr.lower.max(LEAST), limits)?;
        // A load without loss has no more than half a percent, whatever a noisy trial said before.
        pdr.lower = pdr.lower.max(ndr.lower);
        for (goal, bounds, title) in [(NDR, ndr, "No frame lost"), (PDR, pdr, "At most 0.5 % lost")] {
            self.rate(goal.name, title, Better::More, bounds.lower);
        }
        let Options { latency, curve, back_to_back, recovery, all, .. } = *self.options;
        if pdr.lower > 0.0 {
            self.cpu(path, tester, pdr.lower)?;
            if latency || all {
                self.latency(tester, pdr.lower)?;
            }
            if recovery || all {
                self.recovery(tester, pdr.lower)?;
            }
        }
        if curve || all {
            self.curve(tester, offered)?;
        }
        if back_to_back || all {
            self.back_to_back(tester)?;
        }
        Ok(pdr.lower)
    }

    fn check_that_frames_arrive(&self, tester: &mut Tester) -> Result<(), Error> {
        // Also the first look at each flow, which costs more than the others.
        let rate = f64::from(self.flows).clamp(1000.0, 20_000.0);
        let trial = tester.trial(Some(rate), Until::Time(Duration::from_millis(500)))?;
        if trial.seen.counts().received > 0 {
            return Ok(());
        }
        let what = format!("a frame of {} at the sink", self.system);
        let said =
            format!(" ({} were sent, {} of others came)", trial.sent.frames, trial.seen.counts().foreign);
        Err(Error::Late { what, limit: Duration::from_millis(500), said })
    }

    /// The self-test: at full rate, what is between loses frames that the sink had room for. Then generator and sink are faster.
    fn check_that_it_is_overloaded(&self, most: &Trial) -> Result<(), Error> {
        let (sent, lost) = (most.sent.frames.max(1) as f64, most.lost().saturating_sub(most.sink_missed));
        let (offered, alone) = (most.offered_pps() / 1e6, self.alone / 1e6);
        if most.sink_missed as f64 > OVERLOAD_SHARE * sent {
            return Err(self.refused(&format!(
                "the sink is too slow for the {:.4} Mpps that come (alone, both do {alone:.4}). Give it a core of its own (--cpu-sink), or \
                 longer frames (-s)",
                most.received_pps() / 1e6
            )));
        }
        if (lost as f64) < OVERLOAD_SHARE * sent {
            return Err(self.refused(&format!(
                "it takes all of the {offered:.4} Mpps that the generator offers with it in the way (alone, both do {alone:.4}): how much \
                 more it would take can't be told. What forwards on the generator's core always does: bridge-rps and routing-rps \
                 forward on the switch's. Else give the generator more cores (--cpu-tester), or longer frames (-s)"
            )));
        }
        Ok(())
    }

    fn refused(&self, why: &str) -> Error {
        Error::Refused(format!("{}, {} bytes, {} flows: {why}", self.system, self.sizes, self.flows))
    }

    fn search(
        &mut self,
        tester: &mut Tester,
        goal: Goal,
        guess: f64,
        limits: Limits,
    ) -> Result<Bounds, Error> {
        let trials = self.options.trials as usize | 1;
        // The lowest load that could not be offered, or that the sink could not take.
        let mut unsound = f64::INFINITY;
        let bounds = bounds::find(guess, limits, |load| {
            bounds::most(trials, || {
                let (trial, is_sound) = self.sound_trial(tester, load, goal)?;
                if !is_sound {
                    unsound = unsound.min(load);
                }
                Ok::<_, Error>(is_sound && trial.loss() <= goal.loss)
            })
        })?;
        self.progress.say(&format!(
            "{}: {:.4} Mpps (upper bound {:.4})",
            goal.name,
            bounds.lower / 1e6,
            bounds.upper / 1e6
        ));
        if bounds.upper.is_infinite() {
            return Err(self.refused(&format!(
                "it takes all of the {:.4} Mpps that the generator offers: how much more it would take can't be told",
                bounds.lower / 1e6
            )));
        }
        if bounds.upper >= unsound {
            return Err(self.refused(&format!(
                "generator and sink could not keep up with {:.4} Mpps: something else uses cores {:?}",
                unsound / 1e6,
                self.options.cpu_tester
            )));
        }
        Ok(bounds)
    }

    /// A trial of the load, and whether it says something of it: enough was offered, and what is lost is not the sink's. What the
    /// tester was kept from is tried again.
    fn sound_trial(&self, tester: &mut Tester, load: f64, goal: Goal) -> Result<(Trial, bool), Error> {
        const ATTEMPTS: usize = 4;
        let is_sound = |trial: &Trial| {
            let missed = trial.sink_missed as f64 / trial.sent.frames.max(1) as f64;
            trial.offered_pps() >= OFFERED_SHARE * load && missed <= goal.loss
        };
        let mut trial = self.trial(tester, Some(load))?;
        for _ in 1..ATTEMPTS {
            if is_sound(&trial) {
                break;
            }
            trial = self.trial(tester, Some(load))?;
        }
        let sound = is_sound(&trial);
        Ok((trial, sound))
    }

    /// What all cores do at the PDR.
    fn cpu(&mut self, path: &Path, tester: &mut Tester, pdr: f64) -> Result<(), Error> {
        let meter = Meter::start(&path.pids)?;
        let trial = self.trial(tester, Some(pdr))?;
        let usage = meter.stop()?;
        usage.record(self.results, "throughput", self.system, &self.axes, Some(trial.seen.counts().received));
        Ok(())
    }

    fn latency(&mut self, tester: &mut Tester, pdr: f64) -> Result<(), Error> {
        let plain = self.axes.clone();
        for percent in [10_u32, 50, 90] {
            let trial = self.trial(tester, Some(pdr * f64::from(percent) / 100.0))?;
            let Some(latency) = Latency::of(trial.seen.latency_ns()) else { continue };
            self.axes.insert("load".into(), format!("{percent} % of PDR").as_str().into());
            let quoted = [
                ("p50", "median", latency.p50_us),
                ("p99", "99th percentile", latency.p99_us),
                ("p99.9", "99.9th percentile", latency.p999_us),
                ("max", "most", latency.max_us),
            ];
            for (metric, title, value) in quoted {
                let title = format!("Latency one way, {title}");
                let better = if metric == "max" { Better::Neither } else { Better::Less };
                self.add(Figure { test: "latency", metric, title: &title, unit: "µs", better }, value);
            }
            let of_first_run = |series: &Series| series.name == self.line(percent);
            if !self.results.series.iter().any(of_first_run) {
                let x = Dimension { name: "percentile".into(), unit: "%".into(), scale: Scale::Percentile };
                let y = Dimension { name: "latency one way".into(), unit: "µs".into(), scale: Scale::Log };
                let steps = latency.percentiles.iter().filter(|(percentile, _)| *percentile < 100.0);
                let points = steps.map(|step| Point::from(*step)).collect();
                let plot = format!("Latency at loads, {}", crate::results::words(&plain));
                self.results.series.push(Series {
                    plot,
                    name: self.line(percent),
                    x,
                    y,
                    points,
                    marks: vec![],
                });
            }
            self.axes.clone_from(&plain);
        }
        Ok(())
    }

    fn line(&self, percent: u32) -> String {
        format!("{}, {percent} % of PDR", self.system)
    }

    fn curve(&mut self, tester: &mut Tester, most: f64) -> Result<(), Error> {
        let mut points = Vec::new();
        for percent in (10..=100).step_by(10) {
            let load = (percent < 100).then_some(most * f64::from(percent) / 100.0);
            let trial = self.trial(tester, load)?;
            points.push(Point::from((trial.offered_pps() / 1e6, 100.0 * trial.loss())));
        }
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let plot = format!("Loss over load, {}", crate::results::words(&self.axes));
        let x = Dimension { name: "offered".into(), unit: "Mpps".into(), scale: Scale::Linear };
        let y = Dimension { name: "lost".into(), unit: "%".into(), scale: Scale::Linear };
        let known = |series: &&mut Series| series.plot == plot && series.name == self.system;
        if self.results.series.iter_mut().find(known).is_none() {
            self.results.series.push(Series { plot, name: self.system.into(), x, y, points, marks: vec![] });
        }
        Ok(())
    }

    /// Bursts of more and more frames at full rate, up to two seconds' worth.
    fn back_to_back(&mut self, tester: &mut Tester) -> Result<(), Error> {
        let limits = Limits { width: 0.05, least: 1.0, most: 2.0 * self.alone };
        let trials = self.options.trials as usize | 1;
        let bounds = bounds::find(1000.0, limits, |frames| {
            let frames = frames as u64;
            bounds::most(trials, || Ok::<_, Error>(tester.trial(None, Until::Frames(frames))?.lost() == 0))
        })?;
        self.progress.say(&format!("back to back: {:.0} frames", bounds.lower));
        let title = "Longest burst at full rate without loss (at most 2 s)";
        let figure =
            Figure { test: "back-to-back", metric: "frames", title, unit: "frames", better: Better::More };
        self.add(figure, bounds.lower.floor());
        Ok(())
    }

    /// What a restart and a SIGKILL of weftd cost at half of the PDR; the switch that was measured must be gone.
    pub fn reset(&mut self, kind: Weft, pdr: f64) -> Result<(), Error> {
        let options = disrupt::Options {
            scenarios: Vec::new(),
            kinds: Vec::new(),
            runs: 1,
            rate: Rate::Packets(pdr / 2.0),
            sizes: self.sizes.clone(),
            flows: self.flows.min(60_000),
            margin: 0.5,
            cpu_tester: self.options.sink_core(),
            cpu_switch: self.options.cpu_switch,
            cpu_switch_2: None,
            output: Output::default(),
        };
        let mut lab = disrupt::Lab::new(&options, kind)?;
        for (scenario, metric) in [(Scenario::Restart, "planned"), (Scenario::Kill, "sudden")] {
            let run = lab.disrupt(scenario)?;
            self.progress.say(&format!("{}: {:.1} ms", scenario.about(), run.blocked_ms()));
            let title = format!("{}: reset time", scenario.about());
            let figure = Figure { test: "reset", metric, title: &title, unit: "ms", better: Better::Less };
            self.add(figure, run.blocked_ms());
        }
        Ok(())
    }

    /// Full rate, then half of the PDR: when was the last frame lost?
    fn recovery(&mut self, tester: &mut Tester, pdr: f64) -> Result<(), Error> {
        self.trial(tester, None)?;
        let began = now_ns();
        let trial = self.trial(tester, Some(pdr / 2.0))?;
        let last = trial.seen.last_gap_ns().map_or(0, |gap| gap.saturating_sub(began));
        let title = "Loss goes on after an overload has ended";
        let figure = Figure { test: "recovery", metric: "time", title, unit: "ms", better: Better::Less };
        self.add(figure, last as f64 / 1e6);
        Ok(())
    }
}
