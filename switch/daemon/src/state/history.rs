//! Configurations that were in force.

use std::{collections::VecDeque, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use weft_ctl_api::audit::Who;
use weft_pmd::files;

use super::{SIZE_MAX, durable};

/// So many are kept,
const ENTRIES_MAX: usize = 50;
/// of so many bytes together; but always the two newest.
const BYTES_MAX: usize = 64 << 20;

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
    /// It, as TOML.
    pub config: String,
}

/// The last of them, oldest first.
#[derive(Debug, Default)]
pub struct History(VecDeque<Entry>);

impl History {
    /// Reads what an earlier weftd has kept.
    pub(super) fn load(dir: &Path) -> Self {
        let files = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        let is_entry = |path: &std::path::PathBuf| path.extension().is_some_and(|ext| ext == "json");
        let read = |path: std::path::PathBuf| {
            let text = files::read_text(&path, SIZE_MAX);
            let entry = text.and_then(|text| serde_json::from_str(&text).map_err(Into::into));
            let skip = |error: &io::Error| {
                tracing::warn!(path = %path.display(), %error, "an entry of the history can't be read");
            };
            entry.inspect_err(skip).ok()
        };
        let mut entries: Vec<Entry> = files.filter(is_entry).filter_map(read).collect();
        entries.sort_by_key(|entry| entry.generation);
        Self(entries.into())
    }

    /// All, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.0.iter()
    }

    /// The one that came with a generation.
    pub fn get(&self, generation: u64) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.generation == generation)
    }

    /// The newest generation.
    pub fn newest(&self) -> u64 {
        self.0.back().map_or(0, |entry| entry.generation)
    }

    /// Adds one, and lets go of the oldest; on disk, too, if there is a directory.
    pub(super) fn push(&mut self, entry: Entry, dir: Option<&Path>) -> io::Result<()> {
        let file = |dir: &Path, generation: u64| dir.join(format!("{generation:020}.json"));
        let kept =
            dir.map(|dir| durable::replace(&file(dir, entry.generation), &serde_json::to_vec(&entry)?));
        self.0.push_back(entry);
        let bytes = |entries: &VecDeque<Entry>| entries.iter().map(|entry| entry.config.len()).sum::<usize>();
        while self.0.len() > ENTRIES_MAX || self.0.len() > 2 && bytes(&self.0) > BYTES_MAX {
            if let (Some(old), Some(dir)) = (self.0.pop_front(), dir) {
                // What is left is let go of next time.
                let _ = fs::remove_file(file(dir, old.generation));
            }
        }
        kept.unwrap_or(Ok(()))
    }
}
