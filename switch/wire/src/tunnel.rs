//! VXLAN (RFC 7348) and Geneve (RFC 8926): eight bytes between UDP and an Ethernet frame.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use crate::Vni;

/// A VXLAN header (RFC 7348 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Vxlan {
    /// [`Vxlan::VNI_VALID`]; the other bits are reserved: sent as zero, ignored on receipt.
    pub flags: u8,
    /// Reserved.
    pub reserved: [u8; 3],
    /// VXLAN network identifier.
    pub vni: [u8; 3],
    /// Reserved.
    pub reserved_too: u8,
}

impl Vxlan {
    /// UDP port assigned by IANA.
    pub const PORT: u16 = 4789;
    /// The I flag: there is a VNI.
    pub const VNI_VALID: u8 = 0x08;

    /// A header for a network.
    pub fn new(vni: Vni) -> Self {
        Self { flags: Self::VNI_VALID, reserved: [0; 3], vni: bytes(vni), reserved_too: 0 }
    }
}

/// A Geneve header without options (RFC 8926 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Geneve {
    /// Version (2 bits, 0) and length of the options in 4-byte words (6 bits).
    pub version_options: u8,
    /// [`Geneve::CONTROL`], [`Geneve::CRITICAL`], reserved bits.
    pub flags: u8,
    /// EtherType of what follows: [`Geneve::ETHERNET`].
    pub protocol: U16,
    /// Virtual network identifier.
    pub vni: [u8; 3],
    /// Reserved.
    pub reserved: u8,
}

impl Geneve {
    /// UDP port assigned by IANA.
    pub const PORT: u16 = 6081;
    /// The O flag: a control packet, not a user's.
    pub const CONTROL: u8 = 0x80;
    /// The C flag: some option must be understood, or the packet dropped.
    pub const CRITICAL: u8 = 0x40;
    /// "Transparent Ethernet bridging", in [`Geneve::protocol`].
    pub const ETHERNET: u16 = 0x6558;

    /// A header for a network.
    pub fn new(vni: Vni) -> Self {
        Self { version_options: 0, flags: 0, protocol: Self::ETHERNET.into(), vni: bytes(vni), reserved: 0 }
    }

    /// The header of a packet that carries nothing: no tunnel's end passes on a control packet (RFC 8926 §3.4), nor one of
    /// no protocol.
    pub fn probe() -> Self {
        Self { version_options: 0, flags: Self::CONTROL, protocol: 0.into(), vni: [0; 3], reserved: 0 }
    }

    /// Length of the options behind the header, bytes.
    pub const fn options_len(&self) -> usize {
        (self.version_options & 0x3f) as usize * 4
    }
}

/// Length of either header, bytes.
pub const LEN: usize = 8;

const _: () = assert!(size_of::<Vxlan>() == LEN && size_of::<Geneve>() == LEN);

fn bytes(vni: Vni) -> [u8; 3] {
    let [_, vni @ ..] = vni.get().to_be_bytes();
    vni
}
