//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792, RFC 4443).

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

/// A TCP header without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Sequence number.
    pub seq: U32,
    /// Acknowledgement number.
    pub ack: U32,
    /// Header length in 32-bit words, in the upper 4 bits.
    pub data_offset: u8,
    /// Flags: [`tcp_flags`].
    pub flags: u8,
    /// Window.
    pub window: U16,
    /// Checksum.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl Tcp {
    /// Header length with options, bytes.
    pub const fn header_len(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }
}

/// TCP flag bits.
pub mod tcp_flags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement field is valid.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer is valid.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Header and payload, bytes.
    pub len: U16,
    /// Checksum; 0 over IPv4: none.
    pub checksum: U16,
}

/// The common part of ICMP and ICMPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: U16,
    /// Echo: identifier and sequence; errors: unused or MTU.
    pub rest: [u8; 4],
}

/// Types of ICMP messages (RFC 792, RFC 1256).
pub mod icmp {
    /// Route this by somebody else.
    pub const REDIRECT: u8 = 5;
    /// A router is here (RFC 1256).
    pub const ROUTER_ADVERTISEMENT: u8 = 9;

    /// Whether a type quotes the packet that it is about: unreachable, source quench, redirect, time exceeded, parameter
    /// problem.
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 4 | REDIRECT | 11 | 12)
    }
}

/// Types of ICMPv6 messages (RFC 4443); those of discovery are in [`crate::nd`].
pub mod icmpv6 {
    /// Whether a type quotes the packet that it is about: types below 128 are errors (RFC 4443 §2.1).
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }
}

const _: () = assert!(size_of::<Tcp>() == 20 && size_of::<Udp>() == 8 && size_of::<Icmp>() == 8);
