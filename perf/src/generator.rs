//! `weft-perf gen`: an AF_XDP packet generator on xsk-rs, or the kernel's own.
//!
//! [`options`] is the command line; each thread has a [`sender`](mod@sender), which takes frames of a [`stream`] (or of a
//! [`capture`]) at a [`rate`] and hands them to a socket. What a frame carries for the sink is in [`crate::stamp`].

pub mod capture;
pub mod flows;
pub mod frame;
pub mod impair;
pub mod kernel;
pub mod options;
pub mod rate;
pub mod report;
pub mod sender;
pub mod sizes;
pub mod stream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use weft_pmd::{
    Netns,
    netns::run_in,
    sys::net::{LinkInfo, link_info},
};

pub use options::Options;

use self::{
    capture::Capture,
    flows::Picker,
    frame::{Headers, Template},
    impair::Impairer,
    rate::Pace,
    report::Report,
    sender::{Sender, Sent, Source},
    sizes::Sizes,
    stream::Stream,
};
use crate::{
    clock::now_ns,
    lab::{Error, pause, watch},
    xsk::TxSocket,
};

/// Frames and bytes so far, written by one thread and read by another.
#[derive(Debug, Default)]
struct Progress {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Sends, tells each second how much, and at the end all of it.
pub fn run(options: &Options) -> Result<(), Error> {
    if options.kernel {
        return kernel::run(options);
    }
    watch()?;
    let netns = options.netns.as_deref().map(namespace);
    let opened = run_in(netns.as_ref(), || open(options)).map_err(Error::io("the namespace"))?;
    let (mut report, senders) = opened?;
    let (stop, mut threads, mut progress) = (Arc::new(AtomicBool::new(false)), Vec::new(), Vec::new());
    for (at, sender) in senders.into_iter().enumerate() {
        let (shared, stop) = (Arc::new(Progress::default()), stop.clone());
        progress.push(shared.clone());
        let cpu = options.first_cpu.map(|first| first + at);
        let thread = thread::Builder::new().name(format!("gen-{at}"));
        let spawned = thread.spawn(move || send(sender, cpu, &shared, &stop));
        threads.push(spawned.map_err(Error::io("a thread"))?);
    }
    report.begin();
    let began = now_ns();
    let end = options.duration.map(|duration| began + (duration * 1e9) as u64);
    tell_until_over(&mut report, began, end, &progress, &threads);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let ended = thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked")));
        report.threads.push(ended.map_err(Error::io(&options.device))?);
    }
    report.seconds = (now_ns() - began) as f64 / 1e9;
    report.finish()
}

/// As users name it: a process id, a path or a name.
pub(crate) fn namespace(text: &str) -> Netns {
    match text.parse() {
        Ok(pid) => Netns::Pid(pid),
        Err(_) if text.contains('/') => Netns::Path(text.into()),
        Err(_) => Netns::Name(text.into()),
    }
}

/// Once a second, until all threads have ended, the time is up, or Ctrl-C.
fn tell_until_over(
    report: &mut Report,
    began: u64,
    end: Option<u64>,
    progress: &[Arc<Progress>],
    threads: &[JoinHandle<Result<Sent, std::io::Error>>],
) {
    const STEP_NS: u64 = 10_000_000;
    let mut next = began + 1_000_000_000;
    loop {
        let now = now_ns();
        let is_over = threads.iter().all(JoinHandle::is_finished) || end.is_some_and(|end| now >= end);
        if now >= next || is_over {
            let sum = |field: fn(&Progress) -> &AtomicU64| -> u64 {
                progress.iter().map(|one| field(one).load(Ordering::Relaxed)).sum()
            };
            report.second((now - began) as f64 / 1e9, sum(|one| &one.frames), sum(|one| &one.bytes));
            next += 1_000_000_000;
        }
        let left = end.map_or(STEP_NS, |end| end.saturating_sub(now).min(STEP_NS));
        if is_over || pause(Duration::from_nanos(left)).is_err() {
            return;
        }
    }
}

fn send(
    mut sender: Sender,
    cpu: Option<usize>,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Sent, std::io::Error> {
    /// For what the device has not sent yet.
    const LIMIT_NS: u64 = 1_000_000_000;
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    while !stop.load(Ordering::Relaxed) && !sender.is_over() {
        if sender.poll(now_ns())? > 0 {
            let sent = sender.sent();
            progress.frames.store(sent.frames, Ordering::Relaxed);
            progress.bytes.store(sent.bytes, Ordering::Relaxed);
        } else {
            std::hint::spin_loop();
        }
    }
    sender.finish(now_ns, LIMIT_NS)?;
    let sent = sender.sent();
    progress.frames.store(sent.frames, Ordering::Relaxed);
    progress.bytes.store(sent.bytes, Ordering::Relaxed);
    Ok(sent)
}

/// Keeps the calling thread on a core.
pub(crate) fn pin(cpu: usize) -> Result<(), std::io::Error> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Ok(());
    }
    Err(std::io::Error::other(format!("this process may not run on core {cpu}: choose another")))
}

/// What the kernel says of a device of this namespace.
pub(crate) fn link(device: &str) -> Result<LinkInfo, Error> {
    let link = link_info(device).map_err(Error::io(device))?;
    if link.is_up {
        return Ok(link);
    }
    let source = std::io::Error::other(format!("it is down: ip link set {device} up"));
    Err(Error::Io { what: device.to_owned(), source })
}

/// In the device's namespace.
fn open(options: &Options) -> Result<(Report, Vec<Sender>), Error> {
    let link = link(&options.device)?;
    let run = options.run_id.unwrap_or_else(|| now_ns() as u16 ^ std::process::id() as u16);
    let mut senders = Vec::new();
    let report = if let Some(path) = &options.pcap {
        let capture = Capture::read(path, options.rounds, options.dst_mac)?;
        let (own_time, rate) = (options.rate.is_none(), options.packets_per_second(capture.mean_size()));
        let report = Report::of_capture(options, path, &capture);
        for thread in 0..options.threads {
            let source = Source::Capture { capture: capture.clone(), own_time: own_time && rate.is_none() };
            senders.push(sender(options, thread, source, rate)?);
        }
        report
    } else {
        let headers = options.headers(&link)?;
        let flows = options.flow_count(&headers)?;
        let sizes = options.sizes.clone().unwrap_or_else(|| Sizes::one(headers.shortest()));
        let rate = options.packets_per_second(sizes.mean());
        for thread in 0..options.threads {
            let picker = Picker::new(options.pattern, flows, thread, options.threads, options.seed);
            let limit = Some(options.count).filter(|count| *count > 0);
            let stream = made(&headers, &sizes, picker, run, limit, impairer(options, thread))?;
            senders.push(sender(options, thread, Source::Stream(Box::new(stream)), rate)?);
        }
        Report::of_stream(options, &sizes, flows, run)
    };
    Ok((report, senders))
}

fn impairer(options: &Options, thread: u32) -> Option<Impairer> {
    let seed = options.seed.wrapping_add(u64::from(thread));
    options.impair.clone().map(|impair| Impairer::new(impair, seed))
}

fn sender(options: &Options, thread: u32, source: Source, rate: Option<f64>) -> Result<Sender, Error> {
    let socket = TxSocket::open(&options.device, thread).map_err(Error::io("the generator"))?;
    Ok(Sender::new(socket, source, Pace::new(rate), options.burst as usize))
}

/// A stream of these frames.
pub fn made(
    headers: &Headers,
    sizes: &Sizes,
    picker: Picker,
    run: u16,
    limit: Option<u64>,
    impairer: Option<Impairer>,
) -> Result<Stream, Error> {
    let templates = sizes.each().map(|size| Template::new(headers, size)).collect::<Result<_, _>>()?;
    Ok(Stream::new(templates, sizes.round(), picker, run, limit, impairer))
}
