//! System calls, one function each. Nothing here keeps state.
//!
//! # Safety
//! Each function passes pointers that live for the duration of the call, with the lengths of what they point to.

pub mod net;
pub mod xdp;

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::{NonNull, null_mut},
};

/// Bytes of a page on the architectures weft runs on.
pub const PAGE: usize = 4096;

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// Turns a libc return value into a result.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A shared mapping of a file descriptor, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    fd: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// A fresh memfd of `len` bytes, all mapped; `huge` asks for 2 MiB pages (rounded up) and fails when there are none.
    pub fn memfd(len: usize, huge: bool) -> io::Result<Self> {
        let name: &CStr = c"weft-frames";
        let (flags, len) = if huge {
            (libc::MFD_CLOEXEC | libc::MFD_HUGETLB, len.next_multiple_of(HUGE_PAGE))
        } else {
            (libc::MFD_CLOEXEC, len.next_multiple_of(PAGE))
        };
        // SAFETY: the name is a C string that outlives the call.
        let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: no pointers.
        check(unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) })?;
        let base = map(fd.as_raw_fd(), len, 0, if huge { libc::MAP_POPULATE } else { 0 })?;
        Ok(Self { fd, base, len })
    }

    /// Its start.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Its file.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.base, self.len);
    }
}

/// Maps `len` bytes of `fd` shared, to read and write.
pub(crate) fn map(fd: RawFd, len: usize, offset: i64, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choosing touches no memory that anyone has.
    let base = unsafe { libc::mmap(null_mut(), len, protection, libc::MAP_SHARED | flags, fd, offset) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))
}

/// Private zeroed memory, given page by page as it is first touched; `huge` asks for huge ones where that is possible.
pub(crate) fn reserve(len: usize, huge: bool) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choosing touches no memory that anyone has.
    let base = unsafe { libc::mmap(null_mut(), len, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if huge {
        // SAFETY: the range is the mapping just made. A kernel without huge pages says no, and small ones do, too.
        unsafe { libc::madvise(base, len, libc::MADV_HUGEPAGE) };
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))
}

/// Fetches the cache line where `value` begins, without waiting for it.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, on an address that is valid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Unmaps what [`map`] or [`reserve`] gave.
pub(crate) fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller owns this mapping and lets go of it here.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

/// A non-blocking event counter, to wake a sleeping thread.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A fresh one at zero.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes whoever polls it.
    pub fn signal(&self) {
        let one = 1_u64;
        // SAFETY: eight readable bytes. The only failure is a full counter, which wakes just as well.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Back to zero.
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight writable bytes. The only failure is a counter that is zero already.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    /// The descriptor to poll.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Sleeps until one of `fds` is readable or in error, or `timeout_ms` have passed.
pub fn wait_readable(fds: impl Iterator<Item = RawFd>, timeout_ms: i32) -> io::Result<()> {
    let mut polls: Vec<libc::pollfd> =
        fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: a live array and its length.
    let result = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout_ms) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result.map(drop),
    }
}

/// Whether a file is a namespace's (NSFS_MAGIC of linux/magic.h).
pub(crate) fn is_on_nsfs(file: &std::fs::File) -> io::Result<bool> {
    const NSFS: u64 = 0x6e73_6673;
    let mut about = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: a live struct to fill.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) })?;
    // SAFETY: all zeroes was a value already; fstatfs has filled it.
    Ok(unsafe { about.assume_init() }.f_type as u64 == NSFS)
}

/// The time-stamp counter: cycles, cheap enough to read every turn.
#[inline]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the instruction.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
    }
}

/// Nanoseconds that one of [`cycles`] takes, in units of 2⁻³². Measured at the first call, which takes 5 ms.
pub fn cycle_ns_q32() -> u64 {
    /// Long enough for a thousandth: reading both clocks takes some hundred nanoseconds.
    const MEASURED: std::time::Duration = std::time::Duration::from_millis(5);
    static SCALE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SCALE.get_or_init(|| {
        let (clock, counter) = (std::time::Instant::now(), cycles());
        std::thread::sleep(MEASURED);
        let (ns, passed) = (clock.elapsed().as_nanos(), cycles().wrapping_sub(counter));
        ((ns << 32) / u128::from(passed.max(1))) as u64
    })
}

/// [`cycles`] as nanoseconds.
#[inline]
pub fn cycles_to_ns(cycles: u64) -> u64 {
    ((u128::from(cycles) * u128::from(cycle_ns_q32())) >> 32) as u64
}
