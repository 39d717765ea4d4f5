//! A filter in the kernel's form: classic BPF, as far as seccomp takes it (`seccomp_check_filter` in the kernel).

use crate::sys::seccomp::Instruction;

/// The most instructions that the kernel takes (BPF_MAXINSNS).
pub const LONGEST: usize = 4096;

/// Bytes of an instruction.
const SIZE: usize = size_of::<Instruction>();

/// Load a word of seccomp_data; the operand is its offset.
pub const LOAD: u16 = 0x20;
/// Go on `k` instructions further.
pub const JUMP: u16 = 0x05;
/// Compare the accumulator with `k`, go on `jt` or `jf` instructions further.
pub const JUMP_EQUAL: u16 = 0x15;
pub const JUMP_GREATER: u16 = 0x25;
pub const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub const JUMP_BITS: u16 = 0x45;
/// End with the action `k`.
pub const RETURN: u16 = 0x06;
/// Mask the accumulator.
const AND: u16 = 0x54;

/// Where seccomp_data has the number of the system call, and the architecture.
pub const AT_NUMBER: u32 = 0;
pub const AT_ARCHITECTURE: u32 = 4;
/// Bytes of seccomp_data.
const DATA_SIZE: u32 = 64;

/// A program that the kernel will take: checked when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Takes a program that ends, jumps forward and inside only, and consists of what libseccomp and corten write; `None`
    /// for any other. What passes here is safe to load, but not yet the filter that was meant.
    pub fn new(instructions: Vec<Instruction>) -> Option<Program> {
        let length = instructions.len();
        let inside = |at: usize, by: u32| at.checked_add(1)?.checked_add(by as usize).filter(|to| *to < length);
        let good = |(at, one): (usize, &Instruction)| match one.code {
            LOAD => one.k < DATA_SIZE && one.k % 4 == 0,
            AND | RETURN => true,
            JUMP => inside(at, one.k).is_some(),
            JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_OR_EQUAL | JUMP_BITS => {
                inside(at, one.jt.into()).is_some() && inside(at, one.jf.into()).is_some()
            }
            _ => false,
        };
        let ends = instructions.last().is_some_and(|last| last.code == RETURN);
        (length <= LONGEST && ends && instructions.iter().enumerate().all(good)).then_some(Program(instructions))
    }

    /// Takes the bytes of struct sock_filter in the machine's byte order, as libseccomp exports them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Program> {
        if bytes.len() % SIZE != 0 || bytes.len() / SIZE > LONGEST {
            return None;
        }
        let instruction = |eight: &[u8]| match *eight {
            [c0, c1, jt, jf, k0, k1, k2, k3] => {
                Instruction { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes([k0, k1, k2, k3]) }
            }
            // chunks_exact gives no other length.
            _ => Instruction { code: 0, jt: 0, jf: 0, k: 0 },
        };
        Program::new(bytes.chunks_exact(SIZE).map(instruction).collect())
    }

    /// The same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |one: &Instruction| {
            let (code, k) = (one.code.to_ne_bytes(), one.k.to_ne_bytes());
            [code[0], code[1], one.jt, one.jf, k[0], k[1], k[2], k[3]]
        };
        self.0.iter().flat_map(bytes).collect()
    }

    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// For the kernel.
    pub fn into_instructions(self) -> Vec<Instruction> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn one(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    #[test]
    fn a_program_survives_its_bytes() {
        let program = Program::new(vec![
            one(LOAD, 0, 0, AT_NUMBER),
            one(AND, 0, 0, 0xff),
            one(JUMP_EQUAL, 1, 0, 59),
            one(RETURN, 0, 0, 0x7fff_0000),
            one(RETURN, 0, 0, 0x0005_0001),
        ]);
        let program = program.unwrap();
        assert_eq!(Program::from_bytes(&program.to_bytes()), Some(program));
    }

    #[test]
    fn a_program_that_the_kernel_would_refuse_is_none() {
        let end = one(RETURN, 0, 0, 0);
        for bad in [
            vec![],
            vec![one(LOAD, 0, 0, 0)],
            vec![one(LOAD, 0, 0, 64), end],
            vec![one(LOAD, 0, 0, 2), end],
            vec![one(JUMP, 0, 0, 1), end],
            vec![one(JUMP, 0, 0, u32::MAX), end],
            vec![one(JUMP_EQUAL, 1, 0, 0), end],
            vec![one(JUMP_BITS, 0, 1, 0), end],
            // BPF_LD|BPF_B|BPF_ABS is for packets.
            vec![one(0x30, 0, 0, 0), end],
            vec![end; LONGEST + 1],
        ] {
            assert_eq!(Program::new(bad.clone()), None, "{bad:?}");
        }
        assert!(Program::from_bytes(&[6, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
