//! Frames over a descriptor that puts a virtio-net header in front of each: tap and AF_PACKET.
//!
//! One system call per frame. Batching (recvmmsg, io_uring) moves no more here: the kernel's own work per frame is an
//! order of magnitude above that of entering it (measured: 0.43 against 0.46 Mpps; TCP the same). So TCP segments that leave
//! together leave as one super-frame ([`merge`]).

use std::{
    collections::VecDeque,
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
        Offload, Unfit, jumbo,
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
    /// Pieces of a frame that was larger than a chunk, as far as the burst had no room for them.
    pieces: VecDeque<Frame>,
    /// Frames there was no memory for, or whose beginning the kernel left unwritten.
    unusable: u64,
    /// Frames the kernel had no room for.
    overrun: u64,
}

/// What lies where a tap's frame begins before it is received. A kernel that leaves it there (before 6.15) has skipped those
/// bytes as part of a header that is longer than ours ([`super::tap`]), and a chunk holds what was in it before: other pods'
/// frames. No frame begins like that: its source would be a group.
const UNWRITTEN: [u8; 8] = [0xff; 8];

/// Bytes that go to the small chunk; what is more goes to the large one, behind as much room.
const SMALL: usize = ChunkClass::Small.capacity();
/// Bytes that go to the large chunk; what is more, only of frames larger than IP can tell of, to the pool's scratch memory.
const LARGE: usize = ChunkClass::Large.capacity();
/// Packets on the wire that a burst may come to, cut in software: a millisecond's work. The others wait for it, and whoever
/// chooses small segments gets fewer frames a turn, not more of the thread.
const PACKETS: usize = 16 * BURST;

impl VnetQueue {
    pub(super) fn new(file: File, flavour: Flavour, join: bool) -> Self {
        Self { file, flavour, join, pieces: VecDeque::new(), unusable: 0, overrun: 0 }
    }

    /// Receives one frame into the small chunk, and what that does not hold into `large`, which is taken then. Frames that
    /// are larger than IP can tell of become [`VnetQueue::pieces`]; those there is no memory for are lost.
    fn receive(
        &mut self,
        pool: &mut FramePool,
        mut small: Frame,
        large: &mut Option<Frame>,
        scratch: &mut [u8],
    ) -> io::Result<Option<Frame>> {
        pool.set_len(&mut small, SMALL);
        pool.bytes_mut(&mut small)[..UNWRITTEN.len()].copy_from_slice(&UNWRITTEN);
        let mut header = [0; VnetHeader::TAP];
        let header_len = self.header_len();
        let received = {
            let rest = match large {
                Some(large) => {
                    pool.set_len(large, LARGE);
                    &mut pool.bytes_mut(large)[SMALL..]
                }
                None => &mut [],
            };
            let mut buffers = [
                IoSliceMut::new(&mut header[..header_len]),
                IoSliceMut::new(pool.bytes_mut(&mut small)),
                IoSliceMut::new(rest),
                IoSliceMut::new(scratch),
            ];
            self.read(&mut buffers)
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                pool.free(small);
                return Err(error);
            }
        };
        let len = received.len.saturating_sub(header_len);
        let intent = VnetHeader::from_bytes(&header[..header_len]).decode(len);
        if pool.bytes(&small)[..UNWRITTEN.len()] == UNWRITTEN {
            pool.free(small);
            self.unusable += 1;
            return Ok(None);
        }
        // A frame that is cut short, or of which the header makes no sense, is told from others where packets are dropped.
        let intent = intent.filter(|_| !received.truncated && len > 0).unwrap_or(Offload::INVALID);
        if len <= SMALL {
            pool.set_len(&mut small, len);
            small.set_offload(intent);
            return Ok(Some(restore_tag(pool, small, received.vlan)));
        }
        let Some(mut frame) = large.take() else {
            pool.free(small);
            self.unusable += 1;
            return Ok(None);
        };
        // A packet is one slice: what went to the small chunk goes in front of the rest.
        pool.bytes_mut(&mut frame)[..SMALL].copy_from_slice(pool.bytes(&small));
        pool.free(small);
        pool.set_len(&mut frame, len.min(LARGE));
        frame.set_offload(intent);
        if len > jumbo::IP_FRAME_MAX && jumbo::is_jumbo(pool.bytes(&frame)) {
            self.take_jumbo(pool, frame, &scratch[..len.saturating_sub(LARGE)], received.vlan);
            return Ok(None);
        }
        if len > LARGE {
            frame.set_offload(Offload::INVALID);
        }
        Ok(Some(restore_tag(pool, frame, received.vlan)))
    }

    /// A frame larger than IP can tell of: cut into such as are not.
    #[cold]
    fn take_jumbo(&mut self, pool: &mut FramePool, front: Frame, tail: &[u8], tag: Option<[u8; 4]>) {
        let intent = front.offload();
        match jumbo::split(pool, front, tail, &intent, &mut self.pieces) {
            Ok(()) => {
                let tagged = self.pieces.drain(..).map(|piece| restore_tag(pool, piece, tag)).collect();
                self.pieces = tagged;
            }
            Err((Unfit::NoFrames, front)) => {
                pool.free(front);
                self.unusable += 1;
            }
            Err((_, mut front)) => {
                front.set_offload(Offload::INVALID);
                self.pieces.push_back(restore_tag(pool, front, tag));
            }
        }
    }

    /// Fills the burst, which `large` and `scratch` are lent to.
    fn fill(
        &mut self,
        pool: &mut FramePool,
        burst: &mut Burst,
        large: &mut Option<Frame>,
        scratch: &mut [u8],
    ) -> Result<(), Vanished> {
        let mut packets = 0;
        while burst.room() > 0 {
            if packets >= PACKETS {
                burst.cap();
                break;
            }
            let frame = match self.pieces.pop_front() {
                Some(piece) => piece,
                None => {
                    // Without memory for any frame, it stays in the kernel's queue.
                    let Some(small) = pool.alloc(ChunkClass::Small) else { return Ok(()) };
                    // Most frames do not use it: there is one for all queues of the thread.
                    *large = large.take().or_else(|| pool.alloc(ChunkClass::Large));
                    match self.receive(pool, small, large, scratch) {
                        Ok(Some(frame)) => frame,
                        // Nothing, or pieces: whoever sends what there is no memory for gets no longer turn than others.
                        Ok(None) => {
                            packets += PACKETS / BURST;
                            continue;
                        }
                        Err(error) => return self.judge(&error),
                    }
                }
            };
            packets += on_the_wire(&frame);
            if let Err(frame) = burst.push(frame) {
                pool.free(frame); // can't be: there was room
            }
        }
        Ok(())
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
        let (mut large, mut scratch) = (None, pool.lend_scratch());
        let outcome = self.fill(pool, burst, &mut large, &mut scratch);
        pool.give_back_scratch(scratch);
        if let Some(large) = large {
            pool.free(large);
        }
        outcome
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
        self.unusable + self.overrun
    }

    fn close(&mut self, pool: &mut FramePool) {
        self.pieces.drain(..).for_each(|piece| pool.free(piece));
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

/// Packets that a frame will be cut into, as far as can be told without its headers.
fn on_the_wire(frame: &Frame) -> usize {
    if frame.is_complete() {
        return 1;
    }
    frame.offload().gso.map_or(1, |gso| frame.len() / usize::from(gso.size.max(1)) + 1)
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
