//! Files that are there whole or not at all, whatever moment the process or the machine dies at: a temporary file beside
//! the place, flushed, renamed, and the directory flushed (rename(2) is atomic; fsync(2) on the directory makes it last).

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use weft_pmd::files;

/// A file that is written and flushed, and waits to take its place; dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Prepared {
    temporary: PathBuf,
    place: PathBuf,
    is_committed: bool,
}

impl Prepared {
    /// Writes and flushes it beside its place: a full disk or missing rights are known before anything has changed.
    /// It gets the mode and owner of `old`, if there is one; else it is the owner's alone.
    pub fn write(place: &Path, bytes: &[u8], old: Option<&fs::Metadata>) -> io::Result<Self> {
        let mut temporary = place.as_os_str().to_owned();
        temporary.push(format!(".new.{}", std::process::id()));
        let prepared =
            Self { temporary: PathBuf::from(temporary), place: place.to_owned(), is_committed: false };
        step();
        let mut file = files::create(&prepared.temporary)?;
        match old {
            Some(old) => {
                // Another's file stays another's, if weftd may say so; if not, it is at least as closed as it was.
                let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
                file.set_permissions(old.permissions())?;
            }
            None => file.set_permissions(fs::Permissions::from_mode(0o600))?,
        }
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        file.write_all(half)?;
        step();
        file.write_all(rest)?;
        step();
        file.sync_all()?;
        step();
        Ok(prepared)
    }

    /// Puts it in its place.
    pub fn commit(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.place)?;
        self.is_committed = true;
        step();
        flush_directory(&self.place)?;
        step();
        Ok(())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.is_committed {
            let _ = fs::remove_file(&self.temporary); // it may not have come to be
        }
    }
}

/// Writes a file that only its owner may read.
pub fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    Prepared::write(place, bytes, None)?.commit()
}

/// Removes a file, if it is there.
pub fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome?,
    }
    step();
    flush_directory(place)
}

/// A directory of weftd's own is nobody else's to read: configurations are in it, and who changed them.
pub(super) fn only_ours(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

fn flush_directory(place: &Path) -> io::Result<()> {
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Where weftd could die, or wait for the disk. In debug builds it dies at the n-th of these, where WEFT_CRASH_AT is n: tests
/// end it at each; and it waits WEFT_STEP_MS at each.
pub fn step() {
    #[cfg(debug_assertions)]
    {
        if let Some(ms) = std::env::var("WEFT_STEP_MS").ok().and_then(|ms| ms.parse().ok()) {
            std::thread::sleep(std::time::Duration::from_millis(ms));
        }
        use std::sync::atomic::{AtomicU64, Ordering};
        static STEPS: AtomicU64 = AtomicU64::new(0);
        let step = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
        if std::env::var("WEFT_CRASH_AT").is_ok_and(|at| at == step.to_string()) {
            std::process::abort();
        }
    }
}
