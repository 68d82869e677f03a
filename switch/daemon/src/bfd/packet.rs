//! The control packet (RFC 5880 §4.1).

use std::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U32};

use super::State;

/// Its length without authentication, bytes.
pub const LEN: usize = 24;
const VERSION: u8 = 1;

/// As it lies on the wire.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Wire {
    version_diagnostic: u8,
    state_flags: u8,
    multiplier: u8,
    length: u8,
    own: U32,
    other: U32,
    min_tx_us: U32,
    min_rx_us: U32,
    min_echo_rx_us: U32,
}

const _: () = assert!(size_of::<Wire>() == LEN);

const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const AUTHENTICATED: u8 = 1 << 2;
const MULTIPOINT: u8 = 1;

/// The flags that asynchronous mode has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// Asks to confirm a change.
    pub is_poll: bool,
    /// Confirms one.
    pub is_final: bool,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last went down.
    pub diagnostic: u8,
    /// Where the sender's session stands.
    pub state: State,
    /// Its flags.
    pub flags: Flags,
    /// Packets that may be lost before the sender is taken for gone.
    pub multiplier: u8,
    /// The sender's discriminator.
    pub own: u32,
    /// The receiver's, or 0 where the sender does not know it yet.
    pub other: u32,
    /// The sender would like to send no faster than this.
    pub min_tx: Duration,
    /// The sender takes packets no faster than this.
    pub min_rx: Duration,
}

impl Packet {
    /// Reads one, by the rules of reception (RFC 5880 §6.8.6); none: it is to be discarded.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (wire, _) = Wire::ref_from_prefix(bytes).ok()?;
        let length = usize::from(wire.length);
        let is_sound = wire.version_diagnostic >> 5 == VERSION
            && (LEN..=bytes.len()).contains(&length)
            && wire.state_flags & (AUTHENTICATED | MULTIPOINT) == 0
            && wire.multiplier > 0
            && wire.own.get() > 0;
        let state = match wire.state_flags >> 6 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        };
        let is_early = matches!(state, State::AdminDown | State::Down);
        if !is_sound || wire.other.get() == 0 && !is_early {
            return None;
        }
        let flag = |flag| wire.state_flags & flag != 0;
        Some(Self {
            diagnostic: wire.version_diagnostic & 0x1f,
            state,
            flags: Flags { is_poll: flag(POLL), is_final: flag(FINAL) },
            multiplier: wire.multiplier,
            own: wire.own.get(),
            other: wire.other.get(),
            min_tx: Duration::from_micros(wire.min_tx_us.get().into()),
            min_rx: Duration::from_micros(wire.min_rx_us.get().into()),
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; LEN] {
        let micros = |time: Duration| U32::new(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let wire = Wire {
            version_diagnostic: VERSION << 5 | self.diagnostic & 0x1f,
            state_flags: (self.state as u8) << 6
                | flag(self.flags.is_poll, POLL)
                | flag(self.flags.is_final, FINAL),
            multiplier: self.multiplier,
            length: LEN as u8,
            own: self.own.into(),
            other: self.other.into(),
            min_tx_us: micros(self.min_tx),
            min_rx_us: micros(self.min_rx),
            min_echo_rx_us: 0.into(), // no echo
        };
        zerocopy::transmute!(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_rules_is_discarded() {
        let good = Packet {
            diagnostic: 0,
            state: State::Up,
            flags: Flags::default(),
            multiplier: 3,
            own: 1,
            other: 2,
            min_tx: Duration::from_millis(300),
            min_rx: Duration::from_millis(300),
        }
        .bytes();
        assert!(Packet::read(&good).is_some());
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Packet::read(&bytes)
        };
        assert_eq!(Packet::read(&good[..23]), None, "cut off");
        assert_eq!(with(0, 2 << 5), None, "another version");
        assert_eq!(with(1, 0xc0 | AUTHENTICATED), None, "authenticated, and we are not");
        assert_eq!(with(1, 0xc0 | MULTIPOINT), None, "multipoint");
        assert_eq!(with(2, 0), None, "no multiplier");
        assert_eq!(with(3, 23), None, "shorter than itself");
        assert_eq!(with(3, 25), None, "longer than the datagram");
        assert_eq!(with(7, 0), None, "no discriminator");
        assert_eq!(with(11, 0), None, "up, and does not know us");
    }
}
