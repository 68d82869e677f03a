//! `null`: takes every frame and gives none. The sink of benchmarks.

use std::os::fd::RawFd;

use weft_wire::Mac;

use super::{Caps, Guard, LinkProbe, Opened, PortInfo, PortQueue, Queue, Sent, Vanished};
use crate::{burst::Burst, frame::FramePool};

/// Opens a null port of `queues` queues.
pub fn open(queues: u16, mtu: u32) -> Opened {
    Opened {
        queues: (0..queues).map(|_| Queue::Null(Box::new(NullQueue))).collect(),
        info: PortInfo {
            mac: Mac::ZERO,
            ifindex: 0,
            caps: Caps { mtu, csum: true, gso: true },
            mode: "in memory".into(),
            why: String::new(),
        },
        guard: Guard::None,
        probe: LinkProbe::NONE,
    }
}

/// A queue of a null port.
#[derive(Debug)]
pub struct NullQueue;

impl PortQueue for NullQueue {
    fn rx(&mut self, _: &mut FramePool, _: &mut Burst) -> Result<(), Vanished> {
        Ok(())
    }

    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
        let bytes = burst.as_slice().iter().map(|frame| frame.len() as u64).sum();
        Ok(Sent { packets: burst.free_all(pool) as u32, bytes, refused: 0 })
    }

    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    fn close(&mut self, _: &mut FramePool) {}
}
