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
}
