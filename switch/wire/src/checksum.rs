//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Ones' complement sum of `bytes` added to `sum`, not folded. Sums of even-length pieces may be chained.
#[inline]
pub fn sum(bytes: &[u8], sum: u64) -> u64 {
    /// From here on it pays to sum in the machine's own byte order and turn the result round (RFC 1071 §2 (B)).
    const LONG: usize = 64;
    if bytes.len() >= LONG {
        let (blocks, rest) = bytes.as_chunks::<LONG>();
        return sum_short(rest, sum + u64::from(fold(sum_blocks(blocks)).swap_bytes()));
    }
    sum_short(bytes, sum)
}

/// Sums of little-endian words: no carry to wait for and no bytes to turn, so that it becomes vector code.
fn sum_blocks(blocks: &[[u8; 64]]) -> u64 {
    let mut lanes = [0_u64; 16];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_le_bytes(*word));
        }
    }
    lanes.iter().sum()
}

fn sum_short(bytes: &[u8], mut sum: u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_be_bytes(*word));
    }
    match *rest {
        [a] => sum + (u64::from(a) << 8),
        [a, b] => sum + u64::from(u16::from_be_bytes([a, b])),
        [a, b, c] => sum + u64::from(u16::from_be_bytes([a, b])) + (u64::from(c) << 8),
        _ => sum,
    }
}

/// Folds a sum to 16 bits, without complementing it.
pub const fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum field for a sum: folded and complemented.
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// The pseudo-header's sum (RFC 9293 §3.1, RFC 8200 §8.1), not folded. `src` and `dst` are 4 or 16 bytes each.
pub fn pseudo(src: &[u8], dst: &[u8], protocol: u8, len: usize) -> u64 {
    sum(dst, sum(src, u64::from(protocol) + len as u64))
}

/// A checksum field after the 16-bit words it covers changed from `old` to `new` (RFC 1624 eqn 3: HC' = ~(~HC + ~m + m')).
/// Both slices have the same even length and start at an even offset of what is summed.
pub fn update(field: u16, old: &[u8], new: &[u8]) -> u16 {
    !update_partial(!field, old, new)
}

/// The same for a field that holds an uncomplemented, folded sum, as a partial checksum does (virtio 1.2 §5.1.6.2).
pub fn update_partial(field: u16, old: &[u8], new: &[u8]) -> u16 {
    debug_assert!(old.len() == new.len() && old.len().is_multiple_of(2), "whole words on both sides");
    // ~m in ones' complement is 0xffff - m for every 16-bit word of `old`.
    let minus = (old.len() as u64 / 2) * 0xffff - u64::from(fold_words(old));
    fold(u64::from(field) + minus + sum(new, 0))
}

/// The plain sum of 16-bit words; exact, for slices of at most 64 KiB.
fn fold_words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0)), 0xddf2);
    }

    proptest! {
        #[test]
        fn incremental_equals_recomputed(mut data in proptest::collection::vec(any::<u8>(), 20..60), new in any::<[u8; 4]>(), at in 0usize..8) {
            data[0] = 1; // RFC 1624 §3: an all-zero sum has two representations; real headers are never all zero
            let at = 2 + at * 2;
            let before = finish(sum(&data, 0));
            let old: [u8; 4] = data[at..at + 4].try_into().unwrap();
            data[at..at + 4].copy_from_slice(&new);
            prop_assert_eq!(update(before, &old, &new), finish(sum(&data, 0)));
            prop_assert_eq!(update_partial(!before, &old, &new), fold(sum(&data, 0)));
        }

        #[test]
        fn sum_is_the_sum_of_words(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut naive = 0u64;
            for word in data.chunks(2) {
                naive += u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0));
            }
            prop_assert_eq!(fold(sum(&data, 0)), fold(naive));
        }
    }
}
