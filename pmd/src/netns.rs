//! Work inside another network namespace.

use std::{fs::File, io, os::fd::AsRawFd, path::PathBuf, thread};

use crate::{files, sys};

/// A network namespace, as users name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Netns {
    /// As `ip netns` names it.
    Name(String),
    /// A file.
    Path(PathBuf),
    /// That of a process.
    Pid(u32),
}

impl Netns {
    /// The file that stands for it (`ip netns` keeps names below /run/netns).
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Name(name) => PathBuf::from("/run/netns").join(name),
            Self::Path(path) => path.clone(),
            Self::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        }
    }

    /// Opens it: a file of nsfs and nothing else, so that whatever a user names can't block.
    pub fn open(&self) -> io::Result<File> {
        let file = files::open_regular(&self.path(), u64::MAX)?;
        if sys::is_on_nsfs(&file)? {
            return Ok(file);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no namespace: name a file of `ip netns` or /proc/PID/ns/net",
        ))
    }

    /// Runs `work` on a thread of its own inside the namespace. The thread ends with the work, so no other thread of
    /// the process ever changes its namespace; sockets and devices opened by `work` stay in theirs.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let file = self.open()?;
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                // SAFETY: no pointers; the descriptor is open for the duration of the call.
                sys::check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
                Ok(work())
            });
            worker.join().unwrap_or_else(|_| Err(io::Error::other("work inside the namespace panicked")))
        })
    }
}

/// Runs `work` in the given namespace, or right here when there is none.
pub fn run_in<T: Send>(netns: Option<&Netns>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    match netns {
        Some(netns) => netns.run(work),
        None => Ok(work()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespace_is_opened() {
        assert!(Netns::Pid(std::process::id()).open().is_ok());
        for (path, says) in [
            ("/dev/zero", "no regular file"),
            ("/proc/version", "no namespace"),
            ("/run/netns/no-such", "No such"),
        ] {
            let error = Netns::Path(path.into()).open().expect_err("refused");
            assert!(error.to_string().contains(says), "{path}: {error}");
        }
    }
}
