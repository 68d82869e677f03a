//! Bidirectional Forwarding Detection (RFC 5880, over several hops: RFC 5883): is another node there, and does the
//! underlay reach it both ways? Asynchronous mode, without echo, demand or authentication.
//!
//! A [`Session`] is the state machine, on its caller's clock; [`watch()`] runs one for each peer over UDP.

mod packet;
mod watch;

use std::{fmt, time::Duration};

pub use packet::{Flags, LEN, Packet};
pub use watch::{Report, Settings, Watcher, watch};

/// UDP port of multihop sessions (RFC 5883 §5).
pub const PORT: u16 = 4784;
/// A session that is not up sends no faster than this (RFC 5880 §6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// Where a session stands (RFC 5880 §6.2), as numbered in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Somebody took it out of use.
    AdminDown,
    /// Nothing is heard.
    Down,
    /// The other end is heard, and does not hear us yet.
    Init,
    /// Both hear each other.
    Up,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "admin-down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        })
    }
}

/// Why a session went down (RFC 5880 §4.1), as numbered in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diagnostic {
    /// It did not.
    None = 0,
    /// Nothing was heard for the detection time.
    Expired = 1,
    /// The other end said that it is down.
    NeighbourDown = 3,
}

/// One session. Times are since an origin of the caller's.
#[derive(Debug, Clone)]
pub struct Session {
    own: u32,
    other: u32,
    state: State,
    diagnostic: Diagnostic,
    /// What we would like to send and receive at.
    interval: Duration,
    multiplier: u8,
    /// What the other end said: the least it takes, what it sends at, how many may be lost.
    takes: Duration,
    sends: Duration,
    other_multiplier: u8,
    heard: Option<Duration>,
    next: Duration,
    /// A change of our interval that the other end has not confirmed (RFC 5880 §6.5).
    polls: bool,
}

impl Session {
    /// A fresh one, under a discriminator that no other session of this node has; not 0.
    pub fn new(discriminator: u32, interval: Duration, multiplier: u8, now: Duration) -> Self {
        Self {
            own: discriminator,
            other: 0,
            state: State::Down,
            diagnostic: Diagnostic::None,
            interval,
            multiplier,
            takes: Duration::from_micros(1),
            sends: Duration::ZERO,
            other_multiplier: 0,
            heard: None,
            next: now,
            polls: false,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The discriminator that packets for it carry.
    pub fn discriminator(&self) -> u32 {
        self.own
    }

    /// Whether a packet from the peer's address is for this session, rather than for one of the last weftd.
    ///
    /// Anybody can send in a peer's name, and over several hops no TTL tells (RFC 5883 §4), but who is not on the way does
    /// not know our discriminator. A session that is up hears nothing without it: a peer that has started anew, and does
    /// not know it yet, is noticed by its silence.
    pub fn is_addressed_by(&self, packet: &Packet) -> bool {
        packet.other == self.own || packet.other == 0 && self.state != State::Up
    }

    /// What we say we send at.
    fn desired(&self) -> Duration {
        if self.state == State::Up { self.interval } else { self.interval.max(SLOW) }
    }

    /// How long nothing may be heard (RFC 5880 §6.8.4).
    fn detection(&self) -> Duration {
        self.interval.max(self.sends) * u32::from(self.other_multiplier)
    }

    fn go(&mut self, state: State, diagnostic: Diagnostic) {
        self.polls = self.state != State::Up && state == State::Up;
        (self.state, self.diagnostic) = (state, diagnostic);
    }

    /// A packet for this session has come. Returns what must be answered at once (RFC 5880 §6.8.6).
    pub fn receive(&mut self, packet: &Packet, now: Duration) -> Option<Packet> {
        self.other = packet.own;
        self.takes = packet.min_rx;
        self.sends = packet.min_tx;
        self.other_multiplier = packet.multiplier;
        self.heard = Some(now);
        self.polls &= !packet.flags.is_final;
        match (self.state, packet.state) {
            (State::AdminDown, _) => return None,
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.go(State::Down, Diagnostic::NeighbourDown);
            }
            (State::Down, State::Down) => self.go(State::Init, Diagnostic::None),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.go(State::Up, Diagnostic::None);
                self.next = now;
            }
            _ => {}
        }
        packet.flags.is_poll.then(|| self.packet(Flags { is_final: true, ..Flags::default() }))
    }

    /// Time has passed: goes down if nothing was heard for too long, and returns a packet if one is due. `jitter` is from
    /// 0 to 1: intervals are cut by up to a quarter, so that nodes don't fall into step (RFC 5880 §6.8.7).
    pub fn tick(&mut self, now: Duration, jitter: f32) -> Option<Packet> {
        if let Some(heard) = self.heard
            && now.saturating_sub(heard) >= self.detection()
        {
            self.heard = None;
            self.other = 0; // RFC 5880 §6.8.1: forgotten when nothing was heard for a detection time
            if matches!(self.state, State::Init | State::Up) {
                self.go(State::Down, Diagnostic::Expired);
            }
        }
        if now < self.next || self.takes.is_zero() {
            return None;
        }
        self.next = now + self.desired().max(self.takes).mul_f32(1.0 - jitter.clamp(0.0, 1.0) / 4.0);
        Some(self.packet(Flags { is_poll: self.polls, ..Flags::default() }))
    }

    fn packet(&self, flags: Flags) -> Packet {
        Packet {
            diagnostic: self.diagnostic as u8,
            state: self.state,
            flags,
            multiplier: self.multiplier,
            own: self.own,
            other: self.other,
            min_tx: self.desired(),
            min_rx: self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(100);

    /// Two ends on one clock; `passes(way, time in ms)` says whether a packet arrives.
    struct Pair {
        ends: [Session; 2],
        now: Duration,
    }

    impl Pair {
        fn new() -> Self {
            let end = |discriminator| Session::new(discriminator, FAST, 3, Duration::ZERO);
            Self { ends: [end(1), end(2)], now: Duration::ZERO }
        }

        fn run(&mut self, ms: u64, passes: impl Fn(usize) -> bool) {
            for _ in 0..ms {
                self.now += Duration::from_millis(1);
                for from in 0..2 {
                    let mut packet = self.ends[from].tick(self.now, 0.5);
                    let mut to = 1 - from;
                    // An answer goes back, and is not answered itself.
                    while let Some(sent) = packet.take().filter(|_| passes(1 - to)) {
                        let read = Packet::read(&sent.bytes()).expect("our own");
                        assert_eq!(read, sent);
                        packet = self.ends[to].receive(&read, self.now);
                        to = 1 - to;
                    }
                }
            }
        }

        fn states(&self) -> [State; 2] {
            [self.ends[0].state(), self.ends[1].state()]
        }
    }

    #[test]
    fn both_come_up_and_then_speak_fast() {
        let mut pair = Pair::new();
        pair.run(3_500, |_| true);
        assert_eq!(pair.states(), [State::Up; 2]);
        assert!(!pair.ends[0].polls && !pair.ends[1].polls, "the faster interval is confirmed");
        assert_eq!(pair.ends[0].sends, FAST);
        assert_eq!(pair.ends[0].detection(), FAST * 3);
    }

    #[test]
    fn silence_of_one_way_takes_both_down_in_the_detection_time() {
        let mut pair = Pair::new();
        pair.run(3_500, |_| true);
        pair.run(200, |from| from == 1); // what was last heard was heard less than an interval before
        assert_eq!(pair.ends[0].state(), State::Up);
        pair.run(250, |from| from == 1);
        assert_eq!(pair.states(), [State::Down; 2], "end 1 hears nothing, and tells end 0");
        assert_eq!(pair.ends[1].diagnostic, Diagnostic::Expired);
        pair.run(3_500, |_| true);
        assert_eq!(pair.states(), [State::Up; 2], "and back");
    }

    #[test]
    fn one_way_alone_never_comes_up() {
        let mut pair = Pair::new();
        pair.run(10_000, |from| from == 0);
        assert_ne!(pair.ends[0].state(), State::Up);
        assert_ne!(pair.ends[1].state(), State::Up);
    }

    #[test]
    fn who_does_not_know_the_discriminator_takes_no_session_down() {
        let mut pair = Pair::new();
        let forged = |other, state| Packet {
            diagnostic: 0,
            state,
            flags: Flags::default(),
            multiplier: 3,
            own: 9,
            other,
            min_tx: FAST,
            min_rx: FAST,
        };
        assert!(pair.ends[0].is_addressed_by(&forged(0, State::Down)), "how a session begins");
        pair.run(3_500, |_| true);
        for state in [State::AdminDown, State::Down] {
            assert!(!pair.ends[0].is_addressed_by(&forged(0, state)));
            assert!(!pair.ends[0].is_addressed_by(&forged(2, state)));
        }
        assert!(pair.ends[0].is_addressed_by(&forged(1, State::Up)));
    }

    #[test]
    fn a_restarted_end_is_noticed_and_comes_back() {
        let mut pair = Pair::new();
        pair.run(3_500, |_| true);
        pair.ends[1] = Session::new(7, FAST, 3, pair.now);
        pair.run(50, |_| true);
        assert_ne!(pair.ends[0].state(), State::Up);
        pair.run(3_500, |_| true);
        assert_eq!(pair.states(), [State::Up; 2]);
    }
}
