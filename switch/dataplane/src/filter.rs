//! Packet filters: classic BPF programs, as libpcap makes them of tcpdump's words, checked when they are loaded and run over
//! a packet's bytes.
//!
//! A program is decoded once, so that running it asks nothing again: every operation is known, every jump goes forward
//! and stays inside, the last instruction returns. So a run ends after at most [`LENGTH_MAX`] steps, and a program from
//! anybody can do no more than say yes or no. Loops, which libpcap makes for `protochain` only, are refused.
//!
//! The machine: accumulator A, index X, 16 words of memory, all zero at first; a load from beyond the packet, and a
//! division by zero, end the run with "no" (McCanne and Jacobson, "The BSD Packet Filter", 1993; libpcap's `bpf_filter`
//! is what the tests compare with).

mod decode;

use decode::{Alu, Condition, Op, Operand, Size};

/// Longest program, instructions: as the kernel has it (BPF_MAXINSNS, linux/bpf_common.h).
pub const LENGTH_MAX: usize = 4096;
/// Words of memory (BPF_MEMWORDS).
const MEMORY: usize = 16;

/// An instruction as it is written (`struct bpf_insn`, pcap/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip if the condition holds,
    pub jt: u8,
    /// and if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Why a program is refused; `at` is the instruction's index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing to run, or too much.
    #[error("a filter of {0} instructions: from 1 to {LENGTH_MAX} are allowed")]
    Length(usize),
    /// No such operation.
    #[error("instruction {at} of the filter has the unknown operation {code:#06x}")]
    Operation {
        /// Where.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A jump out of the program, or back.
    #[error("instruction {at} of the filter jumps back or out of it (`protochain` can't be used)")]
    Jump {
        /// Where.
        at: usize,
    },
    /// A memory word, divisor or shift that can't be.
    #[error("instruction {at} of the filter has the impossible operand {k}")]
    Operand {
        /// Where.
        at: usize,
        /// The operand.
        k: u32,
    },
    /// The last one does not return.
    #[error("the filter does not end with a return")]
    NoReturn,
}

/// A checked program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    ops: Box<[Op]>,
}

impl Filter {
    /// Checks a program.
    pub fn load(program: &[Instruction]) -> Result<Self, FilterError> {
        if !(1..=LENGTH_MAX).contains(&program.len()) {
            return Err(FilterError::Length(program.len()));
        }
        let decode = |(at, instruction)| decode::decode(at, instruction, program.len());
        let ops: Box<[Op]> = program.iter().enumerate().map(decode).collect::<Result<_, _>>()?;
        match ops.last() {
            Some(Op::Return(_)) => Ok(Self { ops }),
            _ => Err(FilterError::NoReturn),
        }
    }

    /// Whether the program says yes to a packet, all of whose bytes are here.
    pub fn accepts(&self, packet: &[u8]) -> bool {
        Machine { a: 0, x: 0, memory: [0; MEMORY], packet }.run(&self.ops).is_some_and(|value| value != 0)
    }
}

struct Machine<'a> {
    a: u32,
    x: u32,
    memory: [u32; MEMORY],
    packet: &'a [u8],
}

impl Machine<'_> {
    /// What the program returns; none: it ended for a load or a division that can't be.
    fn run(&mut self, ops: &[Op]) -> Option<u32> {
        let mut rest = ops.iter();
        while let Some(op) = rest.next() {
            match *op {
                Op::LoadAt(size, k) => self.a = self.load(size, k as usize)?,
                Op::LoadBehindX(size, k) => {
                    self.a = self.load(size, (self.x as usize).checked_add(k as usize)?)?
                }
                Op::Load(value) => self.a = self.value(value),
                Op::LoadX(value) => self.x = self.value(value),
                Op::LoadXHeader(k) => self.x = (self.load(Size::Byte, k as usize)? & 0xf) << 2,
                Op::Store(word) => self.memory[usize::from(word)] = self.a,
                Op::StoreX(word) => self.memory[usize::from(word)] = self.x,
                Op::Alu(alu, operand) => self.a = alu.of(self.a, self.value(operand))?,
                Op::Negate => self.a = self.a.wrapping_neg(),
                // Decoding saw to it that there is an instruction there.
                Op::Jump(skip) => rest = rest.as_slice().get(skip as usize..)?.iter(),
                Op::Branch(condition, operand, jt, jf) => {
                    let holds = condition.holds(self.a, self.value(operand));
                    rest = rest.as_slice().get(usize::from(if holds { jt } else { jf })..)?.iter();
                }
                Op::Return(value) => return Some(self.value(value)),
            }
        }
        None
    }

    #[inline]
    fn value(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Constant(k) => k,
            Operand::A => self.a,
            Operand::X => self.x,
            Operand::Word(word) => self.memory[usize::from(word)],
            Operand::Length => self.packet.len() as u32,
        }
    }

    /// A number in the packet, big-endian.
    #[inline]
    fn load(&self, size: Size, at: usize) -> Option<u32> {
        let bytes = self.packet.get(at..)?;
        Some(match size {
            Size::Byte => u32::from(*bytes.first()?),
            Size::Half => u32::from(u16::from_be_bytes(*bytes.first_chunk()?)),
            Size::Word => u32::from_be_bytes(*bytes.first_chunk()?),
        })
    }
}

impl Alu {
    #[inline]
    fn of(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Div => a.checked_div(b)?,
            Self::Mod => a.checked_rem(b)?,
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::ShiftLeft => a.checked_shl(b).unwrap_or(0),
            Self::ShiftRight => a.checked_shr(b).unwrap_or(0),
        })
    }
}

impl Condition {
    #[inline]
    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program(words: &[(u16, u8, u8, u32)]) -> Vec<Instruction> {
        words.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect()
    }

    /// `ip and tcp dst port 80` without options or fragments: ldh [12]; jeq 0x800; ldb [23]; jeq 6; ldh [36]; jeq 80.
    const WEB: &[(u16, u8, u8, u32)] = &[
        (0x28, 0, 0, 12),
        (0x15, 0, 5, 0x800),
        (0x30, 0, 0, 23),
        (0x15, 0, 3, 6),
        (0x28, 0, 0, 36),
        (0x15, 0, 1, 80),
        (0x06, 0, 0, 0xffff),
        (0x06, 0, 0, 0),
    ];

    #[test]
    fn a_program_tells_packets_apart() {
        let filter = Filter::load(&program(WEB)).expect("it is sound");
        let mut packet = [0; 60];
        packet[12] = 8;
        packet[23] = 6;
        packet[37] = 80;
        assert!(filter.accepts(&packet));
        assert!(!filter.accepts(&packet[..37]), "a load from beyond the end says no");
        packet[37] = 81;
        assert!(!filter.accepts(&packet));
    }

    #[test]
    fn unsound_programs_are_refused() {
        let refused = |words: &[(u16, u8, u8, u32)]| Filter::load(&program(words)).expect_err("unsound");
        let ret = (0x06, 0, 0, 1);
        assert_eq!(refused(&[]), FilterError::Length(0));
        assert_eq!(refused(&vec![ret; LENGTH_MAX + 1]), FilterError::Length(LENGTH_MAX + 1));
        assert_eq!(refused(&[(0xff, 0, 0, 0), ret]), FilterError::Operation { at: 0, code: 0xff });
        assert_eq!(refused(&[(0x05, 0, 0, 1), ret]), FilterError::Jump { at: 0 });
        assert_eq!(refused(&[ret, (0x05, 0, 0, u32::MAX), ret]), FilterError::Jump { at: 1 }, "back");
        assert_eq!(refused(&[(0x15, 0, 1, 1), ret]), FilterError::Jump { at: 0 });
        assert_eq!(refused(&[(0x60, 0, 0, 16), ret]), FilterError::Operand { at: 0, k: 16 });
        assert_eq!(refused(&[(0x34, 0, 0, 0), ret]), FilterError::Operand { at: 0, k: 0 }, "x / 0");
        assert_eq!(refused(&[(0x64, 0, 0, 32), ret]), FilterError::Operand { at: 0, k: 32 }, "x << 32");
        assert_eq!(refused(&[ret, (0x28, 0, 0, 12)]), FilterError::NoReturn);
    }

    #[test]
    fn a_division_by_an_index_of_zero_says_no() {
        let filter = Filter::load(&program(&[(0x3c, 0, 0, 0), (0x06, 0, 0, 1)])).expect("it is sound");
        assert!(!filter.accepts(&[0; 60]));
    }

    proptest! {
        #[test]
        fn no_program_panics(
            words in proptest::collection::vec((0u16..0x120, 0u8..8, 0u8..8, prop_oneof![0u32..20, any::<u32>()]), 0..40),
            packet in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            // Those that pass the check run to an end, too: what is unsound is left out.
            let is_sound = |word: &(u16, u8, u8, u32)| {
                let alone = [(word.0, 0, 0, word.3), (0x06, 0, 0, 1), (0x06, 0, 0, 1)];
                Filter::load(&program(&alone)).is_ok()
            };
            let mut sound: Vec<_> = words.into_iter().filter(is_sound).collect();
            let jumps = |word: &(u16, u8, u8, u32)| word.0 & 7 == 5;
            sound.iter_mut().filter(|word| jumps(word)).for_each(|word| word.3 %= 3);
            sound.extend([(0x16, 0, 0, 0); 9]);
            let filter = Filter::load(&program(&sound)).expect("every part of it is sound");
            filter.accepts(&packet);
        }
    }
}
