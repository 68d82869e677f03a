//! Routes to other nodes and their pods: changed where peers have changed, kept where not.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;
use weft_dataplane::table::routes::{Route, Routes};
use weft_wire::PeerId;

use super::PeerFacts;
use crate::desired::{Desired, Peer};

/// The routes, and whose they are.
#[derive(Debug)]
pub(super) struct Remote {
    routes: Arc<Routes>,
    /// By number: as their routes are now.
    peers: Vec<Option<Arc<Peer>>>,
}

impl Default for Remote {
    fn default() -> Self {
        Self { routes: Arc::new(Routes::large()), peers: Vec::new() }
    }
}

impl Remote {
    /// The routes to what is meant now.
    pub(super) fn routes(&mut self, desired: &Desired, known: &[PeerFacts]) -> Arc<Routes> {
        let count = known.iter().map(|known| known.id.index() + 1).max().unwrap_or(0);
        let mut peers = vec![None; count];
        for (peer, known) in desired.peers.iter().zip(known) {
            peers[known.id.index()] = Some(peer.clone());
        }
        let changed: BTreeSet<usize> =
            (0..count.max(self.peers.len())).filter(|&at| !is_alike(at, &self.peers, &peers)).collect();
        if !changed.is_empty() {
            let routes = Arc::make_mut(&mut self.routes);
            // All that go first: a prefix may have gone from one to the other.
            for (_, prefix) in changed.iter().flat_map(|&at| prefixes(at, &self.peers)) {
                routes.remove(prefix);
            }
            for (id, prefix) in changed.iter().flat_map(|&at| prefixes(at, &peers)) {
                routes.insert(prefix, Route::Peer(id));
            }
        }
        self.peers = peers;
        self.routes.clone()
    }
}

fn at(index: usize, peers: &[Option<Arc<Peer>>]) -> Option<&Peer> {
    peers.get(index)?.as_deref()
}

fn is_alike(index: usize, old: &[Option<Arc<Peer>>], new: &[Option<Arc<Peer>>]) -> bool {
    match (at(index, old), at(index, new)) {
        (Some(old), Some(new)) => {
            std::ptr::eq(old, new)
                || old.address == new.address
                    && old.addresses == new.addresses
                    && old.prefixes == new.prefixes
        }
        (old, new) => old.is_none() && new.is_none(),
    }
}

/// Its pods' prefixes and its own addresses.
fn prefixes(index: usize, peers: &[Option<Arc<Peer>>]) -> impl Iterator<Item = (PeerId, IpNet)> {
    let all = at(index, peers)
        .into_iter()
        .flat_map(|peer| peer.prefixes.iter().copied().chain(peer.own_addresses().map(IpNet::from)));
    all.map(move |prefix| (PeerId(index as u16), prefix))
}
