//! Packets and the words for them ([`weft_ctl_api::packet`]): [`build()`] makes bytes, [`describe()`] reads them. For people:
//! nothing here is on the packet's path.

mod build;
mod describe;

pub use build::{Defaults, build};
pub use describe::{Field, addresses, describe, fields, hex, inner, unhex};
