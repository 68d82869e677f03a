//! Identifiers: newtypes that hold legal values only.

use std::{fmt, num::NonZeroU16, str::FromStr};

use serde::{Deserialize, Serialize};

/// An identifier that its type does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{value} is out of range for {what}: use {min} to {max}")]
pub struct OutOfRange {
    what: &'static str,
    value: u64,
    min: u32,
    max: u32,
}

macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($repr:ty), $what:literal, $min:literal ..= $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name($repr);

        impl $name {
            /// The value.
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = OutOfRange;
            fn try_from(value: u32) -> Result<Self, OutOfRange> {
                if ($min..=$max).contains(&value) {
                    Ok(Self(value as $repr))
                } else {
                    Err(OutOfRange { what: $what, value: value.into(), min: $min, max: $max })
                }
            }
        }

        impl From<$name> for u32 {
            fn from(id: $name) -> u32 {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let value: u32 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
                Self::try_from(value).map_err(|error| error.to_string())
            }
        }
    };
}

ranged! {
    /// An IEEE 802.1Q VLAN identifier (0 and 4095 are reserved: 802.1Q-2018 table 9-2).
    VlanId(u16), "a VLAN id", 1..=4094
}
ranged! {
    /// A VXLAN or Geneve network identifier, 24 bits (RFC 7348 §5); 0 is not used.
    Vni(u32), "a VNI", 1..=16_777_215
}

/// A port of the switch. Zero is no port, so `Option<PortId>` is two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(NonZeroU16);

impl PortId {
    /// The `index`th port (0-based), as tables number them.
    pub const fn from_index(index: u16) -> Option<Self> {
        match NonZeroU16::new(index.wrapping_add(1)) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Its place in a table of ports.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        impl $name {
            /// Its place in a table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index! {
    /// One hardware, virtio or AF_XDP queue of a port.
    QueueId
}
index! {
    /// A network (an L2 or L3 domain), by its place in the snapshot.
    NetworkId
}
index! {
    /// Another node, by its place in the snapshot.
    PeerId
}
index! {
    /// A PMD thread, by its place in `pmd.cores`.
    ThreadId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_values_only() {
        assert_eq!(
            VlanId::try_from(0).unwrap_err().to_string(),
            "0 is out of range for a VLAN id: use 1 to 4094"
        );
        assert!(VlanId::try_from(4095).is_err() && VlanId::try_from(4094).is_ok());
        assert!(Vni::try_from(1 << 24).is_err() && Vni::try_from((1 << 24) - 1).is_ok());
        assert_eq!("77".parse::<VlanId>().unwrap().get(), 77);
        assert_eq!(size_of::<Option<PortId>>(), 2);
        assert_eq!(PortId::from_index(0).unwrap().index(), 0);
        assert_eq!(PortId::from_index(u16::MAX), None);
    }
}
