//! The per-core flow table: exact match, one probe per packet.
//!
//! Entries lie in a slab; a hash table of their places finds them. The slab is walked by a cursor, a bounded piece per
//! turn, to forget idle entries: no timer per flow, no stall. The size is fixed when the thread starts, so nothing ever
//! grows under traffic; a full table means that new flows are resolved packet by packet until old ones expire.

use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    key::{FlowKey, HashSecret},
    program::Program,
};

/// A flow.
#[derive(Debug, Clone)]
pub struct FlowEntry {
    /// What identifies it.
    pub key: FlowKey,
    /// What to do with its packets.
    pub program: Program,
    /// The generation under which that was decided.
    pub generation: u64,
    /// When its last packet came, nanoseconds.
    pub used_ns: u64,
    /// Packets so far.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug)]
enum Slot {
    Free { next: Option<u32> },
    Used(FlowEntry),
}

/// One thread's flows.
#[derive(Debug)]
pub struct FlowTable {
    secret: HashSecret,
    places: HashTable<u32>,
    slots: Vec<Slot>,
    first_free: Option<u32>,
    capacity: usize,
    cursor: usize,
}

/// Whether a flow was put into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It is there now.
    Yes,
    /// The table is full.
    TableFull,
}

impl FlowTable {
    /// A table for up to `capacity` flows.
    pub fn new(capacity: usize, secret: HashSecret) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize);
        Self {
            secret,
            places: HashTable::with_capacity(capacity),
            slots: Vec::with_capacity(capacity),
            first_free: None,
            capacity,
            cursor: 0,
        }
    }

    /// Flows in it.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// No flow in it.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The key's hash under this table's secret.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.secret.hash(key)
    }

    /// The flow's entry, whatever its generation.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &FlowKey) -> Option<&mut FlowEntry> {
        let slots = &self.slots;
        let place =
            *self.places.find(hash, |&place| entry(slots, place).is_some_and(|entry| entry.key == *key))?;
        match &mut self.slots[place as usize] {
            Slot::Used(entry) => Some(entry),
            Slot::Free { .. } => None,
        }
    }

    /// Puts a flow in, or replaces the one with its key.
    pub fn install(&mut self, hash: u64, new: FlowEntry) -> Installed {
        if let Some(old) = self.find(hash, &new.key) {
            *old = FlowEntry { packets: old.packets + new.packets, bytes: old.bytes + new.bytes, ..new };
            return Installed::Yes;
        }
        let Some(place) = self.take_slot(new) else { return Installed::TableFull };
        let (slots, secret) = (&self.slots, &self.secret);
        self.places.insert_unique(hash, place, |&place| {
            entry(slots, place).map_or(0, |entry| secret.hash(&entry.key))
        });
        Installed::Yes
    }

    fn take_slot(&mut self, new: FlowEntry) -> Option<u32> {
        if let Some(place) = self.first_free {
            let Slot::Free { next } = std::mem::replace(&mut self.slots[place as usize], Slot::Used(new))
            else {
                unreachable!("the free list holds free slots only")
            };
            self.first_free = next;
            return Some(place);
        }
        (self.slots.len() < self.capacity).then(|| {
            self.slots.push(Slot::Used(new));
            self.slots.len() as u32 - 1
        })
    }

    fn remove(&mut self, place: u32) {
        let Some(entry) = entry(&self.slots, place) else { return };
        let hash = self.secret.hash(&entry.key);
        if let Entry::Occupied(found) = self.places.entry(hash, |&other| other == place, |_| 0) {
            found.remove();
        }
        self.slots[place as usize] = Slot::Free { next: self.first_free };
        self.first_free = Some(place);
    }

    /// Walks the next `n` slots: forgets flows unused since `horizon_ns`, and calls `live` for those that are left.
    pub fn sweep(&mut self, n: usize, horizon_ns: u64, mut live: impl FnMut(&FlowEntry)) {
        for _ in 0..n.min(self.slots.len()) {
            if self.cursor >= self.slots.len() {
                self.cursor = 0;
            }
            let place = self.cursor as u32;
            self.cursor += 1;
            match entry(&self.slots, place) {
                Some(entry) if entry.used_ns < horizon_ns => self.remove(place),
                Some(entry) => live(entry),
                None => {}
            }
        }
    }

    /// Slots that [`FlowTable::sweep`] has to walk for a full round.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The flows in up to `n` slots from `from` on, and where to go on; `None` when that was the end.
    pub fn dump(&self, from: usize, n: usize) -> (Vec<FlowEntry>, Option<usize>) {
        let end = from.saturating_add(n).min(self.slots.len());
        let flows = (from..end).filter_map(|place| entry(&self.slots, place as u32).cloned()).collect();
        (flows, (end < self.slots.len()).then_some(end))
    }
}

fn entry(slots: &[Slot], place: u32) -> Option<&FlowEntry> {
    match &slots[place as usize] {
        Slot::Used(entry) => Some(entry),
        Slot::Free { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{program::Verdict, reason::DropReason};

    fn flow(port: u16, used_ns: u64) -> FlowEntry {
        let mut key = FlowKey::default();
        key.src_port = port;
        FlowEntry {
            key,
            program: Program::end(Verdict::Drop(DropReason::Rule)),
            generation: 1,
            used_ns,
            packets: 1,
            bytes: 60,
        }
    }

    proptest! {
        /// The table holds what a `BTreeMap` with the same limit holds, whatever is installed, found and swept.
        #[test]
        fn agrees_with_a_map(operations in proptest::collection::vec((0u8..4, 0u16..40, 0u64..100), 1..300)) {
            const CAPACITY: usize = 20;
            let mut table = FlowTable::new(CAPACITY, HashSecret::new([1, 2, 3, 4]));
            let mut map: BTreeMap<u16, u64> = BTreeMap::new();
            for (operation, port, time) in operations {
                let new = flow(port, time);
                let hash = table.hash(&new.key);
                if operation == 0 {
                    table.sweep(usize::MAX, time, |_| {});
                    map.retain(|_, used| *used >= time);
                } else if operation == 1 {
                    prop_assert_eq!(table.find(hash, &new.key).map(|entry| entry.used_ns), map.get(&port).copied());
                } else {
                    let fits = map.contains_key(&port) || map.len() < CAPACITY;
                    prop_assert_eq!(table.install(hash, new) == Installed::Yes, fits);
                    if fits {
                        map.insert(port, time);
                    }
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let (all, end) = table.dump(0, usize::MAX);
            prop_assert_eq!(end, None);
            let dumped: BTreeMap<u16, u64> = all.iter().map(|entry| (entry.key.src_port, entry.used_ns)).collect();
            prop_assert_eq!(dumped, map);
        }
    }
}
