//! Sessions with all peers, on a thread of their own, through ordinary sockets of the node's: what goes wrong with the
//! node's own way to another node is what they notice.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use weft_pmd::{Netns, netns, sys};

use super::{PORT, Packet, Session, State};

/// Sessions are looked after this often for each interval.
const TICKS_PER_INTERVAL: u32 = 8;
/// Neither more often nor more seldom than this.
const TICK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// How peers are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What we send at, and take.
    pub interval: Duration,
    /// Packets that may be lost before a peer is taken for gone.
    pub multiplier: u8,
}

/// A session has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The peer's address.
    pub peer: IpAddr,
    /// Where it stands now.
    pub state: State,
}

/// Keeps watching; stops when dropped, and tells the peers nothing: they notice.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Watches peers in a namespace, each from the node's own address of its family; calls `changed` when one comes or goes.
pub fn watch(
    place: Option<Netns>,
    own: &[IpAddr],
    peers: Vec<IpAddr>,
    settings: Settings,
    changed: impl Fn(Report) + Send + 'static,
) -> io::Result<Watcher> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let first = |is_v4: bool| own.iter().copied().find(|address| address.is_ipv4() == is_v4);
    let own = [true, false].map(first);
    let sockets = netns::run_in(place.as_ref(), move || own.map(|own| own.map(Sockets::open).transpose()))?;
    let [v4, v6] = sockets;
    let watch = Watch::new([v4?, v6?], peers, settings);
    thread::Builder::new().name("bfd".into()).spawn(move || watch.run(&stopped, &changed))?;
    Ok(Watcher { stop })
}

/// Where packets come in, and where they go out: from a port of the dynamic range (RFC 5881 §4).
struct Sockets {
    comes: UdpSocket,
    goes: UdpSocket,
}

impl Sockets {
    fn open(own: IpAddr) -> io::Result<Self> {
        let comes = UdpSocket::bind((own, PORT))?;
        comes.set_nonblocking(true)?;
        let goes = UdpSocket::bind((own, 0))?;
        goes.set_nonblocking(true)?;
        Ok(Self { comes, goes })
    }
}

struct Watch {
    sockets: [Option<Sockets>; 2],
    sessions: HashMap<IpAddr, Session>,
    began: Instant,
    tick: Duration,
    random: RandomState,
}

impl Watch {
    fn new(sockets: [Option<Sockets>; 2], peers: Vec<IpAddr>, settings: Settings) -> Self {
        let random = RandomState::new();
        // Not those of the last weftd: a peer that has not noticed the change must not take our packets for its. And none
        // that can be guessed.
        let mut taken: HashSet<u32> = std::iter::once(0).collect();
        let mut session = |peer: IpAddr| {
            let mut candidates = (0_u32..).map(|attempt| random.hash_one((peer, attempt)) as u32);
            let discriminator = candidates.find(|candidate| taken.insert(*candidate)).unwrap_or(1);
            (peer, Session::new(discriminator, settings.interval, settings.multiplier, Duration::ZERO))
        };
        Self {
            sockets,
            sessions: peers.into_iter().map(&mut session).collect(),
            began: Instant::now(),
            tick: (settings.interval / TICKS_PER_INTERVAL).clamp(TICK.0, TICK.1),
            random,
        }
    }

    fn run(mut self, stop: &AtomicBool, changed: &impl Fn(Report)) {
        let mut due = Instant::now();
        while !stop.load(Ordering::Acquire) {
            let now = Instant::now();
            if now >= due {
                self.tick(changed);
                due = now + self.tick;
            }
            let readable = self.sockets.iter().flatten().map(|pair| pair.comes.as_raw_fd());
            let rest = due.saturating_duration_since(Instant::now());
            // After an error, such as a signal, it is looked at again.
            let _ = sys::wait_readable(readable, rest.as_millis() as i32 + 1);
            for family in 0..self.sockets.len() {
                self.receive(family, changed);
            }
        }
    }

    fn tick(&mut self, changed: &impl Fn(Report)) {
        let now = self.began.elapsed();
        for (peer, session) in &mut self.sessions {
            let before = session.state();
            let jitter = (self.random.hash_one((peer, now)) >> 40) as f32 / (1_u64 << 24) as f32;
            let packet = session.tick(now, jitter);
            note(*peer, before, session.state(), changed);
            if let (Some(packet), Some(sockets)) = (packet, &self.sockets[usize::from(!peer.is_ipv4())]) {
                send(sockets, *peer, &packet);
            }
        }
    }

    fn receive(&mut self, family: usize, changed: &impl Fn(Report)) {
        let Some(sockets) = &self.sockets[family] else { return };
        let mut buffer = [0; 128];
        while let Ok((len, from)) = sockets.comes.recv_from(&mut buffer) {
            let Some(packet) = Packet::read(&buffer[..len]) else { continue };
            let Some(session) = self.sessions.get_mut(&from.ip()) else { continue };
            if !session.is_addressed_by(&packet) {
                continue;
            }
            let before = session.state();
            let answer = session.receive(&packet, self.began.elapsed());
            note(from.ip(), before, session.state(), changed);
            if let Some(answer) = answer {
                send(sockets, from.ip(), &answer);
            }
        }
    }
}

fn note(peer: IpAddr, before: State, state: State, changed: &impl Fn(Report)) {
    if before != state {
        changed(Report { peer, state });
    }
}

/// What can't be sent, for want of a route say, is not heard: the other end notices.
fn send(sockets: &Sockets, peer: IpAddr, packet: &Packet) {
    let _ = sockets.goes.send_to(&packet.bytes(), SocketAddr::new(peer, PORT));
}
