//! A burst with its columns: what each stage found out about each packet.

use weft_pmd::{BURST, Burst, Frame};
use weft_wire::PortId;

use crate::{
    key::{FlowKey, Origin},
    parse::{Flaw, Headers},
    program::{Program, Verdict},
    reason::DropReason,
    table::flow::Place,
};

const _: () = assert!(BURST == u64::BITS as usize, "the mask of undecided packets is one word");

/// One burst on its way through the stages. Belongs to a PMD thread and is used again for every burst.
#[derive(Debug)]
pub struct Batch {
    /// The port all of it came from.
    pub ingress: PortId,
    /// The packets.
    pub frames: Burst,
    /// Where each came from, by `decap`, if it ran.
    pub origins: [Origin; BURST],
    /// `decap` ran: `origins` holds.
    pub has_tunnelled: bool,
    /// Flow keys, by `parse`.
    pub keys: [FlowKey; BURST],
    /// Where the headers are, by `parse`.
    pub headers: [Headers; BURST],
    /// Hashes of the keys, by `parse`.
    pub hashes: [u64; BURST],
    /// Where the flows probably are, by `classify`.
    pub places: [Place; BURST],
    /// What to do, by `classify`.
    pub programs: [Program; BURST],
    /// What becomes of each, by whichever stage decided.
    pub verdicts: [Verdict; BURST],
    /// The rule whose rate a packet was over, of those that were; by `action`.
    pub policed_by: [u16; BURST],
    /// Copies made on the way (mirrors), and where they go.
    pub copies: Vec<(PortId, Frame)>,
    undecided: u64,
    /// Those that `parse` found flaws in: undecided, and kept from the flow table.
    aside: u64,
    flaws: [Flaw; BURST],
}

impl Batch {
    /// An empty batch.
    pub fn new(ingress: PortId) -> Self {
        let undecided = Verdict::Drop(DropReason::Ignored);
        Self {
            ingress,
            frames: Burst::new(),
            origins: [Origin::default(); BURST],
            has_tunnelled: false,
            keys: [FlowKey::default(); BURST],
            headers: [Headers::default(); BURST],
            hashes: [0; BURST],
            places: [Place::default(); BURST],
            programs: [Program::end(undecided); BURST],
            verdicts: [undecided; BURST],
            policed_by: [0; BURST],
            copies: Vec::with_capacity(BURST),
            undecided: 0,
            aside: 0,
            flaws: [Flaw::Checksum; BURST],
        }
    }

    /// After the burst was received: every packet is undecided.
    pub fn start(&mut self, ingress: PortId) {
        self.ingress = ingress;
        self.has_tunnelled = false;
        self.aside = 0;
        let n = self.frames.len();
        self.undecided = if n == BURST { u64::MAX } else { (1 << n) - 1 };
    }

    /// The packets that no stage has decided yet, in order. The iterator holds its own copy of the mask, so that the
    /// loop's body may decide.
    #[inline]
    pub fn live(&self) -> Live {
        Live(self.undecided)
    }

    /// Keeps packet `i` from the stages until [`Batch::take_aside`].
    pub(crate) fn set_aside(&mut self, i: usize, flaw: Flaw) {
        debug_assert!(self.undecided & (1 << i) != 0, "packet {i} is decided already");
        self.undecided &= !(1 << i);
        self.aside |= 1 << i;
        self.flaws[i] = flaw;
    }

    /// The packets that were set aside, undecided again; none in nearly every burst.
    #[inline]
    pub(crate) fn take_aside(&mut self) -> Live {
        let aside = std::mem::take(&mut self.aside);
        self.undecided |= aside;
        Live(aside)
    }

    /// What is wrong with a packet that was set aside.
    pub(crate) fn flaw(&self, i: usize) -> Flaw {
        self.flaws[i]
    }

    /// Says the same of every packet.
    pub fn decide_all(&mut self, verdict: Verdict) {
        self.undecided = 0;
        self.verdicts[..self.frames.len()].fill(verdict);
        self.hashes[..self.frames.len()].fill(0);
    }

    /// The packets that no stage has decided yet, for the stage that decides them all by setting their verdicts.
    #[inline]
    pub fn all_decided(&mut self) -> Live {
        Live(std::mem::take(&mut self.undecided))
    }

    /// Says what becomes of packet `i`; a stage does so once per packet.
    #[inline]
    pub fn decide(&mut self, i: usize, verdict: Verdict) {
        debug_assert!(self.undecided & (1 << i) != 0, "packet {i} is decided twice");
        self.undecided &= !(1 << i);
        self.verdicts[i] = verdict;
    }
}

/// The rule that made a packet be dropped for a reason, if one did.
pub(crate) fn rule_behind(reason: DropReason, program: &Program, policed_by: u16) -> Option<u16> {
    match reason {
        DropReason::Policed => Some(policed_by),
        // `PortGone`: a rule sends it to a port that is not open.
        DropReason::Rule | DropReason::TooManyActions | DropReason::PortGone => program.last_rule(),
        _ => None,
    }
}

/// Iterator over the set bits of a mask.
#[derive(Debug, Clone, Copy)]
pub struct Live(u64);

impl Iterator for Live {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let i = self.0.trailing_zeros() as usize;
        (i < u64::BITS as usize).then(|| {
            self.0 &= self.0 - 1;
            i
        })
    }
}
