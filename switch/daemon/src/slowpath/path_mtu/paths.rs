//! What is known of the paths to other nodes: what was claimed, what is proven, and what must be asked.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use weft_dataplane::police::{Policer, Unit};

use super::{
    Claim, Refused,
    probe::{Mark, Question},
};

/// What a router has proven is believed for so long, then asked again (RFC 1191 §6.3); and so long a peer about which
/// somebody lied has its claims proven first.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// A probe is waited for so long (RFC 8899 §5.1.1, PROBE_TIMER).
pub const PROBE_EVERY: Duration = Duration::from_secs(15);
/// So many are sent (RFC 8899 §5.1.2, MAX_PROBES): they, or what says that they are too large, may be lost.
pub const PROBES_MAX: usize = 3;
/// Claims looked at per second, and at once: of one path (routers follow one another, each smaller), and of all.
const CLAIMS_OF_ONE: (u64, u64) = (1, 4);
const CLAIMS_OF_ALL: (u64, u64) = (1000, 1000);
/// Probes per second, and at once.
const PROBES: (u64, u64) = (100, 100);

fn limit((per_second, burst): (u64, u64)) -> Policer {
    Policer::new(Unit::Packets, per_second, burst)
}

/// How sure what is known of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A message says so.
    Claimed,
    /// A router on the way says so.
    Proven,
}

impl State {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Proven => "proven",
        }
    }
}

/// What is known of the path to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learnt {
    /// The largest packet, bytes.
    pub mtu: u32,
    /// Who said so.
    pub router: IpAddr,
    /// When.
    pub since: Instant,
    /// How sure it is.
    pub state: State,
}

/// What is asked of a path, for as long as nobody has answered.
#[derive(Debug)]
struct Asking {
    len: u32,
    src_port: u16,
    label: u32,
    next: Instant,
    sent: Vec<Mark>,
}

impl Asking {
    fn about(claim: &Claim, next: Instant) -> Self {
        let quoted = &claim.quoted;
        Self { len: quoted.len, src_port: quoted.src_port, label: quoted.label, next, sent: Vec::new() }
    }

    fn is_answered_by(&self, claim: &Claim) -> bool {
        self.sent.iter().any(|mark| mark.is_in(&claim.quoted.mark, claim.peer.is_ipv4()))
    }
}

#[derive(Debug)]
struct Path {
    /// What a router on the way has said, and what it will be asked again when its time is over.
    proven: Option<(Learnt, Asking)>,
    /// What is said, whether it is in use, and what is asked because of it.
    claimed: Option<(Learnt, bool, Asking)>,
    /// Somebody lied about it: claims are not used before they are proven.
    distrusted: Option<Instant>,
    limit: Policer,
}

impl Path {
    /// What is held to.
    fn used(&self) -> Option<Learnt> {
        let claimed = self.claimed.as_ref().filter(|(_, used, _)| *used).map(|(learnt, ..)| *learnt);
        claimed.or_else(|| self.proven.as_ref().map(|(learnt, _)| *learnt))
    }

    fn is_blank(&self) -> bool {
        self.proven.is_none() && self.claimed.is_none() && self.distrusted.is_none()
    }
}

/// Counts of what was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Claims that were used at once.
    pub believed: u64,
    /// Answers to probes.
    pub proven: u64,
    /// Claims that nobody repeated.
    pub disproved: u64,
    /// What was refused, by [`Refused`].
    pub refused: [u64; Refused::ALL.len()],
}

/// All paths, on their caller's clock.
#[derive(Debug)]
pub struct Paths {
    paths: BTreeMap<IpAddr, Path>,
    counts: Counts,
    claims: Policer,
    probes: Policer,
    /// When the policers' clock was zero.
    began: Instant,
    /// Nothing is to be done before.
    due: Option<Instant>,
    changed: bool,
}

impl Paths {
    /// Nothing is known.
    pub fn new(began: Instant) -> Self {
        Self {
            paths: BTreeMap::new(),
            counts: Counts::default(),
            claims: limit(CLAIMS_OF_ALL),
            probes: limit(PROBES),
            began,
            due: None,
            changed: false,
        }
    }

    fn ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_nanos() as u64
    }

    /// A message about a path has come. True: it changes what is held to.
    pub fn hear(&mut self, heard: Result<Claim, Refused>, now: Instant) -> bool {
        let outcome = heard.and_then(|claim| self.consider(&claim, now));
        if let Err(refused) = outcome {
            self.counts.refused[refused as usize] += 1;
        }
        let changed = outcome.unwrap_or(false);
        self.changed |= changed;
        changed
    }

    fn consider(&mut self, claim: &Claim, now: Instant) -> Result<bool, Refused> {
        let now_ns = self.ns(now);
        let known = self.paths.get_mut(&claim.peer);
        if let Some(path) = known
            && let Some(changed) = prove(path, claim, now)
        {
            self.counts.proven += 1;
            self.due = Some(now);
            return Ok(changed);
        }
        let present = self.learnt(claim.peer).map_or(claim.uplink_mtu, |learnt| learnt.mtu);
        if claim.mtu >= present {
            return Ok(false); // nothing new: every flow's packets meet the same router
        }
        if claim.quoted.len > present {
            return Err(Refused::Implausible);
        }
        if !self.claims.allow(1, now_ns) {
            return Err(Refused::Limited);
        }
        let path = self.paths.entry(claim.peer).or_insert_with(|| Path {
            proven: None,
            claimed: None,
            distrusted: None,
            limit: limit(CLAIMS_OF_ONE),
        });
        if !path.limit.allow(1, now_ns) {
            return Err(Refused::Limited);
        }
        let is_used = path.distrusted.is_none_or(|until| until <= now);
        let learnt = Learnt { mtu: claim.mtu, router: claim.router, since: now, state: State::Claimed };
        let mut asking = Asking::about(claim, now);
        // Whoever claims less and less gets no more time than whoever says it at once.
        if let Some((_, true, before)) = path.claimed.take() {
            asking.next = if before.sent.len() < PROBES_MAX { now } else { before.next };
            asking.sent = before.sent;
        }
        path.claimed = Some((learnt, is_used, asking));
        self.due = Some(now);
        if !is_used {
            return Err(Refused::Unproven);
        }
        self.counts.believed += 1;
        Ok(true)
    }

    /// Asks what is to be asked now, and forgets what was asked in vain. `random` gives numbers that nobody can guess; `ask`
    /// sends a probe and tells what it is known by. True: what is held to has changed.
    pub fn look_after(
        &mut self,
        now: Instant,
        mut random: impl FnMut() -> u64,
        mut ask: impl FnMut(&Question) -> Option<Mark>,
    ) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let now_ns = self.ns(now);
        let Self { paths, counts, probes, .. } = self;
        let (mut due, mut changed) = (None, false);
        paths.retain(|peer, path| {
            let before = path.used().map(|learnt| learnt.mtu);
            path.distrusted = path.distrusted.filter(|until| *until > now);
            let mut pose = |asking: &mut Asking| {
                if asking.next > now {
                    return true;
                }
                if asking.sent.len() >= PROBES_MAX {
                    return false;
                }
                if probes.allow(1, now_ns) {
                    let Asking { len, src_port, label, .. } = *asking;
                    let question =
                        Question { peer: *peer, len, src_port, label, random: [random(), random()] };
                    // What can't be sent can't be answered either, and counts all the same.
                    let unsent = Mark { id: 0, checksum: 0, nonce: Some([0; 8]) };
                    asking.sent.push(ask(&question).unwrap_or(unsent));
                    asking.next = now + PROBE_EVERY;
                }
                true
            };
            if path.claimed.as_mut().is_some_and(|(.., asking)| !pose(asking)) {
                path.claimed = None;
                path.distrusted = Some(now + LIFETIME);
                counts.disproved += 1;
            }
            if path.proven.as_mut().is_some_and(|(_, asking)| !pose(asking)) {
                path.proven = None; // the path has changed: what is sent next shows what it takes
            }
            changed |= path.used().map(|learnt| learnt.mtu) != before;
            let next = [
                path.claimed.as_ref().map(|(.., asking)| asking.next),
                path.proven.as_ref().map(|(_, asking)| asking.next),
                path.distrusted,
            ];
            due = next.into_iter().flatten().chain(due).min();
            !path.is_blank()
        });
        self.due = due;
        self.changed |= changed;
        changed
    }

    /// What the paths' largest packets are, if that has changed since it was last asked for.
    pub fn changes(&mut self) -> Option<BTreeMap<IpAddr, Learnt>> {
        let used = |(peer, path): (&IpAddr, &Path)| Some((*peer, path.used()?));
        std::mem::take(&mut self.changed).then(|| self.paths.iter().filter_map(used).collect())
    }

    /// What is known of one.
    pub fn learnt(&self, peer: IpAddr) -> Option<Learnt> {
        self.paths.get(&peer)?.used()
    }

    /// What was said so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Forgets paths to nodes that are none any more.
    pub fn keep(&mut self, is_peer: impl Fn(&IpAddr) -> bool) {
        let before = self.paths.len();
        self.paths.retain(|peer, _| is_peer(peer));
        self.changed |= self.paths.len() != before;
    }
}

/// Takes an answer to a probe; `None`: it is none. Whether what is held to has changed.
fn prove(path: &mut Path, claim: &Claim, now: Instant) -> Option<bool> {
    let asked = [
        path.claimed.as_ref().map(|(learnt, _, asking)| (learnt, asking)),
        path.proven.as_ref().map(|(learnt, asking)| (learnt, asking)),
    ];
    let (learnt, _) = asked.into_iter().flatten().find(|(_, asking)| asking.is_answered_by(claim))?;
    let since = if learnt.mtu == claim.mtu { learnt.since } else { now };
    let before = path.used().map(|learnt| learnt.mtu);
    let learnt = Learnt { mtu: claim.mtu, router: claim.router, since, state: State::Proven };
    path.proven = Some((learnt, Asking::about(claim, now + LIFETIME)));
    path.claimed = None;
    Some(before != Some(claim.mtu))
}

/// The paths, for the two threads that have to do with them: the slow path hears, the control thread publishes.
#[derive(Debug)]
pub struct PathMtus(Mutex<Paths>);

impl Default for PathMtus {
    fn default() -> Self {
        Self(Mutex::new(Paths::new(Instant::now())))
    }
}

impl PathMtus {
    /// The paths, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Paths> {
        // Nothing in there can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slowpath::path_mtu::Quoted;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));
    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const NOTHING: Mark = Mark { id: 0, checksum: 0, nonce: None };

    /// Paths on a clock that the test moves, a router on the way to [`PEER`] that takes so much, and the probes it has seen.
    struct World {
        paths: Paths,
        now: Instant,
        link: u32,
        answers: bool,
        probes: Vec<Question>,
        random: u64,
    }

    impl World {
        fn new(link: u32) -> Self {
            let now = Instant::now();
            Self { paths: Paths::new(now), now, link, answers: true, probes: Vec::new(), random: 0 }
        }

        fn claim(&self, mtu: u32, len: u32, mark: Mark) -> Claim {
            let quoted = Quoted { len, src_port: 50_000, label: 0, mark };
            Claim { peer: PEER, mtu, router: ROUTER, quoted, uplink_mtu: 1500 }
        }

        fn hear(&mut self, mtu: u32, len: u32) -> bool {
            let claim = self.claim(mtu, len, NOTHING);
            self.paths.hear(Ok(claim), self.now)
        }

        /// A moment later, and after so many seconds.
        fn wait(&mut self, seconds: u64) {
            for _ in 0..=seconds {
                let Self { paths, now, probes, random, .. } = self;
                let mut marks = Vec::new();
                paths.look_after(
                    *now,
                    || {
                        *random += 1;
                        *random
                    },
                    |question| {
                        let mark = Mark {
                            id: question.random[1] as u16,
                            checksum: 7,
                            nonce: Some(question.random[0].to_be_bytes()),
                        };
                        probes.push(*question);
                        marks.push((question.len, mark));
                        Some(mark)
                    },
                );
                for (len, mark) in marks {
                    if self.answers && len > self.link {
                        // What a router that quotes little leaves of it.
                        let claim = self.claim(self.link, len, Mark { nonce: None, ..mark });
                        self.paths.hear(Ok(claim), self.now);
                    }
                }
                self.now += Duration::from_secs(1);
            }
        }

        fn used(&self) -> Option<(u32, State)> {
            self.paths.learnt(PEER).map(|learnt| (learnt.mtu, learnt.state))
        }

        fn refused(&self, why: Refused) -> u64 {
            self.paths.counts().refused[why as usize]
        }
    }

    #[test]
    fn a_true_claim_is_used_at_once_and_then_proven() {
        let mut world = World::new(1400);
        assert!(world.hear(1400, 1500));
        assert_eq!(world.used(), Some((1400, State::Claimed)));
        world.wait(0);
        assert_eq!(world.used(), Some((1400, State::Proven)));
        assert_eq!(world.probes.len(), 1);
        // Asked again when its time is over, and it stays.
        world.wait(3 * LIFETIME.as_secs());
        assert_eq!(world.used(), Some((1400, State::Proven)));
        assert_eq!((world.probes.len(), world.paths.counts().disproved), (4, 0));
        // Until the link is as large as the others.
        world.link = 1500;
        world.wait(LIFETIME.as_secs() + 3 * PROBE_EVERY.as_secs());
        assert_eq!(world.used(), None);
        assert!(world.hear(1400, 1500), "nobody lied");
    }

    #[test]
    fn a_lie_lasts_three_probes_and_the_next_is_not_used() {
        let mut world = World::new(1500);
        assert!(world.hear(600, 1500));
        world.wait(3 * PROBE_EVERY.as_secs() - 2);
        assert_eq!(world.used(), Some((600, State::Claimed)));
        world.wait(2);
        assert_eq!(world.used(), None);
        assert_eq!(world.probes.len(), PROBES_MAX);
        for _ in 0..20 {
            assert!(!world.hear(600, 1500));
            world.wait(10);
            assert_eq!(world.used(), None);
        }
        assert_eq!(world.refused(Refused::Unproven), 20);
        world.wait(LIFETIME.as_secs() + 100);
        assert!(world.hear(600, 1500), "long after it is believed again");
    }

    #[test]
    fn saying_less_and_less_lasts_no_longer() {
        let mut world = World::new(1500);
        for step in 0..100 {
            world.hear(1400 - step, 1500 - step);
            world.wait(0);
        }
        assert_eq!(world.used(), None);
        assert!(world.probes.len() <= 3 + 60, "{} probes", world.probes.len());
    }

    #[test]
    fn after_a_lie_the_truth_is_used_as_soon_as_it_is_proven() {
        let mut world = World::new(1500);
        world.hear(600, 1500);
        world.wait(60);
        assert_eq!(world.used(), None);
        world.link = 1400;
        assert!(!world.hear(1400, 1500));
        world.wait(0);
        assert_eq!(world.used(), Some((1400, State::Proven)));
        // What is claimed beside it is not used, and does not harm it.
        assert!(!world.hear(700, 1400));
        world.wait(60);
        assert_eq!(world.used(), Some((1400, State::Proven)));
    }

    #[test]
    fn a_lie_about_a_proven_path_falls_back_to_what_is_proven() {
        let mut world = World::new(1400);
        world.hear(1400, 1500);
        world.wait(5);
        assert!(world.hear(600, 1400));
        assert_eq!(world.used(), Some((600, State::Claimed)));
        world.wait(3 * PROBE_EVERY.as_secs() + 1);
        assert_eq!(world.used(), Some((1400, State::Proven)));
    }

    #[test]
    fn routers_follow_one_another() {
        let mut world = World::new(1400);
        world.hear(1400, 1500);
        world.wait(0);
        world.link = 1300;
        assert!(world.hear(1300, 1400));
        world.wait(0);
        assert_eq!(world.used(), Some((1300, State::Proven)));
    }

    #[test]
    fn what_quotes_more_than_is_sent_now_is_not_believed() {
        let mut world = World::new(1400);
        world.hear(1400, 1500);
        world.wait(0);
        assert!(!world.hear(600, 1500));
        assert!(!world.hear(600, 1401));
        assert_eq!((world.refused(Refused::Implausible), world.used()), (2, Some((1400, State::Proven))));
    }

    #[test]
    fn whoever_guesses_a_probe_wrong_proves_nothing() {
        let mut world = World::new(1500);
        world.answers = false;
        world.hear(600, 1500);
        world.wait(0);
        for id in 0..100 {
            let mark = Mark { id, checksum: 8, nonce: None };
            let claim = world.claim(576, 1500, mark);
            world.paths.hear(Ok(claim), world.now);
        }
        assert_eq!((world.paths.counts().proven, world.used()), (0, Some((600, State::Claimed))));
    }

    /// A storm is looked at as far as is allowed, changes are told once, and an answer to a probe passes beside it.
    #[test]
    fn a_storm_is_limited_and_keeps_no_answer_out() {
        let mut world = World::new(1400);
        world.answers = false;
        world.hear(1400, 1500);
        world.wait(0);
        for step in 0..10_000_u32 {
            let mut claim = world.claim(576, 1500, NOTHING);
            claim.peer = IpAddr::from([10, 0, (step >> 8) as u8, step as u8]);
            world.paths.hear(Ok(claim), world.now);
        }
        assert!(world.paths.counts().believed <= 1002, "{:?}", world.paths.counts());
        assert!(world.refused(Refused::Limited) > 8_000);
        let question = world.probes[0];
        let mark = Mark { id: question.random[1] as u16, checksum: 7, nonce: None };
        let claim = world.claim(1400, 1500, mark);
        world.paths.hear(Ok(claim), world.now);
        assert_eq!(world.used(), Some((1400, State::Proven)));
        assert!(world.paths.changes().is_some());
        assert_eq!(world.paths.changes(), None, "told once");
        world.probes.clear();
        world.wait(0);
        assert!(world.probes.len() <= 101, "{} probes at once", world.probes.len());
    }

    #[test]
    fn what_is_no_peer_any_more_is_forgotten() {
        let mut world = World::new(1400);
        world.hear(1400, 1500);
        world.paths.keep(|peer| *peer == OTHER);
        assert_eq!(world.paths.changes(), Some(BTreeMap::new()));
    }
}
