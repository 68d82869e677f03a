//! Not written yet.
use std::os::fd::RawFd;

use super::{PortQueue, Sent, Vanished};
use crate::{Burst, FramePool};

/// Placeholder.
#[derive(Debug)]
pub struct XskQueue;

impl PortQueue for XskQueue {
    fn rx(&mut self, _: &mut FramePool, _: &mut Burst) -> Result<(), Vanished> {
        Ok(())
    }
    fn tx(&mut self, _: &mut FramePool, _: &mut Burst) -> Result<Sent, Vanished> {
        Ok(Sent::default())
    }
    fn poll_fd(&self) -> Option<RawFd> {
        None
    }
    fn close(&mut self, _: &mut FramePool) {}
}

/// Placeholder.
#[derive(Debug)]
pub struct Attachment;

impl Attachment {
    /// Placeholder.
    pub fn steer(&mut self, _: &[ipnet::IpNet]) -> Result<(), super::PortError> {
        Ok(())
    }
}
