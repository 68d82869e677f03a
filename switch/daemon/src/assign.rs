//! Which PMD thread owns which queue: a pure function of what is there.

use weft_wire::ThreadId;

/// Where the queues of a new port go: each to the thread with the fewest queues among those allowed; between equals,
/// the one listed first. `load` (queues per thread) is brought up to date.
///
/// `allowed` empty means any thread.
pub fn assign(queues: usize, allowed: &[ThreadId], load: &mut [usize]) -> Vec<ThreadId> {
    let all: Vec<ThreadId> = (0..load.len()).map(|thread| ThreadId(thread as u16)).collect();
    let candidates = if allowed.is_empty() { &all[..] } else { allowed };
    (0..queues)
        .filter_map(|_| {
            let least = candidates.iter().copied().min_by_key(|thread| load[thread.index()])?;
            load[least.index()] += 1;
            Some(least)
        })
        .collect()
}

/// A queue, and what it costs the thread that polls it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueLoad {
    /// The thread.
    pub owner: ThreadId,
    /// Share of that thread's time, percent.
    pub percent: f64,
    /// How far that may be off, either way, percent.
    pub noise: f64,
    /// Threads it may be polled by; empty: any.
    pub allowed: Vec<ThreadId>,
    /// Somebody has said where it belongs.
    pub pinned: bool,
}

/// A move that makes the busier of its two threads less busy by fewer percent of its time than this is not worth it.
pub const GAIN_MIN: f64 = 5.0;
/// All moves together must lower the variance of the threads' load by this share: as much as OVS-DPDK's auto load balance
/// asks for (`pmd-auto-lb-improvement-threshold`, 25 % unless set).
pub const IMPROVEMENT_MIN: f64 = 0.25;

/// Which queues to move where, so that all threads are as busy as each other, as far as can be: one after the other, always
/// the move that relieves its thread most.
///
/// Moves begin only where one is worth it whatever the loads are off by, and then go on as long as one is by the loads as
/// they are. So what was moved is not moved back: loads that come out as planned, but for their noise, move nothing.
pub fn rebalance(queues: &[QueueLoad], threads: usize) -> Vec<(usize, ThreadId)> {
    let mut plan = Plan::new(queues, threads);
    let before = plan.variance();
    if !plan.options().any(|(queue, to)| plan.gain(queue, to, true) >= GAIN_MIN) {
        return Vec::new();
    }
    let gain = |plan: &Plan<'_>, (queue, to): (usize, usize)| plan.gain(queue, to, false);
    while let Some((queue, to)) =
        plan.options().min_by(|a, b| f64::total_cmp(&gain(&plan, *b), &gain(&plan, *a)))
        && gain(&plan, (queue, to)) >= GAIN_MIN
    {
        plan.owners[queue] = to;
        plan.add_up();
    }
    if plan.variance() > before * (1.0 - IMPROVEMENT_MIN) {
        return Vec::new();
    }
    let moved = |(queue, to): (usize, &usize)| {
        (queues[queue].owner.index() != *to).then_some((queue, ThreadId(*to as u16)))
    };
    plan.owners.iter().enumerate().filter_map(moved).collect()
}

/// An assignment of queues to threads, and what comes of it.
struct Plan<'a> {
    queues: &'a [QueueLoad],
    /// By queue.
    owners: Vec<usize>,
    /// By thread: percent of its time, and how far that may be off.
    busy: Vec<(f64, f64)>,
}

impl<'a> Plan<'a> {
    fn new(queues: &'a [QueueLoad], threads: usize) -> Self {
        let owners = queues.iter().map(|queue| queue.owner.index()).collect();
        let mut plan = Self { queues, owners, busy: vec![(0.0, 0.0); threads] };
        plan.add_up();
        plan
    }

    fn add_up(&mut self) {
        self.busy.fill((0.0, 0.0));
        for (queue, owner) in self.queues.iter().zip(&self.owners) {
            let (percent, noise) = &mut self.busy[*owner];
            *percent += queue.percent;
            *noise += queue.noise;
        }
    }

    /// Queues that may move, and the threads they may move to.
    fn options(&self) -> impl Iterator<Item = (usize, usize)> {
        let movable = self.queues.iter().enumerate().filter(|(_, queue)| !queue.pinned);
        movable.flat_map(|(index, queue)| {
            let may = |to: &usize| queue.allowed.is_empty() || queue.allowed.contains(&ThreadId(*to as u16));
            let from = self.owners[index];
            (0..self.busy.len()).filter(move |to| *to != from).filter(may).map(move |to| (index, to))
        })
    }

    /// By how much the busier of two threads becomes less busy; `surely`: whatever the loads are off by.
    fn gain(&self, queue: usize, to: usize, surely: bool) -> f64 {
        let QueueLoad { percent, noise, .. } = self.queues[queue];
        let ((here, doubt_here), (there, doubt_there)) = (self.busy[self.owners[queue]], self.busy[to]);
        let (relief, lead) = (percent, here - there - percent);
        if surely {
            (relief - noise).min(lead - (doubt_here - noise) - doubt_there)
        } else {
            relief.min(lead)
        }
    }

    fn variance(&self) -> f64 {
        let mean = self.busy.iter().map(|(percent, _)| percent).sum::<f64>() / self.busy.len() as f64;
        self.busy.iter().map(|(percent, _)| (percent - mean).powi(2)).sum::<f64>() / self.busy.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn threads(ids: &[u16]) -> Vec<ThreadId> {
        ids.iter().copied().map(ThreadId).collect()
    }

    #[test]
    fn queues_spread_evenly() {
        let mut load = [0, 0, 0];
        assert_eq!(assign(4, &[], &mut load), threads(&[0, 1, 2, 0]));
        assert_eq!(assign(2, &[], &mut load), threads(&[1, 2]));
        assert_eq!(load, [2, 2, 2]);
    }

    #[test]
    fn pinned_queues_stay_where_they_are_told() {
        let mut load = [0, 5];
        assert_eq!(assign(3, &threads(&[1]), &mut load), threads(&[1, 1, 1]));
        assert_eq!(assign(1, &[], &mut load), threads(&[0]));
    }

    #[test]
    fn more_threads_than_queues_leaves_some_without() {
        let mut load = [0; 4];
        assert_eq!(assign(1, &[], &mut load), threads(&[0]));
        assert_eq!(load, [1, 0, 0, 0]);
    }

    fn queue(owner: u16, percent: f64) -> QueueLoad {
        QueueLoad { owner: ThreadId(owner), percent, noise: 0.0, allowed: Vec::new(), pinned: false }
    }

    #[test]
    fn the_busiest_thread_is_relieved_with_few_moves() {
        let queues = [queue(0, 40.0), queue(0, 30.0), queue(0, 20.0), queue(1, 5.0)];
        assert_eq!(rebalance(&queues, 2), [(0, ThreadId(1))]);
        let queues = [queue(0, 30.0), queue(0, 30.0), queue(0, 30.0)];
        assert_eq!(rebalance(&queues, 3), [(0, ThreadId(1)), (1, ThreadId(2))]);
    }

    #[test]
    fn what_gains_nothing_is_left_alone() {
        assert_eq!(rebalance(&[queue(0, 90.0), queue(1, 1.0)], 2), []);
        assert_eq!(rebalance(&[queue(0, 3.0), queue(0, 3.0)], 2), []);
        assert_eq!(rebalance(&[queue(0, 50.0)], 1), []);
        assert_eq!(rebalance(&[], 2), []);
    }

    #[test]
    fn pinned_queues_are_not_moved_and_others_only_where_they_may_be() {
        let pinned = QueueLoad { pinned: true, ..queue(0, 50.0) };
        let bound = QueueLoad { allowed: threads(&[0, 2]), ..queue(0, 40.0) };
        assert_eq!(rebalance(&[pinned, bound], 3), [(1, ThreadId(2))]);
    }

    #[test]
    fn what_may_be_no_more_than_noise_moves_nothing() {
        let unsure = |owner: u16, percent: f64| QueueLoad { noise: 8.0, ..queue(owner, percent) };
        let queues = |queue: &dyn Fn(u16, f64) -> QueueLoad| [queue(0, 30.0), queue(0, 30.0), queue(1, 10.0)];
        assert_eq!(rebalance(&queues(&queue), 2).len(), 1);
        assert_eq!(rebalance(&queues(&unsure), 2), []);
    }

    #[test]
    fn moves_that_hardly_even_out_the_whole_are_left() {
        // A thread with one queue of 100 % is what it is: beside it the others' difference counts for little.
        let queues = [queue(0, 100.0), queue(1, 15.0), queue(1, 15.0), queue(2, 10.0)];
        assert_eq!(rebalance(&queues, 3), []);
        assert_eq!(rebalance(&queues[1..], 3).len(), 1);
    }

    const THREADS: usize = 4;

    fn queues() -> impl Strategy<Value = Vec<QueueLoad>> {
        let allowed = prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::sample::subsequence(vec![0_u16, 1, 2, 3], 1..=THREADS),
        ];
        let queue = (0..THREADS as u16, 0.0..60.0, 0.0..0.3, allowed, prop::bool::weighted(0.1));
        let queue = queue.prop_map(|(owner, percent, share, allowed, pinned)| QueueLoad {
            owner: ThreadId(owner),
            percent,
            noise: percent * share,
            allowed: threads(&allowed),
            pinned,
        });
        prop::collection::vec(queue, 0..12)
    }

    fn applied(queues: &[QueueLoad], moves: &[(usize, ThreadId)]) -> Vec<QueueLoad> {
        let mut queues = queues.to_vec();
        moves.iter().for_each(|(queue, to)| queues[*queue].owner = *to);
        queues
    }

    proptest! {
        /// What was moved stays: the loads that were planned, each off by up to its noise, are no reason to move again.
        #[test]
        fn what_was_moved_is_not_moved_back(
            queues in queues(),
            off in prop::collection::vec(-1.0..=1.0, 12),
        ) {
            let moves = rebalance(&queues, THREADS);
            prop_assume!(!moves.is_empty());
            let mut then = applied(&queues, &moves);
            for (queue, off) in then.iter_mut().zip(off) {
                queue.percent += off * queue.noise;
            }
            prop_assert_eq!(rebalance(&then, THREADS), []);
        }

        /// Moves even the load out by the stated share and make the busiest no busier; each queue moves once, if it may,
        /// to where it may.
        #[test]
        fn moves_are_worth_it(queues in queues()) {
            let moves = rebalance(&queues, THREADS);
            let (before, then) = (Plan::new(&queues, THREADS), applied(&queues, &moves));
            let after = Plan::new(&then, THREADS);
            let busiest = |plan: &Plan<'_>| plan.busy.iter().map(|(percent, _)| *percent).fold(0.0, f64::max);
            prop_assert!(busiest(&after) <= busiest(&before));
            if !moves.is_empty() {
                prop_assert!(after.variance() <= before.variance() * (1.0 - IMPROVEMENT_MIN));
            }
            for (index, to) in &moves {
                let queue = &queues[*index];
                prop_assert!(!queue.pinned && *to != queue.owner);
                prop_assert!(queue.allowed.is_empty() || queue.allowed.contains(to));
                prop_assert_eq!(moves.iter().filter(|(other, _)| other == index).count(), 1);
            }
        }
    }
}
