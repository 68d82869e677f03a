//! Files that are there whole or not at all, whatever moment the process or the machine dies at: a temporary file beside
//! the place, flushed, renamed, and the directory flushed (rename(2) is atomic; fsync(2) on the directory makes it last).

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
};

use super::dir::Dir;

/// A file that is written and flushed, and waits to take its place; dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Prepared {
    dir: Dir,
    temporary: OsString,
    name: OsString,
    is_committed: bool,
}

impl Prepared {
    /// Writes and flushes it beside its place: a full disk or missing rights are known before anything has changed.
    /// It gets the mode and owner of `old`, if there is one; else it is the owner's alone.
    pub fn write(dir: &Dir, name: &OsStr, bytes: &[u8], old: Option<&Metadata>) -> io::Result<Self> {
        step();
        let (mut file, temporary) = dir.create_beside(name)?;
        let prepared = Self { dir: dir.clone(), temporary, name: name.to_owned(), is_committed: false };
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
        self.dir.rename(&self.temporary, &self.name)?;
        self.is_committed = true;
        step();
        self.dir.flush()?;
        step();
        Ok(())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.is_committed {
            let _ = self.dir.remove(&self.temporary); // what is left takes room, and is removed at the next start
        }
    }
}

/// Writes a file that only its owner may read.
pub(super) fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    Prepared::write(dir, OsStr::new(name), bytes, None)?.commit()
}

/// Removes a file, if it is there.
pub(super) fn remove(dir: &Dir, name: &str) -> io::Result<()> {
    if !dir.remove(OsStr::new(name))? {
        return Ok(());
    }
    step();
    dir.flush()
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
