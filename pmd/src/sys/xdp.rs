//! AF_XDP (Documentation/networking/af_xdp.rst).
//!
//! # Safety
//! As in [`crate::sys`]; a [`RingMap`]'s pointers stay inside its mapping, whose length is computed from the offsets
//! that the kernel gives.

use std::{
    io,
    mem::{offset_of, size_of},
    os::fd::{AsRawFd, RawFd},
    ptr::{NonNull, null, null_mut},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{check, net};

/// `struct xdp_umem_reg` (linux/if_xdp.h) with all members up to Linux 6.8.
#[repr(C)]
struct UmemRegistration {
    addr: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// Bytes of `struct xsk_tx_metadata`, in front of a packet.
pub(crate) const TX_METADATA: usize = 24;
/// `XDP_TX_METADATA` in a descriptor's options: metadata lies in front of the packet.
pub(crate) const OPTION_TX_METADATA: u32 = 2;
/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
pub(crate) const OPTION_CONTINUED: u32 = 1;

/// Registers memory as the socket's UMEM, with or without room for transmit metadata.
pub(crate) fn register_umem(
    fd: RawFd,
    (base, len): (*mut u8, usize),
    chunk: u32,
    metadata: bool,
) -> io::Result<()> {
    const XDP_UMEM_TX_METADATA_LEN: u32 = 1 << 2;
    let registration = UmemRegistration {
        addr: base as u64,
        len: len as u64,
        chunk_size: chunk,
        headroom: 0,
        flags: if metadata { XDP_UMEM_TX_METADATA_LEN } else { 0 },
        tx_metadata_len: if metadata { TX_METADATA as u32 } else { 0 },
    };
    net::set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// Which of a socket's four rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RingKind {
    Fill,
    Completion,
    Rx,
    Tx,
}

/// One ring's mapping; unmapped on drop. (A mapping left behind would keep the socket bound.)
#[derive(Debug)]
pub(crate) struct RingMap {
    base: NonNull<u8>,
    len: usize,
    offsets: libc::xdp_ring_offset,
}

// SAFETY: a mapping may be used from any thread; the rings over it say who may touch what.
unsafe impl Send for RingMap {}

impl RingMap {
    /// Sets a ring's size and maps it.
    pub(crate) fn new(fd: RawFd, kind: RingKind, size: u32) -> io::Result<Self> {
        let option = match kind {
            RingKind::Fill => libc::XDP_UMEM_FILL_RING,
            RingKind::Completion => libc::XDP_UMEM_COMPLETION_RING,
            RingKind::Rx => libc::XDP_RX_RING,
            RingKind::Tx => libc::XDP_TX_RING,
        };
        net::set_option(fd, libc::SOL_XDP, option, &size)?;
        let all = mmap_offsets(fd)?;
        let (offsets, page_offset, entry) = match kind {
            RingKind::Fill => (all.fr, libc::XDP_UMEM_PGOFF_FILL_RING as i64, size_of::<u64>()),
            RingKind::Completion => (all.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, size_of::<u64>()),
            RingKind::Rx => (all.rx, libc::XDP_PGOFF_RX_RING, size_of::<libc::xdp_desc>()),
            RingKind::Tx => (all.tx, libc::XDP_PGOFF_TX_RING, size_of::<libc::xdp_desc>()),
        };
        let len = offsets.desc as usize + size as usize * entry;
        let base = super::map(fd, len, page_offset, libc::MAP_POPULATE)?;
        Ok(Self { base, len, offsets })
    }

    fn at<T>(&self, offset: u64) -> NonNull<T> {
        debug_assert!((offset as usize) < self.len);
        // SAFETY: the kernel's offsets lie inside the mapping.
        unsafe { self.base.add(offset as usize) }.cast()
    }

    pub(crate) fn producer(&self) -> NonNull<AtomicU32> {
        self.at(self.offsets.producer)
    }

    pub(crate) fn consumer(&self) -> NonNull<AtomicU32> {
        self.at(self.offsets.consumer)
    }

    pub(crate) fn slots<T>(&self) -> NonNull<T> {
        self.at(self.offsets.desc)
    }

    /// The kernel asks to be woken (`XDP_RING_NEED_WAKEUP`).
    pub(crate) fn needs_wakeup(&self) -> bool {
        // SAFETY: an aligned 32-bit word inside the mapping, which lives as long as `self`.
        let flags = unsafe { self.at::<AtomicU32>(self.offsets.flags).as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

impl Drop for RingMap {
    fn drop(&mut self) {
        super::unmap(self.base, self.len);
    }
}

fn mmap_offsets(fd: RawFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: plain data; all zeroes is one of its values.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    get_option(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    Ok(offsets)
}

fn get_option<T>(fd: RawFd, name: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(fd, libc::SOL_XDP, name, std::ptr::from_mut(value).cast(), &raw mut len)
    })
    .map(drop)
}

/// What the kernel dropped on a socket's account (`XDP_STATISTICS`).
pub(crate) fn statistics(fd: RawFd) -> io::Result<libc::xdp_statistics> {
    // SAFETY: plain data; all zeroes is one of its values.
    let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
    get_option(fd, libc::XDP_STATISTICS, &mut statistics)?;
    Ok(statistics)
}

/// Whether the socket is in zero-copy mode (`XDP_OPTIONS`).
pub(crate) fn is_zerocopy(fd: RawFd) -> bool {
    let mut options = 0_u32;
    get_option(fd, libc::XDP_OPTIONS, &mut options).is_ok() && options & libc::XDP_OPTIONS_ZEROCOPY != 0
}

/// Binds a socket to a queue.
pub(crate) fn bind(fd: RawFd, ifindex: u32, queue: u32, flags: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    net::bind(fd, &address)
}

/// Frames that one `sendto` may send in copy mode: 32 unless told (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17). Fewer system
/// calls, the same rate; kernels without it stay at 32.
pub(crate) fn set_tx_budget(fd: RawFd, frames: u32) {
    const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
    // Not having it costs system calls, nothing else.
    let _ = net::set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &frames);
}

/// Makes the kernel send what is in the transmit ring.
pub(crate) fn kick_tx(fd: RawFd) -> io::Result<()> {
    // SAFETY: no buffer and no address.
    let sent = unsafe { libc::sendto(fd, null(), 0, libc::MSG_DONTWAIT, null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the driver look at the fill ring.
pub(crate) fn kick_rx(fd: RawFd) {
    // SAFETY: no buffer and no address. What it returns is of no interest: a device that is gone says so on transmit,
    // and to the daemon's own watch.
    unsafe { libc::recvfrom(fd, null_mut(), 0, libc::MSG_DONTWAIT, null_mut(), null_mut()) };
}

/// An AF_XDP socket.
pub(crate) fn socket() -> io::Result<std::os::fd::OwnedFd> {
    let socket = net::socket(libc::AF_XDP, libc::SOCK_RAW, 0)?;
    debug_assert!(socket.as_raw_fd() >= 0);
    Ok(socket)
}

const _: () =
    assert!(size_of::<UmemRegistration>() == 32 && offset_of!(UmemRegistration, tx_metadata_len) == 28);
