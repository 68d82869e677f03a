//! What is everybody's, divided: who sends a packet ([`Source`]), and how much of the slow path, of learning and of flooding
//! each may have ([`Shares`]). So whoever floods takes their own share and nobody else's.
//!
//! Every PMD thread keeps accounts of its own, touched only by packets that are punted, flooded or learnt from; so does the
//! slow path's thread. A source whose packets come to several threads, by several queues, has its share at each.
//!
//! What one packet becomes is bounded everywhere: a flood by [`Shares::flood`] and [`Shares::may_copy`], a mirror by the rules a
//! program holds, segments and fragments by the frame they are cut from, an ICMP error by [`Shares::error`].

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use hashbrown::HashMap;
use weft_pmd::offload::WireSize;
use weft_wire::Mac;

use crate::{
    key::{FlowKey, Origin},
    reason::PuntReason,
    snapshot::{NetworkView, Role, Snapshot},
    table::routes::Route,
};

/// Who sends a packet, as far as it can be told: an endpoint by its port and MAC, an access or host port, a VLAN of a trunk,
/// a network of another node, or, where other nodes are reached without tunnels, another node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    origin: u64,
    part: u64,
}

impl Source {
    /// Whose packet it is. It has passed the checks of its port, so its MAC is an endpoint's where the port is a pod's, and its
    /// tag one that the trunk carries: there are no more sources than are configured.
    pub fn of(key: &FlowKey, origin: Origin, snapshot: &Snapshot) -> Self {
        let view = origin.port().and_then(|port| snapshot.port(port));
        let part = match view.map(|view| &view.role) {
            Some(Role::Pod) => bits(key.src_mac),
            Some(Role::Trunk(_)) => key.vlan().map_or(0, u64::from),
            Some(Role::Fabric) => match snapshot.route(key.src()) {
                Some(Route::Peer(peer)) => u64::from(peer.0) + 1,
                _ => 0,
            },
            Some(Role::Host | Role::Access(_)) | None => 0,
        };
        Self { origin: origin.to_bits(), part }
    }

    /// Who was at a place in a bridged network: the VLAN of a trunk, an access port, or a network of another node.
    pub fn at(origin: Origin, vlan: u16) -> Self {
        Self { origin: origin.to_bits(), part: vlan.into() }
    }
}

fn bits(mac: Mac) -> u64 {
    mac.0.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// So many a second, so many of them at once. Nothing, where either is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// A second.
    pub per_second: u64,
    /// At once.
    pub at_once: u64,
}

impl Rate {
    /// From its parts.
    pub const fn new(per_second: u64, at_once: u64) -> Self {
        Self { per_second, at_once }
    }
}

/// How much of a rate is used up, for one thread: GCRA, as [`crate::police::Policer`] is for many.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    due_ns: u64,
}

impl Bucket {
    /// Whether one more is within the rate at `now_ns`; if so it is accounted for.
    pub fn allow(&mut self, rate: Rate, now_ns: u64) -> bool {
        self.allow_many(1, rate, now_ns)
    }

    /// The same of so many. More than may ever come at once are within the rate when nothing was for long.
    pub fn allow_many(&mut self, count: u64, rate: Rate, now_ns: u64) -> bool {
        let Some(each) = 1_000_000_000_u64.checked_div(rate.per_second) else { return false };
        let each = each.max(1);
        let next = self.due_ns.max(now_ns).saturating_add(each.saturating_mul(count));
        let at_once = if self.is_full(now_ns) { rate.at_once.max(count) } else { rate.at_once };
        if rate.at_once == 0 || next > now_ns.saturating_add(each.saturating_mul(at_once)) {
            return false;
        }
        self.due_ns = next;
        true
    }

    fn is_full(self, now_ns: u64) -> bool {
        self.due_ns <= now_ns
    }
}

/// Packets of one source that may go to the slow path: a thousand echo requests, ARP requests or packets to be complained
/// of are more than any pod needs, and a thousandth of what the slow path can answer. At once: a datagram of 64 KiB in
/// fragments of 1,500 bytes is 45 of them, and the node asks for all of its pods after a restart.
pub const PUNTS: Rate = Rate::new(1_000, 256);
/// New addresses that one source may show: a trunk's thousands are learnt within seconds.
pub const LEARNS: Rate = Rate::new(1_000, 256);
/// Addresses in use that one source may keep from ageing: 8,192 in a round of the flow table.
pub const REFRESHES: Rate = Rate::new(2_048, 64);

/// Copies that one source's floods may become here: a tenth of what a PMD thread can send, however many members there are.
pub const COPIES: Rate = Rate::new(200_000, 20_000);

/// ICMP errors that one source is told whatever others are: `traceroute` and path MTU discovery go on.
const ERRORS_AT_LEAST: Rate = Rate::new(10, 10);
/// ICMP errors that one source may be told beyond that,
const ERRORS: Rate = Rate::new(200, 50);
/// and all of them together: what Linux allows itself is 1000 a second (net.ipv4.icmp_msgs_per_sec, ip-sysctl). RFC 1812
/// §4.3.2.8 and RFC 4443 §2.4 (f) ask for such limits.
const ERRORS_OF_ALL: Rate = Rate::new(1_000, 200);

/// What packets on their way to the slow path, and those being answered, may hold of frame memory, in chunks of 4 KiB.
pub const PLACES: usize = 4096;
/// What one source may hold of it, at most.
const PLACES_OF_ONE: usize = 256;
/// What one source may hold of it, at least: so many a source gets whatever others hold.
const PLACES_AT_LEAST: usize = 2;
/// Of what nobody holds, one part in so many is one source's: the more sources want much, the less each gets, and some is
/// always left for whoever comes new (dynamic thresholds, Choudhury and Hahne, IEEE/ACM ToN 6(2), 1998).
const PART: usize = 8;

/// A packet's place on its way to the slow path; given back when dropped.
#[derive(Debug)]
pub struct Place {
    held: Arc<Held>,
    chunks: usize,
}

/// What one source holds at one thread, and what all do.
#[derive(Debug, Default)]
struct Held {
    own: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Place {
    fn take(held: &Arc<Held>, bytes: usize) -> Option<Self> {
        let chunks = bytes / weft_pmd::memory::SMALL_CHUNK + 1;
        let free = PLACES.saturating_sub(held.all.load(Relaxed));
        let most = (free / PART).clamp(PLACES_AT_LEAST, PLACES_OF_ONE);
        let own = held.own.load(Relaxed);
        // One packet goes through, however large it is.
        if own > 0 && own + chunks > most {
            return None;
        }
        held.own.fetch_add(chunks, Relaxed);
        held.all.fetch_add(chunks, Relaxed);
        Some(Self { held: held.clone(), chunks })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.own.fetch_sub(self.chunks, Relaxed);
        self.held.all.fetch_sub(self.chunks, Relaxed);
    }
}

/// What one source has had of late.
#[derive(Debug, Default)]
struct Account {
    /// ARP and neighbour discovery, and the rest: whoever makes others ask for errors must not silence them.
    punts: [Bucket; 2],
    floods: [Bucket; 2],
    copies: Bucket,
    learns: Bucket,
    refreshes: Bucket,
    errors: [Bucket; 2],
    /// As [`Account::punts`].
    held: [Arc<Held>; 2],
}

impl Account {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        let held = || Arc::new(Held { own: AtomicUsize::new(0), all: all.clone() });
        Self { held: [held(), held()], ..Self::default() }
    }

    /// One like a new one: it may be forgotten.
    fn is_settled(&self, now_ns: u64) -> bool {
        let Self {
            punts: [resolution, punts],
            floods: [frames, floods],
            copies,
            learns,
            refreshes,
            errors: [least, more],
            held,
        } = self;
        [resolution, punts, frames, floods, copies, learns, refreshes, least, more]
            .iter()
            .all(|bucket| bucket.is_full(now_ns))
            && held.iter().all(|held| held.own.load(Relaxed) == 0)
    }
}

/// All sources' accounts at one thread.
#[derive(Debug)]
pub struct Shares {
    accounts: HashMap<Source, Account>,
    /// Of those for whom there is no account any more: they share one.
    others: Account,
    all: Arc<AtomicUsize>,
    errors_of_all: Bucket,
    settled_ns: u64,
}

/// Accounts a thread keeps: 2 MiB of them.
const ACCOUNTS_MAX: usize = 16_384;
/// When they are that many, those that may be are forgotten, but not more often than this, nanoseconds.
const SETTLE_NS: u64 = 1_000_000_000;

impl Shares {
    /// No accounts yet. `all` counts the places that are taken, at all threads together.
    pub fn new(all: Arc<AtomicUsize>) -> Self {
        let (others, errors_of_all) = (Account::new(&all), Bucket::default());
        Self { accounts: HashMap::new(), others, all, errors_of_all, settled_ns: 0 }
    }

    fn of(&mut self, source: Source, now_ns: u64) -> &mut Account {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&source) {
            if now_ns.saturating_sub(self.settled_ns) >= SETTLE_NS {
                self.settled_ns = now_ns;
                self.accounts.retain(|_, account| !account.is_settled(now_ns));
            }
            if self.accounts.len() >= ACCOUNTS_MAX {
                return &mut self.others;
            }
        }
        let all = &self.all;
        self.accounts.entry(source).or_insert_with(|| Account::new(all))
    }

    /// A place for a packet of so many bytes on its way to the slow path. None: the source has had its share.
    pub fn punt(&mut self, source: Source, reason: PuntReason, bytes: usize, now_ns: u64) -> Option<Place> {
        let account = self.of(source, now_ns);
        let kind = usize::from(!matches!(reason, PuntReason::Arp | PuntReason::Nd));
        let place = Place::take(&account.held[kind], bytes)?;
        account.punts[kind].allow(PUNTS, now_ns).then_some(place)
    }

    /// Whether the source may flood a frame in a network: so many packets on the wire.
    pub fn flood(&mut self, source: Source, network: &NetworkView, packets: u64, now_ns: u64) -> bool {
        let Some(rate) = network.flood_rate else { return true };
        let [frames, copies] = &mut self.of(source, now_ns).floods;
        let all = packets.saturating_mul(network.members.len() as u64);
        frames.allow_many(packets, rate, now_ns) && copies.allow_many(all, COPIES, now_ns)
    }

    /// Whether a copy of a frame that the source floods, so many packets on the wire, may go to another node.
    pub fn may_copy(&mut self, network: &NetworkView, source: Source, packets: u64, now_ns: u64) -> bool {
        let Some(limit) = &network.copy_limit else { return true };
        self.of(source, now_ns).copies.allow_many(packets, limit.own, now_ns)
            || limit.common.allow_all(WireSize { packets, bytes: 0 }, now_ns)
    }

    /// Whether the source may be told of one more error.
    pub fn error(&mut self, source: Source, now_ns: u64) -> bool {
        let [least, more] = &mut self.of(source, now_ns).errors;
        if least.allow(ERRORS_AT_LEAST, now_ns) {
            return true;
        }
        more.allow(ERRORS, now_ns) && self.errors_of_all.allow(ERRORS_OF_ALL, now_ns)
    }

    /// Whether an address may be told to the control side: a new one, or one in use.
    pub fn learn(&mut self, source: Source, refresh: bool, now_ns: u64) -> bool {
        let account = self.of(source, now_ns);
        match refresh {
            true => account.refreshes.allow(REFRESHES, now_ns),
            false => account.learns.allow(LEARNS, now_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_wire::PortId;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn source(index: u16) -> Source {
        Source::at(Origin::by_port(PortId::from_index(index).expect("few ports")), 0)
    }

    /// A bridged one of a thousand members.
    fn network() -> NetworkView {
        let port = PortId::from_index(1).expect("a port");
        NetworkView {
            mode: crate::snapshot::Mode::Bridged,
            gateway_mac: Mac::ZERO,
            gateways: Vec::new(),
            suppress: false,
            forward_lldp: false,
            members: vec![(port, None); 1000],
            tunnel: None,
            remotes: Vec::new(),
            copy_limit: None,
            flood_rate: Some(Rate::new(100, 50)),
        }
    }

    /// In a network of a thousand, the copies are what is limited: 20 frames at once.
    #[test]
    fn floods_are_as_many_as_their_copies() {
        let (mut shares, _) = shares();
        assert_eq!((0..100).filter(|_| shares.flood(source(1), &network(), 1, SECOND)).count(), 20);
        let few = NetworkView { members: Vec::new(), ..network() };
        assert_eq!((0..100).filter(|_| shares.flood(source(2), &few, 1, SECOND)).count(), 50);
        let any = NetworkView { flood_rate: None, ..network() };
        assert_eq!((0..100).filter(|_| shares.flood(source(3), &any, 1, SECOND)).count(), 100);
        let crowd = NetworkView { members: vec![network().members[0]; 60_000], ..network() };
        assert!(shares.flood(source(4), &crowd, 1, SECOND) && !shares.flood(source(4), &crowd, 1, SECOND));
    }

    fn shares() -> (Shares, Arc<AtomicUsize>) {
        let all = Arc::new(AtomicUsize::new(0));
        (Shares::new(all.clone()), all)
    }

    #[test]
    fn a_bucket_keeps_its_rate() {
        let (mut bucket, rate) = (Bucket::default(), Rate::new(1000, 10));
        assert_eq!((0..100).filter(|_| bucket.allow(rate, 5 * SECOND)).count(), 10);
        let passed = (1..=10_000).filter(|i| bucket.allow(rate, 5 * SECOND + i * 100_000)).count();
        assert!((999..=1001).contains(&passed), "{passed}");
        assert!(!bucket.allow(Rate::default(), 50 * SECOND), "nothing is nothing");
        assert!(bucket.allow(Rate::new(u64::MAX, u64::MAX), u64::MAX - 1));
    }

    /// One that asks for nothing but errors gets its own rate; many together what all have, and each its least.
    #[test]
    fn errors_keep_their_rates() {
        let told = |sources: u16| -> Vec<u64> {
            let (mut shares, _) = shares();
            let mut told = vec![0; usize::from(sources)];
            for i in 0..10_000_u64 {
                for source_ in 0..sources {
                    let now_ns = SECOND + i * SECOND / 10_000;
                    told[usize::from(source_)] += u64::from(shares.error(source(source_), now_ns));
                }
            }
            told
        };
        let [one] = told(1)[..] else { panic!("one source") };
        assert!((265..=275).contains(&one), "{one}: 10 and 200 a second, 10 and 50 at once");
        let many = told(100);
        assert!(many.iter().all(|told| *told >= 19), "{many:?}");
        assert!(many.iter().sum::<u64>() <= 100 * 20 + 1200);
    }

    #[test]
    fn places_come_back() {
        let (mut shares, all) = shares();
        let places: Vec<_> =
            (0..200).filter_map(|_| shares.punt(source(1), PuntReason::Local, 60, SECOND)).collect();
        assert_eq!((places.len(), all.load(Relaxed)), (200, 200));
        drop(places);
        assert_eq!(all.load(Relaxed), 0);
        // A super-frame holds as much as it is large.
        let large: Vec<_> =
            (0..200).filter_map(|_| shares.punt(source(1), PuntReason::Local, 65_000, 9 * SECOND)).collect();
        assert_eq!((large.len(), all.load(Relaxed)), (16, 16 * 16));
    }

    #[test]
    fn accounts_are_bounded() {
        let (mut shares, _) = shares();
        let many = ACCOUNTS_MAX as u16 + 1000;
        let held: Vec<_> = (0..many).map(|i| shares.punt(source(i), PuntReason::Local, 60, SECOND)).collect();
        assert_eq!(shares.accounts.len(), ACCOUNTS_MAX);
        drop(held);
        assert!(shares.punt(source(many), PuntReason::Local, 60, 5 * SECOND).is_some());
        assert_eq!(shares.accounts.len(), 1, "what has settled was forgotten");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Whatever others do, who asks for less than a share gets all of it: rates of k floods, packets of any size that
        /// are never answered.
        #[test]
        fn nobody_takes_anothers_share(
            floods in 1_u16..200,
            sizes in proptest::collection::vec(1_usize..70_000, 1..8),
            step_ns in 1_000_u64..200_000,
        ) {
            let (mut shares, _) = shares();
            let mut held = Vec::new();
            let network = network();
            for turn in 0..=100_u64 {
                let now_ns = SECOND + turn * step_ns;
                for flood in 1..=floods {
                    let size = sizes[(turn as usize + usize::from(flood)) % sizes.len()];
                    held.extend(shares.punt(source(flood), PuntReason::Local, size, now_ns));
                    shares.flood(source(flood), &network, 1, now_ns);
                    shares.learn(source(flood), turn % 2 == 0, now_ns);
                    shares.error(source(flood), now_ns);
                }
                // Rarely, and below every rate.
                if turn % 100 == 0 {
                    prop_assert!(shares.punt(source(0), PuntReason::Local, 60, now_ns).is_some());
                    prop_assert!(shares.flood(source(0), &network, 1, now_ns));
                    prop_assert!(shares.learn(source(0), false, now_ns));
                    prop_assert!(shares.error(source(0), now_ns));
                }
            }
            let own = |index: u16| shares.accounts[&source(index)].held[1].own.load(Relaxed);
            prop_assert!((1..=floods).all(|flood| own(flood) <= PLACES_OF_ONE.max(18)));
        }
    }
}
