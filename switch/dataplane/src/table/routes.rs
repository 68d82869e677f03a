//! Where an address leads: exact addresses first, then the longest prefix. Read by `resolve` only.

use hashbrown::HashMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
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

/// All routes.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<[u8; 16], Route>,
    v4: PrefixMap<Ipv4Net, Route>,
    v6: PrefixMap<Ipv6Net, Route>,
}

impl Routes {
    /// Empty ones, with room for so many exact addresses.
    pub fn with_capacity(exact: usize) -> Self {
        Self { exact: HashMap::with_capacity(exact), ..Self::default() }
    }

    /// Adds a prefix; one that is there already is replaced. A host prefix goes to the exact table.
    pub fn insert(&mut self, prefix: IpNet, route: Route) {
        if prefix.prefix_len() == prefix.max_prefix_len() {
            self.exact.insert(ip::mapped(prefix.addr()), route);
            return;
        }
        match prefix {
            IpNet::V4(prefix) => self.v4.insert(prefix.trunc(), route),
            IpNet::V6(prefix) => self.v6.insert(prefix.trunc(), route),
        };
    }

    /// The prefix that [`Routes::lookup`] finds an address's route by.
    pub fn matched(&self, address: [u8; 16]) -> Option<IpNet> {
        let address = ip::unmapped(address);
        if self.exact.contains_key(&ip::mapped(address)) {
            return Some(address.into());
        }
        match address {
            std::net::IpAddr::V4(v4) => self.v4.get_lpm(&Ipv4Net::from(v4)).map(|(net, _)| IpNet::V4(net)),
            std::net::IpAddr::V6(v6) => self.v6.get_lpm(&Ipv6Net::from(v6)).map(|(net, _)| IpNet::V6(net)),
        }
    }

    /// The route of a mapped address.
    pub fn lookup(&self, address: [u8; 16]) -> Option<Route> {
        if let Some(route) = self.exact.get(&address) {
            return Some(*route);
        }
        match ip::unmapped(address) {
            std::net::IpAddr::V4(v4) => self.v4.get_lpm(&Ipv4Net::from(v4)).map(|(_, route)| *route),
            std::net::IpAddr::V6(v6) => self.v6.get_lpm(&Ipv6Net::from(v6)).map(|(_, route)| *route),
        }
    }
}
