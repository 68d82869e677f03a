//! What to do with the packets of a flow, decided once per flow and generation.

use weft_wire::{NetworkId, PortId, VlanId};

use crate::reason::{DropReason, PuntReason};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Leaves by one port.
    Forward(PortId),
    /// Leaves by every port of a network but the one it came by.
    Flood(NetworkId),
    /// Goes to the slow path.
    Punt(PuntReason),
    /// Is dropped.
    Drop(DropReason),
}

/// One step of a program. Large operands are in the snapshot, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The steps of a matched operator's rule: `snapshot.rules.get(i)`.
    Rule(u16),
    /// Takes the outer VLAN tag off.
    PopVlan,
    /// Puts a VLAN id into the frame's tag, whose priority stays; a frame without a tag gets one.
    SetVlan(VlanId),
    /// Routes: checks TTL and MTU, decrements the TTL, sets the MACs of `snapshot.rewrites[i]`.
    Route(u16),
    /// Wraps up for another node: `snapshot.tunnels[i]`.
    Encap(u16),
    /// ARP and neighbour discovery: holds what the message says against the endpoints of its network.
    Claim(NetworkId),
    /// ICMP for the switch itself: checks the message's checksum, as nobody else will.
    Checksum,
}

/// The program of a flow: actions in order, then the verdict, unless an action gave another before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Program {
    actions: [Action; Program::MAX_ACTIONS],
    end: Verdict,
    len: u8,
    /// The source MAC was learnt; the entry's use keeps it from ageing.
    pub learnt: bool,
}

const _: () = assert!(size_of::<Program>() <= 32 && size_of::<Action>() == 4);

impl Program {
    /// Actions a program holds.
    pub const MAX_ACTIONS: usize = 6;

    /// No actions, just a verdict.
    pub const fn end(end: Verdict) -> Self {
        Self { actions: [Action::PopVlan; Self::MAX_ACTIONS], end, len: 0, learnt: false }
    }

    /// Appends an action; a program that is full becomes one that drops.
    pub fn push(&mut self, action: Action) {
        match self.actions.get_mut(self.len as usize) {
            Some(slot) => {
                *slot = action;
                self.len += 1;
            }
            None => self.end = Verdict::Drop(DropReason::TooManyActions),
        }
    }

    /// Sets the verdict; a program that dropped for want of room stays so.
    #[must_use]
    pub fn ending(mut self, end: Verdict) -> Self {
        if self.end != Verdict::Drop(DropReason::TooManyActions) {
            self.end = end;
        }
        self
    }

    /// The actions.
    #[inline]
    pub fn actions(&self) -> &[Action] {
        &self.actions[..self.len as usize]
    }

    /// The rule that was matched last.
    pub fn last_rule(&self) -> Option<u16> {
        self.actions().iter().rev().find_map(|action| match action {
            Action::Rule(index) => Some(*index),
            _ => None,
        })
    }

    /// The verdict.
    #[inline]
    pub const fn verdict(&self) -> Verdict {
        self.end
    }
}
