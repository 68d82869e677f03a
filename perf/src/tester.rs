//! Generator and sink in one process, around a device under test: one trial after the other by the same sockets.
//!
//! Where both have the same core they take turns in one thread, which costs no switch of threads and loses nothing to the
//! scheduler; else each has a thread of its own, the generator one on each of its cores. It sends by several queues where the
//! device under test has several threads: each queue has flows of its own.

use std::{
    borrow::Borrow,
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use weft_pmd::{Netns, netns::run_in};

use crate::{
    clock::now_ns,
    generator::{
        flows::{Pattern, Picker},
        frame::Headers,
        made, pin,
        rate::Pace,
        sender::{Sender, Sent, Source},
        sizes::Sizes,
    },
    lab::{Error, pause},
    sink::{self, program::Program, receiver::Receiver, track::Tracker},
    xsk::TxSocket,
};

/// A device, and where it is.
#[derive(Debug, Clone)]
pub struct End {
    /// Its namespace; `None`: this one.
    pub ns: Option<Netns>,
    /// Its name.
    pub device: String,
}

impl End {
    /// In a namespace of that name.
    pub fn new(ns: &str, device: &str) -> Self {
        Self { ns: Some(Netns::Name(ns.into())), device: device.into() }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Headers.
    pub headers: Headers,
    /// Lengths.
    pub sizes: Sizes,
    /// Distinct flows.
    pub flows: u32,
    /// Their order.
    pub pattern: Pattern,
    /// Of random ones.
    pub seed: u64,
}

/// Who runs where.
#[derive(Debug, Clone)]
pub struct TesterCores {
    /// The generator's threads.
    pub generator: Vec<usize>,
    /// The sink.
    pub sink: usize,
}

impl TesterCores {
    /// Both on one.
    pub fn one(core: usize) -> Self {
        Self { generator: vec![core], sink: core }
    }
}

/// When a trial ends.
#[derive(Debug, Clone, Copy)]
pub enum Until<'a> {
    /// After so long.
    Time(Duration),
    /// After so many frames.
    Frames(u64),
    /// When this becomes true.
    Told(&'a AtomicBool),
}

/// One trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// For so long frames were sent, seconds.
    pub seconds: f64,
    /// What was sent.
    pub sent: Sent,
    /// What the sink saw.
    pub seen: Tracker,
    /// What the sink itself missed.
    pub sink_missed: u64,
    /// Frames sent and received by the end of each [`STEP_NS`].
    pub samples: Vec<Sample>,
}

/// Frames up to a moment of a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Sent so far.
    pub sent: u64,
    /// Received so far.
    pub received: u64,
}

/// The time series' step: 10 ms.
pub const STEP_NS: u64 = 10_000_000;

impl Trial {
    /// Frames that did not come.
    pub fn lost(&self) -> u64 {
        self.sent.frames.saturating_sub(self.seen.counts().received)
    }

    /// Their share.
    pub fn loss(&self) -> f64 {
        self.lost() as f64 / self.sent.frames.max(1) as f64
    }

    /// Frames a second that were offered.
    pub fn offered_pps(&self) -> f64 {
        self.sent.frames as f64 / self.seconds.max(1e-9)
    }

    /// Frames a second that came.
    pub fn received_pps(&self) -> f64 {
        self.seen.counts().received as f64 / self.seconds.max(1e-9)
    }
}

/// Sends by one device and receives by another.
pub struct Tester {
    /// One for each queue.
    senders: Vec<Sender>,
    receiver: Receiver,
    _program: Program,
    load: Load,
    cores: TesterCores,
    run: u16,
}

/// On a core that others use, too, the tester is away for some milliseconds at a time: what it sends late it sends at once.
const PATIENCE: Duration = Duration::from_millis(10);
/// Frames at a time.
const BURST: usize = 32;
/// Nothing came for so long: nothing more will.
const SILENCE_NS: u64 = 30_000_000;
/// But not longer than that.
const DRAIN_NS: u64 = 1_000_000_000;

impl Tester {
    /// Opens both ends; the generator sends by so many queues of its device.
    pub fn open(
        generator: &End,
        sink: &End,
        load: Load,
        cores: TesterCores,
        queues: usize,
    ) -> Result<Self, Error> {
        let receiving = run_in(sink.ns.as_ref(), || sink::open(&sink.device, None));
        let (program, sockets) = receiving.map_err(Error::io("the sink's namespace"))??;
        let sending = run_in(generator.ns.as_ref(), || -> io::Result<Vec<TxSocket>> {
            (0..queues).map(|queue| TxSocket::open(&generator.device, queue as u32)).collect()
        });
        let opened = sending.map_err(Error::io("the generator's namespace"))?;
        let sockets_out = opened.map_err(Error::io("the generator"))?;
        let run = now_ns() as u16;
        let mut senders = Vec::new();
        for (share, socket) in sockets_out.into_iter().enumerate() {
            let source = source(&load, run, None, (share, queues))?;
            senders.push(Sender::new(socket, source, Pace::new(None), BURST));
        }
        let receiver = Receiver::new(sockets, Tracker::new(Some(run), false));
        Ok(Self { senders, receiver, _program: program, load, cores, run })
    }

    /// Sends at a rate (`None`: as fast as it goes), and tells what came.
    pub fn trial(&mut self, pps: Option<f64>, until: Until<'_>) -> Result<Trial, Error> {
        pause(Duration::ZERO)?;
        self.run = self.run.wrapping_add(1);
        let frames = if let Until::Frames(frames) = until { Some(frames) } else { None };
        let queues = self.senders.len();
        for (at, sender) in self.senders.iter_mut().enumerate() {
            let frames = frames.map(|frames| (frames + at as u64) / queues as u64); // all of them together
            let pace = Pace::new(pps.map(|pps| pps / queues as f64)).with_patience(PATIENCE);
            sender.restart(source(&self.load, self.run, frames, (at, queues))?, pace);
        }
        let failed = || Error::io("a trial");
        self.receiver.restart(Tracker::new(Some(self.run), false)).map_err(failed())?;
        let (seconds, samples) = if self.cores.generator == [self.cores.sink] {
            on(self.cores.sink, || self.in_turn(until)).map_err(failed())?
        } else {
            self.at_once(until).map_err(failed())?
        };
        let sink_missed = self.receiver.missed().map_err(failed())?;
        let seen = self.receiver.restart(Tracker::new(Some(self.run), false)).map_err(failed())?;
        Ok(Trial { seconds, sent: sent(&self.senders), seen, sink_missed, samples })
    }

    fn in_turn(&mut self, until: Until<'_>) -> io::Result<(f64, Vec<Sample>)> {
        let (began, mut samples) = (now_ns(), Vec::new());
        loop {
            let now = now_ns();
            self.receiver.poll();
            note(&mut samples, now - began, || Sample {
                sent: sent(&self.senders).frames,
                received: self.receiver.tracker().counts().received,
            });
            if is_over(until, now - began, &self.senders) {
                break;
            }
            for sender in &mut self.senders {
                sender.poll(now)?;
            }
        }
        let seconds = (now_ns() - began) as f64 / 1e9;
        for sender in &mut self.senders {
            sender.finish(now_ns, DRAIN_NS / 10)?;
        }
        drain(&mut self.receiver, &AtomicBool::new(true));
        Ok((seconds, samples))
    }

    fn at_once(&mut self, until: Until<'_>) -> io::Result<(f64, Vec<Sample>)> {
        let (stop, began) = (AtomicBool::new(false), now_ns());
        let (receiver, cores) = (&mut self.receiver, &self.cores);
        let panicked = || io::Error::other("a thread of the tester panicked");
        let mut hands: Vec<(usize, Vec<&mut Sender>)> =
            cores.generator.iter().map(|core| (*core, Vec::new())).collect();
        let threads = hands.len();
        for (at, sender) in self.senders.iter_mut().enumerate() {
            hands[at % threads].1.push(sender);
        }
        let (sent, received) = thread::scope(|scope| {
            let sink = scope.spawn(|| -> io::Result<Vec<Sample>> {
                pin(cores.sink)?;
                let mut samples = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    receiver.poll();
                    let received = || receiver.tracker().counts().received;
                    note(&mut samples, now_ns() - began, || Sample { sent: 0, received: received() });
                }
                drain(receiver, &stop);
                Ok(samples)
            });
            let generators: Vec<_> = hands
                .into_iter()
                .map(|(core, senders)| {
                    scope.spawn(move || pin(core).and_then(|()| generate(senders, until, began)))
                })
                .collect();
            let joined = generators.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(panicked())));
            let sent: Vec<io::Result<(f64, Vec<Sample>)>> = joined.collect();
            stop.store(true, Ordering::Relaxed);
            (sent, sink.join().unwrap_or_else(|_| Err(panicked())))
        });
        let (mut seconds, mut samples) = (0.0_f64, received?);
        for one in sent {
            let (its_seconds, its_samples) = one?;
            seconds = seconds.max(its_seconds);
            samples.iter_mut().zip(its_samples).for_each(|(sample, its)| sample.sent += its.sent);
        }
        Ok((seconds, samples))
    }
}

/// One thread of the generator.
fn generate(mut senders: Vec<&mut Sender>, until: Until<'_>, began: u64) -> io::Result<(f64, Vec<Sample>)> {
    let mut samples = Vec::new();
    loop {
        let now = now_ns();
        note(&mut samples, now - began, || Sample { sent: sent(&senders).frames, received: 0 });
        if is_over(until, now - began, &senders) {
            break;
        }
        for sender in &mut senders {
            sender.poll(now)?;
        }
    }
    let seconds = (now_ns() - began) as f64 / 1e9;
    for sender in senders {
        sender.finish(now_ns, DRAIN_NS / 10)?;
    }
    Ok((seconds, samples))
}

fn sent<S: Borrow<Sender>>(senders: &[S]) -> Sent {
    let mut all = Sent::default();
    senders.iter().for_each(|sender| all += sender.borrow().sent());
    all
}

/// `share`: which of how many parts of the flows.
fn source(load: &Load, run: u16, frames: Option<u64>, share: (usize, usize)) -> Result<Source, Error> {
    let picker = Picker::new(load.pattern, load.flows, share.0 as u32, share.1 as u32, load.seed);
    Ok(Source::Stream(Box::new(made(&load.headers, &load.sizes, picker, run, frames, None)?)))
}

/// Runs on a core, in a thread of its own: children of this process shall not inherit the core.
fn on<T: Send>(cpu: usize, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| pin(cpu).and_then(|()| work()));
        worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the tester panicked")))
    })
}

fn note(samples: &mut Vec<Sample>, elapsed_ns: u64, sample: impl FnOnce() -> Sample) {
    let steps = (elapsed_ns / STEP_NS) as usize;
    if steps > samples.len() {
        samples.resize(steps, sample());
    }
}

fn is_over<S: Borrow<Sender>>(until: Until<'_>, elapsed_ns: u64, senders: &[S]) -> bool {
    match until {
        Until::Time(time) => elapsed_ns >= time.as_nanos() as u64,
        Until::Frames(_) => senders.iter().all(|sender| sender.borrow().is_over()),
        Until::Told(told) => told.load(Ordering::Relaxed),
    }
}

/// Takes what is still on its way.
fn drain(receiver: &mut Receiver, sending_ended: &AtomicBool) {
    let began = now_ns();
    let mut last = began;
    loop {
        let now = now_ns();
        if receiver.poll() > 0 {
            last = now;
        }
        let silent = now - last > SILENCE_NS && sending_ended.load(Ordering::Relaxed);
        if silent || now - began > DRAIN_NS {
            return;
        }
    }
}
