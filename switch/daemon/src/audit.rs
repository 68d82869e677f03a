//! The audit log: every change that was asked for, by whom, and what became of it. One JSON object a line, appended with one
//! write each; two files of bounded size. Each line ends with a digest of itself ([`crate::state::seal`]): one that does not fit is left out, and
//! told of.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, Write},
    time::{Duration, Instant},
};

use weft_ctl_api::audit::AuditEntry;

use crate::state::{
    dir::Dir,
    seal::{seal_line, unseal_line},
};

/// The log, and what was put aside of it.
const NAME: &str = "audit.log";
const ASIDE: &str = "audit.log.1";
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
    dir: Option<Dir>,
    /// The file ends in half a line of a weftd that was killed.
    is_torn: bool,
    recent: VecDeque<AuditEntry>,
    problems: Vec<String>,
    /// When the window began, and refusals since.
    refusals: (Option<Instant>, u32),
}

impl AuditLog {
    /// Goes on with the log in a directory, if there is one; else entries are kept as long as weftd runs.
    pub fn open(dir: Option<&Dir>) -> Self {
        let mut log = Self { dir: dir.cloned(), ..Self::default() };
        let Some(dir) = dir else { return log };
        for name in [ASIDE, NAME] {
            match dir.read(name, 2 * FILE_MAX) {
                Ok(bytes) => log.take(name, &bytes.unwrap_or_default()),
                Err(error) => {
                    log.problems.push(format!("node.state: {}: {error}", dir.path().join(name).display()));
                }
            }
        }
        log
    }

    fn take(&mut self, name: &str, bytes: &[u8]) {
        self.is_torn = bytes.last().is_some_and(|last| *last != b'\n');
        let mut damaged = 0;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let object = str::from_utf8(line).ok().and_then(unseal_line);
            match object.and_then(|object| serde_json::from_str(&object).ok()) {
                Some(entry) => self.keep(entry),
                None => damaged += 1,
            }
        }
        // The last may be half a line of a weftd that was killed.
        if damaged > usize::from(self.is_torn) {
            self.problems.push(format!(
                "node.state: {name}: damaged or cut off, and left out: {damaged} of its lines"
            ));
        }
    }

    /// What could not be read.
    pub fn problems(&self) -> &[String] {
        &self.problems
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
        if let Some(dir) = &self.dir {
            match append(dir, &entry, self.is_torn) {
                Ok(()) => self.is_torn = false,
                Err(error) => {
                    self.is_torn = true; // half a line may be there
                    tracing::error!(dir = %dir.path().display(), %error, "the audit log can't be written")
                }
            }
        }
        self.keep(entry);
    }
}

fn append(dir: &Dir, entry: &AuditEntry, is_torn: bool) -> io::Result<()> {
    let mut file = dir.append(NAME)?;
    if file.metadata()?.len() > FILE_MAX {
        dir.rename(OsStr::new(NAME), OsStr::new(ASIDE))?;
        file = dir.append(NAME)?;
    }
    let begin = if is_torn { "\n" } else { "" };
    file.write_all(format!("{begin}{}\n", seal_line(&serde_json::to_string(entry)?)).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use weft_ctl_api::audit::Who;

    use super::*;

    fn open(dir: &tempfile::TempDir) -> AuditLog {
        AuditLog::open(Some(&Dir::of_file(&dir.path().join(NAME)).expect("ours").0))
    }

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
        let mut log = open(&dir);
        (0..6000).for_each(|generation| log.append(entry(generation)));
        let size = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |meta| meta.len());
        assert!(size("audit.log") <= FILE_MAX + 2000 && size("audit.log.1") <= FILE_MAX + 2000);
        assert!(size("audit.log.1") > 0);
        let mut file = File::options().append(true).open(dir.path().join("audit.log")).expect("there");
        file.write_all(b"{\"at\":\"half").expect("written");
        let mut log = open(&dir);
        log.append(entry(6000));
        let log = open(&dir);
        assert_eq!(
            log.problems(),
            ["node.state: audit.log: damaged or cut off, and left out: 1 of its lines"]
        );
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
