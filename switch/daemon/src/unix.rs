//! Unix sockets that others connect to, and the files they are found by.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::state::dir::is_ours;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process.
    #[error("another process listens on {}; stop it, or name another path", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} is there already and is no socket; name another path, or remove it", .0.display())]
    NoSocket(PathBuf),
    /// Somebody else's socket is there.
    #[error("{} is there already and is user {uid}'s; name another path, or remove it", .path.display())]
    NotOurs {
        /// The socket's path.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The kernel would not.
    #[error("{}: {source}; name a path in a directory that weftd may write to", .path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A listening socket's file; it is removed with this.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The file itself (O_PATH), whatever is put at its path.
    file: File,
}

impl SocketFile {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = openat(CWD, path, flags, Mode::empty())?.into();
        let meta = file.metadata()?;
        if !meta.file_type().is_socket() || !is_ours(meta.uid()) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody has replaced it"));
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// A path that leads to the file itself (proc_pid_fd(5)): chmod(2) takes no descriptor of a socket.
    fn itself(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Who may connect.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.itself(), Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another file by now is somebody else's.
        let there = fs::symlink_metadata(&self.path).map(|meta| (meta.dev(), meta.ino()));
        let ours = self.file.metadata().map(|meta| (meta.dev(), meta.ino()));
        if there.ok().zip(ours.ok()).is_some_and(|(there, ours)| there == ours) {
            let _ = fs::remove_file(&self.path); // gone already: just as well
        }
    }
}

/// Listens. The file is the group's, if one is given; directories that lack are made.
pub(crate) fn bind(
    path: &Path,
    group: Option<u32>,
    mode: u32,
) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
        warn_of(path, parent);
    }
    let _turn = turn(path.parent().unwrap_or(Path::new("/")));
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let file = SocketFile::open(path).map_err(failed)?;
    if let Some(group) = group {
        std::os::unix::fs::chown(file.itself(), None, Some(group)).map_err(failed)?;
    }
    file.set_mode(mode).map_err(failed)?;
    Ok((listener, file))
}

/// Two that start at once and find a dead one's socket: the second must not remove that of the first. Whoever else holds the
/// directory's lock (anybody who may read it can) keeps nobody from starting.
fn turn(dir: &Path) -> Option<File> {
    const TRIES: u32 = 20;
    let dir = File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).ok()?;
    for _ in 0..TRIES {
        match dir.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            outcome => return outcome.ok().map(|()| dir),
        }
    }
    None
}

/// Who may write to the directory can put another socket in place of ours, and is asked in weftd's stead.
fn warn_of(path: &Path, parent: &Path) {
    const STICKY: u32 = 0o1000;
    let Ok(meta) = fs::metadata(parent) else { return };
    if !is_ours(meta.uid()) || meta.mode() & 0o002 != 0 && meta.mode() & STICKY == 0 {
        tracing::warn!(
            path = %path.display(), uid = meta.uid(), mode = format!("{:04o}", meta.mode() & 0o7777),
            "others than weftd may put another socket at this place: their directory, or mode, allows it"
        );
    }
}

/// Removes what a weftd that was killed left behind, and nothing else.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NoSocket(path.to_owned())),
        Ok(meta) if !is_ours(meta.uid()) => {
            return Err(BindError::NotOurs { path: path.to_owned(), uid: meta.uid() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
        Ok(_) => Err(BindError::InUse(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_weftds_socket_makes_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made/control.sock");
        let (listener, file) = bind(&path, None, 0o600).expect("listens");
        let mode = || fs::metadata(&path).expect("there").mode() & 0o777;
        assert_eq!(mode(), 0o600);
        file.set_mode(0o660).expect("ours");
        assert_eq!(mode(), 0o660);
        assert!(matches!(bind(&path, None, 0o600), Err(BindError::InUse(_))));
        drop(listener);
        let (_listener, next) = bind(&path, None, 0o600).expect("nobody listens any more");
        drop(file);
        assert!(path.exists(), "another's by now");
        // What is put in its place is neither changed nor removed.
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").expect("writable");
        fs::set_permissions(&victim, Permissions::from_mode(0o604)).expect("ours");
        fs::remove_file(&path).expect("there");
        std::os::unix::fs::symlink(&victim, &path).expect("writable");
        assert!(matches!(bind(&path, None, 0o600), Err(BindError::NoSocket(_))));
        next.set_mode(0o666).expect("its own");
        assert_eq!(mode(), 0o604);
        drop(next);
        assert!(path.is_symlink());
    }
}
