//! What `resolve` says of its way to a decision, to those who ask.

use weft_wire::{Mac, NetworkId, PortId};

use crate::{snapshot::Station, table::routes::Route};

/// A step on the way to a decision: a table that was looked at, and what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The port it came by (or the tunnel's), and the network it is in.
    Arrived {
        /// The port.
        port: PortId,
        /// The network; none: the node's or the underlay's, or a tag that the port does not carry.
        network: Option<NetworkId>,
    },
    /// A rule matched.
    Rule(u16),
    /// No further rule matches.
    NoRule,
    /// The source is right, or one to be learnt from.
    Source {
        /// Its MAC.
        mac: Mac,
        /// It is not an endpoint's: addresses are learnt there.
        learnt: bool,
    },
    /// It is for the gateway, or for the port's own MAC.
    Gateway(Mac),
    /// Where the routes say that the destination is.
    Route {
        /// The address, mapped.
        address: [u8; 16],
        /// The route.
        route: Option<Route>,
    },
    /// Where the destination of a bridged network is; none: nobody knows.
    Station {
        /// The MAC.
        mac: Mac,
        /// The place.
        station: Option<Station>,
    },
}

/// Who listens.
pub(super) trait Notes {
    /// A step was taken.
    fn add(&mut self, note: Note);
}

/// Nobody.
impl Notes for () {
    #[inline(always)]
    fn add(&mut self, _: Note) {}
}

impl Notes for Vec<Note> {
    fn add(&mut self, note: Note) {
        self.push(note);
    }
}
