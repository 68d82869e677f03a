//! What passes between threads: frames to a thread that owns the queue they must leave by, and from PMD threads to the
//! control side: punts, learnt addresses, vanished ports. Bounded rings; the sender never waits.

use std::{
    io,
    os::fd::RawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst, fence},
    },
};

use crossbeam::queue::ArrayQueue;
use weft_pmd::{BURST, Frame, FramePool, sys::EventFd};
use weft_wire::{Mac, PortId};

use crate::{
    key::Origin,
    reason::PuntReason,
    share::{PLACES, Place, Source},
};

/// Wakes a thread that sleeps, and costs nothing while it does not.
///
/// The sleeper raises `asleep`, then looks for work once more; the waker leaves work, then looks at `asleep`. With a
/// full fence between both pairs one of the two sees the other (Dekker), so no wake-up is lost.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    event: EventFd,
}

impl Bell {
    /// A silent bell.
    pub fn new() -> io::Result<Self> {
        Ok(Self { asleep: AtomicBool::new(false), event: EventFd::new()? })
    }

    /// Wakes the sleeper, if it sleeps. Call it after leaving work.
    #[inline]
    pub fn ring(&self) {
        fence(SeqCst);
        if self.asleep.load(SeqCst) {
            self.event.signal();
        }
    }

    /// Runs `sleep`, with the descriptor to poll, unless there is work.
    pub fn sleep<T>(&self, has_work: impl Fn() -> bool, sleep: impl FnOnce(RawFd) -> T) -> Option<T> {
        self.asleep.store(true, SeqCst);
        fence(SeqCst);
        let slept = (!has_work()).then(|| sleep(self.event.fd()));
        self.asleep.store(false, SeqCst);
        self.event.clear();
        slept
    }
}

/// A frame on its way out by a port of another thread.
#[derive(Debug)]
pub struct Outbound {
    /// The port to leave by.
    pub port: PortId,
    /// The frame.
    pub frame: Frame,
    /// The flow's hash: chooses among the port's queues.
    pub hash: u64,
    /// It was made by the slow path rather than received.
    pub made: bool,
    /// When it was received or made, by the time-stamp counter.
    pub received: u64,
}

/// Where other threads leave frames for a PMD thread to send: in batches, so that a batch costs both sides one ring
/// operation and one look at the bell.
#[derive(Debug)]
pub struct Mailbox {
    batches: ArrayQueue<Vec<Outbound>>,
    /// What the slow path has made: its own, so that answers take no room from what is forwarded.
    answers: ArrayQueue<Vec<Outbound>>,
    /// Empty lists, to be used again: nothing is allocated once as many are under way as ever will be.
    spare: ArrayQueue<Vec<Outbound>>,
    /// Wakes its thread.
    pub bell: Bell,
}

impl Mailbox {
    /// Batches it holds; a batch is what one thread hands over of one burst.
    pub const DEPTH: usize = 512;
    /// Batches of the slow path's.
    pub const ANSWERS: usize = 64;

    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let [batches, spare] = [(); 2].map(|()| ArrayQueue::new(Self::DEPTH));
        Ok(Self { batches, answers: ArrayQueue::new(Self::ANSWERS), spare, bell: Bell::new()? })
    }

    /// Leaves frames: takes all of them, or, when the box is full, none.
    #[inline]
    pub fn push(&self, frames: &mut Vec<Outbound>) -> Result<(), Full> {
        self.leave(&self.batches, frames)
    }

    /// Leaves what the slow path has made, likewise.
    pub fn push_answers(&self, frames: &mut Vec<Outbound>) -> Result<(), Full> {
        self.leave(&self.answers, frames)
    }

    #[inline]
    fn leave(&self, ring: &ArrayQueue<Vec<Outbound>>, frames: &mut Vec<Outbound>) -> Result<(), Full> {
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BURST));
        if let Err(refused) = ring.push(std::mem::replace(frames, empty)) {
            *frames = refused;
            return Err(Full);
        }
        self.bell.ring();
        Ok(())
    }

    /// Takes the next batch; [`Mailbox::give_back`] wants the list back.
    #[inline]
    pub fn pop(&self) -> Option<Vec<Outbound>> {
        self.batches.pop()
    }

    /// Takes the slow path's next batch, likewise.
    #[inline]
    pub fn pop_answers(&self) -> Option<Vec<Outbound>> {
        self.answers.pop()
    }

    /// Takes an empty list back.
    #[inline]
    pub fn give_back(&self, batch: Vec<Outbound>) {
        let _ = self.spare.push(batch); // one too many is dropped
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.answers.is_empty()
    }
}

/// A mailbox has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A packet for the slow path.
#[derive(Debug)]
pub struct Punt {
    /// The packet, as it came.
    pub frame: Frame,
    /// Where it came in.
    pub ingress: PortId,
    /// Where it came from: that port, or through a tunnel another node.
    pub origin: Origin,
    /// What is asked of the slow path.
    pub reason: PuntReason,
    /// Who sent it.
    pub source: Source,
    /// Its place among those of its source's.
    pub place: Place,
}

/// A source address seen in a bridged network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Learn {
    /// The address.
    pub mac: Mac,
    /// Where it came from,
    pub origin: Origin,
    /// with this VLAN id (0: untagged).
    pub vlan: u16,
    /// It is where it was known to be, and still in use: keeps it from ageing, moves nothing.
    pub refresh: bool,
}

/// From all PMD threads to the control side.
#[derive(Debug)]
pub struct Exits {
    /// Packets for the slow path.
    pub punts: ArrayQueue<Punt>,
    /// Learnt addresses.
    pub learns: ArrayQueue<Learn>,
    /// Ports whose device is gone, and the kernel's errno.
    pub vanished: ArrayQueue<(PortId, i32)>,
    /// Places that punts have taken, see [`crate::share`].
    pub held: Arc<AtomicUsize>,
    /// Wakes the control side.
    pub bell: Bell,
}

impl Exits {
    /// Empty ones.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            punts: ArrayQueue::new(PLACES),
            learns: ArrayQueue::new(16_384),
            vanished: ArrayQueue::new(256),
            held: Arc::default(),
            bell: Bell::new()?,
        })
    }

    /// Something is waiting.
    pub fn has_work(&self) -> bool {
        !(self.punts.is_empty() && self.learns.is_empty() && self.vanished.is_empty())
    }

    /// Frees what nobody will answer any more.
    pub fn drain(&self, pool: &mut FramePool) {
        while let Some(punt) = self.punts.pop() {
            pool.free(punt.frame);
        }
    }
}
