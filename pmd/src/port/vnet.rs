//! Frames over a descriptor that puts a virtio-net header in front of each: tap and AF_PACKET.
//!
//! One system call per frame. Batching (recvmmsg, io_uring) moves no more here: the kernel's own work per frame is an
//! order of magnitude above that of entering it (measured: 0.43 against 0.46 Mpps; TCP the same). So TCP segments that leave
//! together leave as one super-frame ([`merge`]).

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::fd::{AsRawFd, RawFd},
};

use arrayvec::ArrayVec;
use zerocopy::IntoBytes;

use super::{PortQueue, Sent, Vanished};
use crate::{
    burst::{BURST, Burst},
    frame::{ChunkClass, Frame, FramePool},
    offload::{
        Offload,
        merge::{self, Joined, Look, Survey},
        vnet::VnetHeader,
    },
    sys,
};

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// A tap's character device.
    Tap,
    /// An AF_PACKET socket bound to this interface.
    Packet {
        /// Interface index.
        ifindex: u32,
    },
}

/// One queue of a tap or a packet port.
#[derive(Debug)]
pub struct VnetQueue {
    file: File,
    flavour: Flavour,
    /// TCP segments that leave together go as one super-frame.
    join: bool,
    /// A large chunk to receive into, kept from frame to frame: most frames do not use it.
    spare: Option<Frame>,
    /// Frames whose header made no sense, or that were too long.
    refused: u64,
    /// Frames the kernel had no room for.
    overrun: u64,
}

/// What lies where a tap's frame begins before it is received. A kernel that leaves it there (before 6.15) has skipped those
/// bytes as part of a header that is longer than ours ([`super::tap`]), and a chunk holds what was in it before: other pods'
/// frames. No frame begins like that: its source would be a group.
const UNWRITTEN: [u8; 8] = [0xff; 8];

/// Bytes that go to the small chunk; what is more goes to the large one, behind as much room.
const SMALL: usize = ChunkClass::Small.capacity();

impl VnetQueue {
    pub(super) fn new(file: File, flavour: Flavour, join: bool) -> Self {
        Self { file, flavour, join, spare: None, refused: 0, overrun: 0 }
    }

    /// Receives one frame into the chunks given; what is not used goes back. `None`: it was refused.
    fn receive(
        &mut self,
        pool: &mut FramePool,
        mut small: Frame,
        mut large: Frame,
    ) -> io::Result<Option<Frame>> {
        pool.set_len(&mut small, SMALL);
        pool.set_len(&mut large, ChunkClass::Large.capacity());
        pool.bytes_mut(&mut small)[..UNWRITTEN.len()].copy_from_slice(&UNWRITTEN);
        let mut header = [0; VnetHeader::TAP];
        let header_len = self.header_len();
        let received = {
            let rest = &mut pool.bytes_mut(&mut large)[SMALL..];
            let mut buffers = [
                IoSliceMut::new(&mut header[..header_len]),
                IoSliceMut::new(pool.bytes_mut(&mut small)),
                IoSliceMut::new(rest),
            ];
            self.read(&mut buffers)
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                self.spare = Some(large);
                pool.free(small);
                return Err(error);
            }
        };
        let len = received.len.saturating_sub(header_len);
        let mut frame = if len <= SMALL {
            self.spare = Some(large);
            small
        } else {
            // A packet is one slice: what went to the small chunk goes in front of the rest.
            pool.bytes_mut(&mut large)[..SMALL].copy_from_slice(pool.bytes(&small));
            pool.free(small);
            large
        };
        let intent = VnetHeader::from_bytes(&header[..header_len]).decode(len);
        let is_written = pool.bytes(&frame)[..UNWRITTEN.len()] != UNWRITTEN;
        let fits = is_written && !received.truncated && pool.set_len(&mut frame, len);
        match intent.filter(|_| fits && received.len > header_len) {
            Some(intent) => {
                frame.set_offload(intent);
                Ok(Some(restore_tag(pool, frame, received.vlan)))
            }
            None => {
                pool.free(frame);
                Ok(None)
            }
        }
    }

    fn write(&self, packet: &[u8], offload: &Offload) -> io::Result<()> {
        let header = VnetHeader::encode(packet, offload);
        let buffers = [IoSlice::new(&header.as_bytes()[..self.header_len()]), IoSlice::new(packet)];
        (&self.file).write_vectored(&buffers).map(drop)
    }

    fn write_joined(
        &self,
        pool: &FramePool,
        frames: &[Frame],
        survey: &Survey,
        joined: &Joined,
    ) -> io::Result<()> {
        let header = VnetHeader::encode(&joined.headers, &joined.offload);
        let mut buffers: ArrayVec<IoSlice<'_>, { BURST + 2 }> = ArrayVec::new();
        buffers.push(IoSlice::new(&header.as_bytes()[..self.header_len()]));
        buffers.push(IoSlice::new(&joined.headers));
        for i in bits(joined.members) {
            if let Look::Joins(segment) = &survey[i] {
                buffers.push(IoSlice::new(segment.payload(pool.bytes(&frames[i]))));
            }
        }
        (&self.file).write_vectored(&buffers).map(drop)
    }

    fn read(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<sys::net::Received> {
        match self.flavour {
            Flavour::Tap => self.file.read_vectored(buffers).map(|len| sys::net::Received {
                len,
                truncated: false,
                vlan: None,
            }),
            Flavour::Packet { .. } => sys::net::receive(self.file.as_raw_fd(), buffers),
        }
    }

    fn header_len(&self) -> usize {
        match self.flavour {
            Flavour::Tap => VnetHeader::TAP,
            Flavour::Packet { .. } => VnetHeader::PACKET,
        }
    }

    /// Tells a device that is gone from one that is down, full or does not like a frame.
    fn judge(&self, error: &io::Error) -> Result<(), Vanished> {
        let errno = error.raw_os_error().unwrap_or(0);
        let gone = match self.flavour {
            // tun(4): EBADFD once the device is unregistered; a read that waited gets EFAULT.
            Flavour::Tap => matches!(errno, libc::EBADFD | libc::EFAULT),
            // packet(7): ENETDOWN for a device that is down as well as for one that is gone.
            Flavour::Packet { ifindex } => {
                matches!(errno, libc::ENETDOWN | libc::ENXIO | libc::ENODEV)
                    && !sys::net::link_exists(self.file.as_raw_fd(), ifindex)
            }
        };
        if gone { Err(Vanished { errno }) } else { Ok(()) }
    }
}

impl PortQueue for VnetQueue {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished> {
        while burst.room() > 0 {
            // Without memory the frame stays in the kernel's queue.
            let Some(large) = self.spare.take().or_else(|| pool.alloc(ChunkClass::Large)) else {
                return Ok(());
            };
            let Some(small) = pool.alloc(ChunkClass::Small) else {
                self.spare = Some(large);
                return Ok(());
            };
            match self.receive(pool, small, large) {
                Ok(Some(frame)) => {
                    if let Err(frame) = burst.push(frame) {
                        pool.free(frame); // can't be: there was room
                    }
                }
                Ok(None) => self.refused += 1,
                Err(error) => return self.judge(&error),
            }
        }
        Ok(())
    }

    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
        let mut sent = Sent::default();
        let mut outcome = Ok(());
        let frames = burst.as_slice();
        let survey = if self.join { merge::survey(pool, frames) } else { None };
        let all = if frames.len() == BURST { u64::MAX } else { (1 << frames.len()) - 1 };
        let mut left = all;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let joined = survey
                .as_ref()
                .and_then(|survey| Some((survey, merge::join(pool, frames, survey, first, left)?)));
            let (written, members) = match joined {
                Some((survey, joined)) => (self.write_joined(pool, frames, survey, &joined), joined.members),
                None => (self.write(pool.bytes(&frames[first]), &frames[first].offload()), 1 << first),
            };
            match written {
                Ok(()) => {
                    sent.packets += members.count_ones();
                    sent.bytes += bits(members).map(|i| frames[i].len() as u64).sum::<u64>();
                }
                Err(error) if is_full(&error) => break,
                Err(error) => {
                    outcome = self.judge(&error);
                    if outcome.is_err() {
                        break;
                    }
                    sent.refused += members.count_ones();
                }
            }
            left &= !members;
        }
        burst.free_these(all & !left, pool);
        outcome.map(|()| sent)
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }

    fn lost(&mut self) -> u64 {
        if matches!(self.flavour, Flavour::Packet { .. }) {
            self.overrun += sys::net::packet_drops(self.file.as_raw_fd());
        }
        self.refused + self.overrun
    }

    fn close(&mut self, pool: &mut FramePool) {
        if let Some(spare) = self.spare.take() {
            pool.free(spare);
        }
    }
}

/// The set bits' numbers.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let i = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            i
        })
    })
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// Puts the tag back that the kernel took out of a received frame (packet(7), `tp_vlan_tci` and `tp_vlan_tpid`).
fn restore_tag(pool: &FramePool, mut frame: Frame, tag: Option<[u8; 4]>) -> Frame {
    let Some(tag) = tag else { return frame };
    if pool.push_front(&mut frame, 4) {
        let bytes = pool.bytes_mut(&mut frame);
        bytes.copy_within(4..16, 0);
        bytes[12..16].copy_from_slice(&tag);
        frame.shift_offload(4);
    }
    frame
}

#[cfg(test)]
mod tests {
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    use super::*;
    use crate::Memory;

    #[test]
    fn a_frame_of_which_the_kernel_left_the_beginning_unwritten_is_refused() {
        let (ours, kernel) = UnixDatagram::pair().expect("sockets");
        ours.set_nonblocking(true).expect("a socket");
        let mut pool = FramePool::new(Memory::heap(64, 4).expect("memory"));
        let mut queue = VnetQueue::new(File::from(OwnedFd::from(ours)), Flavour::Tap, false);
        let mut burst = Burst::new();
        for len in [60, 1500, 9000] {
            for (first, frames) in [(UNWRITTEN, 0), ([2; 8], 1)] {
                let frame = [&[0; VnetHeader::TAP][..], &first, &vec![0; len]].concat();
                kernel.send(&frame).expect("it is received");
                queue.rx(&mut pool, &mut burst).expect("it is there");
                assert_eq!(burst.as_slice().len(), frames, "{len} bytes that begin with {first:?}");
            }
            burst.free_all(&mut pool);
        }
        assert_eq!(queue.lost(), 3);
        queue.close(&mut pool);
    }
}
