//! The per-core flow table: exact match, one probe per packet, and one cache line for most flows.
//!
//! IPv6 keys need seven words, all others four: each kind has a [`shelf`] of its own, whose memory is reserved for the
//! configured size and touched only as flows come. Programs are held once ([`programs`]); a flow names its own by number.
//!
//! A cursor walks the slots, a bounded piece per turn, to forget idle flows: no timer per flow, no stall. A full table
//! means that new flows are resolved packet by packet until old ones expire.

mod programs;
mod shelf;

use programs::Programs;
use shelf::Shelf;
pub use shelf::State;

use crate::{
    key::{FlowKey, HashSecret, NARROW, WIDE},
    program::Program,
};

/// A flow, for people and for housekeeping.
#[derive(Debug, Clone)]
pub struct FlowEntry {
    /// What identifies it.
    pub key: FlowKey,
    /// What to do with its packets.
    pub program: Program,
    /// What has become of it.
    pub state: State,
}

/// One thread's flows.
#[derive(Debug)]
pub struct FlowTable {
    secret: HashSecret,
    narrow: Shelf<NARROW>,
    wide: Shelf<WIDE>,
    programs: Programs,
    capacity: usize,
    cursor: usize,
}

/// Where a flow may be: a slot's number, or none that there is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place(u32);

/// Whether a flow was put into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It is there now.
    Yes,
    /// The table is full.
    TableFull,
}

impl FlowTable {
    /// A table for up to `capacity` flows; `huge` asks for huge pages.
    pub fn new(capacity: usize, secret: HashSecret, huge: bool) -> std::io::Result<Self> {
        let capacity = capacity.max(1);
        let (narrow, wide) = (Shelf::new(capacity, huge)?, Shelf::new(capacity, huge)?);
        Ok(Self { secret, narrow, wide, programs: Programs::default(), capacity, cursor: 0 })
    }

    /// Flows in it.
    pub fn len(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    /// No flow in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key's hash under this table's secret.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.secret.hash(key)
    }

    /// The secret of its hash.
    #[inline]
    pub fn secret(&self) -> &HashSecret {
        &self.secret
    }

    /// Whether what [`FlowTable::locate`] reads has outgrown the core's own cache, so that prefetching it pays.
    #[inline]
    pub fn is_far(&self) -> bool {
        self.narrow.is_far() || self.wide.is_far()
    }

    /// Before [`FlowTable::locate`]: starts to fetch what that reads.
    #[inline]
    pub fn prefetch(&self, hash: u64, key: &FlowKey) {
        if key.is_wide() { self.wide.prefetch(hash) } else { self.narrow.prefetch(hash) }
    }

    /// Where the flow probably is; what is there is being fetched.
    #[inline]
    pub fn locate(&self, hash: u64, key: &FlowKey) -> Place {
        let slot = if key.is_wide() { self.wide.locate(hash) } else { self.narrow.locate(hash) };
        Place(slot.map_or(u32::MAX, |slot| slot as u32))
    }

    /// The flow's state and program, whatever its generation, if it is where [`FlowTable::locate`] said. Where that was
    /// wrong, [`FlowTable::find`] knows; a slot that another flow has taken meanwhile tells so by its key.
    #[inline(always)]
    pub fn at(&mut self, place: Place, key: &FlowKey) -> Option<(&mut State, &Program)> {
        let slot = place.0 as usize;
        let state = if key.is_wide() {
            self.wide.state_at(slot, key.words())?
        } else {
            self.narrow.state_at(slot, key.narrow())?
        };
        let program = self.programs.get(state.program);
        Some((state, program))
    }

    /// The flow's state and program, whatever its generation.
    pub fn find(&mut self, hash: u64, key: &FlowKey) -> Option<(&mut State, &Program)> {
        let state = if key.is_wide() {
            let slot = self.wide.find(hash, key.words())?;
            self.wide.state_mut(slot)
        } else {
            let slot = self.narrow.find(hash, key.narrow())?;
            self.narrow.state_mut(slot)
        };
        let program = self.programs.get(state.program);
        Some((state, program))
    }

    /// Puts a flow in, or gives the one with its key a new program; counts on from there.
    pub fn install(&mut self, hash: u64, key: &FlowKey, program: Program, state: State) -> Installed {
        let state = State { program: self.programs.acquire(program), ..state };
        if let Some((old, _)) = self.find(hash, key) {
            let before = *old;
            *old =
                State { packets: before.packets + state.packets, bytes: before.bytes + state.bytes, ..state };
            self.programs.release(before.program);
            return Installed::Yes;
        }
        let secret = &self.secret;
        let fits = self.narrow.len() + self.wide.len() < self.capacity;
        let is_in = fits
            && if key.is_wide() {
                self.wide.insert(hash, key.words(), state, |words| secret.hash_wide(words))
            } else {
                self.narrow.insert(hash, key.narrow(), state, |words| secret.hash_narrow(words))
            };
        if is_in {
            return Installed::Yes;
        }
        self.programs.release(state.program);
        Installed::TableFull
    }

    /// Walks the next `n` slots: forgets flows that no packet came for since more than `idle_ms`, and calls `live` for
    /// those that are left.
    pub fn sweep(&mut self, n: usize, now_ms: u32, idle_ms: u32, mut live: impl FnMut(&FlowEntry)) {
        for _ in 0..n.min(self.slots()) {
            if self.cursor >= self.slots() {
                self.cursor = 0;
            }
            let slot = self.cursor;
            self.cursor += 1;
            let Some(entry) = self.entry(slot) else { continue };
            if now_ms.wrapping_sub(entry.state.used_ms) <= idle_ms {
                live(&entry);
                continue;
            }
            self.programs.release(entry.state.program);
            match slot.checked_sub(self.narrow_slots()) {
                None => self.narrow.remove(slot),
                Some(slot) => self.wide.remove(slot),
            }
        }
    }

    fn narrow_slots(&self) -> usize {
        self.narrow.buckets() * shelf::SLOTS
    }

    /// Slots that [`FlowTable::sweep`] has to walk for a full round. Grows with the number of flows.
    pub fn slots(&self) -> usize {
        self.narrow_slots() + self.wide.buckets() * shelf::SLOTS
    }

    fn entry(&self, slot: usize) -> Option<FlowEntry> {
        let (key, state) = match slot.checked_sub(self.narrow_slots()) {
            None => self.narrow.get(slot).map(|(words, state)| (widened(words), state))?,
            Some(slot) => self.wide.get(slot).map(|(words, state)| (FlowKey::from_words(*words), state))?,
        };
        Some(FlowEntry { key, program: *self.programs.get(state.program), state: *state })
    }

    /// The flows in up to `n` slots from `from` on, and where to go on; `None` when that was the end.
    pub fn dump(&self, from: usize, n: usize) -> (Vec<FlowEntry>, Option<usize>) {
        let end = from.saturating_add(n).min(self.slots());
        let flows = (from..end).filter_map(|slot| self.entry(slot)).collect();
        (flows, (end < self.slots()).then_some(end))
    }
}

fn widened(&[a, b, c, d]: &[u64; NARROW]) -> FlowKey {
    FlowKey::from_words([a, b, c, d, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::IpAddr};

    use proptest::prelude::*;
    use weft_wire::ethertype;

    use super::*;
    use crate::{program::Verdict, reason::DropReason};

    /// Flow `n`: every third one is IPv6.
    fn key(n: u32) -> FlowKey {
        let mut key = FlowKey::default();
        key.ethertype = if n.is_multiple_of(3) { ethertype::IPV6 } else { ethertype::IPV4 };
        key.set_src(IpAddr::from([0, 0, 0, 0, 0, 0, (n >> 16) as u16, n as u16]));
        key.set_src(IpAddr::from(n.to_be_bytes()));
        key
    }

    fn number(key: &FlowKey) -> u32 {
        u128::from_be_bytes(key.src()) as u32
    }

    fn table(capacity: usize) -> FlowTable {
        FlowTable::new(
            capacity,
            HashSecret::new([
                0x9e37_79b9_7f4a_7c15,
                0xc2b2_ae3d_27d4_eb4f,
                0x1656_67b1_9e37_79f9,
                0x27d4_eb2f_1656_67c5,
            ]),
            false,
        )
        .unwrap()
    }

    fn install(table: &mut FlowTable, n: u32, used_ms: u32) -> Installed {
        let reason = DropReason::ALL[n as usize % DropReason::COUNT];
        let (key, program) = (key(n), Program::end(Verdict::Drop(reason)));
        table.install(table.hash(&key), &key, program, State::first(60, 1, used_ms))
    }

    proptest! {
        /// The table holds what a `BTreeMap` with the same limit holds, whatever is installed, found and swept.
        #[test]
        fn agrees_with_a_map(operations in proptest::collection::vec((0u8..4, 0u32..40, 0u32..100), 1..300)) {
            const CAPACITY: usize = 20;
            const NOW: u32 = 1000;
            let mut table = table(CAPACITY);
            let mut map: BTreeMap<u32, u32> = BTreeMap::new();
            for (operation, n, time) in operations {
                let key = key(n);
                let hash = table.hash(&key);
                if operation == 0 {
                    table.sweep(usize::MAX, NOW, NOW - time, |_| {});
                    map.retain(|_, used| *used >= time);
                } else if operation == 1 {
                    prop_assert_eq!(table.find(hash, &key).map(|(state, _)| state.used_ms), map.get(&n).copied());
                } else {
                    let fits = map.contains_key(&n) || map.len() < CAPACITY;
                    prop_assert_eq!(install(&mut table, n, time) == Installed::Yes, fits);
                    if fits {
                        map.insert(n, time);
                    }
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let (all, end) = table.dump(0, usize::MAX);
            prop_assert_eq!(end, None);
            let dumped: BTreeMap<u32, u32> = all.iter().map(|entry| (number(&entry.key), entry.state.used_ms)).collect();
            prop_assert_eq!(dumped, map);
        }
    }

    /// Through many splits no flow is lost, takes another's program or is there twice, and all room can be used.
    #[test]
    fn grows_without_losing_a_flow() {
        const FLOWS: u32 = 200_000;
        let mut table = table(FLOWS as usize);
        for n in 0..FLOWS {
            assert_eq!(install(&mut table, n, n), Installed::Yes, "flow {n}");
        }
        assert_eq!(install(&mut table, FLOWS, 0), Installed::TableFull);
        for n in 0..FLOWS {
            let key = key(n);
            let (state, program) = table.find(table.hash(&key), &key).expect("installed above");
            assert_eq!(state.used_ms, n);
            assert_eq!(program.verdict(), Verdict::Drop(DropReason::ALL[n as usize % DropReason::COUNT]));
        }
        assert_eq!(table.dump(0, usize::MAX).0.len(), FLOWS as usize);
        table.sweep(usize::MAX, FLOWS, 0, |_| {});
        assert!(table.is_empty());
    }
}
