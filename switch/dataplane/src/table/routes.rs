//! Where an address leads: the longest prefix that holds it. Read by `resolve` only, so it is made for change: a copy
//! shares all but what is written to afterwards.
//!
//! One exact table for all prefixes of all lengths, asked for each length that occurs, longest first (Waldvogel et al.,
//! "Scalable High Speed IP Routing Lookups", 1997, without the binary search: clusters use a handful of lengths).

use std::{hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};
use ipnet::IpNet;
use weft_wire::{NetworkId, PeerId, PortId, ip};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A pod of this node.
    Endpoint {
        /// Its network.
        network: NetworkId,
        /// The port it is behind.
        port: PortId,
        /// Index of the rewrite that makes a frame the pod's.
        rewrite: u16,
    },
    /// The switch itself, as gateway of a network.
    Gateway {
        /// The network.
        network: NetworkId,
    },
    /// The node itself.
    Node,
    /// Another node, or pods on it.
    Peer(PeerId),
    /// A local prefix without a pod at that address.
    Unreachable,
}

/// Shards of a large table, of which a change copies those that it touches: with 100,000 prefixes each has two hundred.
const SHARDS: usize = 512;

/// A prefix of mapped addresses: an IPv4 one has 96 bits more than its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Prefix {
    address: u128,
    bits: u8,
}

impl Prefix {
    fn new(prefix: IpNet) -> Self {
        let mapped = if prefix.addr().is_ipv4() { 96 } else { 0 };
        Self::of(u128::from_be_bytes(ip::mapped(prefix.addr())), mapped + prefix.prefix_len())
    }

    fn of(address: u128, bits: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        Self { address: address & mask, bits }
    }
}

type Shard = HashTable<(Prefix, Route)>;

/// How many prefixes of an address family have each length, and which lengths there are, longest first.
#[derive(Debug, Clone)]
struct Lengths {
    counts: [u32; 129],
    present: Vec<u8>,
}

impl Lengths {
    fn none() -> Self {
        Self { counts: [0; 129], present: Vec::new() }
    }

    fn count(&mut self, bits: u8, by: i32) {
        let count = &mut self.counts[usize::from(bits)];
        let before = std::mem::replace(count, count.wrapping_add_signed(by));
        if (before == 0) != (*count == 0) {
            self.present = (0..=128u8).rev().filter(|bits| self.counts[usize::from(*bits)] > 0).collect();
        }
    }
}

/// Routes. Cloning is cheap, and so is a change of the clone.
#[derive(Debug, Clone)]
pub struct Routes {
    shards: Vec<Arc<Shard>>,
    hasher: DefaultHashBuilder,
    v4: Lengths,
    v6: Lengths,
}

impl Default for Routes {
    /// An empty one for few prefixes: in one piece, which stays in the cache.
    fn default() -> Self {
        Self::in_shards(1)
    }
}

impl Routes {
    /// An empty one for very many prefixes.
    pub fn large() -> Self {
        Self::in_shards(SHARDS)
    }

    fn in_shards(count: usize) -> Self {
        let hasher = DefaultHashBuilder::default();
        Self { shards: vec![Arc::default(); count], hasher, v4: Lengths::none(), v6: Lengths::none() }
    }

    /// Adds a prefix; returns the route that it had.
    pub fn insert(&mut self, prefix: IpNet, route: Route) -> Option<Route> {
        let key = Prefix::new(prefix);
        let hash = self.hasher.hash_one(key);
        let hasher = &self.hasher;
        let at = shard_of(hash, self.shards.len());
        let shard = Arc::make_mut(&mut self.shards[at]);
        if let Some((_, old)) = shard.find_mut(hash, |(other, _)| *other == key) {
            return Some(std::mem::replace(old, route));
        }
        shard.insert_unique(hash, (key, route), |(other, _)| hasher.hash_one(other));
        self.lengths(prefix).count(key.bits, 1);
        None
    }

    /// Takes a prefix out; returns the route that it had.
    pub fn remove(&mut self, prefix: IpNet) -> Option<Route> {
        let key = Prefix::new(prefix);
        let hash = self.hasher.hash_one(key);
        let at = shard_of(hash, self.shards.len());
        let shard = Arc::make_mut(&mut self.shards[at]);
        let ((_, route), _) = shard.find_entry(hash, |(other, _)| *other == key).ok()?.remove();
        self.lengths(prefix).count(key.bits, -1);
        Some(route)
    }

    fn lengths(&mut self, prefix: IpNet) -> &mut Lengths {
        if prefix.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    /// The longest prefix that holds a mapped address: its length in bits of mapped addresses, and its route.
    pub fn lookup(&self, address: [u8; 16]) -> Option<(u8, Route)> {
        let lengths = if ip::unmapped(address).is_ipv4() { &self.v4 } else { &self.v6 };
        let address = u128::from_be_bytes(address);
        lengths.present.iter().find_map(|&bits| {
            let key = Prefix::of(address, bits);
            let hash = self.hasher.hash_one(key);
            let found = self.shards[shard_of(hash, self.shards.len())].find(hash, |(other, _)| *other == key);
            found.map(|(_, route)| (bits, *route))
        })
    }
}

/// By bits that the table within does not use: it takes the lowest and the highest.
fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 40) as usize & (shards - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few bits, so that prefixes lie within each other.
    fn prefixes() -> impl Strategy<Value = IpNet> {
        let v4 = (0u32..16, 24u8..=32).prop_map(|(host, len)| IpNet::new([10, 0, 0, host as u8].into(), len));
        let v6 = (0u16..16, 0u8..=128)
            .prop_map(|(host, len)| IpNet::new([0xfd00, 0, 0, 0, 0, 0, 0, host].into(), len));
        prop_oneof![v4, v6].prop_map(|prefix| prefix.expect("a length that fits").trunc())
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins_and_clones_are_apart(
            before in prop::collection::vec(prefixes(), 0..20),
            changes in prop::collection::vec((prefixes(), any::<bool>()), 0..20),
            host in 0u16..16,
            large in any::<bool>(),
        ) {
            let mut list: Vec<(IpNet, Route)> = Vec::new();
            let mut routes = if large { Routes::large() } else { Routes::default() };
            let route = |i: usize| Route::Peer(PeerId(i as u16));
            for (i, prefix) in before.iter().enumerate() {
                let old = list.iter().position(|(other, _)| other == prefix).map(|at| list.swap_remove(at).1);
                list.push((*prefix, route(i)));
                prop_assert_eq!(routes.insert(*prefix, route(i)), old);
            }
            let (kept, kept_list) = (routes.clone(), list.clone());
            for (i, (prefix, comes)) in changes.iter().enumerate() {
                let old = list.iter().position(|(other, _)| other == prefix).map(|at| list.swap_remove(at).1);
                if *comes {
                    list.push((*prefix, route(100 + i)));
                    prop_assert_eq!(routes.insert(*prefix, route(100 + i)), old);
                } else {
                    prop_assert_eq!(routes.remove(*prefix), old);
                }
            }
            for (routes, list) in [(&routes, &list), (&kept, &kept_list)] {
                for address in [[10, 0, 0, host as u8].into(), [0xfd00, 0, 0, 0, 0, 0, 0, host].into()] {
                    let address: std::net::IpAddr = address;
                    let longest = list.iter().filter(|(prefix, _)| prefix.contains(&address));
                    let longest = longest.max_by_key(|(prefix, _)| prefix.prefix_len());
                    let found = routes.lookup(ip::mapped(address)).map(|(_, route)| route);
                    prop_assert_eq!(found, longest.map(|(_, route)| *route));
                }
            }
        }
    }
}
