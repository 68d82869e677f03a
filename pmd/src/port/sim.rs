//! `sim`: a port whose other side is a test. What the test puts in arrives; what is sent, the test takes out.
//!
//! Not for users: it has no word in the configuration.

use std::{
    collections::VecDeque,
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use weft_wire::Mac;

use super::{Caps, Guard, LinkProbe, Opened, PortInfo, PortQueue, Queue, Sent, Vanished};
use crate::{burst::Burst, frame::FramePool, offload::Offload};

/// A packet on one side or the other.
pub type Packet = (Vec<u8>, Offload);

/// The test's side.
#[derive(Debug, Clone, Default)]
pub struct Tape(Arc<Mutex<Sides>>);

#[derive(Debug, Default)]
struct Sides {
    incoming: VecDeque<Packet>,
    sent: Vec<Packet>,
    /// Frames the port still takes; none: any number.
    room: Option<usize>,
    gone: bool,
}

impl Tape {
    fn sides(&self) -> MutexGuard<'_, Sides> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a packet arrive.
    pub fn put(&self, bytes: Vec<u8>, offload: Offload) {
        self.sides().incoming.push_back((bytes, offload));
    }

    /// Takes out what was sent since the last time.
    pub fn take(&self) -> Vec<Packet> {
        std::mem::take(&mut self.sides().sent)
    }

    /// Packets that have not been received yet.
    pub fn waiting(&self) -> usize {
        self.sides().incoming.len()
    }

    /// Lets the port take so many more frames, then none.
    pub fn limit(&self, room: Option<usize>) {
        self.sides().room = room;
    }

    /// Makes the device vanish.
    pub fn vanish(&self) {
        self.sides().gone = true;
    }
}

/// Opens a port of one queue.
pub fn open(caps: Caps, mac: Mac) -> (Opened, Tape) {
    let tape = Tape::default();
    let opened = Opened {
        queues: vec![Queue::Sim(Box::new(SimQueue(tape.clone())))],
        info: PortInfo { mac, ifindex: 0, caps, mode: "in memory".into(), why: String::new() },
        guard: Guard::None,
        probe: LinkProbe::NONE,
    };
    (opened, tape)
}

/// The port's queue.
#[derive(Debug)]
pub struct SimQueue(Tape);

const GONE: Vanished = Vanished { errno: libc::ENODEV };

impl PortQueue for SimQueue {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished> {
        let mut sides = self.0.sides();
        if sides.gone {
            return Err(GONE);
        }
        while burst.room() > 0 {
            let Some((bytes, offload)) = sides.incoming.pop_front() else { break };
            let Some(mut frame) = pool.alloc_copy(&bytes) else {
                sides.incoming.push_front((bytes, offload));
                break;
            };
            frame.set_offload(offload);
            if let Err(frame) = burst.push(frame) {
                pool.free(frame); // can't be: there was room
            }
        }
        Ok(())
    }

    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
        let mut sides = self.0.sides();
        if sides.gone {
            return Err(GONE);
        }
        let count = sides.room.map_or(burst.len(), |room| room.min(burst.len()));
        sides.room = sides.room.map(|room| room - count);
        let mut sent = Sent { packets: count as u32, ..Sent::default() };
        for frame in burst.drain_front(count) {
            sent.bytes += frame.len() as u64;
            sides.sent.push((pool.bytes(&frame).to_vec(), frame.offload()));
            pool.free(frame);
        }
        Ok(sent)
    }

    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    fn close(&mut self, _: &mut FramePool) {}
}
