//! Each core's time, of `/proc/stat` (proc(5)).

use std::{fs, path::Path};

use crate::lab::Error;

/// Seconds of a core, by what it did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CoreTime {
    /// Its number.
    pub id: usize,
    /// In user space, whatever the priority.
    pub user: f64,
    /// In the kernel for a process.
    pub system: f64,
    /// In interrupts.
    pub irq: f64,
    /// In softirqs.
    pub softirq: f64,
    /// Runnable, but the host ran another guest.
    pub steal: f64,
}

impl CoreTime {
    /// In the kernel, whoever for.
    pub fn kernel(&self) -> f64 {
        self.system + self.irq + self.softirq
    }

    /// Not idle.
    pub fn busy(&self) -> f64 {
        self.user + self.kernel()
    }

    /// What went by since.
    pub(super) fn since(&self, before: &Self) -> Self {
        // The kernel may correct an earlier figure downwards.
        let less = |of: fn(&Self) -> f64| (of(self) - of(before)).max(0.0);
        Self {
            id: self.id,
            user: less(|core| core.user),
            system: less(|core| core.system),
            irq: less(|core| core.irq),
            softirq: less(|core| core.softirq),
            steal: less(|core| core.steal),
        }
    }
}

/// Every core that is on.
pub(super) fn read() -> Result<Vec<CoreTime>, Error> {
    let path = Path::new("/proc/stat");
    let text = fs::read_to_string(path).map_err(Error::file(path))?;
    let cores: Vec<CoreTime> = text.lines().filter_map(core).collect();
    if cores.is_empty() {
        return Err(Error::unread("/proc/stat", "line of a core", &text));
    }
    Ok(cores)
}

/// `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`, hundredths of a second: USER_HZ is 100
/// wherever Linux runs but on Alpha.
fn core(line: &str) -> Option<CoreTime> {
    let mut words = line.strip_prefix("cpu")?.split_whitespace();
    let id = words.next()?.parse().ok().filter(|_| !line.starts_with("cpu "))?;
    let times: Vec<f64> = words.map_while(|word| word.parse().ok()).map(|ticks: f64| ticks / 100.0).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = times[..] else { return None };
    Some(CoreTime { id, user: user + nice, system, irq, softirq, steal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_read_and_their_sum_is_not() {
        let read = core("cpu1 100 50 200 9000 3 10 300 7 0 0").unwrap();
        let expected = CoreTime { id: 1, user: 1.5, system: 2.0, irq: 0.1, softirq: 3.0, steal: 0.07 };
        assert_eq!(read, expected);
        assert_eq!(read.busy(), 6.6);
        assert_eq!(core("cpu  100 50 200 9000 3 10 300 7 0 0"), None);
        assert_eq!(core("intr 100 50"), None);
        assert_eq!(CoreTime::default().since(&read), CoreTime::default());
    }
}
