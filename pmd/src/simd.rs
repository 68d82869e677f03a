//! What the packet's path does to several values at once. Only instructions that every processor of the architecture has;
//! elsewhere plain code.

/// One bit for each of `lanes` that equals `value`.
#[inline]
pub fn equal_lanes(lanes: &[u16; 8], value: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16, _mm_setzero_si128,
        };
        #[target_feature(enable = "sse2")]
        #[inline]
        fn equal(lanes: __m128i, value: u16) -> u32 {
            let equal = _mm_cmpeq_epi16(lanes, _mm_set1_epi16(value as i16));
            _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
        }
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { equal(zerocopy::transmute!(*lanes), value) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        lanes.iter().rev().fold(0, |found, lane| found << 1 | u32::from(*lane == value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_each_equal_lane(lanes: [u16; 8], pick in 0_usize..8, double in 0_usize..8) {
            let mut lanes = lanes;
            lanes[double] = lanes[pick];
            let expected = (0..8).filter(|i| lanes[*i] == lanes[pick]).map(|i| 1 << i).sum::<u32>();
            prop_assert_eq!(equal_lanes(&lanes, lanes[pick]), expected);
        }
    }
}
