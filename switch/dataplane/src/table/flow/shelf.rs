//! Buckets of eight slots, two of which may hold a key (two-choice hashing; Azar et al. 1994). A bucket's tags, 16 bits of
//! each key's hash, lie apart from the slots: a lookup that hits reads one line of tags, which mostly are in cache, and
//! the one slot that holds the key; one that misses reads no slot at all.
//!
//! Growth is linear hashing (Litwin 1980) in memory reserved from the start: buckets are split one by one, each moving at
//! most eight slots, so no packet waits while a table is copied. A round of splits, once begun, goes on with every
//! insertion until the number of buckets has doubled: those not yet split would be overfull if it took its time.
//!
//! **Invariants:** a slot is in use iff its tag is not zero; a key is in one of its two buckets, once; buckets at and
//! behind [`Shelf::buckets`] are empty.

use weft_pmd::{Pages, simd, sys};
use zerocopy::FromZeros;

/// Slots of a bucket.
pub(super) const SLOTS: usize = 8;
/// Buckets at the start, a power of two.
const FIRST: usize = 64;
/// Buckets split at each insertion during a round: it ends before the number of keys has grown by 5 %.
const SPLITS: usize = 4;
/// A round of splits begins when more than this share of all slots is in use.
const LOAD: (usize, usize) = (3, 4);

/// What is remembered of a flow beside its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromZeros)]
#[repr(C)]
pub struct State {
    /// Packets so far.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The generation under which its program was decided; the low half, which the idle timeout outruns.
    pub generation: u32,
    /// When its last packet came, milliseconds, wrapping.
    pub used_ms: u32,
    /// Which program: [`super::programs::Programs`].
    pub(super) program: u32,
    pub(super) spare: u32,
}

impl State {
    /// Of a flow whose first packet has just come.
    pub fn first(bytes: u64, generation: u32, used_ms: u32) -> Self {
        Self { packets: 1, bytes, generation, used_ms, program: 0, spare: 0 }
    }

    /// One packet more.
    #[inline]
    pub fn count(&mut self, bytes: u64, now_ms: u32) {
        self.used_ms = now_ms;
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// One flow: one cache line for a narrow key, two for a wide one.
#[derive(Debug, FromZeros)]
#[repr(C)]
struct Slot<const W: usize> {
    key: [u64; W],
    state: State,
}

/// Room for one slot, on its own cache lines.
#[derive(Debug, FromZeros)]
#[repr(C, align(64))]
struct Line<const W: usize>(Slot<W>);

const _: () = assert!(size_of::<Line<4>>() == 64 && size_of::<Line<7>>() == 128);

/// The tags of one bucket.
#[derive(Debug, Clone, Copy, FromZeros)]
#[repr(C, align(16))]
struct Tags([u16; SLOTS]);

impl Tags {
    /// One bit for each slot whose tag it is.
    #[inline]
    fn matching(&self, tag: u16) -> u32 {
        simd::equal_lanes(&self.0, tag)
    }
}

/// Slots for keys of `W` words.
#[derive(Debug)]
pub(super) struct Shelf<const W: usize> {
    tags: Pages<Tags>,
    slots: Pages<Line<W>>,
    /// Buckets before the present round of splits, a power of two; of these, the first `split` are split.
    level: usize,
    split: usize,
    len: usize,
}

impl<const W: usize> Shelf<W> {
    /// Room for `capacity` keys, taken as it is needed.
    pub(super) fn new(capacity: usize, huge: bool) -> std::io::Result<Self> {
        let buckets = (capacity * LOAD.1 / LOAD.0).div_ceil(SLOTS).next_power_of_two().max(FIRST);
        let (tags, slots) = (Pages::zeroed(buckets, huge)?, Pages::zeroed(buckets * SLOTS, huge)?);
        Ok(Self { tags, slots, level: FIRST, split: 0, len: 0 })
    }

    /// Keys in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Buckets in use.
    pub(super) fn buckets(&self) -> usize {
        self.level + self.split
    }

    #[inline]
    fn bucket(&self, bits: u64) -> usize {
        if self.split == 0 {
            return bits as usize & (self.level - 1);
        }
        let bucket = bits as usize & (2 * self.level - 1);
        if bucket < self.buckets() { bucket } else { bucket - self.level }
    }

    #[inline]
    fn choices(&self, hash: u64) -> [usize; 2] {
        [self.bucket(hash), self.bucket(hash >> 24)]
    }

    /// Whether the tags have outgrown the core's own cache: half of the 1 MiB that today's cores have.
    #[inline]
    pub(super) fn is_far(&self) -> bool {
        const CACHED: usize = (512 << 10) / size_of::<Tags>();
        self.buckets() > CACHED
    }

    /// Starts to fetch the tags that [`Shelf::locate`] reads.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        for bucket in self.choices(hash) {
            sys::prefetch(&self.tags[bucket]);
        }
    }

    /// Where the key of a hash probably is. What is there is being fetched; for a key that is not in, what is where it
    /// would go: a write to a line that is far away holds up all that follow.
    #[inline]
    pub(super) fn locate(&self, hash: u64) -> Option<usize> {
        let choices = self.choices(hash);
        let found = self.matching(choices, tag(hash));
        let at = if found != 0 { Some(slot(choices, found)) } else { self.room(choices) };
        let line = &self.slots[at?];
        sys::prefetch(line);
        if size_of::<Line<W>>() > 64 {
            sys::prefetch(&line.0.state.used_ms);
        }
        at.filter(|_| found != 0)
    }

    /// A free slot in the emptier of two buckets.
    fn room(&self, [first, second]: [usize; 2]) -> Option<usize> {
        let [in_first, in_second] = [first, second].map(|bucket| self.tags[bucket].matching(0));
        let (bucket, free) = if in_first.count_ones() >= in_second.count_ones() {
            (first, in_first)
        } else {
            (second, in_second)
        };
        (free != 0).then(|| bucket * SLOTS + free.trailing_zeros() as usize)
    }

    /// The state in a slot, if the key is there.
    #[inline]
    pub(super) fn state_at(&mut self, slot: usize, key: &[u64; W]) -> Option<&mut State> {
        let Slot { key: there, state } = &mut self.slots.get_mut(slot)?.0;
        (there == key).then_some(state)
    }

    /// One bit for each slot of both buckets whose tag it is: which of the two has it is as good as random, and would
    /// be guessed wrong every other time by a branch.
    #[inline]
    fn matching(&self, [first, second]: [usize; 2], tag: u16) -> u32 {
        self.tags[first].matching(tag) | self.tags[second].matching(tag) << SLOTS
    }

    /// The key's slot.
    pub(super) fn find(&self, hash: u64, key: &[u64; W]) -> Option<usize> {
        let choices = self.choices(hash);
        let mut found = self.matching(choices, tag(hash));
        while found != 0 {
            let slot = slot(choices, found);
            if self.slots[slot].0.key == *key {
                return Some(slot);
            }
            found &= found - 1;
        }
        None
    }

    /// The state in a slot.
    #[inline]
    pub(super) fn state_mut(&mut self, slot: usize) -> &mut State {
        &mut self.slots[slot].0.state
    }

    /// A slot's key and state, if it is in use.
    pub(super) fn get(&self, slot: usize) -> Option<(&[u64; W], &State)> {
        let in_use = self.tags[slot / SLOTS].0[slot % SLOTS] != 0;
        in_use.then(|| (&self.slots[slot].0.key, &self.slots[slot].0.state))
    }

    /// Puts in a key that is not in it; false when there is no room. `hash_of` is the hash of any key.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: &[u64; W],
        state: State,
        hash_of: impl Fn(&[u64; W]) -> u64,
    ) -> bool {
        if self.split > 0 || (self.len + 1) * LOAD.1 > self.buckets() * SLOTS * LOAD.0 {
            for _ in 0..SPLITS {
                self.split(&hash_of);
            }
        }
        let choices = self.choices(hash);
        let make_room =
            |shelf: &mut Self| choices.into_iter().find_map(|bucket| shelf.make_room(bucket, &hash_of));
        let slot = self.room(choices).or_else(|| make_room(self));
        let Some(slot) = slot else { return false };
        self.slots[slot].0 = Slot { key: *key, state };
        self.tags[slot / SLOTS].0[slot % SLOTS] = tag(hash);
        self.len += 1;
        true
    }

    /// Moves a key of a full bucket to its other one, if that has room; the slot that is free then.
    #[cold]
    fn make_room(&mut self, bucket: usize, hash_of: impl Fn(&[u64; W]) -> u64) -> Option<usize> {
        for old in bucket * SLOTS..(bucket + 1) * SLOTS {
            for other in self.choices(hash_of(&self.slots[old].0.key)) {
                let free = self.tags[other].matching(0);
                if free != 0 {
                    self.transfer(old, other * SLOTS + free.trailing_zeros() as usize);
                    return Some(old);
                }
            }
        }
        None
    }

    fn transfer(&mut self, old: usize, new: usize) {
        let Slot { key, state } = self.slots[old].0;
        self.slots[new].0 = Slot { key, state };
        let tag = std::mem::take(&mut self.tags[old / SLOTS].0[old % SLOTS]);
        self.tags[new / SLOTS].0[new % SLOTS] = tag;
    }

    /// Takes a slot's key out.
    pub(super) fn remove(&mut self, slot: usize) {
        self.tags[slot / SLOTS].0[slot % SLOTS] = 0;
        self.len -= 1;
    }

    /// One more bucket: it takes those keys of the next one to split that belong to it now.
    fn split(&mut self, hash_of: impl Fn(&[u64; W]) -> u64) {
        let (from, to) = (self.split, self.buckets());
        if to == self.tags.len() {
            return;
        }
        self.split += 1;
        if self.split == self.level {
            (self.level, self.split) = (2 * self.level, 0);
        }
        for i in 0..SLOTS {
            let (old, new) = (from * SLOTS + i, to * SLOTS + i);
            if self.tags[from].0[i] != 0 && !self.choices(hash_of(&self.slots[old].0.key)).contains(&from) {
                self.transfer(old, new);
            }
        }
    }
}

/// The slot that the lowest bit of `found` names.
#[inline]
fn slot([first, second]: [usize; 2], found: u32) -> usize {
    let bit = found.trailing_zeros() as usize;
    if bit < SLOTS { first * SLOTS + bit } else { second * SLOTS + bit - SLOTS }
}

/// Zero is for empty slots.
#[inline]
fn tag(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}
