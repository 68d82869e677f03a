//! `weft-perf sink`: receives what [`crate::generator`] sends, and tells what became of it.
//!
//! A [`program`] hands UDP frames of a device to AF_XDP sockets (xsk-rs) of its queues; a [`receiver`] has some of them,
//! and a [`track::Tracker`] that looks at each frame.

pub mod expect;
pub mod parse;
pub mod program;
pub mod receiver;
pub mod report;
pub mod track;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use clap::Args;
use weft_pmd::netns::run_in;

use self::{
    expect::Expectation,
    program::Program,
    receiver::Receiver,
    report::{Report, Second},
    track::Tracker,
};
use crate::{
    clock::now_ns,
    generator::{link, namespace, options::seconds, pin},
    lab::{Error, pause, watch},
    lines::Lines,
    xsk::RxSocket,
};

/// What to receive.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Start it before the generator: what was sent earlier counts as lost (or give --join).

Examples:
  weft-perf sink -i eth0                                        until Ctrl-C
  weft-perf sink -i eth0 --silence 1 --expect lost=0,reordered=0,p99_us<=200
  weft-perf sink -i eth0 -n 1000000 --json

Figures of --expect: frames received lost lost_percent duplicates reordered corrupt late foreign flows
sink_missed mpps l2_gbps p50_us p99_us max_us. Exit code 1 says that one does not hold.")]
pub struct Options {
    /// The device.
    #[arg(short = 'i', long = "device", value_name = "DEVICE")]
    pub device: String,
    /// The namespace it is in: a name, a path or a process id.
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
    /// Queues, from 0 [default: as many as the device has, 16 at most].
    #[arg(short = 'q', long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub queues: Option<u32>,
    /// Threads, among which queues are dealt; one alone judges every flow's order, whatever queues it comes by.
    #[arg(short = 't', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// The first thread's core; the others follow [default: each where the scheduler puts it].
    #[arg(short = 'f', long = "first-cpu", value_name = "CPU")]
    pub first_cpu: Option<usize>,
    /// End after so many frames of the run; 0: don't.
    #[arg(short = 'n', long = "count", default_value_t = 0)]
    pub count: u64,
    /// For so many seconds [default: until -n, --silence or Ctrl-C].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<f64>,
    /// End when nothing has come for so many seconds, after something has.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub silence: Option<f64>,
    /// Look at this run only [default: the first that comes].
    #[arg(long, value_name = "ID")]
    pub run_id: Option<u16>,
    /// Begin each flow with the first of its frames that comes, not with number 0.
    #[arg(long)]
    pub join: bool,
    /// Never sleep while nothing comes: latencies without wake-ups, for a core.
    #[arg(long)]
    pub spin: bool,
    /// What must hold: FIGURE>=NUMBER, FIGURE<=NUMBER or FIGURE=NUMBER.
    #[arg(long, value_name = "CONDITIONS", value_delimiter = ',')]
    pub expect: Vec<Expectation>,
    /// Print the result as JSON; progress goes to standard error.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print a line of CSV each second.
    #[arg(long)]
    pub csv: bool,
}

/// Queues that are tried if the number is not given: each has 16 MiB of memory.
const MOST_QUEUES: u32 = 16;

/// Receives, tells each second how much, and at the end all of it. Whether everything expected holds.
pub fn run(options: &Options) -> Result<bool, Error> {
    // A figure that there is none of is told before, not after, the run.
    let empty = Report::new(&options.device, 0, &Tracker::new(None, false), 0, Vec::new());
    expect::check_names(&options.expect, &empty.figures())?;
    watch()?;
    let netns = options.netns.as_deref().map(namespace);
    let opened =
        run_in(netns.as_ref(), || open(&options.device, options.queues)).map_err(Error::io("the namespace"));
    let (_program, sockets) = opened??;
    let queues = sockets.len();
    eprintln!("{}: listening on {queues} {}", options.device, if queues == 1 { "queue" } else { "queues" });
    let (stop, mut threads, mut progress) = (Arc::new(AtomicBool::new(false)), Vec::new(), Vec::new());
    for (at, receiver) in dealt(sockets, options).into_iter().enumerate() {
        let (shared, stop) = (Arc::new(AtomicU64::new(0)), stop.clone());
        progress.push(shared.clone());
        let (cpu, spin) = (options.first_cpu.map(|first| first + at), options.spin);
        let thread = thread::Builder::new().name(format!("sink-{at}"));
        let spawned = thread.spawn(move || receive(receiver, cpu, spin, &shared, &stop));
        threads.push(spawned.map_err(Error::io("a thread"))?);
    }
    let lines = Lines::of(options.json, options.csv);
    let series = tell_until_over(lines, options, &progress, &threads);
    stop.store(true, Ordering::Relaxed);
    let (mut all, mut missed) = (Tracker::new(options.run_id, options.join), 0);
    for thread in threads {
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        let (tracker, its_missed) = ended.map_err(Error::io(&options.device))?;
        all.merge(tracker);
        missed += its_missed;
    }
    let report = Report::new(&options.device, queues, &all, missed, series);
    lines.end(&report, || report.table())?;
    expect::all_hold(&options.expect, &report.figures())
}

/// In the device's namespace: the program, and a socket of each queue.
pub fn open(device: &str, queues: Option<u32>) -> Result<(Program, Vec<RxSocket>), Error> {
    let program = Program::attach(device, link(device)?.ifindex)?;
    let mut sockets = Vec::new();
    for queue in 0..queues.unwrap_or(MOST_QUEUES) {
        match RxSocket::open(device, queue) {
            Ok(socket) => {
                program.deliver(queue, &socket)?;
                sockets.push(socket);
            }
            // There is no such queue, and nobody said that there is.
            Err(_) if queues.is_none() && queue > 0 => break,
            Err(error) => return Err(Error::io("the sink")(error)),
        }
    }
    Ok((program, sockets))
}

fn dealt(sockets: Vec<RxSocket>, options: &Options) -> Vec<Receiver> {
    let threads = (options.threads as usize).min(sockets.len());
    let mut hands: Vec<Vec<RxSocket>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, socket) in sockets.into_iter().enumerate() {
        hands[at % threads].push(socket);
    }
    let tracker = Tracker::new(options.run_id, options.join);
    hands.into_iter().map(|hand| Receiver::new(hand, tracker.clone())).collect()
}

fn receive(
    mut receiver: Receiver,
    cpu: Option<usize>,
    spin: bool,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<(Tracker, u64)> {
    /// Turns without a frame before it sleeps.
    const PATIENCE: u32 = 100;
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    let mut idle = 0;
    while !stop.load(Ordering::Relaxed) {
        if receiver.poll() > 0 {
            idle = 0;
            progress.store(receiver.tracker().counts().received, Ordering::Relaxed);
        } else if idle < PATIENCE || spin {
            idle += 1;
            std::hint::spin_loop();
        } else {
            receiver.wait(10)?;
        }
    }
    while receiver.poll() > 0 {}
    let missed = receiver.missed()?;
    Ok((receiver.into_tracker(), missed))
}

fn tell_until_over(
    lines: Lines,
    options: &Options,
    progress: &[Arc<AtomicU64>],
    threads: &[JoinHandle<io::Result<(Tracker, u64)>>],
) -> Vec<Second> {
    let (began, mut series, mut last) = (now_ns(), Vec::<Second>::new(), (0, 0));
    let after = |seconds: f64| began + (seconds * 1e9) as u64;
    let mut next = after(1.0);
    lines.line(&format!("{:>8} {:>14} {:>9}", "seconds", "received", "Mpps"), "seconds,received,mpps");
    loop {
        let (now, received) = (now_ns(), progress.iter().map(|one| one.load(Ordering::Relaxed)).sum::<u64>());
        if received != last.1 {
            last = (now, received);
        }
        let silent =
            options.silence.is_some_and(|silence| last.0 > 0 && now - last.0 >= (silence * 1e9) as u64);
        let is_over = silent
            || (options.count > 0 && received >= options.count)
            || options.duration.is_some_and(|duration| now >= after(duration))
            || threads.iter().any(JoinHandle::is_finished);
        if now >= next || is_over {
            let before = series.last().map_or((0.0, 0), |second| (second.at_s, second.received));
            let at_s = (now - began) as f64 / 1e9;
            let mpps = (received - before.1) as f64 / (at_s - before.0).max(1e-9) / 1e6;
            lines.line(
                &format!("{at_s:>8.2} {received:>14} {mpps:>9.4}"),
                &format!("{at_s:.3},{received},{mpps:.6}"),
            );
            series.push(Second { at_s, received, mpps });
            next += 1_000_000_000;
        }
        if is_over || pause(Duration::from_millis(10)).is_err() {
            return series;
        }
    }
}
