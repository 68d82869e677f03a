//! Configuration files: read, checked, written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use weft_ctl_api::spec::Config;
use weft_pmd::files;

use crate::{
    desired::{Desired, Invalid},
    state::durable::Prepared,
};

/// Longer is no configuration.
const SIZE_MAX: u64 = 64 << 20;

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
    #[error("{}: {}; `weftd --example` prints every key", .path.display(), .problem)]
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

/// Reads a file's text.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    files::read_text(path, SIZE_MAX).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Reads a file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(&read(path)?).map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem })
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

/// Writes a file: whole or not at all. A file that is there keeps its mode and owner, and a symbolic link stays one.
pub fn save(config: &Config, path: &Path) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    prepare_save(config, path)?.commit().map_err(failed)
}

/// The first half of [`save`]: all that can fail for want of room or rights.
pub fn prepare_save(config: &Config, path: &Path) -> Result<Prepared, ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let text = to_toml(config).map_err(|error| failed(io::Error::other(error)))?;
    let place = if path.is_symlink() { fs::canonicalize(path).map_err(failed)? } else { path.to_owned() };
    let old = fs::metadata(&place).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    Prepared::write(&place, text.as_bytes(), old.as_ref()).map_err(failed)
}
