//! Work inside another network namespace.

use std::{fs::File, io, os::fd::AsRawFd, path::PathBuf, thread};

use crate::sys;

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

    /// Runs `work` on a thread of its own inside the namespace. The thread ends with the work, so no other thread of
    /// the process ever changes its namespace; sockets and devices opened by `work` stay in theirs.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let file = File::open(self.path())?;
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
