//! Configuration files: read, checked, written.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use weft_ctl_api::spec::Config;

use crate::desired::{Desired, Invalid};

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("{}: {source}; name a configuration file (see configs/ for examples)", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is not TOML, or has keys or values that are not known.
    #[error("{}: {}; see configs/full.toml for every key", .path.display(), .problem)]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and what.
        problem: String,
    },
    /// It contradicts itself.
    #[error("{}: {invalid}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where, what, and what to do instead.
        invalid: Invalid,
    },
    /// It can't be written.
    #[error("{}: {source}; nothing was changed", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Reads a file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem })
}

/// Reads a text; the error says where.
pub fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{}", error.message().trim().replace('\n', " "))
    })
}

/// Reads and checks a file.
pub fn check(path: &Path) -> Result<(Config, Desired), ConfigError> {
    let config = load(path)?;
    let desired = Desired::try_from(&config)
        .map_err(|invalid| ConfigError::Invalid { path: path.to_owned(), invalid })?;
    Ok((config, desired))
}

/// As a file.
pub fn to_toml(config: &Config) -> Result<String, String> {
    toml::to_string(config).map_err(|error| error.to_string())
}

/// Writes a file: whole or not at all (a temporary file beside it, flushed, then renamed).
pub fn save(config: &Config, path: &Path) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let text = to_toml(config).map_err(|error| failed(io::Error::other(error)))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = fs::File::create(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}
