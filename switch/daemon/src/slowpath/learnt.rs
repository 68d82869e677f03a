//! Learnt addresses on their way to the control thread: they wait by whom they were learnt from, each once, so that whoever
//! makes addresses up fills nobody's place but their own.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use weft_dataplane::{mailbox::Learn, share::Source};

/// Addresses of one sender that may wait.
const EACH_MAX: usize = 1024;
/// Addresses that go to the control thread at once.
const BATCH: usize = 1024;

/// Addresses that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    senders: BTreeMap<Source, HashSet<Learn>>,
}

impl Waiting {
    /// Takes one in. False: too many of its sender wait.
    pub fn add(&mut self, learn: Learn) -> bool {
        let own = self.senders.entry(Source::at(learn.origin, learn.vlan)).or_default();
        if own.len() >= EACH_MAX {
            return own.contains(&learn);
        }
        own.insert(learn);
        true
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    /// The next batch: as many of each sender, or all of one that has fewer.
    pub fn take(&mut self) -> Vec<Learn> {
        let each = (BATCH / self.senders.len().max(1)).max(1);
        let mut batch = Vec::new();
        self.senders.retain(|_, own| {
            if own.len() <= each {
                batch.extend(own.drain());
                return false;
            }
            let next: Vec<Learn> = own.iter().copied().take(each).collect();
            own.retain(|learn| !next.contains(learn));
            batch.extend(next);
            true
        });
        batch
    }
}

#[cfg(test)]
mod tests {
    use weft_dataplane::key::Origin;
    use weft_wire::{Mac, PortId};

    use super::*;

    fn learn(port: u16, mac: u32) -> Learn {
        let [a, b, c, d] = mac.to_be_bytes();
        let origin = Origin::by_port(PortId::from_index(port).expect("few ports"));
        Learn { mac: Mac([2, 0, a, b, c, d]), origin, vlan: 0, refresh: false }
    }

    #[test]
    fn floods_hold_nobody_up() {
        let mut waiting = Waiting::default();
        for mac in 0..100_000 {
            let is_taken = waiting.add(learn(1 + (mac % 3) as u16, mac));
            assert_eq!(is_taken, mac < 3 * EACH_MAX as u32);
        }
        assert!(waiting.add(learn(0, 7)) && waiting.add(learn(0, 7)));
        let batch = waiting.take();
        assert_eq!(batch.len(), 1 + 3 * (BATCH / 4));
        assert_eq!(batch.iter().filter(|other| **other == learn(0, 7)).count(), 1, "each once");
        let mut rest = 0;
        while !waiting.is_empty() {
            rest += waiting.take().len();
        }
        assert_eq!(rest, 3 * (EACH_MAX - BATCH / 4));
    }
}
