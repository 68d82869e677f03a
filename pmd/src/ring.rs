//! The kernel's single-producer, single-consumer rings (Documentation/networking/af_xdp.rst, "Rings").
//!
//! Each side works in transactions: a [`Writing`] stages entries and publishes them all when it ends, a [`Reading`]
//! takes entries and gives their slots back when it ends. Indices run freely over 32 bits; only slots are masked.
//!
//! # Safety
//! The one invariant: slots from the consumer's index up to the producer's belong to the consumer, all others to the
//! producer. The producer's index is stored with Release after the slots were written and loaded with Acquire before
//! they are read; likewise the consumer's index, the other way round.

use std::ptr::NonNull;

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
};
#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
};

/// A ring's shared memory: the two indices and the slots.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    slots: NonNull<UnsafeCell<T>>,
    mask: u32,
}

// SAFETY: the pointers are to memory shared with the kernel; which side may touch what is the invariant above.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// # Safety
    /// The pointers are valid, and aligned, for as long as the ring is used; `size` slots are there, a power of two;
    /// nobody else in this process uses this side of the ring.
    pub(crate) unsafe fn new(
        producer: NonNull<AtomicU32>,
        consumer: NonNull<AtomicU32>,
        slots: NonNull<UnsafeCell<T>>,
        size: u32,
    ) -> Self {
        debug_assert!(size.is_power_of_two());
        Self { producer, consumer, slots, mask: size - 1 }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid by the contract of `new`.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: valid by the contract of `new`.
        unsafe { self.consumer.as_ref() }
    }

    fn slot(&self, index: u32) -> &UnsafeCell<T> {
        // SAFETY: masked, so inside the slots.
        let slot = unsafe { self.slots.add((index & self.mask) as usize) };
        // SAFETY: valid by the contract of `new`.
        unsafe { slot.as_ref() }
    }

    /// The caller owns the slot, by the ring's invariant.
    fn write(&self, index: u32, value: T) {
        #[cfg(loom)]
        // SAFETY: exclusive, as the caller owns the slot.
        self.slot(index).with_mut(|slot| unsafe { slot.write(value) });
        #[cfg(not(loom))]
        // SAFETY: exclusive, as the caller owns the slot.
        unsafe {
            self.slot(index).get().write(value);
        }
    }

    /// The caller owns the slot, by the ring's invariant.
    fn read(&self, index: u32) -> T {
        #[cfg(loom)]
        // SAFETY: no one writes it while the caller owns it.
        return self.slot(index).with(|slot| unsafe { slot.read() });
        #[cfg(not(loom))]
        // SAFETY: no one writes it while the caller owns it.
        unsafe {
            self.slot(index).get().read()
        }
    }
}

/// The producing side.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Shared<T>,
    head: u32,
    /// The consumer's index as last seen: it only ever moves forward, so that an old value errs on the safe side.
    tail: u32,
}

impl<T: Copy> Producer<T> {
    pub(crate) fn new(ring: Shared<T>) -> Self {
        let head = ring.producer().load(Ordering::Relaxed);
        let tail = ring.consumer().load(Ordering::Acquire);
        Self { ring, head, tail }
    }

    /// Slots that can be written now.
    pub(crate) fn room(&mut self) -> u32 {
        self.tail = self.ring.consumer().load(Ordering::Acquire);
        self.ring.mask + 1 - self.head.wrapping_sub(self.tail)
    }

    /// Entries the consumer has not taken yet.
    pub(crate) fn unread(&self) -> u32 {
        self.head.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }

    /// Begins a transaction.
    pub(crate) fn write(&mut self) -> Writing<'_, T> {
        Writing { producer: self }
    }

    /// Takes back what the consumer has not taken. The consumer must have stopped.
    pub(crate) fn take_back(&mut self) -> Vec<T> {
        let tail = self.ring.consumer().load(Ordering::Acquire);
        let count = self.head.wrapping_sub(tail);
        let entries = (0..count).map(|i| self.ring.read(tail.wrapping_add(i))).collect();
        self.head = tail;
        self.ring.producer().store(tail, Ordering::Release);
        entries
    }
}

/// A transaction of the producer: published when it ends.
#[derive(Debug)]
pub(crate) struct Writing<'a, T: Copy> {
    producer: &'a mut Producer<T>,
}

impl<T: Copy> Writing<'_, T> {
    /// Stages an entry; gives it back when the ring is full.
    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let Producer { ring, head, tail } = self.producer;
        if head.wrapping_sub(*tail) > ring.mask {
            *tail = ring.consumer().load(Ordering::Acquire);
            if head.wrapping_sub(*tail) > ring.mask {
                return Err(value);
            }
        }
        ring.write(*head, value);
        *head = head.wrapping_add(1);
        Ok(())
    }
}

impl<T: Copy> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        self.producer.ring.producer().store(self.producer.head, Ordering::Release);
    }
}

/// The consuming side.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Shared<T>,
    tail: u32,
    head: u32,
}

impl<T: Copy> Consumer<T> {
    pub(crate) fn new(ring: Shared<T>) -> Self {
        let tail = ring.consumer().load(Ordering::Relaxed);
        let head = ring.producer().load(Ordering::Acquire);
        Self { ring, tail, head }
    }

    /// Begins a transaction.
    pub(crate) fn read(&mut self) -> Reading<'_, T> {
        Reading { consumer: self }
    }
}

/// A transaction of the consumer: slots are given back when it ends.
#[derive(Debug)]
pub(crate) struct Reading<'a, T: Copy> {
    consumer: &'a mut Consumer<T>,
}

impl<T: Copy> Reading<'_, T> {
    /// Takes the next entry.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let Consumer { ring, tail, head } = self.consumer;
        if tail == head {
            *head = ring.producer().load(Ordering::Acquire);
            if tail == head {
                return None;
            }
        }
        let value = ring.read(*tail);
        *tail = tail.wrapping_add(1);
        Some(value)
    }
}

impl<T: Copy> Drop for Reading<'_, T> {
    fn drop(&mut self) {
        self.consumer.ring.consumer().store(self.consumer.tail, Ordering::Release);
    }
}

/// The test plays the kernel: the other side of each ring is a `Consumer` or `Producer` over the same plain memory.
#[cfg(test)]
mod tests {
    use super::*;

    struct Memory {
        producer: Box<AtomicU32>,
        consumer: Box<AtomicU32>,
        slots: Box<[UnsafeCell<u64>]>,
    }

    impl Memory {
        fn new(size: u32, start: u32) -> Self {
            Self {
                producer: Box::new(AtomicU32::new(start)),
                consumer: Box::new(AtomicU32::new(start)),
                slots: (0..size).map(|_| UnsafeCell::new(0)).collect(),
            }
        }

        fn shared(&self) -> Shared<u64> {
            let slots = NonNull::new(self.slots.as_ptr().cast_mut()).unwrap();
            // SAFETY: the memory outlives the ring in every test.
            unsafe {
                Shared::new(
                    (&*self.producer).into(),
                    (&*self.consumer).into(),
                    slots,
                    self.slots.len() as u32,
                )
            }
        }
    }

    #[test]
    #[cfg(not(loom))]
    fn order_holds_across_the_wrap_of_indices() {
        let memory = Memory::new(8, u32::MAX - 3);
        let (mut producer, mut consumer) = (Producer::new(memory.shared()), Consumer::new(memory.shared()));
        let (mut next_in, mut next_out) = (0_u64, 0_u64);
        for round in 0..100 {
            let mut writing = producer.write();
            for _ in 0..round % 11 {
                if writing.push(next_in).is_ok() {
                    next_in += 1;
                }
            }
            drop(writing);
            assert_eq!(u64::from(producer.unread()), next_in - next_out);
            assert_eq!(u64::from(producer.room()), 8 - (next_in - next_out));
            let mut reading = consumer.read();
            for _ in 0..round % 7 {
                if let Some(value) = reading.pop() {
                    assert_eq!(value, next_out);
                    next_out += 1;
                }
            }
        }
        assert!(next_out > 100);
        let left = producer.take_back();
        assert_eq!(left, (next_out..next_in).collect::<Vec<_>>());
        assert_eq!(producer.room(), 8);
    }

    #[test]
    #[cfg(not(loom))]
    fn nothing_is_seen_before_it_is_published() {
        let memory = Memory::new(4, 0);
        let (mut producer, mut consumer) = (Producer::new(memory.shared()), Consumer::new(memory.shared()));
        let mut writing = producer.write();
        writing.push(1).unwrap();
        assert_eq!(consumer.read().pop(), None);
        drop(writing);
        assert_eq!(consumer.read().pop(), Some(1));
    }

    /// Two slots, three entries: the producer must wait for a slot to come back, and neither side ever touches a slot
    /// that is the other's (loom's `UnsafeCell` panics on that).
    #[test]
    #[cfg(loom)]
    fn slots_change_hands_without_a_race() {
        loom::model(|| {
            let memory = loom::sync::Arc::new(Memory::new(2, u32::MAX));
            let mut producer = Producer::new(memory.shared());
            let other = memory.clone();
            let thread = loom::thread::spawn(move || {
                let mut consumer = Consumer::new(other.shared());
                let mut seen = 0;
                while seen < 3 {
                    let mut reading = consumer.read();
                    while let Some(value) = reading.pop() {
                        assert_eq!(value, seen);
                        seen += 1;
                    }
                    drop(reading);
                    loom::thread::yield_now();
                }
            });
            let mut next = 0;
            while next < 3 {
                let mut writing = producer.write();
                while next < 3 && writing.push(next).is_ok() {
                    next += 1;
                }
                drop(writing);
                loom::thread::yield_now();
            }
            thread.join().unwrap();
        });
    }

    // SAFETY (test): the slots are handed over by the ring's protocol, which is what the model checks.
    #[cfg(loom)]
    unsafe impl Send for Memory {}
    // SAFETY (test): as above.
    #[cfg(loom)]
    unsafe impl Sync for Memory {}
}
