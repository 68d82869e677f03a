//! What waits for the disk: done in order, on a thread of its own, so that nobody waits for it but who wants to.

use std::{
    fmt, io,
    thread::{self, JoinHandle},
};

use crossbeam::channel::{self, Receiver, Sender};

enum Job {
    Write(Box<dyn FnOnce() -> io::Result<()> + Send>),
    Then(Box<dyn FnOnce(Vec<String>) + Send>),
}

/// Writes, one after the other. When dropped, it waits until all is written.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, receiver) = channel::unbounded();
        let thread = thread::Builder::new().name("state".into()).spawn(move || run(&receiver))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes something when all before it is written.
    pub(super) fn write(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.give(Job::Write(Box::new(work)));
    }

    /// Says so when all before it is written, with what failed since the last time that this was said.
    pub(super) fn then(&self, say: impl FnOnce(Vec<String>) + Send + 'static) {
        self.give(Job::Then(Box::new(say)));
    }

    fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends when this is dropped, not before: nothing that it does panics.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // as above
        }
    }
}

fn run(jobs: &Receiver<Job>) {
    let mut problems = Vec::new();
    for job in jobs {
        match job {
            Job::Write(work) => problems.extend(work().err().map(|error| error.to_string())),
            Job::Then(say) => say(std::mem::take(&mut problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_after_what_is_written_and_tells_what_failed() {
        let (said, heard) = channel::unbounded();
        let say = |what: &'static str| {
            let said = said.clone();
            move |problems: Vec<String>| said.send(format!("{what} {problems:?}")).expect("heard")
        };
        let writer = Writer::start().expect("a thread");
        let written = said.clone();
        writer.write(move || {
            thread::sleep(std::time::Duration::from_millis(20));
            written.send("written".into()).expect("heard");
            Ok(())
        });
        writer.write(|| Err(io::Error::other("full")));
        writer.then(say("first"));
        writer.then(say("second"));
        drop(writer); // waits
        let all: Vec<String> = heard.try_iter().collect();
        assert_eq!(all, ["written", "first [\"full\"]", "second []"]);
    }
}
