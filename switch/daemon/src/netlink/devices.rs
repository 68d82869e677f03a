//! What becomes of ports' devices: MTU, MAC, name, carrier, queues, and whether they are there at all.
//!
//! The kernel's notifications (rtnetlink, those of other namespaces that weftd has to do with included) only say that it is
//! time to look; what is so, is looked at. So a lost notification costs half a second, and whoever makes a thousand of them
//! a second is looked at no more often than whoever makes none. Nothing here is done on the control thread: the kernel may
//! take its time.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rtnetlink::{
    MulticastGroup,
    sys::{Socket, protocols::NETLINK_ROUTE},
};
use weft_pmd::{
    port::LinkProbe,
    sys::{self, net::LinkFacts},
};

/// Devices are looked at so often, whatever the kernel says.
const EVERY: Duration = Duration::from_millis(500);
/// And no more often than this, whatever it says: a report is one publication.
const APART: Duration = Duration::from_millis(250);
/// A device that has changed twice in a row rests for so long, and twice as long each time, up to:
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(16));

/// What a look at a device has found: what it is, if that can be asked, or what is gone.
pub type Look = Result<Option<LinkFacts>, String>;

/// A device, by the ticket it was handed in under, that is not what it was.
#[derive(Debug)]
pub struct Change {
    /// The ticket.
    pub ticket: u64,
    /// What it is now.
    pub look: Look,
}

/// Keeps looking; stops when dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

/// A device that is looked after.
#[derive(Debug, Clone)]
struct Device {
    probe: Arc<LinkProbe>,
    /// What it was last.
    known: Option<LinkFacts>,
}

/// By ticket.
type Devices = BTreeMap<u64, Device>;

#[derive(Debug, Default)]
struct Shared {
    devices: Mutex<Devices>,
    /// Something has changed somewhere: an address, a route, a device.
    stirred: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

impl Watcher {
    /// Looks after a device from now on; `known`: what it was last.
    pub fn add(&self, ticket: u64, probe: Arc<LinkProbe>, known: Option<LinkFacts>) {
        self.shared.devices().insert(ticket, Device { probe, known });
    }

    /// No more.
    pub fn remove(&self, ticket: u64) {
        self.shared.devices().remove(&ticket);
    }

    /// Whether devices, addresses or routes have changed since this was last asked, of weftd's namespace or others.
    pub fn was_stirred(&self) -> bool {
        self.shared.stirred.swap(false, Ordering::AcqRel)
    }
}

/// Looks after devices; calls `changed` with those that have changed, all at once.
pub fn watch(changed: impl Fn(Vec<Change>) + Send + 'static) -> io::Result<Watcher> {
    let shared = Arc::new(Shared::default());
    let links = listen(&[MulticastGroup::Link])?;
    let others = listen(&[
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
        MulticastGroup::Ipv6Netconf,
    ])?;
    thread::Builder::new().name("devices".into()).spawn({
        let shared = shared.clone();
        move || run(&shared, &[links, others], &changed)
    })?;
    Ok(Watcher { shared })
}

/// A socket that hears of what changes, here and in all namespaces that this one has a number for.
fn listen(groups: &[MulticastGroup]) -> io::Result<Socket> {
    /// Bytes: what does not fit in is not needed.
    const BUFFER: usize = 32 << 10;
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    socket.set_rx_buf_sz(BUFFER as i32)?;
    // Without it (CAP_NET_BROADCAST) the others are looked at all the same, only later.
    let _ = socket.set_listen_all_namespaces(true);
    for group in groups {
        socket.add_membership(*group as u32)?;
    }
    Ok(socket)
}

/// Throws away what has come; whether there was anything. Too much to be kept (ENOBUFS) is something, too.
fn drain(socket: &Socket) -> bool {
    /// Messages a socket buffer may hold; what comes meanwhile is for the next time.
    const MOST: usize = 1024;
    let mut any = false;
    let mut buffer = Vec::with_capacity(1);
    for _ in 0..MOST {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return any,
            _ => any = true,
        }
    }
    any
}

fn run(shared: &Shared, sockets: &[Socket; 2], changed: &impl Fn(Vec<Change>)) {
    let mut damping: BTreeMap<u64, Damping> = BTreeMap::new();
    let mut looked = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        let wait = EVERY.saturating_sub(looked.elapsed()).as_millis() as i32;
        let _ = sys::wait_readable(sockets.iter().map(AsRawFd::as_raw_fd), wait.max(1));
        let [links, others] = [drain(&sockets[0]), drain(&sockets[1])];
        if links || others {
            shared.stirred.store(true, Ordering::Release);
        }
        if links || looked.elapsed() >= EVERY {
            let changes = look(shared, &mut damping, Instant::now());
            looked = Instant::now();
            if !changes.is_empty() {
                changed(changes);
            }
        }
        thread::sleep(APART);
    }
}

fn look(shared: &Shared, damping: &mut BTreeMap<u64, Damping>, now: Instant) -> Vec<Change> {
    let devices = shared.devices().clone(); // nobody waits for a look
    damping.retain(|ticket, _| devices.contains_key(ticket));
    let mut changes = Vec::new();
    for (ticket, Device { probe, known }) in devices {
        let rests = damping.get(&ticket).is_some_and(|damping| now < damping.until);
        let look = if rests { probe.check().map(|()| known.clone()) } else { probe.look() };
        match &look {
            // Not there: said once.
            Err(_) => drop(shared.devices().remove(&ticket)),
            Ok(facts) if facts.is_none() || *facts == known => continue,
            Ok(facts) => {
                damping.entry(ticket).or_insert_with(|| Damping::new(now)).note(now);
                if let Some(device) = shared.devices().get_mut(&ticket) {
                    device.known.clone_from(facts);
                }
            }
        }
        changes.push(Change { ticket, look });
    }
    changes
}

/// Keeps whoever changes all the time from being everybody's concern all the time.
#[derive(Debug)]
struct Damping {
    rest: Duration,
    until: Instant,
}

impl Damping {
    fn new(now: Instant) -> Self {
        Self { rest: Duration::ZERO, until: now }
    }

    /// It has changed.
    fn note(&mut self, now: Instant) {
        let is_steady = now >= self.until + 4 * self.rest.max(REST.0);
        self.rest = if is_steady { REST.0 } else { (self.rest * 2).clamp(REST.0, REST.1) };
        self.until = now + self.rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_keeps_changing_is_looked_at_ever_more_seldom() {
        let began = Instant::now();
        let (mut damping, mut now, mut changes) = (Damping::new(began), began, 0);
        while now < began + Duration::from_secs(60) {
            if now >= damping.until {
                damping.note(now);
                changes += 1;
            }
            now += APART;
        }
        assert!(changes <= 9, "{changes} changes in a minute");
        assert_eq!(damping.rest, REST.1);
        // One that has been steady for a while is believed at once, and again soon after.
        now = damping.until + 4 * REST.1;
        damping.note(now);
        assert_eq!(damping.until, now + REST.0);
    }
}
