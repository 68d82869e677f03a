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
    /// Threads it may be polled by; empty: any.
    pub allowed: Vec<ThreadId>,
    /// Somebody has said where it belongs.
    pub pinned: bool,
}

/// A move that makes the busiest thread less busy by fewer percent of its time than this is not worth it.
pub const GAIN_MIN: f64 = 5.0;

/// Which queues to move where, so that the busiest thread is as little busy as can be: one after the other, always the
/// one that helps most. Each is moved once at most.
pub fn rebalance(queues: &[QueueLoad], threads: usize) -> Vec<(usize, ThreadId)> {
    let mut totals = vec![0.0; threads];
    queues.iter().for_each(|queue| totals[queue.owner.index()] += queue.percent);
    let mut moves: Vec<(usize, ThreadId)> = Vec::new();
    while let Some(busiest) = (0..threads).max_by(|a, b| f64::total_cmp(&totals[*a], &totals[*b])) {
        let movable = |(index, queue): &(usize, &QueueLoad)| {
            queue.owner.index() == busiest && !queue.pinned && !moves.iter().any(|(moved, _)| moved == index)
        };
        let options = queues.iter().enumerate().filter(movable).flat_map(|(index, queue)| {
            let others =
                (0..threads).filter(move |other| *other != busiest).map(|other| ThreadId(other as u16));
            let may = others.filter(|other| queue.allowed.is_empty() || queue.allowed.contains(other));
            let totals = &totals;
            may.map(move |to| {
                let after = (totals[busiest] - queue.percent).max(totals[to.index()] + queue.percent);
                (index, to, after)
            })
        });
        let best = options.min_by(|a, b| f64::total_cmp(&a.2, &b.2));
        let Some((index, to, after)) = best else { break };
        if totals[busiest] - after < GAIN_MIN {
            break;
        }
        totals[busiest] -= queues[index].percent;
        totals[to.index()] += queues[index].percent;
        moves.push((index, to));
    }
    moves
}

#[cfg(test)]
mod tests {
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
        QueueLoad { owner: ThreadId(owner), percent, allowed: Vec::new(), pinned: false }
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
}
