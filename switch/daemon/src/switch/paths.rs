//! The paths' MTUs, published.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use super::{Switch, TICK};
use crate::slowpath::path_mtu::{Learnt, paths::Counts};

/// Publishing may take this part of the control thread's time: with many nodes, each time is long.
const PUBLISHING_SHARE: u32 = 10;
/// Changes that are told one by one; of more, how many there were.
const TOLD_MAX: usize = 8;

impl Switch {
    /// Publishes what is held to on the ways to other nodes, if it has changed: at most once in a tick, however many
    /// messages come and whoever sends them. What comes meanwhile waits for the next.
    pub fn publish_path_mtus(&mut self) {
        let now = Instant::now();
        if self.peer_watch.path_mtus_wait.is_some_and(|wait| now < wait) {
            return;
        }
        let Some(changes) = self.runtime.path_mtus.lock().changes() else { return };
        let wanted: BTreeMap<IpAddr, u32> =
            changes.iter().map(|(peer, learnt)| (*peer, learnt.mtu)).collect();
        if wanted == self.facts.path_mtus {
            return;
        }
        self.tell_path_mtus(&changes);
        self.facts.path_mtus = wanted;
        self.publish();
        self.peer_watch.path_mtus_wait = Some(now + TICK.max(now.elapsed() * PUBLISHING_SHARE));
    }

    fn tell_path_mtus(&self, changes: &BTreeMap<IpAddr, Learnt>) {
        let old = &self.facts.path_mtus;
        let news: Vec<_> =
            changes.iter().filter(|(peer, learnt)| old.get(peer) != Some(&learnt.mtu)).collect();
        for (peer, Learnt { mtu, router, state, .. }) in news.iter().take(TOLD_MAX) {
            tracing::info!(%peer, mtu, %router, state = state.word(), "path MTU");
        }
        if news.len() > TOLD_MAX {
            tracing::info!(more = news.len() - TOLD_MAX, "path MTUs of other peers");
        }
        for peer in old.keys().filter(|peer| !changes.contains_key(*peer)).take(TOLD_MAX) {
            tracing::info!(%peer, "path MTU forgotten: no router repeats it");
        }
    }

    /// What is known of the way to an address of the underlay.
    pub fn path_mtu(&self, address: IpAddr) -> Option<Learnt> {
        self.runtime.path_mtus.lock().learnt(address)
    }

    /// What was said of paths so far, and what was made of it.
    pub fn path_mtu_counts(&self) -> Counts {
        self.runtime.path_mtus.lock().counts()
    }
}
