//! Captures: copies of packets, streamed to whoever asked.
//!
//! The reply to [`Capture`] is followed by [`Item`]s, each a length in 32 bits (big-endian), a tag and so many bytes less one.
//! Names of ports and words of verdicts are told once, before the first packet that has them. Whoever wants no more closes
//! its half of the connection; what was copied until then still comes, and then [`End`].

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::filter::Filter;

/// What is captured at a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Direction {
    /// What comes in, as received.
    In,
    /// What goes out, as sent.
    Out,
    /// Both.
    #[default]
    Both,
}

/// Capture packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// A port, an endpoint, `any` (every port), or `drops`.
    pub target: String,
    /// Only drops at this port or endpoint.
    #[serde(default)]
    pub at: Option<String>,
    /// Which way.
    #[serde(default)]
    pub direction: Direction,
    /// What it says yes to; none: everything.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Bytes of each packet.
    pub snaplen: u32,
}

/// A capture has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStarted {
    /// Of what, in a phrase.
    pub what: String,
    /// weftd's version.
    pub version: String,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verdict {
    /// `sent`, `forward`, `flood`, `punt` or `drop`.
    pub verdict: String,
    /// The port or network it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why it was punted or dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What that means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
}

/// The last thing that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Packets that matched.
    pub matched: u64,
    /// Of these, packets lost because they were not taken in time.
    pub lost: u64,
    /// Why it ended, if nobody asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Where a packet was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// As received.
    In = 0,
    /// As sent.
    Out = 1,
    /// When it was dropped.
    Drop = 2,
}

/// All of a packet but its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Since 1970, nanoseconds.
    pub time_ns: u64,
    /// The configuration's generation.
    pub generation: u64,
    /// Its length, bytes.
    pub len: u32,
    /// The port, as a [`Note::Port`] told.
    pub port: u32,
    /// The verdict, as a [`Note::Verdict`] told.
    pub verdict: u32,
    /// Where.
    pub point: Point,
}

/// Something said about packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A port's name.
    Port {
        /// Its number from here on.
        id: u32,
        /// Its name.
        name: String,
    },
    /// A verdict.
    Verdict {
        /// Its number from here on.
        id: u32,
        /// The verdict.
        verdict: Verdict,
    },
    /// The end.
    End(End),
}

/// What is streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Something about packets.
    Note(Note),
    /// A packet, and as many of its bytes as were wanted.
    Packet(Head, Vec<u8>),
}

/// Longest item: a packet of 64 KiB and what is said of it.
const ITEM_MAX: usize = 128 << 10;
const NOTE: u8 = b'n';
const PACKET: u8 = b'p';
/// Bytes of a [`Head`].
const HEAD: usize = 29;

impl Note {
    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        out.extend((json.len() as u32 + 1).to_be_bytes());
        out.push(NOTE);
        out.extend(json);
        Ok(())
    }
}

impl Head {
    /// Appends it with the packet's bytes.
    pub fn write(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend((bytes.len() as u32 + HEAD as u32 + 1).to_be_bytes());
        out.push(PACKET);
        out.extend(self.time_ns.to_be_bytes());
        out.extend(self.generation.to_be_bytes());
        [self.len, self.port, self.verdict].iter().for_each(|number| out.extend(number.to_be_bytes()));
        out.push(self.point as u8);
        out.extend(bytes);
    }

    fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let point = match bytes[28] {
            0 => Point::In,
            1 => Point::Out,
            2 => Point::Drop,
            _ => return None,
        };
        let (time_ns, generation) = (long(0)?, long(8)?);
        Some(Self { time_ns, generation, len: number(16)?, port: number(20)?, verdict: number(24)?, point })
    }
}

impl Item {
    /// Reads the next; none: the stream has ended.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let nonsense = || io::Error::new(io::ErrorKind::InvalidData, "weftd's stream can't be read");
        let mut prefix = [0; 4];
        match from.read_exact(&mut prefix) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        }
        let len = u32::from_be_bytes(prefix) as usize;
        if !(1..=ITEM_MAX).contains(&len) {
            return Err(nonsense());
        }
        let mut bytes = vec![0; len];
        from.read_exact(&mut bytes)?;
        let (tag, rest) = bytes.split_first().ok_or_else(nonsense)?;
        match *tag {
            NOTE => Ok(Some(Self::Note(serde_json::from_slice(rest)?))),
            PACKET => {
                let (head, packet) = rest.split_first_chunk().ok_or_else(nonsense)?;
                Ok(Some(Self::Packet(Head::read(head).ok_or_else(nonsense)?, packet.to_vec())))
            }
            _ => Err(nonsense()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_round_trip(time_ns in any::<u64>(), len in any::<u32>(), port in any::<u32>(), bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let head = Head { time_ns, generation: !time_ns, len, port, verdict: !port, point: Point::Out };
            let note = Note::Port { id: port, name: "web".into() };
            let mut wire = Vec::new();
            note.write(&mut wire).unwrap();
            head.write(&bytes, &mut wire);
            let mut read = &wire[..];
            prop_assert_eq!(Item::read(&mut read).unwrap(), Some(Item::Note(note)));
            prop_assert_eq!(Item::read(&mut read).unwrap(), Some(Item::Packet(head, bytes)));
            prop_assert_eq!(Item::read(&mut read).unwrap(), None);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let _ = Item::read(&mut &bytes[..]);
            let framed = [&(bytes.len() as u32 + 1).to_be_bytes()[..], b"p", &bytes].concat();
            let _ = Item::read(&mut &framed[..]);
        }
    }
}
