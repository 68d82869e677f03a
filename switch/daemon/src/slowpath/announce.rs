//! Announcements: where an address is, told before anybody asks (RFC 5227 §2.3, RFC 4861 §7.2.6).
//!
//! A pod of a bridged network does not speak when it comes, moves to another port or gets another MAC or address, and what
//! others remember of it may be wrong: the switch knows better, and says so for it, to all members of the network and to the
//! nodes that have it, too. Where the switch itself is the gateway it does so when its MAC changes. Pure: what changed is found
//! by comparing snapshots, time is an argument.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder};
use hashbrown::HashMap;
use weft_dataplane::snapshot::{Endpoint, Mode, NetworkView, Snapshot};
use weft_wire::{Mac, NetworkId, PortId};

use super::{Reply, copies, nd};

/// Times that an announcement is made, and the time between, nanoseconds: ANNOUNCE_NUM and ANNOUNCE_INTERVAL of RFC 5227
/// §1.1; within MAX_NEIGHBOR_ADVERTISEMENT and RETRANS_TIMER of RFC 4861 §10.
const ROUNDS: u8 = 2;
const INTERVAL_NS: u64 = 2_000_000_000;
/// Changes that come faster than this are looked at together, nanoseconds.
const LOOK_EVERY_NS: u64 = 100_000_000;
/// Every member of a network gets a copy: one in so many nanoseconds (20,000 a second), of all announcements together,
const COPY_NS: u64 = 50_000;
/// but for so many nanoseconds' worth at once.
const BURST_NS: u64 = 10_000_000;

/// Whose addresses they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// An endpoint's.
    Endpoint(NetworkId, Mac),
    /// The switch's own in a routed network.
    Gateway(NetworkId),
}

/// An announcement that is still to be made.
#[derive(Debug, Clone, Copy)]
struct Round {
    due_ns: u64,
    left: u8,
}

/// Knows what was announced, and what is to be.
#[derive(Debug, Default)]
pub struct Announcer {
    generation: u64,
    /// When the next change may be looked at; none: there was none.
    look_ns: Option<u64>,
    looked_ns: u64,
    endpoints: Arc<HashMap<(NetworkId, Mac), Endpoint>>,
    gateways: Vec<(Vec<IpAddr>, Mac)>,
    rounds: BTreeMap<Subject, Round>,
    /// When the next one may go.
    ready_ns: u64,
}

impl Announcer {
    /// What is to be sent now, and the time at which to ask again, if there is something to wait for.
    pub fn turn(&mut self, snapshot: &Snapshot, now_ns: u64) -> (Vec<Reply>, Option<u64>) {
        if snapshot.generation != self.generation {
            self.generation = snapshot.generation;
            self.look_ns.get_or_insert(self.looked_ns + LOOK_EVERY_NS);
        }
        if self.look_ns.is_some_and(|due| due <= now_ns) {
            (self.look_ns, self.looked_ns) = (None, now_ns);
            self.look(snapshot, now_ns);
        }
        let mut replies = Vec::new();
        while now_ns >= self.ready_ns
            && let Some((subject, round)) = self.first_due(now_ns)
        {
            let made = announcement(subject, snapshot);
            let cost_ns = COPY_NS * made.len() as u64;
            self.ready_ns = self.ready_ns.max(now_ns.saturating_sub(BURST_NS)) + cost_ns;
            if round.left > 1 {
                self.rounds.insert(subject, Round { due_ns: now_ns + INTERVAL_NS, left: round.left - 1 });
            } else {
                self.rounds.remove(&subject);
            }
            replies.extend(made);
        }
        let due = self.rounds.values().map(|round| round.due_ns.max(self.ready_ns)).min();
        (replies, due.into_iter().chain(self.look_ns).min())
    }

    fn first_due(&self, now_ns: u64) -> Option<(Subject, Round)> {
        let due = self.rounds.iter().filter(|(_, round)| round.due_ns <= now_ns);
        due.min_by_key(|(_, round)| round.due_ns).map(|(subject, round)| (*subject, *round))
    }

    /// Finds what is otherwise than it was.
    fn look(&mut self, snapshot: &Snapshot, now_ns: u64) {
        let round = Round { due_ns: now_ns, left: ROUNDS };
        let old = std::mem::replace(&mut self.endpoints, snapshot.endpoints.clone());
        for (&(network, mac), endpoint) in snapshot.endpoints.iter() {
            let is_bridged = snapshot.network(network).is_some_and(|view| view.mode == Mode::Bridged);
            if is_bridged && !endpoint.addresses.is_empty() && old.get(&(network, mac)) != Some(endpoint) {
                self.rounds.insert(Subject::Endpoint(network, mac), round);
            }
        }
        let own = |view: &Arc<NetworkView>| (view.gateways.clone(), view.gateway_mac);
        let gateways: Vec<_> = snapshot.networks.iter().map(own).collect();
        for (index, (now, before)) in gateways.iter().zip(&self.gateways).enumerate() {
            // Pods ask for a gateway that is new to them.
            if now.0 == before.0 && !now.0.is_empty() && now.1 != before.1 {
                self.rounds.insert(Subject::Gateway(NetworkId(index as u16)), round);
            }
        }
        self.gateways = gateways;
    }
}

/// A frame for every address, a copy of it for everybody.
fn announcement(subject: Subject, snapshot: &Snapshot) -> Vec<Reply> {
    let (Subject::Endpoint(id, _) | Subject::Gateway(id)) = subject;
    let Some(network) = snapshot.network(id) else { return Vec::new() };
    let own: (Mac, &[IpAddr], Option<PortId>) = match subject {
        Subject::Endpoint(id, mac) => match snapshot.endpoint(id, mac) {
            Some(endpoint) => (mac, &endpoint.addresses, Some(endpoint.port)),
            None => return Vec::new(), // it has gone since
        },
        Subject::Gateway(_) => (network.gateway_mac, &network.gateways, None),
    };
    let (mac, addresses, port) = own;
    let frames = addresses.iter().filter_map(|address| frame(*address, mac, network.mode == Mode::Routed));
    frames.flat_map(|frame| copies(&frame, 0, network, port, true, snapshot)).collect()
}

fn frame(address: IpAddr, mac: Mac, is_router: bool) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => {
            // RFC 5227 §3: a request rather than a reply, of which every stack takes notice.
            let arp = ArpPacket::new(
                ArpHardwareId::ETHERNET,
                EtherType::IPV4,
                ArpOperation::REQUEST,
                &mac.0,
                &address.octets(),
                &Mac::ZERO.0,
                &address.octets(),
            )
            .ok()?;
            let mut bytes = Vec::with_capacity(42);
            PacketBuilder::ethernet2(mac.0, Mac::BROADCAST.0).arp(arp).write(&mut bytes).ok()?;
            Some(bytes)
        }
        IpAddr::V6(address) => nd::announcement(address, mac, is_router),
    }
}
