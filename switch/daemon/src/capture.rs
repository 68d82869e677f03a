//! Captures that run: the PMD threads copy, and a thread of each capture's own ([`stream`]) writes to whoever asked, so
//! that a slow reader holds up nobody else.

mod stream;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Sender};
use weft_ctl_api::{Code, Error};
use weft_dataplane::{
    capture::{Capture, Spec},
    mailbox::Mailbox,
    thread::Command,
};
use weft_wire::PortId;

pub use stream::Stream;

use crate::switch::{Names, Switch};

/// Captures at once. Each takes [`MEMORY`], and a filter's time for every packet it looks at.
const CAPTURES_MAX: usize = 8;
/// Bytes of a capture's blocks: what 10 Gb/s bring while a reader is away for some milliseconds.
const MEMORY: usize = 8 << 20;

/// The names in force: what a copied packet's numbers mean.
type SharedNames = Arc<Mutex<Arc<Names>>>;

fn get(names: &SharedNames) -> Arc<Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A capture under way in the PMD threads; dropping it ends it there.
pub struct Running {
    capture: Arc<Capture>,
    /// When the threads' clock was zero.
    epoch: Instant,
    threads: Vec<Sender<Command>>,
    mailboxes: Arc<[Mailbox]>,
}

impl Running {
    /// Hands a capture to all threads.
    pub(crate) fn start(
        capture: Capture,
        epoch: Instant,
        threads: Vec<Sender<Command>>,
        mailboxes: Arc<[Mailbox]>,
    ) -> Self {
        let running = Self { capture: Arc::new(capture), epoch, threads, mailboxes };
        running.tell(|| Command::Capture(running.capture.clone()));
        running
    }

    /// Ends it in all threads, and waits until each has passed on what it copied.
    fn end(&mut self) {
        /// A thread that does not answer for so long is stuck.
        const PATIENCE: Duration = Duration::from_secs(1);
        let (reply, answers) = channel::bounded(self.threads.len());
        self.tell(|| Command::EndCapture { capture: self.capture.clone(), reply: reply.clone() });
        drop(reply); // so that threads that have ended are not waited for
        self.threads.clear();
        while answers.recv_timeout(PATIENCE).is_ok() {}
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for (thread, mailbox) in self.threads.iter().zip(self.mailboxes.iter()) {
            let _ = thread.send(command()); // a thread that has ended copies nothing
            mailbox.bell.ring();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the control thread knows of captures.
#[derive(Default)]
pub struct Captures {
    /// Until they end.
    running: Vec<Watched>,
    names: SharedNames,
}

struct Watched {
    capture: Weak<Capture>,
    /// The ports it names, if it does.
    ports: Vec<(String, PortId)>,
}

impl Captures {
    /// How many run.
    pub fn count(&self) -> usize {
        self.running.iter().filter(|watched| watched.capture.strong_count() > 0).count()
    }

    /// Begins one, at the ports of these names or at all of them.
    pub fn start(
        &mut self,
        switch: &Switch,
        spec: Spec,
        ports: Vec<(String, PortId)>,
    ) -> Result<Stream, Error> {
        self.running.retain(|watched| watched.capture.strong_count() > 0);
        if self.running.len() >= CAPTURES_MAX {
            let message = format!("{CAPTURES_MAX} captures run already");
            return Err(Error::new(Code::Unavailable, message).remedy("end one of them"));
        }
        let failed = |error: io::Error| Error::new(Code::Unavailable, format!("no capture: {error}"));
        let running = switch.runtime.capture(Capture::new(spec, MEMORY).map_err(failed)?);
        self.running.push(Watched { capture: Arc::downgrade(&running.capture), ports });
        self.look_after(switch);
        Ok(Stream::new(running, self.names.clone()))
    }

    /// After a change: tells the new names, and ends captures whose port is gone. Costs nothing while there are none.
    pub fn look_after(&mut self, switch: &Switch) {
        let names = switch.names.current();
        if self.running.is_empty() || Arc::ptr_eq(&get(&self.names), &names) {
            return;
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        self.running.retain(|watched| {
            let Some(capture) = watched.capture.upgrade() else { return false };
            let is_there =
                |(name, id): &(String, PortId)| switch.ports.get(name).is_some_and(|port| port.id() == *id);
            if !watched.ports.iter().all(is_there) {
                capture.end();
            }
            true
        });
    }
}
