//! What a benchmark sets up beside itself, and takes away again: processes and network namespaces of its own.
//!
//! **Invariants.** Whatever is started is owned by a guard that ends it: also after an error, and after Ctrl-C or SIGTERM,
//! which make the next wait fail with [`Error::Interrupted`]. Processes are ended by their own id. Nothing outside of
//! the benchmark's own namespaces is touched.

mod interrupt;
mod netns;
mod process;
mod progress;

use std::{
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

pub use interrupt::{pause, watch};
pub use netns::NetNs;
pub use process::{Running, find, myself, output, output_of, pin, present, succeeds};
pub use progress::Progress;

/// Why a benchmark could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A program that is not there.
    #[error("{program} is not there: {remedy}")]
    Absent {
        /// Its name.
        program: String,
        /// How to get it.
        remedy: String,
    },
    /// A command that ended badly.
    #[error("`{command}` ended with {status}: {said}")]
    Failed {
        /// As it was run.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        said: String,
    },
    /// Something that was waited for.
    #[error("{what} did not come about within {} s{said}", limit.as_secs_f64())]
    Late {
        /// What.
        what: String,
        /// How long it had.
        limit: Duration,
        /// What there is to read about it.
        said: String,
    },
    /// An answer that can't be understood.
    #[error("{what} has no {wanted}: {said}")]
    Unread {
        /// Whose answer.
        what: String,
        /// What was looked for.
        wanted: &'static str,
        /// The end of it.
        said: String,
    },
    /// A measurement that could be made and would mislead.
    #[error("refused: {0}")]
    Refused(String),
    /// A bad option.
    #[error("{0}")]
    Usage(String),
    /// A file that is there, and is not what it should be.
    #[error("{} can't be used: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Files and system calls.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came back.
        source: io::Error,
    },
}

impl Error {
    /// What weft-perf exits with: 2 if it was called wrongly, 3 if it can't be done here. (0: all is well; 1: it was done,
    /// and the outcome is not what was expected.)
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 3 }
    }

    /// For `map_err`: what was tried.
    pub fn io(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.to_string(), source }
    }

    /// For `map_err`: a file that could not be read or written.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(path.display())
    }

    /// An answer without what was looked for.
    pub fn unread(what: impl Display, wanted: &'static str, said: &str) -> Self {
        Self::Unread { what: what.to_string(), wanted, said: tail(said) }
    }
}

/// Prints to standard output. Whoever reads it may have read enough: `| head` is no error.
pub fn tell(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The end of what a program printed: where programs say why they ended.
fn tail(text: &str) -> String {
    const LINES: usize = 6;
    const CHARACTERS: usize = 600;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    let skipped = end.chars().count().saturating_sub(CHARACTERS);
    end.chars().skip(skipped).collect()
}
