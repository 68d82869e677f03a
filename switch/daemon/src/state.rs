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

mod change;
pub mod durable;
mod history;
mod writer;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use weft_ctl_api::{audit::Who, spec::Config};
use weft_pmd::files;

use crate::{config, state::durable::Prepared};

pub use history::{Entry, History};

/// Longer is none of weftd's files: two configurations, written as JSON strings.
const SIZE_MAX: u64 = 256 << 20;

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
    dir: Result<PathBuf, String>,
    _lock: Option<File>,
    /// Configurations that were in force.
    pub history: History,
    /// Something is being written that nobody was told of.
    is_writing: bool,
}

impl State {
    /// Opens the directory, making it if need be. Without one weftd runs all the same: a full disk keeps no pod from
    /// its packets.
    pub fn open(path: &Path) -> Self {
        let opened = Self::lock(path).and_then(|lock| Ok((lock, History::open(path.join("history"))?)));
        match opened {
            Ok((lock, history)) => {
                Self { dir: Ok(path.to_owned()), _lock: Some(lock), history, is_writing: false }
            }
            Err(error) => {
                let problem = format!("node.state: {}: {error}", path.display());
                let remedy =
                    "neither history nor audit log outlive weftd, and nothing can be applied to be confirmed";
                tracing::warn!(problem, "no state directory: {remedy}");
                Self { dir: Err(problem), _lock: None, history: History::default(), is_writing: false }
            }
        }
    }

    fn lock(path: &Path) -> io::Result<File> {
        fs::create_dir_all(path.join("history"))?;
        durable::only_ours(path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another weftd uses it; name another directory"),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(lock)
    }

    /// The directory.
    pub fn dir(&self) -> Result<&Path, StateError> {
        self.dir.as_deref().map_err(|problem| StateError::Missing(problem.clone()))
    }

    fn startup_path(&self) -> Result<PathBuf, StateError> {
        Ok(self.dir()?.join("startup.json"))
    }

    /// What to come up with instead of a configuration file that reads so.
    pub fn startup(&self, file: &str) -> Option<Config> {
        let path = self.startup_path().ok()?;
        let text = files::read_text(&path, SIZE_MAX).ok()?;
        let unreadable = |error: String| {
            tracing::error!(path = %path.display(), error, "can't be read: the configuration file is used");
        };
        let startup: Startup =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string())).ok()?;
        if startup.instead_of != file {
            return None;
        }
        config::parse(&startup.config).map_err(unreadable).ok()
    }

    /// Makes ready to come up with a configuration instead of a file that reads so.
    pub fn prepare_startup(&self, file: &str, config: &Config) -> Result<Prepared, StateError> {
        let path = self.startup_path()?;
        let failed = |source| StateError::Io { path: path.clone(), source };
        let toml = config::to_toml(config).map_err(|error| failed(io::Error::other(error)))?;
        let startup = Startup { instead_of: file.to_owned(), config: toml };
        let bytes = serde_json::to_vec(&startup).map_err(|error| failed(error.into()))?;
        Prepared::write(&path, &bytes, None).map_err(failed)
    }

    /// Puts a prepared one in place.
    pub fn commit_startup(&self, prepared: Prepared) -> Result<(), StateError> {
        let path = self.startup_path()?;
        prepared.commit().map_err(|source| StateError::Io { path, source })
    }

    /// What [`Self::restore_startup`] brings back.
    pub fn startup_bytes(&self) -> Option<Vec<u8>> {
        fs::read(self.startup_path().ok()?).ok()
    }

    /// weftd comes up as if nothing had been prepared since: with what was said then, or the configuration file.
    pub fn restore_startup(&self, bytes: Option<Vec<u8>>) -> Result<(), StateError> {
        let path = self.startup_path()?;
        let outcome = match bytes {
            Some(bytes) => durable::replace(&path, &bytes),
            None => durable::remove(&path),
        };
        outcome.map_err(|source| StateError::Io { path, source })
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
        let state = State::open(dir.path());
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
        let generations: Vec<u64> = state.history.entries().map(|entry| entry.generation).collect();
        assert_eq!(generations, (211..=260).collect::<Vec<_>>());
        for generation in 211..=260 {
            assert_eq!(state.history.config(generation), Some(numbered(generation)));
        }
        assert_eq!(state.history.config(210), None);
    }
}
