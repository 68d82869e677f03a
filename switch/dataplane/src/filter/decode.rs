//! Instructions, decoded and checked one by one. Codes are those of pcap/bpf.h: the class in the lowest three bits, then size
//! and mode of a load, or operation and source.

use super::{FilterError, Instruction, MEMORY};

/// Bytes of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Byte,
    Half,
    Word,
}

/// A number that is not in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    Constant(u32),
    A,
    X,
    /// A word of memory.
    Word(u8),
    /// The packet's length.
    Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// A checked instruction. Skips are counted from the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    LoadAt(Size, u32),
    LoadBehindX(Size, u32),
    Load(Operand),
    LoadX(Operand),
    /// X = length of the IPv4 header whose first byte is there.
    LoadXHeader(u32),
    Store(u8),
    StoreX(u8),
    Alu(Alu, Operand),
    Negate,
    Jump(u32),
    Branch(Condition, Operand, u8, u8),
    Return(Operand),
}

/// Instruction `at` of a program of `length`.
pub(super) fn decode(at: usize, instruction: &Instruction, length: usize) -> Result<Op, FilterError> {
    let Instruction { code, jt, jf, k } = *instruction;
    let unknown = FilterError::Operation { at, code };
    let word = || {
        let word = u8::try_from(k).ok().filter(|word| usize::from(*word) < MEMORY);
        word.ok_or(FilterError::Operand { at, k })
    };
    let inside = |skip: u32| {
        let target = (at + 1).checked_add(skip as usize).filter(|target| *target < length);
        target.map(|_| ()).ok_or(FilterError::Jump { at })
    };
    Ok(match code & 0x07 {
        0x00 if code == 0x60 => Op::Load(Operand::Word(word()?)),
        0x00 => load(code, k).ok_or(unknown)?,
        0x01 => match code {
            0x01 => Op::LoadX(Operand::Constant(k)),
            0x61 => Op::LoadX(Operand::Word(word()?)),
            0x81 => Op::LoadX(Operand::Length),
            0xb1 => Op::LoadXHeader(k),
            _ => return Err(unknown),
        },
        0x02 if code == 0x02 => Op::Store(word()?),
        0x03 if code == 0x03 => Op::StoreX(word()?),
        0x04 => alu(code, k, at)?,
        0x05 if code == 0x05 => {
            inside(k)?;
            Op::Jump(k)
        }
        0x05 => {
            inside(jt.into())?;
            inside(jf.into())?;
            Op::Branch(condition(code).ok_or(unknown)?, source(code, k), jt, jf)
        }
        0x06 => match code {
            0x06 => Op::Return(Operand::Constant(k)),
            0x16 => Op::Return(Operand::A),
            _ => return Err(unknown),
        },
        0x07 => match code {
            0x07 => Op::LoadX(Operand::A),
            0x87 => Op::Load(Operand::X),
            _ => return Err(unknown),
        },
        _ => return Err(unknown),
    })
}

/// Loads into A, but for those from memory.
fn load(code: u16, k: u32) -> Option<Op> {
    Some(match code {
        0x00 => Op::Load(Operand::Constant(k)),
        0x20 => Op::LoadAt(Size::Word, k),
        0x28 => Op::LoadAt(Size::Half, k),
        0x30 => Op::LoadAt(Size::Byte, k),
        0x40 => Op::LoadBehindX(Size::Word, k),
        0x48 => Op::LoadBehindX(Size::Half, k),
        0x50 => Op::LoadBehindX(Size::Byte, k),
        0x80 => Op::Load(Operand::Length),
        _ => return None,
    })
}

fn alu(code: u16, k: u32, at: usize) -> Result<Op, FilterError> {
    let alu = match code & !0x08 {
        0x04 => Alu::Add,
        0x14 => Alu::Sub,
        0x24 => Alu::Mul,
        0x34 => Alu::Div,
        0x44 => Alu::Or,
        0x54 => Alu::And,
        0x64 => Alu::ShiftLeft,
        0x74 => Alu::ShiftRight,
        0x84 if code == 0x84 => return Ok(Op::Negate),
        0x94 => Alu::Mod,
        0xa4 => Alu::Xor,
        _ => return Err(FilterError::Operation { at, code }),
    };
    let operand = source(code, k);
    match (alu, operand) {
        (Alu::Div | Alu::Mod, Operand::Constant(0)) => Err(FilterError::Operand { at, k }),
        (Alu::ShiftLeft | Alu::ShiftRight, Operand::Constant(32..)) => Err(FilterError::Operand { at, k }),
        _ => Ok(Op::Alu(alu, operand)),
    }
}

fn condition(code: u16) -> Option<Condition> {
    Some(match code & !0x08 {
        0x15 => Condition::Equal,
        0x25 => Condition::Greater,
        0x35 => Condition::GreaterOrEqual,
        0x45 => Condition::AnyBit,
        _ => return None,
    })
}

/// The right side of an operation.
fn source(code: u16, k: u32) -> Operand {
    if code & 0x08 == 0 { Operand::Constant(k) } else { Operand::X }
}
