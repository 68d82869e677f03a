//! A capture on its way to whoever asked.

use std::{
    collections::HashMap,
    fmt, io,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use weft_ctl_api::capture::{self as api, End, Head, Note};
use weft_dataplane::{
    capture::{Block, Capture, Point, Record},
    program::Verdict,
};
use weft_pmd::sys;
use weft_wire::PortId;

use super::{Running, SharedNames, get};
use crate::switch::Names;

/// A reader that takes nothing for so long has forgotten about it.
const PATIENCE: Duration = Duration::from_secs(600);

/// A capture that has begun, and nobody listens to yet.
pub struct Stream {
    running: Running,
    names: SharedNames,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(running: Running, names: SharedNames) -> Self {
        Self { running, names }
    }

    /// Writes to a client, on a thread of its own, until the client closes its half or is gone.
    pub fn serve(self, socket: UnixStream) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        thread::Builder::new().name("capture".into()).spawn(move || {
            if let Err(error) = self.run(socket) {
                tracing::debug!(%error, "capture broken off"); // its reader has gone
            }
        })?;
        Ok(())
    }

    fn run(mut self, mut socket: UnixStream) -> io::Result<()> {
        let capture = self.running.capture.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let listener = thread::Builder::new().name("capture-end".into()).spawn({
            let (capture, asked, mut socket) = (capture.clone(), asked.clone(), socket.try_clone()?);
            move || {
                // Whatever it says, it wants no more.
                let _ = socket.read(&mut [0; 1]);
                asked.store(true, Ordering::Release);
                capture.end();
            }
        })?;
        let outcome = self.write(&capture, &asked, &mut socket);
        let _ = socket.shutdown(Shutdown::Both); // ends the listener, too
        drop(capture);
        let _ = listener.join();
        outcome
    }

    fn write(&mut self, capture: &Capture, asked: &AtomicBool, socket: &mut UnixStream) -> io::Result<()> {
        let mut encoder = Encoder::new(get(&self.names));
        encoder.tell_ports(capture.spec.ports.as_deref())?;
        socket.write_all(&encoder.out)?;
        encoder.out.clear();
        let mut pass_on = |running: &Running, names: &SharedNames| -> io::Result<()> {
            let names = get(names);
            let epoch = SystemTime::now().checked_sub(running.epoch.elapsed());
            while let Some(block) = capture.pop() {
                encoder.encode(&block, epoch.unwrap_or(SystemTime::UNIX_EPOCH), &names)?;
                capture.give_back(block);
                socket.write_all(&encoder.out)?;
                encoder.out.clear();
                if capture.has_ended() {
                    break;
                }
            }
            Ok(())
        };
        while !capture.has_ended() {
            pass_on(&self.running, &self.names)?;
            capture.bell.sleep(
                || capture.has_blocks() || capture.has_ended(),
                |bell| {
                    /// Only a bound for the case that nothing ever happens.
                    const SLEEP_MAX_MS: i32 = 1000;
                    // An error means there is nothing to wait for; the loop goes on at its own pace.
                    let _ = sys::wait_readable(std::iter::once(bell), SLEEP_MAX_MS);
                },
            );
        }
        self.running.end();
        while capture.has_blocks() {
            pass_on(&self.running, &self.names)?;
        }
        let why = (!asked.load(Ordering::Acquire)).then(|| "the port is gone".to_owned());
        let mut end = Vec::new();
        Note::End(End { matched: capture.matched(), lost: capture.lost(), why }).write(&mut end)?;
        socket.write_all(&end)
    }
}

/// Records as items.
struct Encoder {
    out: Vec<u8>,
    names: Arc<Names>,
    /// What the threads' numbers are called on the wire, under these names.
    ports: HashMap<PortId, u32>,
    verdicts: HashMap<Option<Verdict>, u32>,
    /// What was told.
    told_ports: HashMap<String, u32>,
    told_verdicts: HashMap<api::Verdict, u32>,
    epoch: SystemTime,
}

impl Encoder {
    fn new(names: Arc<Names>) -> Self {
        Self {
            out: Vec::new(),
            names,
            ports: HashMap::new(),
            verdicts: HashMap::new(),
            told_ports: HashMap::new(),
            told_verdicts: HashMap::new(),
            epoch: SystemTime::UNIX_EPOCH,
        }
    }

    /// Tells of ports before there is a packet: who reads may want to know what it reads.
    fn tell_ports(&mut self, ports: Option<&[PortId]>) -> io::Result<()> {
        let ports = ports.map_or_else(|| self.names.port_ids().collect(), <[_]>::to_vec);
        ports.into_iter().try_for_each(|port| self.port(port).map(drop))
    }

    /// Appends a block's packets. `epoch`: when the threads' clock was zero.
    fn encode(&mut self, block: &Block, epoch: SystemTime, names: &Arc<Names>) -> io::Result<()> {
        if !Arc::ptr_eq(&self.names, names) {
            self.names = names.clone();
            self.ports.clear();
            self.verdicts.clear();
        }
        // Two clocks are never read at the same time: what differs by less is no step of the wall clock.
        const STEP: Duration = Duration::from_millis(1);
        let (later, earlier) = (epoch.max(self.epoch), epoch.min(self.epoch));
        if later.duration_since(earlier).is_ok_and(|apart| apart > STEP) {
            self.epoch = epoch;
        }
        let epoch_ns =
            self.epoch.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        for (record, bytes) in block.packets() {
            let head = self.head(record, epoch_ns)?;
            head.write(bytes, &mut self.out);
        }
        Ok(())
    }

    fn head(&mut self, record: &Record, epoch_ns: u64) -> io::Result<Head> {
        let point = match record.point {
            Point::In => api::Point::In,
            Point::Out => api::Point::Out,
            Point::Drop => api::Point::Drop,
        };
        Ok(Head {
            time_ns: epoch_ns.wrapping_add(record.time_ns),
            generation: record.generation,
            len: record.len,
            port: self.port(record.port)?,
            verdict: self.verdict(record.verdict)?,
            point,
        })
    }

    fn port(&mut self, port: PortId) -> io::Result<u32> {
        if let Some(id) = self.ports.get(&port) {
            return Ok(*id);
        }
        let name = self.names.port(port).to_owned();
        let next = self.told_ports.len() as u32;
        let id = *self.told_ports.entry(name.clone()).or_insert(next);
        if id == next {
            Note::Port { id, name }.write(&mut self.out)?;
        }
        self.ports.insert(port, id);
        Ok(id)
    }

    fn verdict(&mut self, verdict: Option<Verdict>) -> io::Result<u32> {
        if let Some(id) = self.verdicts.get(&verdict) {
            return Ok(*id);
        }
        let words = words(&self.names, verdict);
        let next = self.told_verdicts.len() as u32;
        let id = *self.told_verdicts.entry(words.clone()).or_insert(next);
        if id == next {
            Note::Verdict { id, verdict: words }.write(&mut self.out)?;
        }
        self.verdicts.insert(verdict, id);
        Ok(id)
    }
}

fn words(names: &Names, verdict: Option<Verdict>) -> api::Verdict {
    let (verdict, to, reason) = match verdict {
        None => ("sent", None, None),
        Some(Verdict::Forward(port)) => ("forward", Some(names.port(port).to_owned()), None),
        Some(Verdict::Flood(network)) => ("flood", Some(names.network(network).to_owned()), None),
        Some(Verdict::Punt(reason)) => ("punt", None, Some((reason.word(), reason.text()))),
        Some(Verdict::Drop(reason)) => ("drop", None, Some((reason.word(), reason.text()))),
    };
    let (reason, meaning) = reason.unzip();
    api::Verdict {
        verdict: verdict.into(),
        to,
        reason: reason.map(Into::into),
        meaning: meaning.map(Into::into),
    }
}
