//! Large tables in memory of their own: zeroed, on huge pages where the kernel has them, and untouched pages cost nothing.

use std::{
    io,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use zerocopy::FromZeros;

use crate::sys;

/// An array of `T`, all zeroes at first. Reserving more than is ever used costs address space only.
#[derive(Debug)]
pub struct Pages<T> {
    base: NonNull<T>,
    len: usize,
    bytes: usize,
    owns: PhantomData<T>,
}

impl<T: FromZeros> Pages<T> {
    /// `len` zeroes. With `huge` the kernel is asked for transparent huge pages (madvise(2), MADV_HUGEPAGE): a table
    /// that is read at random misses the TLB at every step without.
    pub fn zeroed(len: usize, huge: bool) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= sys::PAGE && size_of::<T>() > 0 && !std::mem::needs_drop::<T>()) };
        let too_large =
            || io::Error::other(format!("a table of {len} entries does not fit the address space"));
        let bytes = len.max(1).checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        let bytes = bytes.checked_next_multiple_of(sys::HUGE_PAGE).ok_or_else(too_large)?;
        let base = sys::reserve(bytes, huge)?.cast();
        Ok(Self { base, len, bytes, owns: PhantomData })
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` values: zeroes at first, which `FromZeros` says are valid.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Pages<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        sys::unmap(self.base.cast(), self.bytes);
    }
}

// SAFETY: it owns its memory as a `Vec` does.
unsafe impl<T: Send> Send for Pages<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Sync> Sync for Pages<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zero_and_keep_what_is_written() {
        let mut pages: Pages<[u64; 3]> = Pages::zeroed(100_000, true).unwrap();
        assert_eq!((pages.len(), pages[99_999]), (100_000, [0; 3]));
        pages[77_777] = [1, 2, 3];
        assert_eq!((pages[77_776], pages[77_777], pages[77_778]), ([0; 3], [1, 2, 3], [0; 3]));
        assert!(Pages::<u64>::zeroed(usize::MAX, false).is_err());
    }
}
