//! What outlives weftd, in the directory that `node.state` names:
//!
//! ```text
//!  lock            held as long as weftd runs: a directory is one weftd's
//!  startup.json    what to come up with instead of the configuration file, as long as that file stays as it is
//!  history/N.json  the configuration that came with generation N, whole or as what it changed of the one before: when, who, what
//!  audit.log       every change that was asked for, one JSON object a line; audit.log.1 is older
//! ```
//! **Invariants:** a file is there whole or not at all, whatever moment weftd dies at ([`durable`]). weftd comes up with the
//! configuration last confirmed, unless its file was edited since: then with the file. `startup.json` names the text that
//! it stands in for, so neither has to be written together with the other. Whoever is told that a change was made finds it in
//! the history, whatever becomes of weftd: the answer waits until it is written ([`State::when_kept`]), and nobody else does.
//!
//! What is read back is what was written: every file, and every line of the audit log, carries a digest ([`seal`]). Where one does
//! not fit, weftd does without: with the operator's file in place of a damaged `startup.json` (an entry of the history is
//! no substitute: it may never have been confirmed), and without the entries of the history that are damaged. It says so as an
//! error in its log, and `weftctl status` and `doctor` do ([`State::problems`]) until the file is written anew. A directory that is
//! not weftd's own is refused, and left as it is ([`dir`]).

mod change;
pub(crate) mod dir;
pub mod durable;
mod history;
pub(crate) mod seal;
mod writer;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use weft_ctl_api::{audit::Who, spec::Config};

use crate::{
    config,
    state::{dir::Dir, durable::Prepared},
};

pub use history::{Entry, History};

/// Longer is none of weftd's files: two configurations, written as JSON strings.
const SIZE_MAX: u64 = 256 << 20;
/// What is in the directory; the first shows that it is weftd's.
const FILES: &[&str] = &[LOCK, STARTUP, HISTORY, "audit.log", "audit.log.1", "lost+found"];
const LOCK: &str = "lock";
const STARTUP: &str = "startup.json";
const HISTORY: &str = "history";
/// What a sealed [`Startup`] is called in its first line.
const STARTUP_SEAL: &str = "startup";

/// Why something can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no directory to keep it in.
    #[error("weftd has no state directory: {0}")]
    Missing(String),
    /// The kernel would not.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What stands in for the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Startup {
    /// The file's text: if it reads otherwise by now, it has been edited, and goes first.
    instead_of: String,
    /// The configuration, as TOML.
    config: String,
}

/// weftd's state directory, or the reason that there is none.
#[derive(Debug)]
pub struct State {
    /// The directory, as far as it can be read.
    readable: Option<Dir>,
    /// Why nothing can be kept in it.
    refused: Option<String>,
    _lock: Option<File>,
    /// Configurations that were in force.
    pub history: History,
    /// What is wrong, by what it is wrong with.
    problems: BTreeMap<&'static str, String>,
    /// Something is being written that nobody was told of.
    is_writing: bool,
}

impl State {
    /// Opens the directory, making it if need be. Without one weftd runs all the same: a full disk keeps no pod from
    /// its packets. One on a file system that has become read-only is still read.
    pub fn open(path: &Path) -> Self {
        let mut state = Self {
            readable: None,
            refused: None,
            _lock: None,
            history: History::default(),
            problems: BTreeMap::new(),
            is_writing: false,
        };
        match state.try_open(path) {
            Ok(true) => {}
            Ok(false) => state.refuse(path, &io::ErrorKind::ReadOnlyFilesystem.into()),
            Err(error) => state.refuse(path, &error),
        }
        state
    }

    /// Says whether it can be written to.
    fn try_open(&mut self, path: &Path) -> io::Result<bool> {
        let dir = Dir::open_own(path, FILES)?;
        let (lock, is_writable) = dir.open_lock(LOCK)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another weftd uses it; name another directory"),
            fs::TryLockError::Error(error) => error,
        })?;
        if is_writable {
            dir.remove_unfinished();
            dir.make_own(HISTORY)?.remove_unfinished();
        }
        self.history = History::open(dir.clone(), is_writable)?;
        if let Some(problem) = self.history.problem() {
            self.tell(HISTORY, problem);
        }
        (self.readable, self._lock) = (Some(dir), Some(lock));
        Ok(is_writable)
    }

    fn refuse(&mut self, path: &Path, error: &io::Error) {
        let problem = format!("node.state: {}: {error}", path.display());
        self.tell(
            "node.state",
            format!(
                "no state directory: {problem}; neither history nor audit log outlive weftd, nothing can be applied to be confirmed, and what is \
                 applied is gone when weftd ends"
            ),
        );
        self.refused = Some(problem);
    }

    /// Says what is wrong, in the log and to whoever asks.
    pub fn tell(&mut self, about: &'static str, problem: String) {
        tracing::error!("{problem}");
        self.problems.insert(about, problem);
    }

    /// What is wrong with what was kept, or with the place to keep it in.
    pub fn problems(&self) -> Vec<String> {
        self.problems.values().cloned().collect()
    }

    /// The directory, if things can be kept in it.
    pub fn dir(&self) -> Result<&Dir, StateError> {
        match (&self.readable, &self.refused) {
            (Some(dir), None) => Ok(dir),
            (_, problem) => Err(StateError::Missing(problem.clone().unwrap_or_default())),
        }
    }

    fn failed(&self) -> impl Fn(io::Error) -> StateError {
        let path = self.readable.as_ref().map(|dir| dir.path().join(STARTUP)).unwrap_or_default();
        move |source| StateError::Io { path: path.clone(), source }
    }

    /// What to come up with instead of a configuration file that reads so.
    pub fn startup(&mut self, file: &str) -> Option<Config> {
        let dir = self.readable.clone()?;
        match read_startup(&dir, file) {
            Ok(config) => config,
            Err(problem) => {
                let path = dir.path().join(STARTUP);
                let remedy = "weftd has come up with its configuration file, whatever was confirmed since that was written; \
                              look whether it is what you want, then: weftctl config save, or config apply";
                self.tell(STARTUP, format!("{}: {problem}; {remedy}", path.display()));
                None
            }
        }
    }

    /// Makes ready to come up with a configuration instead of a file that reads so.
    pub fn prepare_startup(&self, file: &str, config: &Config) -> Result<Prepared, StateError> {
        let (dir, failed) = (self.dir()?, self.failed());
        let toml = config::to_toml(config).map_err(|error| failed(io::Error::other(error)))?;
        let startup = Startup { instead_of: file.to_owned(), config: toml };
        let bytes = serde_json::to_vec(&startup).map_err(|error| failed(error.into()))?;
        Prepared::write(dir, OsStr::new(STARTUP), &seal::seal(STARTUP_SEAL, &bytes), None).map_err(failed)
    }

    /// Puts a prepared one in place.
    pub fn commit_startup(&mut self, prepared: Prepared) -> Result<(), StateError> {
        prepared.commit().map_err(self.failed())?;
        self.problems.remove(STARTUP);
        Ok(())
    }

    /// What [`Self::restore_startup`] brings back.
    pub fn startup_bytes(&self) -> Option<Vec<u8>> {
        self.dir().ok()?.read(STARTUP, SIZE_MAX).ok()?
    }

    /// weftd comes up as if nothing had been prepared since: with what was said then, or the configuration file.
    pub fn restore_startup(&mut self, bytes: Option<Vec<u8>>) -> Result<(), StateError> {
        let dir = self.dir()?;
        let outcome = match bytes {
            Some(bytes) => durable::replace(dir, STARTUP, &bytes),
            None => durable::remove(dir, STARTUP),
        };
        outcome.map_err(self.failed())?;
        self.problems.remove(STARTUP);
        Ok(())
    }

    /// Notes a configuration that has come into force, unless it is the newest already. It is not on disk yet:
    /// [`Self::when_kept`] tells.
    pub fn record(&mut self, generation: u64, who: &Who, what: &str, config: &Config) {
        if !self.history.is_newest(config) {
            self.history.push(generation, who, what, config);
            self.is_writing = true;
        }
    }

    /// Calls back when what was noted last is on disk, with what could not be written; at once if that was told already.
    pub fn when_kept(&mut self, say: impl FnOnce(Vec<String>) + Send + 'static) {
        if std::mem::take(&mut self.is_writing) {
            self.history.when_written(say);
        } else {
            say(Vec::new());
        }
    }

    /// Does what nobody waits for.
    pub fn tidy(&mut self) {
        self.history.tidy();
    }
}

/// None: there is none, or the file that it stood in for was edited since.
fn read_startup(dir: &Dir, file: &str) -> Result<Option<Config>, String> {
    let Some(bytes) = dir.read(STARTUP, SIZE_MAX).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let body = seal::unseal(STARTUP_SEAL, &bytes).map_err(|damage| damage.to_string())?;
    let startup: Startup = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if startup.instead_of == file { config::parse(&startup.config).map(Some) } else { Ok(None) }
}

/// The time, as RFC 3339 has it.
pub fn now() -> String {
    humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Config {
        config::parse(&format!("[node]\nname = \"{name}\"")).expect("valid")
    }

    #[test]
    fn a_file_that_was_edited_goes_before_what_stood_in_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::open(dir.path());
        assert_eq!(state.startup("a file"), None);
        let prepared = state.prepare_startup("a file", &named("confirmed")).expect("prepared");
        assert_eq!(state.startup("a file"), None, "not before it is committed");
        state.commit_startup(prepared).expect("committed");
        assert_eq!(state.startup("a file"), Some(named("confirmed")));
        assert_eq!(state.startup("an edited file"), None);
        let bytes = state.startup_bytes();
        drop(state.prepare_startup("a file", &named("dropped")).expect("prepared"));
        assert_eq!(state.startup("a file"), Some(named("confirmed")), "dropped: as it was");
        state.restore_startup(None).expect("removed");
        assert_eq!(state.startup("a file"), None);
        state.restore_startup(bytes).expect("restored");
        assert_eq!(state.startup("a file"), Some(named("confirmed")));
        let left: Vec<_> = fs::read_dir(dir.path()).expect("there").filter_map(Result::ok).collect();
        assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
    }

    #[test]
    fn a_directory_is_one_weftds_and_without_one_there_is_a_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = State::open(dir.path());
        let second = State::open(dir.path());
        assert!(second.dir().expect_err("locked").to_string().contains("another weftd uses it"));
        drop(first);
        assert!(State::open(dir.path()).dir().is_ok());
    }

    /// A configuration with a rule, which stays, and a name that changes.
    fn numbered(generation: u64) -> Config {
        let rule = "[[flow]]\nname = \"f\"\nactions = [\"drop\"]";
        config::parse(&format!("[node]\nname = \"n{generation}\"\n{rule}")).expect("valid")
    }

    #[test]
    fn history_survives_and_is_bounded_and_skips_what_it_cannot_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::open(dir.path());
        for generation in 1..=260 {
            let config = numbered(generation);
            state.record(generation, &Who::default(), "a change", &config);
            state.record(generation + 1000, &Who::default(), "no change", &config); // left alone
            state.tidy();
        }
        drop(state);
        let history = dir.path().join("history");
        let text = |generation| fs::read_to_string(history.join(format!("{generation:020}.json"))).ok();
        fs::write(history.join("00000000000000000261.json"), "{\"generation\":6").expect("writable");
        let files = fs::read_dir(&history).expect("there").count();
        assert!((50..=102).contains(&files), "{files}: as many again as are at hand, and one whole");
        let changes =
            (1..=260).filter(|at| text(*at).is_some_and(|text| text.contains("change\":{"))).count();
        assert!(changes >= files - 4, "{changes} of {files} say what they changed");
        let state = State::open(dir.path());
        assert!(state.problems().len() == 1 && state.problems()[0].contains("261"), "{:?}", state.problems());
        let generations: Vec<u64> = state.history.entries().map(|entry| entry.generation).collect();
        assert_eq!(generations, (211..=260).collect::<Vec<_>>());
        for generation in 211..=260 {
            assert_eq!(state.history.config(generation), Some(numbered(generation)));
        }
        assert_eq!(state.history.config(210), None);
    }

    #[test]
    fn a_damaged_startup_is_told_of_until_it_is_written_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(STARTUP);
        let mut state = State::open(dir.path());
        let prepared = state.prepare_startup("a file", &named("confirmed")).expect("prepared");
        state.commit_startup(prepared).expect("committed");
        let whole = fs::read(&path).expect("there");
        let mut damaged = whole.clone();
        damaged[whole.len() - 9] ^= 1;
        for bytes in [&damaged[..], &whole[..whole.len() - 1], &[], b"{}", b"weft-state 2 startup\n"] {
            fs::write(&path, bytes).expect("writable");
            assert_eq!(state.startup("a file"), None);
            let problems = state.problems();
            assert!(
                problems[0].contains("startup.json") && problems[0].contains("config save"),
                "{problems:?}"
            );
        }
        state.restore_startup(None).expect("removed");
        assert_eq!(state.problems(), Vec::<String>::new());
        fs::remove_file(&path).ok();
        std::os::unix::fs::symlink("/dev/zero", &path).expect("writable");
        assert!(state.startup("a file").is_none() && state.problems()[0].contains("symbolic link"));
        let prepared = state.prepare_startup("a file", &named("confirmed")).expect("prepared");
        state.commit_startup(prepared).expect("it takes the link's place");
        assert_eq!(state.startup("a file"), Some(named("confirmed")));
        assert_eq!(state.problems(), Vec::<String>::new());
    }

    #[test]
    fn entries_of_the_history_are_whole_or_left_out_and_none_takes_another_ones_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::open(dir.path());
        for generation in 1..=6 {
            state.record(generation, &Who::default(), "a change", &numbered(generation));
        }
        drop(state);
        let path = |generation: u64| dir.path().join(format!("history/{generation:020}.json"));
        let mut bytes = fs::read(path(5)).expect("there");
        let last = bytes.len() - 9;
        bytes[last] ^= 4;
        fs::write(path(5), bytes).expect("writable");
        let mut state = State::open(dir.path());
        let known = |state: &State| state.history.entries().map(|entry| entry.generation).collect::<Vec<_>>();
        assert_eq!(known(&state), [1, 2, 3, 4], "the sixth says what it changed of the fifth");
        assert!(state.problems()[0].contains("5, 6"), "{:?}", state.problems());
        // What comes next is not taken for what is damaged, nor is the sixth for a change of it.
        assert_eq!(state.history.newest(), 6);
        state.record(7, &Who::default(), "a change", &numbered(7));
        drop(state);
        let state = State::open(dir.path());
        assert_eq!(known(&state), [1, 2, 3, 4, 7]);
        assert_eq!(state.history.config(7), Some(numbered(7)));
        drop(state);
        fs::rename(path(2), path(3)).expect("ours");
        assert_eq!(known(&State::open(dir.path())), [1]);
    }
}
