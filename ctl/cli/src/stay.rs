//! Verbs that stay (top, --watch, capture, trace --live), and what ends them: one mechanism for all.
//!
//! A thread beside the verb waits for signals, another one for the other end of the output, of the terminal and of the connection to
//! weftd to go away. Whatever comes first, the verb is told ([`has_ended`]) and given a moment to end in its own way; if it does
//! not, for it may be waiting in a system call or a library, the process ends all the same.
//!
//! | what happens | exit code |
//! |---|---|
//! | SIGHUP, SIGINT, SIGTERM | 129, 130, 143: 128 and the signal's number, as a shell says it |
//! | the terminal goes away | 129, as if SIGHUP had come |
//! | whoever reads the output has seen enough (`\| head`) | 0 |
//! | weftd ends | 1 |

use std::{
    fs,
    io::{self, IsTerminal},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::exit,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Session, tell};

/// How often the other ends are looked for anew: a verb may have connected again.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Why a verb that would stay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A signal (signal(7)), or what amounts to one.
    Signal(i32),
    /// Nobody reads the output any more.
    ReaderGone,
    /// weftd has ended.
    WeftdGone,
}

impl Cause {
    /// The terminal is gone.
    pub(crate) const HANGUP: Self = Self::Signal(1);
    /// Ctrl-C.
    pub(crate) const INTERRUPT: Self = Self::Signal(2);

    /// What the process exits with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Signal(number) => 128 + number as u8,
            Self::ReaderGone => 0,
            Self::WeftdGone => 1,
        }
    }
}

/// How a verb ends.
pub(crate) struct Ending {
    /// What it shows goes to standard output.
    pub(crate) to_output: bool,
    /// It reads the keyboard.
    pub(crate) from_input: bool,
    /// What is its ordinary end, and no failure.
    pub(crate) ordinary: Option<Cause>,
    /// Asks it to end, and says how long that may take.
    pub(crate) ask: Box<dyn Fn(Cause) -> Duration + Send + Sync>,
    /// Where it did not end in time.
    pub(crate) at_last: fn(),
}

impl Default for Ending {
    /// Of a verb that only prints: there is nothing to wait for.
    fn default() -> Self {
        Self {
            to_output: true,
            from_input: false,
            ordinary: None,
            ask: Box::new(|_| Duration::ZERO),
            at_last: || {},
        }
    }
}

/// Why, and whether that is its ordinary end.
static ENDED: OnceLock<(Cause, bool)> = OnceLock::new();
/// The connection to weftd, as of now.
static CONNECTION: Mutex<Option<UnixStream>> = Mutex::new(None);

/// Why the verb is to end, if it is.
pub(crate) fn has_ended() -> Option<Cause> {
    ENDED.get().map(|(cause, _)| *cause)
}

/// What weftctl exits with after a verb that has ended in its own way, because it was to.
pub(crate) fn exit_code() -> Option<u8> {
    let (cause, is_ordinary) = ENDED.get()?;
    if *cause == Cause::WeftdGone {
        tell_weftd_gone();
    }
    Some(if *is_ordinary { 0 } else { cause.code() })
}

fn tell_weftd_gone() {
    tell("weftctl: weftd has ended");
}

/// What a failed write to the output means: its other end is gone.
pub(crate) fn gone(error: &io::Error) -> Option<Cause> {
    /// How a terminal that is gone says so (tty(4), EIO).
    const EIO: i32 = 5;
    match error.kind() {
        io::ErrorKind::BrokenPipe => Some(Cause::ReaderGone),
        _ if error.raw_os_error() == Some(EIO) => Some(Cause::HANGUP),
        _ => None,
    }
}

/// The verb has found out itself.
pub(crate) fn note(cause: Cause) {
    let _ = ENDED.set((cause, false)); // or something else has come first
}

/// From here on the verb stays until something ends it.
pub(crate) fn begin(session: &Session, ending: Ending) -> io::Result<()> {
    let signals = Signals::listen()?;
    watch_connection(session)?;
    let ending = std::sync::Arc::new(ending);
    let socket = session.socket.clone();
    thread::Builder::new().name("signals".into()).spawn({
        let ending = ending.clone();
        move || signals.wait(&ending)
    })?;
    // Asked now: a terminal that is gone is none any more.
    let is_terminal = (io::stdout().is_terminal(), io::stdin().is_terminal());
    thread::Builder::new().name("other ends".into()).spawn(move || look(&ending, &socket, is_terminal))?;
    Ok(())
}

/// The verb has connected (again).
pub(crate) fn watch_connection(session: &Session) -> io::Result<()> {
    *CONNECTION.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.client.socket()?);
    Ok(())
}

/// Ends the process, unless it ends by itself meanwhile.
fn end(ending: &Ending, cause: Cause) {
    // Whoever says it twice means it.
    if ENDED.set((cause, ending.ordinary == Some(cause))).is_ok() {
        thread::sleep((ending.ask)(cause));
    }
    // What puts the terminal in order may be held up by the terminal (Ctrl-S).
    const ORDER: Duration = Duration::from_millis(300);
    let at_last = ending.at_last;
    let began = Instant::now();
    let order = thread::Builder::new().spawn(at_last);
    while order.as_ref().is_ok_and(|order| !order.is_finished()) && began.elapsed() < ORDER {
        thread::sleep(Duration::from_millis(5));
    }
    if cause == Cause::WeftdGone {
        tell_weftd_gone();
    }
    exit(cause.code().into());
}

/// Signals that are not ignored: `nohup weftctl …` goes on without a terminal.
struct Signals {
    runtime: tokio::runtime::Runtime,
    signals: Vec<(i32, Signal)>,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let ignored = ignored();
        let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
        let heard = kinds.into_iter().filter(|kind| ignored & 1 << (kind.as_raw_value() - 1) == 0);
        let signals =
            heard.map(|kind| Ok((kind.as_raw_value(), signal(kind)?))).collect::<io::Result<_>>()?;
        drop(guard);
        Ok(Self { runtime, signals })
    }

    fn wait(mut self, ending: &std::sync::Arc<Ending>) {
        loop {
            let next = std::future::poll_fn(|context| {
                for (number, signal) in &mut self.signals {
                    if signal.poll_recv(context).is_ready() {
                        return std::task::Poll::Ready(*number);
                    }
                }
                std::task::Poll::Pending
            });
            let number = self.runtime.block_on(next);
            // On a thread of its own: the next one is heard, too.
            let ending = ending.clone();
            let ends = thread::Builder::new().spawn(move || end(&ending, Cause::Signal(number)));
            if ends.is_err() {
                exit(Cause::Signal(number).code().into());
            }
        }
    }
}

/// The mask of signals that whoever started us has us ignore (proc_pid_status(5), SigIgn).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Waits until an other end is gone.
fn look(ending: &Ending, socket: &Path, (is_output_terminal, is_input_terminal): (bool, bool)) {
    let (output, input) = (io::stdout(), io::stdin());
    let from_input = ending.from_input && is_input_terminal;
    loop {
        let connection = CONNECTION
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .and_then(|stream| stream.try_clone().ok());
        // No event is asked for: a hangup or an error is told anyway (poll(2)).
        let nothing = PollFlags::empty();
        let mut ends: Vec<(Cause, PollFd<'_>)> = Vec::new();
        if ending.to_output {
            let cause = if is_output_terminal { Cause::HANGUP } else { Cause::ReaderGone };
            ends.push((cause, PollFd::from_borrowed_fd(output.as_fd(), nothing)));
        }
        if from_input {
            ends.push((Cause::HANGUP, PollFd::from_borrowed_fd(input.as_fd(), nothing)));
        }
        if let Some(connection) = &connection {
            ends.push((Cause::WeftdGone, PollFd::from_borrowed_fd(connection.as_fd(), nothing)));
        }
        let (causes, mut fds): (Vec<Cause>, Vec<PollFd<'_>>) = ends.into_iter().unzip();
        if poll(&mut fds, Some(&LOOK_EVERY)).is_err() {
            thread::sleep(Duration::from_millis(100)); // interrupted
            continue;
        }
        let gone = causes.iter().zip(&fds).find(|(_, fd)| !fd.revents().is_empty());
        match gone.map(|(cause, _)| *cause) {
            // weftd lets those go who say nothing for long; then it is there to connect to. One that is dying may be, too, for a
            // moment: what is watched from here on tells.
            Some(Cause::WeftdGone) => match UnixStream::connect(socket) {
                Ok(stream) => {
                    *CONNECTION.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                    thread::sleep(Duration::from_millis(100));
                }
                Err(_) => end(ending, Cause::WeftdGone),
            },
            Some(cause) => end(ending, cause),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_what_a_shell_says() {
        let code = |cause: Cause| cause.code();
        assert_eq!([1, 2, 15].map(|number| code(Cause::Signal(number))), [129, 130, 143]);
        assert_eq!((code(Cause::ReaderGone), code(Cause::WeftdGone)), (0, 1));
        assert_eq!(gone(&io::ErrorKind::BrokenPipe.into()), Some(Cause::ReaderGone));
        assert_eq!(gone(&io::Error::from_raw_os_error(5)), Some(Cause::HANGUP));
        assert_eq!(gone(&io::ErrorKind::StorageFull.into()), None);
    }
}
