//! How a configuration reaches the PMD threads: one atomic load per turn, and nobody waits for anybody.
//!
//! The publisher keeps every snapshot that a reader may still hold; a reader that moves on drops its reference, which
//! is never the last one. So a snapshot's destructor runs on the publisher's thread (held under loom, `tests`).
//!
//! **Invariant:** the [`Publisher`] outlives the readers' threads.

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

#[derive(Debug)]
struct Shared<T> {
    generation: AtomicU64,
    current: Mutex<Arc<T>>,
}

/// The control side.
#[derive(Debug)]
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    retired: Vec<Arc<T>>,
    current: Arc<T>,
    generation: u64,
}

impl<T> Publisher<T> {
    /// Starts at generation 0 with `first`.
    pub fn new(first: T) -> Self {
        let current = Arc::new(first);
        let shared = Shared { generation: AtomicU64::new(0), current: Mutex::new(current.clone()) };
        Self { shared: Arc::new(shared), retired: Vec::new(), current, generation: 0 }
    }

    /// A reader for one more thread.
    pub fn reader(&self) -> Reader<T> {
        Reader { shared: self.shared.clone(), seen: self.generation, cached: self.current.clone() }
    }

    /// What readers get now.
    pub fn current(&self) -> &Arc<T> {
        &self.current
    }

    /// Makes `next` what readers get from their next turn on; returns how many older ones are still in use.
    pub fn publish(&mut self, next: T) -> usize {
        let next = Arc::new(next);
        let old = std::mem::replace(&mut self.current, next.clone());
        self.retired.push(old);
        // The lock is held for two pointer moves; what the swap returns is not the last reference (`retired` has one).
        drop(std::mem::replace(&mut *lock(&self.shared.current), next));
        self.generation += 1;
        self.shared.generation.store(self.generation, Ordering::Release);
        self.collect()
    }

    /// Frees the snapshots that no reader holds any more; returns how many are still held.
    pub fn collect(&mut self) -> usize {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        self.retired.len()
    }
}

/// A PMD thread's side.
#[derive(Debug)]
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    cached: Arc<T>,
}

impl<T> Reader<T> {
    /// The newest snapshot: one atomic load when nothing has changed.
    #[inline]
    pub fn get(&mut self) -> &Arc<T> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.seen {
            self.advance(generation);
        }
        &self.cached
    }

    /// Whether there is something newer than [`Reader::get`] returned last.
    pub fn is_stale(&self) -> bool {
        self.shared.generation.load(Ordering::Acquire) != self.seen
    }

    #[cold]
    fn advance(&mut self, generation: u64) {
        // A publisher that was preempted while it holds the lock must not stall the packets: keep the old snapshot
        // this turn and ask again at the next.
        if let Ok(current) = self.shared.current.try_lock() {
            self.cached = current.clone();
            self.seen = generation;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        // Nobody panics while holding it; were it to happen, the pointer inside is whole all the same.
        Err(poisoned) => poisoned.into_inner(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_newest_and_the_publisher_frees() {
        let mut publisher = Publisher::new(1);
        let mut reader = publisher.reader();
        assert_eq!(**reader.get(), 1);
        assert_eq!(publisher.publish(2), 1, "the reader still holds the first");
        assert_eq!(**reader.get(), 2);
        assert_eq!(publisher.publish(3), 1);
        assert_eq!(**reader.get(), 3);
        assert_eq!(publisher.collect(), 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize;

    /// Panics when dropped anywhere but on the publisher's thread.
    struct Tracked(u64, loom::thread::ThreadId, Arc<AtomicUsize>);
    impl Drop for Tracked {
        fn drop(&mut self) {
            assert_eq!(loom::thread::current().id(), self.1, "freed on a reader's thread");
            self.2.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_reader_never_goes_back_and_never_frees() {
        loom::model(|| {
            let freed = Arc::new(AtomicUsize::new(0));
            let me = loom::thread::current().id();
            let make = |n| Tracked(n, me, freed.clone());
            let mut publisher = Publisher::new(make(0));
            let mut reader = publisher.reader();
            let thread = loom::thread::spawn(move || {
                let first = reader.get().0;
                let second = reader.get().0;
                assert!(second >= first);
                reader
            });
            publisher.publish(make(1));
            publisher.publish(make(2));
            let mut reader = thread.join().unwrap();
            assert_eq!(reader.get().0, 2);
            drop(reader);
            assert_eq!(publisher.collect(), 0);
            assert_eq!(freed.load(Ordering::SeqCst), 2);
        });
    }
}
