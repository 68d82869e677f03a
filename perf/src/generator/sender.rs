//! One thread's share of the work: what to send, when, and the socket it goes by.

use std::io;

use serde::Serialize;

use super::{capture::Capture, impair::Damage, rate::Pace, stream::Stream};
use crate::xsk::TxSocket;

/// What is sent.
#[derive(Debug)]
pub enum Source {
    /// Made here.
    Stream(Box<Stream>),
    /// A file's, in its own time or at a pace.
    Capture {
        /// The frames.
        capture: Capture,
        /// Whether each waits for its own time.
        own_time: bool,
    },
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Frames handed to the device.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Numbers used up: frames that would have been sent without impairments, each once.
    pub made: u64,
    /// Frames that the rate asked for and that were given up, as the device or the machine was too slow.
    pub missed: u64,
    /// What was done on purpose.
    pub damage: Damage,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.made += other.made;
        self.missed += other.missed;
        self.damage += other.damage;
    }
}

/// Sends.
pub struct Sender {
    socket: TxSocket,
    source: Source,
    pace: Pace,
    burst: usize,
    sent: Sent,
    is_over: bool,
}

impl Sender {
    /// By a socket, so many frames at a time.
    pub fn new(socket: TxSocket, source: Source, pace: Pace, burst: usize) -> Self {
        Self { socket, source, pace, burst, sent: Sent::default(), is_over: false }
    }

    /// Sends what is due, at most a burst; never waits. Returns how many frames were handed to the device.
    #[inline]
    pub fn poll(&mut self, now_ns: u64) -> io::Result<usize> {
        let due = self.due(now_ns);
        let mut pushed = 0;
        while pushed < due && !self.is_over {
            if !self.push(now_ns, false) {
                break;
            }
            pushed += 1;
        }
        // Completions are taken and the kernel is woken while it has frames, whether new ones are due or not.
        if self.socket.outstanding() > 0 {
            self.socket.flush()?;
        }
        Ok(pushed)
    }

    fn due(&mut self, now_ns: u64) -> usize {
        match &mut self.source {
            Source::Capture { capture, own_time: true } => usize::from(capture.is_due(now_ns)),
            Source::Capture { .. } | Source::Stream(_) => self.pace.due(now_ns, self.burst),
        }
    }

    /// One frame; or, at the end, one of those held back. False: there is no room, or nothing to send.
    fn push(&mut self, now_ns: u64, at_end: bool) -> bool {
        let (source, mut len) = (&mut self.source, 0);
        let had_room = self.socket.push(|buffer| {
            len = match source {
                Source::Stream(stream) if at_end => stream.finish(buffer),
                Source::Stream(stream) => stream.next(now_ns as u32, buffer),
                Source::Capture { .. } if at_end => 0,
                Source::Capture { capture, .. } => capture.next(buffer),
            };
            len
        });
        self.is_over |= had_room && len == 0;
        if len > 0 {
            self.pace.sent(1);
            self.sent.frames += 1;
            self.sent.bytes += len as u64;
        }
        len > 0
    }

    /// Whether there is nothing more to send.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends what was held back, and waits until the device has sent everything, but not longer than that.
    pub fn finish(&mut self, now_ns: impl Fn() -> u64, limit_ns: u64) -> io::Result<()> {
        let began = now_ns();
        self.is_over = false;
        while !self.is_over && now_ns() - began < limit_ns {
            self.push(now_ns(), true);
            self.socket.flush()?;
        }
        while self.socket.outstanding() > 0 && now_ns() - began < limit_ns {
            self.socket.flush()?;
        }
        Ok(())
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        let mut sent = self.sent;
        sent.missed = self.pace.missed();
        match &self.source {
            Source::Stream(stream) => (sent.made, sent.damage) = (stream.made(), stream.damage()),
            Source::Capture { .. } => sent.made = sent.frames,
        }
        sent
    }

    /// Starts over with other frames at another pace, by the same socket.
    pub fn restart(&mut self, source: Source, pace: Pace) {
        (self.source, self.pace, self.sent, self.is_over) = (source, pace, Sent::default(), false);
    }
}
