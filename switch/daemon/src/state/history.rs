//! Configurations that were in force: some whole, the others as what they changed of the one before.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use weft_ctl_api::{audit::Who, spec::Config};

use super::{
    HISTORY, SIZE_MAX,
    change::{self, Change},
    dir::Dir,
    durable, seal,
    writer::Writer,
};

/// So many are at hand,
const ENTRIES_MAX: usize = 50;
/// with so many nouns and prefixes together (some 64 MiB of text); but always the two newest.
const NOUNS_MAX: usize = 1 << 20;
/// When so many nouns and prefixes have come since one was kept whole, or so many entries as are at hand, the next one is.
const CHANGED_MAX: usize = 1 << 16;

/// A configuration that was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The generation that it came with.
    pub generation: u64,
    /// When, UTC.
    pub at: String,
    /// Who brought it.
    pub who: Who,
    /// What was changed.
    pub what: String,
    config: Kept,
}

/// How a configuration is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Whole(Box<Config>),
    /// As what it changed of the entry before, which came with generation `of`.
    Change {
        of: u64,
        change: Box<Change>,
    },
}

impl Entry {
    fn is_whole(&self) -> bool {
        matches!(self.config, Kept::Whole(_))
    }

    fn size(&self) -> usize {
        match &self.config {
            Kept::Whole(config) => change::size(config),
            Kept::Change { change, .. } => change.size(),
        }
    }
}

/// The last of them. **Invariant:** what is kept as a change is of the entry before it.
#[derive(Debug, Default)]
pub struct History {
    /// Oldest first. The first is whole; others may build on it when it is not at hand any more itself.
    entries: VecDeque<Arc<Entry>>,
    newest: Option<Config>,
    files: Option<Files>,
    /// The newest that there is a file of, be it damaged: no other may have its number.
    newest_file: u64,
    /// Those that could not be used when weftd started, and why the first could not.
    left_out: Vec<(u64, String)>,
}

impl History {
    /// Goes on with what an earlier weftd has kept.
    pub(super) fn open(state: Dir, is_writable: bool) -> io::Result<Self> {
        let mut history = Self::default();
        for (generation, read) in read(&state)? {
            history.newest_file = history.newest_file.max(generation);
            let of_what = "it says what it changed of one that is not there";
            let used = read.and_then(|entry| {
                history.config_of(&entry).map(|config| (entry, config)).ok_or_else(|| of_what.to_owned())
            });
            match used {
                Ok((entry, config)) => {
                    history.newest = Some(config);
                    history.entries.push_back(Arc::new(entry));
                }
                Err(problem) => history.left_out.push((generation, problem)),
            }
        }
        history.let_go();
        if is_writable {
            history.files = Some(Files { state, writer: Writer::start()?, is_behind: Arc::default() });
        }
        Ok(history)
    }

    /// What could not be used when weftd started.
    pub(super) fn problem(&self) -> Option<String> {
        let (_, why) = self.left_out.first()?;
        let generations: Vec<String> =
            self.left_out.iter().map(|(generation, _)| generation.to_string()).collect();
        let generations = generations.join(", ");
        Some(format!(
            "node.state: the configurations of these generations are left out of the history, which can't lead back to them: \
             {generations} (of the first: {why}); they are removed in time"
        ))
    }

    /// The configuration of what would be the next entry.
    fn config_of(&self, entry: &Entry) -> Option<Config> {
        match &entry.config {
            Kept::Whole(config) => Some((**config).clone()),
            Kept::Change { of, change } => {
                self.entries.back().filter(|last| last.generation == *of)?;
                change.apply(self.newest.clone()?)
            }
        }
    }

    /// Those at hand, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().skip(self.entries.len().saturating_sub(ENTRIES_MAX)).map(|entry| &**entry)
    }

    /// The configuration that came with a generation, if it is at hand.
    pub fn config(&self, generation: u64) -> Option<Config> {
        self.entries().find(|entry| entry.generation == generation)?;
        let until = self.entries.iter().take_while(|entry| entry.generation <= generation);
        until.fold(None, |before, entry| match &entry.config {
            Kept::Whole(config) => Some((**config).clone()),
            Kept::Change { change, .. } => before.and_then(|before| change.apply(before)),
        })
    }

    /// The newest generation.
    pub fn newest(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.generation).max(self.newest_file)
    }

    /// Whether a configuration is the newest.
    pub(super) fn is_newest(&self, config: &Config) -> bool {
        self.newest.as_ref() == Some(config)
    }

    /// Adds one; on disk, too, if there is a directory.
    pub(super) fn push(&mut self, generation: u64, who: &Who, what: &str, config: &Config) {
        let entry = Entry {
            generation,
            at: super::now(),
            who: who.clone(),
            what: what.to_owned(),
            config: self.kept(config),
        };
        self.entries.push_back(Arc::new(entry));
        self.newest = Some(config.clone());
        self.keep_newest();
    }

    /// As a change, if that is less and there is what it is of.
    fn kept(&self, config: &Config) -> Kept {
        let is_behind = self.files.as_ref().is_some_and(Files::is_behind);
        let before = self.newest.as_ref().zip(self.entries.back()).filter(|_| !is_behind);
        let change =
            before.map(|(newest, last)| (last.generation, Box::new(Change::between(newest, config))));
        match change {
            Some((of, change)) if change.size() < change::size(config) => Kept::Change { of, change },
            _ => Kept::Whole(Box::new(config.clone())),
        }
    }

    fn keep_newest(&mut self) {
        let has_let_go = self.let_go();
        let oldest = self.entries.front().map(|entry| entry.generation).filter(|_| has_let_go);
        if let (Some(files), Some(newest)) = (&self.files, self.entries.back()) {
            files.keep(newest.clone(), oldest);
        }
    }

    /// Keeps the newest whole if many were kept as changes before it, so that older ones can go.
    pub(super) fn tidy(&mut self) {
        let (mut count, mut size) = (0, 0);
        for entry in self.entries.iter().rev().take_while(|entry| !entry.is_whole()) {
            (count, size) = (count + 1, size + entry.size());
        }
        if count < ENTRIES_MAX && size < CHANGED_MAX {
            return;
        }
        if let (Some(newest), Some(config)) = (self.entries.back_mut(), &self.newest) {
            *newest = Arc::new(Entry { config: Kept::Whole(Box::new(config.clone())), ..(**newest).clone() });
            self.keep_newest();
        }
    }

    /// Lets go of the oldest that nothing builds on, and says whether there were any.
    fn let_go(&mut self) -> bool {
        let before = self.entries.len();
        let mut size: usize = self.entries.iter().map(|entry| entry.size()).sum();
        while let Some(next) = self.entries.iter().skip(1).position(|entry| entry.is_whole()) {
            let left = self.entries.len() - (next + 1);
            if left < ENTRIES_MAX && (left < 2 || size <= NOUNS_MAX) {
                break;
            }
            size -= self.entries.drain(..=next).map(|entry| entry.size()).sum::<usize>();
        }
        self.entries.len() != before
    }

    /// Calls back when all of it is written, with what could not be since the last time; at once if there is no directory.
    pub(super) fn when_written(&self, say: impl FnOnce(Vec<String>) + Send + 'static) {
        match &self.files {
            Some(files) => files.writer.then(say),
            None => say(Vec::new()),
        }
    }
}

/// One file for each entry.
#[derive(Debug)]
struct Files {
    state: Dir,
    writer: Writer,
    /// The newest entry could not be written: what changes it has nothing to be of.
    is_behind: Arc<AtomicBool>,
}

impl Files {
    fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// Writes one, and then removes those that came before the oldest one.
    fn keep(&self, entry: Arc<Entry>, oldest: Option<u64>) {
        let (state, is_behind) = (self.state.clone(), self.is_behind.clone());
        self.writer.write(move || {
            let outcome = if is_behind.load(Ordering::Acquire) && !entry.is_whole() {
                Err(io::Error::other("the entry that it changes could not be written"))
            } else {
                write(&state, &entry)
            };
            is_behind.store(outcome.is_err(), Ordering::Release);
            let place = state.path().join(HISTORY);
            let dir = outcome.map_err(|error| io::Error::other(format!("{}: {error}", place.display())))?;
            // What is left is let go of next time.
            if let Some(oldest) = oldest {
                let names = dir.names().unwrap_or_default();
                let old = names.iter().filter(|name| generation_of(name).is_some_and(|of| of < oldest));
                old.for_each(|name| drop(dir.remove(name)));
            }
            Ok(())
        });
    }
}

fn seal_of(generation: u64) -> String {
    format!("history {generation}")
}

/// The directory is looked for each time: what was put in its place is weftd's own, or nothing is written.
fn write(state: &Dir, entry: &Entry) -> io::Result<Dir> {
    let dir = state.own(HISTORY)?;
    let sealed = seal::seal(&seal_of(entry.generation), &serde_json::to_vec(entry)?);
    durable::replace(&dir, &name_of(entry.generation), &sealed)?;
    Ok(dir)
}

fn name_of(generation: u64) -> String {
    format!("{generation:020}.json")
}

/// The generation of a file that [`name_of`] named.
fn generation_of(name: &OsStr) -> Option<u64> {
    let generation = name.to_str()?.strip_suffix(".json")?.parse().ok()?;
    (name == name_of(generation).as_str()).then_some(generation)
}

/// All there are, oldest first, or why one can't be used.
fn read(state: &Dir) -> io::Result<Vec<(u64, Result<Entry, String>)>> {
    let dir = match state.own(HISTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()), // read-only
        outcome => outcome?,
    };
    let mut generations: Vec<u64> = dir.names()?.iter().filter_map(|name| generation_of(name)).collect();
    generations.sort_unstable();
    Ok(generations.into_iter().map(|generation| (generation, read_one(&dir, generation))).collect())
}

fn read_one(dir: &Dir, generation: u64) -> Result<Entry, String> {
    let bytes = dir.read(&name_of(generation), SIZE_MAX).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("it is gone")?;
    let body = seal::unseal(&seal_of(generation), &bytes).map_err(|damage| damage.to_string())?;
    let entry: Entry = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if entry.generation == generation { Ok(entry) } else { Err("it is of another generation".to_owned()) }
}
