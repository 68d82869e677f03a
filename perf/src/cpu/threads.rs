//! The time of a process's threads, of `/proc/PID/task`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Seconds of a thread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThreadTime {
    /// Its id.
    pub tid: u32,
    /// In user space.
    pub user: f64,
    /// In the kernel.
    pub kernel: f64,
}

/// Every thread that these processes have now.
pub(super) fn read(pids: &[u32]) -> Vec<ThreadTime> {
    let folders = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).ok();
    let entries = pids.iter().filter_map(folders).flatten().filter_map(Result::ok);
    // A thread that ends meanwhile is one that has ended.
    entries.map(|entry| entry.path()).filter_map(|path: PathBuf| thread(&path)).collect()
}

/// What went by since; threads that are new since then count from their start.
pub(super) fn since(now: &[ThreadTime], before: &[ThreadTime]) -> Vec<ThreadTime> {
    let less = |thread: &ThreadTime| {
        let earlier = before.iter().find(|other| other.tid == thread.tid);
        let (user, kernel) = earlier.map_or((0.0, 0.0), |other| (other.user, other.kernel));
        let (user, kernel) = ((thread.user - user).max(0.0), (thread.kernel - kernel).max(0.0));
        ThreadTime { user, kernel, ..*thread }
    };
    now.iter().map(less).collect()
}

/// `schedstat` has the sum in nanoseconds, `stat` its parts in hundredths of a second: the one is divided as the other.
fn thread(folder: &Path) -> Option<ThreadTime> {
    let tid = folder.file_name()?.to_str()?.parse().ok()?;
    let (user, kernel) = ticks(&fs::read_to_string(folder.join("stat")).ok()?)?;
    let schedstat = fs::read_to_string(folder.join("schedstat")).ok();
    let exact = schedstat.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let seconds = exact.map_or((user + kernel) / 100.0, |ns| ns / 1e9);
    let share = if user + kernel > 0.0 { user / (user + kernel) } else { 0.0 };
    Some(ThreadTime { tid, user: seconds * share, kernel: seconds * (1.0 - share) })
}

/// Fields 14 and 15 of `/proc/PID/stat`; the second, in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some((150.0, 50.0)));
        assert_eq!(ticks("77"), None);
    }

    #[test]
    fn new_threads_count_from_their_start() {
        let thread = |tid, user| ThreadTime { tid, user, kernel: 0.5 };
        let went_by = since(&[thread(1, 3.0), thread(2, 1.0)], &[thread(1, 2.0)]);
        assert_eq!(went_by, [ThreadTime { tid: 1, user: 1.0, kernel: 0.0 }, thread(2, 1.0)]);
    }
}
