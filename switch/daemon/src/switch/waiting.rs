//! Ports that can't be opened yet, and taps that could be configured in part only: both are tried again until they are what
//! they should be, off the control thread. What is inside a pod's namespace is the pod's doing, and concerns its port alone.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Receiver};
use weft_ctl_api::spec::{PortKind, PortSpec};

use super::{OpenPort, Switch, keep};
use crate::{
    desired::{Desired, Port, Role},
    event::Event,
    memory,
    netlink::{self, NetlinkError, tap::Placement},
    ports::{self, OpenError, Ready},
};

/// From one try to the next: so long at first, twice as long each time, up to:
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Where something has changed, it is tried again at once, but not sooner after the last try than this, or than this part of the
/// pause: whoever makes things change all the time is not tried all the time.
const APART: Duration = Duration::from_secs(1);
const APART_SHARE: u32 = 8;
/// A port that was open for less is no steady one: its next pause is twice as long as its last.
const STEADY: Duration = Duration::from_secs(60);

/// When something is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pause: Duration,
    last: Instant,
}

impl Pace {
    /// It has just been tried, for the first time.
    pub(super) fn new() -> Self {
        Self { pause: PAUSE.0, last: Instant::now() }
    }

    /// Of a port whose device has gone, `open_for` so long after the pauses had become this.
    pub(super) fn after(mut before: Self, open_for: Duration) -> Self {
        if open_for >= STEADY {
            return Self::new();
        }
        before.slow_down();
        before
    }

    /// It has been tried again, in vain.
    fn slow_down(&mut self) {
        *self = Self { pause: (self.pause * 2).min(PAUSE.1), last: Instant::now() };
    }

    fn is_due(&self, stirred: bool) -> bool {
        let apart = APART.max(self.pause / APART_SHARE).min(self.pause);
        self.last.elapsed() >= if stirred { apart } else { self.pause }
    }
}

/// A port that can't be opened yet.
#[derive(Debug)]
pub struct Waiting {
    /// Why.
    pub why: String,
    /// As it is to be opened.
    pub(super) spec: PortSpec,
    pace: Pace,
    /// It is being tried.
    pub(super) at_work: bool,
    /// Its namespace was there when it was last tried.
    was_there: bool,
    /// Why its device, which is there, is open to the node's stack; empty: it is not.
    pub(super) unkept: String,
}

impl Waiting {
    pub(super) fn new(spec: PortSpec, why: String, at_work: bool) -> Self {
        let was_there = is_there(&spec);
        Self { why, spec, pace: Pace::new(), at_work, was_there, unkept: String::new() }
    }

    /// A port whose device has gone.
    pub(super) fn for_device(spec: PortSpec, why: String, pace: Pace) -> Self {
        Self { pace, ..Self::new(spec, why, false) }
    }

    /// How often it was tried.
    pub(super) fn pace(self) -> Pace {
        self.pace
    }

    /// The same port, still waiting, at the same pace.
    pub(super) fn again(self, why: String, at_work: bool) -> Self {
        let was_there = is_there(&self.spec);
        Self { why, at_work, was_there, ..self }
    }
}

fn is_there(spec: &PortSpec) -> bool {
    spec.netns.as_deref().is_none_or(|text| ports::netns(text).path().exists())
}

/// Why a port is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    /// It is.
    Up,
    /// It is open, but not all it should be.
    Degraded(String),
    /// It can't be opened yet.
    Waiting(String),
}

/// How long somebody waits for what may take long.
pub(super) struct Patience(Duration);

impl Patience {
    /// For all that one change waits for, beyond what namespaces in order take.
    pub(super) fn new() -> Self {
        Self(Duration::from_secs(2))
    }

    /// At the start nobody's change is held up, and a port that is there when weftd is ready is worth a while.
    pub(super) fn at_the_start() -> Self {
        Self(Duration::from_secs(5))
    }

    /// Waits a while; less, where much has been waited for already.
    pub(super) fn wait<T>(&mut self, outcome: &Receiver<T>) -> Option<T> {
        /// Each may take this, whatever others took.
        const EACH: Duration = Duration::from_millis(100);
        let began = Instant::now();
        let outcome = outcome.recv_timeout(EACH + self.0).ok();
        self.0 = self.0.saturating_sub(began.elapsed().saturating_sub(EACH));
        outcome
    }
}

impl Switch {
    /// Does something that may take long on a thread of its own. If nobody waits for the outcome, it comes as an event.
    pub(super) fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        event: impl FnOnce(T) -> Event + Send + 'static,
    ) -> io::Result<Receiver<T>> {
        // Handed over from hand to hand: either somebody takes it, or it is known that nobody does.
        let (outcome, taken) = channel::bounded(0);
        let (events, workers) = (self.events.clone(), self.workers.clone());
        let work = move || {
            workers.fetch_add(1, Ordering::Relaxed);
            let done = work();
            workers.fetch_sub(1, Ordering::Relaxed);
            if let Err(untaken) = outcome.send(done) {
                let _ = events.send(event(untaken.into_inner())); // weftd may be about to end
            }
        };
        thread::Builder::new().name("port".into()).spawn(work)?;
        Ok(taken)
    }

    /// So many ports are being opened or configured that those nobody waits for are left to a later tick.
    fn is_busy(&self) -> bool {
        const WORKERS_MAX: usize = 64;
        self.workers.load(Ordering::Relaxed) >= WORKERS_MAX
    }

    /// Opens a port on a thread of its own.
    pub(super) fn work_at_opening(
        &self,
        desired: &Arc<Desired>,
        index: usize,
    ) -> io::Result<Receiver<Result<Ready, OpenError>>> {
        let spec = Box::new(desired.ports[index].spec.clone());
        let (desired, memory) = (desired.clone(), self.runtime.memory.clone());
        let open = move || ports::open(&desired, index, &memory);
        self.work(open, move |outcome| Event::Opened { spec, outcome: outcome.map(Box::new) })
    }

    /// A port was opened, or could not be, that nobody has waited for.
    pub fn port_opened(&mut self, spec: &PortSpec, outcome: Result<Box<Ready>, OpenError>) {
        let desired = self.desired.clone();
        let index = desired.ports.iter().position(|port| port.spec == *spec);
        let waiting = self.waiting.get_mut(&spec.name).filter(|waiting| waiting.spec == *spec);
        let (Some(index), Some(waiting)) = (index, waiting) else {
            // Nobody wants it any more.
            return drop(outcome.map(|ready| self.discard(spec, *ready)));
        };
        waiting.at_work = false;
        let outcome = outcome.map_err(|error| error.to_string());
        let outcome = match (outcome, memory::admit(self.runtime.memory.fill_share())) {
            (Ok(ready), Err(refused)) => {
                self.discard(spec, *ready);
                Err(refused.message)
            }
            (outcome, _) => outcome,
        };
        match outcome {
            Ok(ready) => {
                self.take_in(&desired, index, *ready);
                self.publish();
                if desired.ports[index].role == Role::Fabric {
                    self.steer();
                    self.watch_next_hops();
                    self.watch_peers();
                }
                self.settle_taps(false);
            }
            Err(why) => {
                let Some(waiting) = self.waiting.get_mut(&spec.name) else { return };
                if waiting.why != why {
                    tracing::warn!(port = spec.name, why, "port still waits");
                }
                (waiting.why, waiting.was_there) = (why, is_there(spec));
                waiting.pace.slow_down();
            }
        }
    }

    /// Closes a port that was opened in vain. Its device is kept from the node's stack if the configuration has it.
    fn discard(&self, spec: &PortSpec, mut ready: Ready) {
        let place = ports::place(spec);
        let is_wanted = |port: &Port| ports::is_kept(&port.spec) && ports::place(&port.spec) == place;
        let stays = self.desired.ports.iter().any(is_wanted);
        match ready.opened.guard.keeper() {
            Some(keeper) if stays => keeper.stay(),
            Some(keeper) => keeper.pass(),
            None => {}
        }
        let _held = ready.held.take();
        drop(ready);
        keep::remove_shared_tap(spec);
    }

    /// Brings taps to what they should be by now. `waits`: whoever has asked for it is told what can't be done.
    pub fn settle_taps(&mut self, waits: bool) {
        let (mut patience, pod_mtu) = (Patience::new(), ports::pod_mtu(&self.desired));
        let desired = self.desired.clone();
        for (index, port) in desired.ports.iter().enumerate().filter(|(_, p)| p.spec.kind == PortKind::Tap) {
            if !waits && self.is_busy() {
                break; // whoever is done with one goes on with the others
            }
            let Some(open) = self.ports.get_mut(&port.name).filter(|open| !open.at_work) else { continue };
            let wanted = ports::placement(&desired, index, pod_mtu);
            if open.placed.as_ref() == Some(&wanted) {
                continue;
            }
            let ticket = open.ticket;
            match self.work_at_placing(&port.name, wanted.clone()) {
                Ok(taken) if waits => match patience.wait(&taken) {
                    Some(outcome) => self.port_placed(ticket, wanted, outcome),
                    None => self.warn(format!(
                        "port \"{}\": its namespace takes long to configure: it goes on by itself",
                        port.name
                    )),
                },
                Ok(_) => {}
                Err(error) => {
                    self.warn(format!("port \"{}\": no thread to configure it: {error}", port.name))
                }
            }
        }
    }

    /// Configures a tap on a thread of its own.
    fn work_at_placing(
        &mut self,
        name: &str,
        wanted: Placement,
    ) -> io::Result<Receiver<Result<Vec<NetlinkError>, NetlinkError>>> {
        let Some(open) = self.ports.get_mut(name) else { return Err(io::ErrorKind::NotFound.into()) };
        open.at_work = true;
        let (old, index, ticket) = (open.placed.clone(), open.probe.ifindex(), open.ticket);
        let placement = Box::new(wanted.clone());
        let configure = move || netlink::tap::configure(&wanted, index, old.as_ref());
        let taken = self.work(configure, move |outcome| Event::Placed { ticket, placement, outcome });
        if let (Err(_), Some(open)) = (&taken, self.ports.get_mut(name)) {
            open.at_work = false;
        }
        taken
    }

    /// A tap was configured, as far as could be.
    pub fn port_placed(
        &mut self,
        ticket: u64,
        placement: Placement,
        outcome: Result<Vec<NetlinkError>, NetlinkError>,
    ) {
        let Some((name, open)) = self.ports.iter_mut().find(|(_, open)| open.ticket == ticket) else {
            return;
        };
        let short = match outcome {
            Ok(short) => strings(&short),
            // A pod that ends takes its device with it before anybody says so: the port is removed at the next look.
            Err(error) => vec![format!("the tap is not brought up to date: {error}")],
        };
        let (is_news, name) = (open.short != short, name.clone());
        open.note_placed(placement, short.clone());
        if is_news && short.is_empty() {
            tracing::info!(port = name, "port is configured wholly");
        } else if is_news {
            self.warn(format!("port \"{name}\": {}; it is tried again", short.join("; ")));
        }
    }

    /// Tries again what could not be done, now and then, and where something has changed. Every tick.
    pub fn look_after_ports(&mut self) {
        self.renew_keepers();
        self.keep_waiting();
        let stirred = self.devices.was_stirred();
        let desired = self.desired.clone();
        for (index, port) in desired.ports.iter().enumerate() {
            if self.is_busy() {
                break;
            }
            let Some(waiting) = self.waiting.get_mut(&port.name).filter(|waiting| !waiting.at_work) else {
                continue;
            };
            let has_come = !waiting.was_there && is_there(&waiting.spec);
            if has_come || waiting.pace.is_due(stirred) {
                waiting.at_work = true;
                if let Err(error) = self.work_at_opening(&desired, index)
                    && let Some(waiting) = self.waiting.get_mut(&port.name)
                {
                    tracing::error!(port = port.name, %error, "no thread to open the port");
                    waiting.at_work = false;
                    waiting.pace.slow_down();
                }
            }
        }
        let is_due = |open: &OpenPort| !open.short.is_empty() && !open.at_work && open.pace.is_due(stirred);
        let due: Vec<String> =
            self.ports.iter().filter(|(_, open)| is_due(open)).map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return;
        }
        let pod_mtu = ports::pod_mtu(&desired);
        for name in due {
            let Some(index) = desired.ports.iter().position(|port| port.name == name) else { continue };
            if let Err(error) = self.work_at_placing(&name, ports::placement(&desired, index, pod_mtu)) {
                tracing::error!(port = name, %error, "no thread to configure the port");
            }
        }
    }

    /// How a port is, and why not better.
    pub fn port_state(&self, name: &str) -> PortState {
        match (self.ports.get(name), self.waiting.get(name)) {
            (None, Some(waiting)) if !waiting.unkept.is_empty() => PortState::Waiting(format!(
                "{}; meanwhile its device is open to the node's stack: {}",
                waiting.why, waiting.unkept
            )),
            (Some(open), _) => {
                let short = open.shortcomings();
                if short.is_empty() { PortState::Up } else { PortState::Degraded(short.join("; ")) }
            }
            (None, Some(waiting)) => PortState::Waiting(waiting.why.clone()),
            (None, None) => PortState::Waiting("it is being opened".into()),
        }
    }
}

impl OpenPort {
    /// Its tap was configured but for this.
    pub(super) fn note_placed(&mut self, placement: Placement, short: Vec<String>) {
        (self.at_work, self.placed) = (false, Some(placement));
        if short.is_empty() || self.short.is_empty() {
            self.pace = Pace::new();
        } else {
            self.pace.slow_down();
        }
        self.short = short;
    }
}

pub(super) fn strings(short: &[NetlinkError]) -> Vec<String> {
    short.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_ever_further_apart_and_never_too_many() {
        let mut pace = Pace::new();
        assert!(!pace.is_due(false) && !pace.is_due(true), "it has just been tried");
        for _ in 0..10 {
            pace.slow_down();
        }
        assert_eq!(pace.pause, PAUSE.1);
        pace.last = Instant::now() - PAUSE.1 / APART_SHARE;
        assert!(pace.is_due(true) && !pace.is_due(false));
        // A port that comes and goes keeps its pace, one that stayed for a while does not.
        assert_eq!(Pace::after(pace, Duration::from_secs(1)).pause, PAUSE.1);
        assert_eq!(Pace::after(pace, STEADY).pause, PAUSE.0);
    }

    #[test]
    fn whoever_waited_long_waits_no_longer_for_each() {
        let (_sender, never) = channel::bounded::<()>(0);
        let mut patience = Patience(Duration::from_millis(50));
        let began = Instant::now();
        (0..4).for_each(|_| assert_eq!(patience.wait(&never), None));
        assert!(
            began.elapsed() >= Duration::from_millis(450),
            "100 ms each, and 50 once: {:?}",
            began.elapsed()
        );
        assert_eq!(patience.0, Duration::ZERO);
    }
}
