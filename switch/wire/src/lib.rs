//! Header formats as they are on the wire, and the identifiers every part of weft shares.
//!
//! A header is a `zerocopy` struct of network-endian integers: [`eth::Ethernet`], [`ip::Ipv4`], … are read and
//! written in place, without offsets by hand. An identifier is a newtype that only holds legal values:
//! [`id::VlanId`] is 1–4094, [`id::Vni`] is 1–2²⁴−1, whoever built it.
//!
//! [`scope::Scope`] says which addresses may be in a packet at all, and which may be routed.
//!
//! What this crate deliberately is not: a parser of whole packets (the packet's path does that, `weft-dataplane`),
//! or a builder of replies (the slow path does that with etherparse, `weftd`).
//!
//! **Invariant:** every header struct has the size the RFC gives it (asserted at compile time) and alignment 1.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod eth;
pub mod id;
pub mod ip;
pub mod l4;
pub mod nd;
pub mod scope;
pub mod tunnel;

pub use eth::{Mac, ethertype};
pub use id::{NetworkId, PeerId, PortId, QueueId, ThreadId, VlanId, Vni};
pub use scope::Scope;
