//! Configuration files: read, checked, written.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use weft_ctl_api::spec::Config;
use weft_pmd::files;

use crate::{
    desired::{Desired, Invalid},
    state::{
        dir::{Dir, is_ours},
        durable::Prepared,
    },
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
    // Not toml::to_string: what a rule has after its `match` table that puts in between, each time moving all that comes behind (seconds
    // with some ten thousand rules). Shown, the buffer is written from its beginning to its end.
    let mut buffer = toml::ser::Buffer::new();
    config.serialize(toml::Serializer::new(&mut buffer)).map_err(|error| error.to_string())?;
    Ok(buffer.to_string())
}

/// Writes a file: whole or not at all. A file that is there keeps its mode and owner, and a symbolic link stays one: it is followed
/// if root or weftd's own user made it, as the kernel does in directories like /tmp (fs.protected_symlinks, proc_sys_fs(5)).
pub fn save(config: &Config, path: &Path) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    prepare_save(config, path)?.commit().map_err(failed)
}

/// The first half of [`save`]: all that can fail for want of room or rights.
pub fn prepare_save(config: &Config, path: &Path) -> Result<Prepared, ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let text = to_toml(config).map_err(|error| failed(io::Error::other(error)))?;
    let place = followed(path).map_err(failed)?;
    let old = fs::symlink_metadata(&place).ok();
    if let Some(old) = &old {
        may_replace(&place, old).map_err(failed)?;
    }
    let (dir, name) = Dir::of_file(&place).map_err(failed)?;
    Prepared::write(&dir, &name, text.as_bytes(), old.as_ref()).map_err(failed)
}

/// Where links lead that may be followed.
fn followed(path: &Path) -> io::Result<PathBuf> {
    /// As the kernel has it (path_resolution(7)).
    const LINKS_MAX: usize = 40;
    let mut place = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(link) = fs::read_link(&place) else { return Ok(place) };
        let owner = fs::symlink_metadata(&place)?.uid();
        if !is_ours(owner) {
            let problem = format!("{} is user {owner}'s symbolic link, and not followed", place.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        place = place.parent().unwrap_or(Path::new("/")).join(link);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// What somebody has put into a directory where everybody may is not weftd's to write configurations to (as
/// fs.protected_regular, proc_sys_fs(5)).
fn may_replace(place: &Path, old: &Metadata) -> io::Result<()> {
    if !old.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let parent = fs::metadata(
        place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    )?;
    if parent.mode() & 0o1002 == 0o1002 && !is_ours(old.uid()) && old.uid() != parent.uid() {
        let problem = format!("it is user {}'s file in a directory that everybody may write to", old.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// What this thread has had of a processor: a busy machine takes none of it away.
    fn spent() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    #[test]
    fn a_configuration_is_written_as_it_would_be_otherwise_only_sooner() {
        let full = parse(include_str!("../../../configs/full.toml")).expect("valid");
        assert_eq!(to_toml(&full), Ok(toml::to_string(&full).expect("it can be written")));
        let rule = full.flow.iter().find(|rule| rule.matching != Default::default()).expect("there is one");
        let of = |rules: usize| {
            let config = Config { flow: vec![rule.clone(); rules], ..Config::default() };
            let began = spent();
            let text = to_toml(&config).expect("it can be written");
            (spent() - began, text.len())
        };
        let (few, many) = (of(1000), of(32_000));
        // Quadratic would be a thousand times as long.
        assert!(many.0 < 150 * few.0, "{few:?}, {many:?}");
    }
}
