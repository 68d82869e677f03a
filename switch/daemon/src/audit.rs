//! The audit log: every change that was asked for, by whom, and what became of it. One JSON object a line, appended with one
//! write each; two files of bounded size.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use weft_ctl_api::audit::AuditEntry;
use weft_pmd::files;

/// A longer file is put aside; the one put aside before is let go of.
const FILE_MAX: u64 = 4 << 20;
/// Entries at hand for `weftctl audit`.
const RECENT_MAX: usize = 1000;
/// Longer arguments are left out: nobody fills the log with one request.
const ARGS_MAX: usize = 4096;
/// Refusals noted in so long; more are not.
const REFUSALS_MAX: u32 = 100;
const REFUSALS_WINDOW: Duration = Duration::from_secs(60);

/// The audit log.
#[derive(Debug, Default)]
pub struct AuditLog {
    path: Option<PathBuf>,
    /// The file ends in half a line of a weftd that was killed.
    is_torn: bool,
    recent: VecDeque<AuditEntry>,
    /// When the window began, and refusals since.
    refusals: (Option<Instant>, u32),
}

impl AuditLog {
    /// Goes on with the log in a directory, if there is one; else entries are kept as long as weftd runs.
    pub fn open(dir: Option<&Path>) -> Self {
        let Some(path) = dir.map(|dir| dir.join("audit.log")) else { return Self::default() };
        let mut log = Self::default();
        for path in [aside(&path), path.clone()] {
            let text = files::read_text(&path, 2 * FILE_MAX).unwrap_or_default();
            log.is_torn = !text.is_empty() && !text.ends_with('\n');
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|entry| log.keep(entry));
        }
        Self { path: Some(path), ..log }
    }

    fn keep(&mut self, entry: AuditEntry) {
        self.recent.push_back(entry);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// The newest entries, oldest first.
    pub fn recent(&self, limit: usize) -> impl Iterator<Item = &AuditEntry> {
        self.recent.iter().skip(self.recent.len().saturating_sub(limit))
    }

    /// Whether one more refusal is noted: whoever may not change anything must not push out the changes of those who may.
    pub fn takes_refusal(&mut self) -> bool {
        let (began, count) = &mut self.refusals;
        if began.is_none_or(|began| began.elapsed() >= REFUSALS_WINDOW) {
            (*began, *count) = (Some(Instant::now()), 0);
        }
        *count = count.saturating_add(1);
        if *count > REFUSALS_MAX {
            tracing::warn!("more than {REFUSALS_MAX} refusals a minute: not all are in the audit log");
        }
        *count <= REFUSALS_MAX
    }

    /// Adds an entry, here and in weftd's own log.
    pub fn append(&mut self, mut entry: AuditEntry) {
        if entry.args.to_string().len() > ARGS_MAX {
            entry.args = serde_json::Value::String("(too long)".into());
        }
        tracing::info!(
            who = %entry.who, verb = entry.verb, generation = entry.generation, done = entry.done, outcome = entry.outcome,
            "change"
        );
        if let Some(path) = &self.path {
            match append(path, &entry, self.is_torn) {
                Ok(()) => self.is_torn = false,
                Err(error) => {
                    self.is_torn = true; // half a line may be there
                    tracing::error!(path = %path.display(), %error, "the audit log can't be written")
                }
            }
        }
        self.keep(entry);
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn append(path: &Path, entry: &AuditEntry, is_torn: bool) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > FILE_MAX) {
        fs::rename(path, aside(path))?;
    }
    let mut line = if is_torn { vec![b'\n'] } else { Vec::new() };
    serde_json::to_writer(&mut line, entry)?;
    line.push(b'\n');
    let mut file: File = File::options().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use weft_ctl_api::audit::Who;

    use super::*;

    fn entry(generation: u64) -> AuditEntry {
        let args = serde_json::json!({ "name": "x".repeat(1000) });
        let (at, who) = (String::new(), Who::default());
        AuditEntry { at, who, verb: "port add".into(), args, generation, done: true, outcome: String::new() }
    }

    #[test]
    fn refusals_do_not_push_out_changes() {
        let mut log = AuditLog::open(None);
        log.append(entry(1));
        for _ in 0..10 * RECENT_MAX {
            if log.takes_refusal() {
                log.append(entry(2));
            }
        }
        assert_eq!(log.recent(RECENT_MAX).next().map(|entry| entry.generation), Some(1));
        assert_eq!(log.recent(RECENT_MAX).count(), 1 + REFUSALS_MAX as usize);
    }

    #[test]
    fn the_log_is_bounded_and_outlives_half_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = AuditLog::open(Some(dir.path()));
        (0..6000).for_each(|generation| log.append(entry(generation)));
        let size = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |meta| meta.len());
        assert!(size("audit.log") <= FILE_MAX + 2000 && size("audit.log.1") <= FILE_MAX + 2000);
        assert!(size("audit.log.1") > 0);
        let mut file = File::options().append(true).open(dir.path().join("audit.log")).expect("there");
        file.write_all(b"{\"at\":\"half").expect("written");
        let mut log = AuditLog::open(Some(dir.path()));
        log.append(entry(6000));
        let log = AuditLog::open(Some(dir.path()));
        let generations: Vec<u64> = log.recent(3).map(|entry| entry.generation).collect();
        assert_eq!(generations, [5998, 5999, 6000]);
        assert_eq!(log.recent(9999).count(), RECENT_MAX);
    }

    #[test]
    fn long_arguments_are_left_out() {
        let mut log = AuditLog::open(None);
        log.append(AuditEntry { args: serde_json::json!("x".repeat(10_000)), ..entry(1) });
        assert_eq!(log.recent(1).next().expect("there").args, "(too long)");
    }
}
