//! The kernel's rules for a seccomp filter, and a machine that runs one: a program that the kernel would refuse is refused
//! here, and one that it takes gets the same answer. Written from `Documentation/networking/filter.rst`, seccomp(2) and the
//! list of instructions in seccomp's own check. Shares no code with what it judges.

use std::fmt;

/// The longest program the kernel takes (BPF_MAXINSNS).
const LONGEST: usize = 4096;
/// Cells of scratch memory (BPF_MEMWORDS).
const CELLS: usize = 16;
/// The size of struct seccomp_data, which is what a filter reads.
const DATA: u32 = 64;

// Classes, and what is or-ed to them (linux/bpf_common.h).
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const X: u16 = 0x08;
const RET_A: u16 = RET | 0x10;
const TXA: u16 = MISC | 0x80;
const NEG: u16 = 0x80;

/// What a system call looks like to a filter: struct seccomp_data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub nr: u32,
    /// An AUDIT_ARCH value.
    pub arch: u32,
    pub instruction_pointer: u64,
    pub args: [u64; 6],
}

impl Call {
    /// The 32 bits at `offset`, which is a multiple of 4 below 64. Halves of a 64-bit value come in the machine's order.
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64| {
            let bytes = value.to_ne_bytes();
            let at = (offset as usize & 4).min(4);
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        match offset {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => half(self.instruction_pointer),
            _ => half(self.args[(offset as usize - 16) / 8]),
        }
    }
}

/// Why the kernel wouldn't take a program, or what it did while it ran. The number is the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes are no whole number of instructions.
    Torn,
    Empty,
    TooLong,
    Instruction(usize),
    /// A load that is not aligned or not inside the data.
    Load(usize),
    /// A jump beyond the last instruction.
    Jump(usize),
    /// Memory that isn't there.
    Cell(usize),
    /// Memory that nothing was written to.
    Unwritten(usize),
    /// A division by a constant zero, or a shift by a constant of 32 or more.
    Constant(usize),
    /// The last instruction is no return.
    Open,
    /// A division by an X of zero. The kernel ends the filter with 0 (kill) then; nobody means that.
    Division(usize),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// struct sock_filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// A program that the kernel would take.
#[derive(Clone, Debug)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Reads instructions as `seccomp_export_bpf` writes them: 8 bytes each, in the machine's byte order.
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        if bytes.len() % 8 != 0 {
            return Err(Flaw::Torn);
        }
        let one = |b: &[u8]| Instruction {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        };
        Self::new(bytes.chunks_exact(8).map(one).collect())
    }

    pub fn new(all: Vec<Instruction>) -> Result<Self, Flaw> {
        match all.len() {
            0 => return Err(Flaw::Empty),
            length if length > LONGEST => return Err(Flaw::TooLong),
            length => {
                for (at, instruction) in all.iter().enumerate() {
                    check(at, instruction, length)?;
                }
            }
        }
        if all[all.len() - 1].code & 0x07 != RET {
            return Err(Flaw::Open);
        }
        Ok(Self(all))
    }

    /// The filter's answer, and how many instructions it took. Jumps only lead forwards, so this ends.
    pub fn run(&self, call: &Call) -> Result<(u32, usize), Flaw> {
        let (mut a, mut x, mut at, mut steps) = (0u32, 0u32, 0usize, 0usize);
        let mut memory = [None; CELLS];
        loop {
            let Instruction { code, jt, jf, k } = self.0[at];
            steps += 1;
            let operand = if code & X != 0 { x } else { k };
            let mut next = at + 1;
            match code & 0x07 {
                LD | LDX => {
                    let value = match code & 0xe0 {
                        IMM => k,
                        ABS => call.word(k),
                        LEN => DATA,
                        _ => memory[k as usize].ok_or(Flaw::Unwritten(at))?,
                    };
                    *(if code & 0x07 == LD { &mut a } else { &mut x }) = value;
                }
                ST => memory[k as usize] = Some(a),
                STX => memory[k as usize] = Some(x),
                ALU => a = compute(code & 0xf0, a, operand).ok_or(Flaw::Division(at))?,
                JMP => {
                    let taken = match code & 0xf0 {
                        0x00 => {
                            at = next + k as usize;
                            continue;
                        }
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    next += usize::from(if taken { jt } else { jf });
                }
                MISC if code == TXA => a = x,
                MISC => x = a,
                _ => return Ok((if code == RET_A { a } else { k }, steps)),
            }
            at = next;
        }
    }
}

/// Whether the kernel takes this instruction at this place of a program of `length` instructions.
fn check(at: usize, instruction: &Instruction, length: usize) -> Result<(), Flaw> {
    let Instruction { code, jt, jf, k } = *instruction;
    let inside = |distance: usize| if at + 1 + distance < length { Ok(()) } else { Err(Flaw::Jump(at)) };
    match code {
        // Every load is of 32 bits; the size is 0 in the code.
        c if c == LD | ABS => {
            if k % 4 == 0 && k < DATA {
                Ok(())
            } else {
                Err(Flaw::Load(at))
            }
        }
        c if c == LD | IMM || c == LDX | IMM || c == LD | LEN || c == LDX | LEN => Ok(()),
        c if c == LD | MEM || c == LDX | MEM || c == ST || c == STX => {
            if (k as usize) < CELLS {
                Ok(())
            } else {
                Err(Flaw::Cell(at))
            }
        }
        c if c & 0x07 == ALU && c & !0xff == 0 => match (c & 0xf0, c & X != 0) {
            (0x30, false) if k == 0 => Err(Flaw::Constant(at)),
            (0x60 | 0x70, false) if k >= 32 => Err(Flaw::Constant(at)),
            (NEG, false) | (0x00..=0x70 | 0xa0, _) => Ok(()),
            _ => Err(Flaw::Instruction(at)),
        },
        JMP => inside(k as usize),
        c if c & 0x07 == JMP && c & !0xff == 0 && matches!(c & 0xf0, 0x10..=0x40) => {
            inside(usize::from(jt)).and_then(|()| inside(usize::from(jf)))
        }
        RET | RET_A | MISC | TXA => Ok(()),
        _ => Err(Flaw::Instruction(at)),
    }
}

/// None: a division by zero.
fn compute(operation: u16, a: u32, by: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(by),
        0x10 => a.wrapping_sub(by),
        0x20 => a.wrapping_mul(by),
        0x30 => a.checked_div(by)?,
        0x40 => a | by,
        0x50 => a & by,
        0x60 => a.wrapping_shl(by),
        0x70 => a.wrapping_shr(by),
        0xa0 => a ^ by,
        _ => a.wrapping_neg(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }
    const GIVE_A: Instruction = i(RET_A, 0, 0, 0);

    fn answer(all: &[Instruction], call: &Call) -> Result<u32, Flaw> {
        Program::new(all.to_vec())?.run(call).map(|(answer, _)| answer)
    }

    fn refused(all: &[Instruction]) -> Flaw {
        Program::new(all.to_vec()).expect_err("the kernel wouldn't take this")
    }

    #[test]
    fn every_word_of_the_data_can_be_read() {
        let args = [0x1111_1111_0000_0001, 2, 3, 4, 5, 0x6666_6666_0000_0006];
        let call = Call { nr: 7, arch: 8, instruction_pointer: 0x9999_9999_0000_0009, args };
        for (offset, value) in
            [(0, 7), (4, 8), (8, 9), (12, 0x9999_9999), (16, 1), (20, 0x1111_1111), (60, 0x6666_6666)]
        {
            assert_eq!(answer(&[i(LD | ABS, 0, 0, offset), GIVE_A], &call), Ok(value), "offset {offset}");
        }
        assert_eq!(answer(&[i(LD | LEN, 0, 0, 0), GIVE_A], &call), Ok(64));
        assert_eq!(answer(&[i(LDX | LEN, 0, 0, 0), i(TXA, 0, 0, 0), GIVE_A], &call), Ok(64));
    }

    #[test]
    fn loads_outside_of_the_data_are_refused() {
        for offset in [64, 1, 2, 62, u32::MAX] {
            assert_eq!(refused(&[i(LD | ABS, 0, 0, offset), GIVE_A]), Flaw::Load(0), "offset {offset}");
        }
    }

    #[test]
    fn jumps_go_where_they_say() {
        // (code, A, operand) and whether it is taken, with the operand as a constant and in X.
        let table = [
            (0x10, 5, 5, true),
            (0x10, 5, 6, false),
            (0x20, 6, 5, true),
            (0x20, 5, 5, false),
            (0x20, 0x8000_0000, 1, true),
            (0x30, 5, 5, true),
            (0x30, 4, 5, false),
            (0x40, 6, 2, true),
            (0x40, 6, 1, false),
        ];
        for (operation, a, operand, taken) in table {
            let ends = [i(RET, 0, 0, 0), i(RET, 0, 0, 1)];
            let by_constant = [&[i(LD, 0, 0, a), i(JMP | operation, 1, 0, operand)], &ends[..]].concat();
            let by_x = [&[i(LD, 0, 0, a), i(LDX, 0, 0, operand), i(JMP | operation | X, 1, 0, 0)], &ends[..]].concat();
            for program in [by_constant, by_x] {
                assert_eq!(answer(&program, &Call::default()), Ok(u32::from(taken)), "{program:?}");
            }
        }
        let far = [i(JMP, 0, 0, 1), i(RET, 0, 0, 1), i(RET, 0, 0, 2)];
        assert_eq!(answer(&far, &Call::default()), Ok(2));
    }

    #[test]
    fn jumps_out_of_the_program_are_refused() {
        let end = i(RET, 0, 0, 0);
        assert_eq!(refused(&[i(JMP, 0, 0, 1), end]), Flaw::Jump(0));
        assert_eq!(refused(&[i(JMP, 0, 0, u32::MAX), end]), Flaw::Jump(0));
        assert_eq!(refused(&[i(JMP | 0x10, 1, 0, 0), end]), Flaw::Jump(0));
        assert_eq!(refused(&[end, i(JMP | 0x40, 0, 1, 0), end]), Flaw::Jump(1));
        assert_eq!(refused(&[i(LD, 0, 0, 0)]), Flaw::Open);
        assert_eq!(refused(&[end, i(JMP | 0x10, 0, 0, 0)]), Flaw::Jump(1));
    }

    #[test]
    fn memory_must_be_written_before_it_is_read() {
        let (store, load) = (i(ST, 0, 0, 3), i(LD | MEM, 0, 0, 3));
        assert_eq!(answer(&[load, GIVE_A], &Call::default()), Err(Flaw::Unwritten(0)));
        let kept = [i(LD, 0, 0, 9), store, i(LD, 0, 0, 1), load, GIVE_A];
        assert_eq!(answer(&kept, &Call::default()), Ok(9));
        let by_x = [i(LDX, 0, 0, 9), i(STX, 0, 0, 3), i(LDX | MEM, 0, 0, 3), i(TXA, 0, 0, 0), GIVE_A];
        assert_eq!(answer(&by_x, &Call::default()), Ok(9));
        for code in [ST, STX, LD | MEM, LDX | MEM] {
            assert_eq!(refused(&[i(code, 0, 0, 16), GIVE_A]), Flaw::Cell(0));
        }
        // Written on one of two ways only.
        let one_way = [i(LD | ABS, 0, 0, 0), i(JMP | 0x10, 0, 1, 1), store, load, GIVE_A];
        assert_eq!(answer(&one_way, &Call { nr: 1, ..Call::default() }), Ok(1));
        assert_eq!(answer(&one_way, &Call { nr: 2, ..Call::default() }), Err(Flaw::Unwritten(3)));
    }

    #[test]
    fn arithmetic_is_that_of_32_bits() {
        let table = [
            (0x00, u32::MAX, 2, 1),
            (0x10, 1, 2, u32::MAX),
            (0x20, 0x8000_0001, 2, 2),
            (0x30, 7, 2, 3),
            (0x40, 5, 2, 7),
            (0x50, 7, 10, 2),
            (0x60, 1, 31, 0x8000_0000),
            (0x70, 0x8000_0000, 31, 1),
            (0xa0, 7, 2, 5),
        ];
        for (operation, a, operand, result) in table {
            let by_constant = [i(LD, 0, 0, a), i(ALU | operation, 0, 0, operand), GIVE_A];
            let by_x =
                [i(LD, 0, 0, operand), i(MISC, 0, 0, 0), i(LD, 0, 0, a), i(ALU | operation | X, 0, 0, 0), GIVE_A];
            assert_eq!(answer(&by_constant, &Call::default()), Ok(result), "{operation:#x}");
            assert_eq!(answer(&by_x, &Call::default()), Ok(result), "{operation:#x} by X");
        }
        assert_eq!(answer(&[i(LD, 0, 0, 1), i(ALU | NEG, 0, 0, 0), GIVE_A], &Call::default()), Ok(u32::MAX));
        assert_eq!(answer(&[i(ALU | 0x30 | X, 0, 0, 0), GIVE_A], &Call::default()), Err(Flaw::Division(0)));
        assert_eq!(refused(&[i(ALU | 0x30, 0, 0, 0), GIVE_A]), Flaw::Constant(0));
        assert_eq!(refused(&[i(ALU | 0x60, 0, 0, 32), GIVE_A]), Flaw::Constant(0));
    }

    #[test]
    fn what_seccomp_does_not_allow_is_refused() {
        // Loads of a byte and of half a word, indirect loads, MSH, modulo, eBPF's jumps and calls.
        for code in [0x30, 0x28, 0x40, 0xb1, 0x94, 0x9c, 0x55, 0x85, 0x95, 0x1_15, 0x18, 0x62] {
            assert_eq!(refused(&[i(code, 0, 0, 0), GIVE_A]), Flaw::Instruction(0), "{code:#x}");
        }
        assert_eq!(refused(&[]), Flaw::Empty);
        assert_eq!(refused(&[GIVE_A; LONGEST + 1]), Flaw::TooLong);
        assert!(Program::new(vec![GIVE_A; LONGEST]).is_ok());
    }

    #[test]
    fn bytes_are_read_as_the_library_writes_them() {
        let bytes = [0x06u16.to_ne_bytes().as_slice(), &[0, 0], &0x7fff_0000u32.to_ne_bytes()].concat();
        assert_eq!(Program::parse(&bytes).unwrap().run(&Call::default()), Ok((0x7fff_0000, 1)));
        assert_eq!(Program::parse(&bytes[..7]).unwrap_err(), Flaw::Torn);
    }
}
