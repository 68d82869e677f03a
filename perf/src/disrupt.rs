//! `weft-perf disrupt`: what a change costs those who are not changed.
//!
//! A stream of numbered frames goes from a pod to another at a constant rate, far below what the switch carries, while
//! something happens. Lost frames, divided by the offered rate, are the time for which the path was closed: its *effective
//! blocked time* (CSIT's term; RFC 6201 calls that of a restart reset time).

pub mod scenario;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use self::scenario::Scenario;
use crate::{
    generator::{flows::Pattern, frame::Headers, options::seconds, rate::Rate, sizes::Sizes},
    lab::{Error, NetNs, Progress, pause, watch},
    node::{Node, Shape},
    pods::{
        system::{System, missing},
        weft::Weft,
    },
    results::{
        self, Axes, Better, Dimension, Figure, Mark, Measurement, Missing, Output, Point, Results, Scale,
        Series, axes,
    },
    tester::{End, Load, STEP_NS, Tester, TesterCores, Trial, Until},
};

/// What to do to a switch.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  weft-perf disrupt                                             every scenario, over AF_XDP
  weft-perf disrupt --scenarios rule,restart,kill --runs 10 --rate 50kpps
  weft-perf disrupt --kinds xsk,packet --json out.json --expect 'weft-xsk/rule/blocked<=1'")]
pub struct Options {
    /// What happens [default: everything].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub scenarios: Vec<Scenario>,
    /// How pods are connected: xsk, packet. (A tap's device goes with weftd; both ends would have to be opened again.)
    #[arg(long, value_delimiter = ',', default_value = "xsk", value_parser = kind)]
    pub kinds: Vec<Weft>,
    /// How often each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// The stream's rate.
    #[arg(long, default_value = "20kpps")]
    pub rate: Rate,
    /// Frame length without FCS (60: 64 on the wire).
    #[arg(short = 's', long = "size", default_value = "60")]
    pub sizes: Sizes,
    /// Distinct flows, one after the other.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub flows: u32,
    /// How long the stream goes on before and after.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    pub margin: f64,
    /// The core of generator and sink.
    #[arg(long, default_value_t = 0)]
    pub cpu_tester: usize,
    /// The core of the switch's thread.
    #[arg(long, default_value_t = 1)]
    pub cpu_switch: usize,
    /// The core of a second thread of the switch's: for the scenario queue.
    #[arg(long)]
    pub cpu_switch_2: Option<usize>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields have theirs")]
    pub output: Output,
}

fn kind(text: &str) -> Result<Weft, String> {
    match text.trim_start_matches("weft-") {
        "xsk" => Ok(Weft::Xsk),
        "packet" => Ok(Weft::Packet),
        _ => Err(format!("{text} is none of xsk, packet")),
    }
}

/// Measures, prints tables, writes files. Whether all could be measured, and all that is expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    let scenarios =
        if options.scenarios.is_empty() { Scenario::ALL.to_vec() } else { options.scenarios.clone() };
    watch()?;
    let mut results = Results::new("disrupt");
    begin(options, &mut results);
    let steps = options.kinds.len() * scenarios.len();
    let mut progress = Progress::new("disrupt", u64::from(options.runs) * steps as u64);
    for kind in &options.kinds {
        if let Some(reason) = missing(kind) {
            let (test, system) = (String::new(), kind.name().into());
            results.missing.push(Missing { test, system, axes: Axes::new(), reason, failed: true });
            continue;
        }
        let mut lab = Lab::new(options, *kind)?;
        for run in 1..=options.runs {
            for scenario in &scenarios {
                progress.begin(&format!(
                    "run {run} of {}, {}, {}",
                    options.runs,
                    kind.name(),
                    scenario.name()
                ));
                lab.measure(*scenario, &mut results, &progress)?;
                progress.done();
            }
        }
    }
    progress.finish();
    if !options.output.is_for_a_program() {
        print!("{}", table(&results));
    }
    options.output.finish(&results)
}

/// A row for each scenario.
fn table(results: &Results) -> String {
    let mut text = format!("{}\n{}\n", results.testbed.short(), results.notes.join(" "));
    text += &format!(
        "\n{:<12} {:<36} {:>28} {:>9} {:>9}\n",
        "", "", "blocked, ms (least–most)", "lost", "took, ms"
    );
    for blocked in results.measurements.iter().filter(|one| one.metric == "blocked") {
        let median = |metric: &str| {
            let is_same = |one: &&Measurement| {
                one.metric == metric && one.test == blocked.test && one.system == blocked.system
            };
            let summary = results.measurements.iter().find(is_same).and_then(Measurement::summary);
            summary.map_or(f64::NAN, |summary| summary.median)
        };
        let Some(summary) = blocked.summary() else { continue };
        let about = blocked.title.trim_end_matches(": blocked");
        let spread = format!("{:.2} ({:.2}–{:.2})", summary.median, summary.min, summary.max);
        let (lost, took) = (median("lost"), median("took"));
        text += &format!("{:<12} {about:<36} {spread:>28} {lost:>9.0} {took:>9.0}\n", blocked.system);
    }
    text + "\n" + &results.gaps()
}

fn begin(options: &Options, results: &mut Results) {
    results.notes.push(format!(
        "A stream of {} in {} flows of {} bytes without FCS, from pod to pod; blocked: lost frames ÷ offered rate.",
        options.rate, options.flows, options.sizes
    ));
    results.limits.push(format!(
        "One lost frame is {:.3} ms: less can't be told. Generator and sink share core {} with everything that weftctl and weftd's \
         control thread do; the scenario \"nothing\" tells what the machine itself costs.",
        1e3 / options.rate.packets_per_second(options.sizes.mean()),
        options.cpu_tester
    ));
    for kind in &options.kinds {
        results.systems.push(results::System {
            name: kind.name().into(),
            about: kind.about().into(),
            version: kind.version().unwrap_or_default(),
            mode: "PMD threads spin".into(),
            is_weft: true,
            is_baseline: false,
        });
    }
}

/// A node with two pods and a stream between them; a third pod comes and goes.
pub struct Lab<'a> {
    // Dropped in this order: sockets before the namespaces they are in.
    tester: Tester,
    node: Node,
    _wire: NetNs,
    options: &'a Options,
    kind: Weft,
}

impl<'a> Lab<'a> {
    /// Sets it up.
    pub fn new(options: &'a Options, kind: Weft) -> Result<Self, Error> {
        let cores = [Some(options.cpu_switch), options.cpu_switch_2].into_iter().flatten().collect();
        let fabric = Some(("native", 2));
        let shape = Shape { number: 1, kind, pods: 2, cores, queues: 1, idle: "spin", fabric };
        let mut node = Node::new(shape)?;
        let wire = NetNs::new("wire")?;
        node.connect(&wire, "192.0.2.2")?;
        node.start()?;
        let (a, b) = (&node.pods[0], &node.pods[1]);
        Node::wait_until_reachable(&a.ns, &b.address)?;
        let address = |text: &str| text.parse().map_err(|_| Error::Usage(format!("{text} is no address")));
        let dst: std::net::IpAddr = address(&b.address)?;
        let headers = Headers {
            macs: (a.mac, node.gateway_mac()),
            src: address(&a.address)?,
            dst: dst.into(),
            src_port: 2000,
            dst_ports: (9, 9),
            vxlan: None,
        };
        let (sizes, pattern) = (options.sizes.clone(), Pattern::Sequential);
        let load = Load { headers, sizes, flows: options.flows, pattern, seed: 1 };
        let cores = TesterCores::one(options.cpu_tester);
        let (a, b) = (End::new(a.ns.name(), "eth0"), End::new(b.ns.name(), "eth0"));
        let tester = Tester::open(&a, &b, load, cores, 1)?;
        Ok(Self { tester, node, _wire: wire, options, kind })
    }

    /// One run of one scenario; only an interruption is an error.
    fn measure(
        &mut self,
        scenario: Scenario,
        results: &mut Results,
        progress: &Progress,
    ) -> Result<(), Error> {
        let (system, axes) = (self.kind.name(), self.axes());
        match self.disrupt(scenario) {
            Ok(run) => {
                progress.say(&format!(
                    "lost {} of {}: blocked for {:.2} ms; it took {:.0} ms",
                    run.trial.lost(),
                    run.trial.sent.frames,
                    run.blocked_ms(),
                    (run.ended_s - run.began_s) * 1e3
                ));
                run.record(scenario, system, &axes, results);
                Ok(())
            }
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                progress.say(&error.to_string());
                let (test, reason) = (scenario.name().into(), error.to_string());
                let failed = !matches!(error, Error::Absent { .. });
                let gap = Missing { test, system: system.into(), axes, reason, failed };
                if !results.missing.contains(&gap) {
                    results.missing.push(gap);
                }
                Ok(())
            }
        }
    }

    fn axes(&self) -> Axes {
        axes([("rate", self.options.rate.to_string().as_str().into())])
    }

    /// The stream, and in its midst what happens.
    pub fn disrupt(&mut self, scenario: Scenario) -> Result<Run, Error> {
        let (stop, margin) = (AtomicBool::new(false), Duration::from_secs_f64(self.options.margin));
        let rate = self.options.rate.packets_per_second(self.options.sizes.mean());
        scenario.prepare(&self.node)?;
        let (tester, node) = (&mut self.tester, &mut self.node);
        let (trial, happened) = thread::scope(|scope| {
            let stream = scope.spawn(|| tester.trial(Some(rate), Until::Told(&stop)));
            let began = Instant::now();
            let mut happen = || -> Result<(f64, f64), Error> {
                pause(margin)?;
                let at = began.elapsed().as_secs_f64();
                scenario.happen(node)?;
                let ended = began.elapsed().as_secs_f64();
                pause(margin)?;
                Ok((at, ended))
            };
            let happened = happen();
            stop.store(true, Ordering::Relaxed);
            let panicked = |_| Err(Error::io("the stream")(std::io::Error::other("its thread panicked")));
            (stream.join().unwrap_or_else(panicked), happened)
        });
        scenario.tidy(&self.node)?;
        let ((began_s, ended_s), trial) = (happened?, trial?);
        Ok(Run { trial, began_s, ended_s })
    }
}

/// One disruption.
#[derive(Debug)]
pub struct Run {
    /// The stream.
    pub trial: Trial,
    /// When it began, seconds into the stream.
    pub began_s: f64,
    /// When weftctl, or the restart, was done.
    pub ended_s: f64,
}

impl Run {
    /// Lost frames ÷ offered rate, milliseconds.
    pub fn blocked_ms(&self) -> f64 {
        1e3 * self.trial.lost() as f64 / self.trial.offered_pps().max(1.0)
    }

    fn record(&self, scenario: Scenario, system: &str, axes: &Axes, results: &mut Results) {
        let test = scenario.name();
        let mut add = |metric: &str, title: &str, unit: &str, better, value: f64| {
            let title = format!("{}: {title}", scenario.about());
            results.add(Figure { test, metric, title: &title, unit, better }, system, axes, value);
        };
        add("blocked", "blocked", "ms", Better::Less, self.blocked_ms());
        add("lost", "frames lost", "frames", Better::Neither, self.trial.lost() as f64);
        let took = (self.ended_s - self.began_s) * 1e3;
        add("took", "time until it was done", "ms", Better::Neither, took);
        let counts = self.trial.seen.counts();
        add("reordered", "frames reordered", "frames", Better::Neither, counts.reordered as f64);
        add("duplicates", "frames twice", "frames", Better::Neither, counts.duplicates as f64);
        let plot = format!("{}: frames received", scenario.about());
        if results.series.iter().any(|series| series.plot == plot && series.name == system) {
            return; // the first run is drawn
        }
        let x = Dimension { name: "time".into(), unit: "s".into(), scale: Scale::Linear };
        let y = Dimension { name: "received".into(), unit: "kpps".into(), scale: Scale::Linear };
        let marks = vec![
            Mark { x: self.began_s, label: test.into() },
            Mark { x: self.ended_s, label: "done".into() },
        ];
        let points = self.points();
        results.series.push(Series { plot, name: system.into(), x, y, points, marks });
    }

    /// Thousands of frames a second in each step of 10 ms.
    fn points(&self) -> Vec<Point> {
        let step_s = STEP_NS as f64 / 1e9;
        let (mut points, mut before) = (Vec::new(), 0);
        for (at, sample) in self.trial.samples.iter().enumerate() {
            let rate = (sample.received - before) as f64 / step_s / 1e3;
            points.push(Point::from(((at + 1) as f64 * step_s, rate)));
            before = sample.received;
        }
        points
    }
}
