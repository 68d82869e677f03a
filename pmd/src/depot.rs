//! Chunks that no pool holds, in batches: pools of several threads exchange hundreds of chunks for the price of one.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;

/// The depot of one class of chunks.
#[derive(Debug)]
pub(crate) struct Depot {
    batches: ArrayQueue<Vec<u32>>,
    /// Empty lists, to be used again: nothing is allocated once as many are under way as ever will be.
    spare: ArrayQueue<Vec<u32>>,
    chunks: AtomicUsize,
}

impl Depot {
    /// With the chunks `first` to `first + count`, in batches of `batch`.
    pub(crate) fn new(first: u32, count: u32, batch: usize) -> Self {
        // A batch has one chunk or more: the queue never refuses one.
        let most = (count as usize).max(1);
        let depot = Self {
            batches: ArrayQueue::new(most),
            spare: ArrayQueue::new((most / batch).max(16)),
            chunks: AtomicUsize::new(0),
        };
        let all: Vec<u32> = (first..first + count).collect();
        all.chunks(batch).for_each(|batch| depot.push(batch.to_vec()));
        depot
    }

    /// Chunks in it.
    pub(crate) fn len(&self) -> usize {
        self.chunks.load(Relaxed)
    }

    /// Moves a batch to `into`, if there is one.
    pub(crate) fn withdraw(&self, into: &mut Vec<u32>) {
        let Some(mut batch) = self.batches.pop() else { return };
        self.chunks.fetch_sub(batch.len(), Relaxed);
        into.append(&mut batch);
        let _ = self.spare.push(batch); // one too many is dropped
    }

    /// Takes the last `n` of `from`.
    pub(crate) fn deposit(&self, n: usize, from: &mut Vec<u32>) {
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.extend(from.drain(from.len() - n..));
        if !batch.is_empty() {
            self.push(batch);
        }
    }

    fn push(&self, batch: Vec<u32>) {
        self.chunks.fetch_add(batch.len(), Relaxed);
        let refused = self.batches.push(batch);
        debug_assert!(refused.is_ok(), "a chunk was freed twice");
    }
}
