//! One thread's sockets, and what it saw.

use std::io;

use super::track::Tracker;
use crate::{clock::now_ns, xsk::RxSocket};

/// Receives by some queues of a device.
pub struct Receiver {
    sockets: Vec<RxSocket>,
    tracker: Tracker,
    /// Of the sockets, before this run.
    missed_before: u64,
}

impl Receiver {
    /// By these sockets.
    pub fn new(sockets: Vec<RxSocket>, tracker: Tracker) -> Self {
        Self { sockets, tracker, missed_before: 0 }
    }

    /// Takes a batch of what is there from each socket; never waits. Returns how many frames there were.
    #[inline]
    pub fn poll(&mut self) -> usize {
        let (tracker, mut frames) = (&mut self.tracker, 0);
        for socket in &mut self.sockets {
            let mut now = None;
            frames += socket.poll(|frame| tracker.frame(frame, *now.get_or_insert_with(now_ns)));
        }
        frames
    }

    /// Waits for a frame, but not longer than so; with several sockets, just a moment.
    pub fn wait(&mut self, limit_ms: i32) -> io::Result<()> {
        match &mut self.sockets[..] {
            [socket] => socket.wait(limit_ms).map(drop),
            _ => {
                std::thread::sleep(std::time::Duration::from_micros(20));
                Ok(())
            }
        }
    }

    /// What it saw.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Frames that the kernel could not deliver, as this thread was too slow.
    pub fn missed(&self) -> io::Result<u64> {
        let mut missed = 0;
        for socket in &self.sockets {
            missed += socket.missed()?;
        }
        Ok(missed.saturating_sub(self.missed_before))
    }

    /// Forgets everything and looks at another run, by the same sockets.
    pub fn restart(&mut self, tracker: Tracker) -> io::Result<Tracker> {
        self.missed_before += self.missed()?;
        Ok(std::mem::replace(&mut self.tracker, tracker))
    }

    /// What it saw.
    pub fn into_tracker(self) -> Tracker {
        self.tracker
    }
}
