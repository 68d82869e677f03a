//! What generator and sink agree on: 18 bytes at the beginning of each UDP payload, which fit a frame of 60 bytes, and a
//! fixed pattern behind them.
//!
//! ```text
//!  0  2  magic "Wp"
//!  2  2  run: frames of other runs are not counted
//!  4  4  flow, from 0
//!  8  4  number within the flow, from 0, modulo 2^32
//! 12  4  when it was made: CLOCK_MONOTONIC, nanoseconds, modulo 2^32 (latencies up to 4.29 s)
//! 16  2  CRC-16 (IBM-3740) of the 16 bytes before
//! 18  …  byte i of the payload is i × 7 + 1, modulo 256
//! ```
//! Numbers are in network order. A change of any one bit behind the magic is noticed for certain; without the magic a
//! frame is somebody else's.

use crc::{CRC_16_IBM_3740, Crc, Table};

/// Bytes of a stamp.
pub const LEN: usize = 18;
const MAGIC: [u8; 2] = *b"Wp";
const CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_IBM_3740);
/// The longest payload there can be.
const LONGEST: usize = 65_536;
static FILL: [u8; LONGEST] = fill();

const fn fill() -> [u8; LONGEST] {
    let mut bytes = [0; LONGEST];
    let mut at = 0;
    while at < LONGEST {
        bytes[at] = (at as u8).wrapping_mul(7).wrapping_add(1);
        at += 1;
    }
    bytes
}

/// What identifies one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Of one run of the generator.
    pub run: u16,
    /// Its flow.
    pub flow: u32,
    /// Its number within the flow.
    pub sequence: u32,
    /// When it was made, nanoseconds modulo 2^32.
    pub time_ns: u32,
}

/// What a payload turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Intact.
    Stamped(Stamp),
    /// The generator's, and changed on its way.
    Corrupt,
    /// Somebody else's.
    Foreign,
}

impl Stamp {
    /// As it is sent.
    #[inline]
    pub fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.flow.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.time_ns.to_be_bytes());
        let crc = CRC.checksum(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

/// What follows the stamp in a payload of this length.
pub fn filling(payload: usize) -> &'static [u8] {
    &FILL[LEN.min(payload)..payload]
}

/// Reads a payload and checks all of it.
#[inline]
pub fn read(payload: &[u8]) -> Reading {
    let Some((bytes, rest)) = payload.split_first_chunk::<LEN>() else { return Reading::Foreign };
    let word = |at| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let crc = u16::from_be_bytes([bytes[16], bytes[17]]);
    if bytes[..2] != MAGIC {
        return Reading::Foreign;
    }
    if CRC.checksum(&bytes[..16]) != crc || rest != filling(payload.len()) {
        return Reading::Corrupt;
    }
    let run = u16::from_be_bytes([bytes[2], bytes[3]]);
    Reading::Stamped(Stamp { run, flow: word(4), sequence: word(8), time_ns: word(12) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(len: usize) -> Vec<u8> {
        let stamp = Stamp { run: 7, flow: 70_000, sequence: 0x0102_0304, time_ns: u32::MAX };
        [&stamp.bytes()[..], filling(len)].concat()
    }

    #[test]
    fn a_stamp_comes_back() {
        for len in [LEN, 100, 1472] {
            let Reading::Stamped(stamp) = read(&payload(len)) else { panic!("{len}") };
            assert_eq!((stamp.run, stamp.flow, stamp.sequence), (7, 70_000, 0x0102_0304));
        }
        assert_eq!(read(b"other traffic of any length"), Reading::Foreign);
        assert_eq!(read(b"short"), Reading::Foreign);
    }

    #[test]
    fn every_changed_bit_of_stamp_and_filling_is_noticed() {
        let whole = payload(64);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let reading = read(&changed);
            assert!(!matches!(reading, Reading::Stamped(_)), "bit {bit}: {reading:?}");
            assert!(bit < 16 || reading == Reading::Corrupt, "bit {bit}: {reading:?}");
        }
        assert_eq!(read(&whole[..63]), read(&payload(63)), "a length that UDP tells is believed");
    }
}
