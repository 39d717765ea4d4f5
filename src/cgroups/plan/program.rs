//! Device rules as an eBPF program, which the kernel asks about every opening and making of a device node in a cgroup of
//! version 2 (BPF_PROG_TYPE_CGROUP_DEVICE; Documentation/bpf/, linux/bpf.h). Pure.
//!
//! The program looks at the rules from the last to the first. A rule that allows takes its letters off those that are
//! still asked for; when none is left, the answer is yes. A rule that denies one of the letters left is a no.

use super::devices::{Access, Kind, Rule, Rules};

/// An instruction as the kernel reads it (struct bpf_insn).
pub type Instruction = [u8; 8];

/// A program that answers 1 (allowed) or 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Program(pub Vec<Instruction>);

/// Operations: the class, the source of the operand, and what is done, as linux/bpf_common.h and linux/bpf.h number them.
/// All are 64 bits wide and as old as device programs.
mod code {
    /// `dst = *(u32 *)(src + offset)`
    pub(super) const LOAD: u8 = 0x61;
    pub(super) const COPY: u8 = 0xbf;
    pub(super) const OR_REGISTER: u8 = 0x4f;
    pub(super) const SET: u8 = 0xb7;
    pub(super) const AND: u8 = 0x57;
    pub(super) const SHIFT_LEFT: u8 = 0x67;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    /// Keeps the sign.
    pub(super) const SHIFT_RIGHT_SIGNED: u8 = 0xc7;
    /// Jumps skip `offset` instructions.
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const JUMP_IF_EQUAL: u8 = 0x15;
    pub(super) const JUMP_IF_NOT_EQUAL: u8 = 0x55;
    /// If they have a bit in common.
    pub(super) const JUMP_IF_ANY: u8 = 0x45;
    pub(super) const EXIT: u8 = 0x95;
}

/// Registers: the answer, the request (struct bpf_cgroup_dev_ctx), and its parts.
const ANSWER: u8 = 0;
const REQUEST: u8 = 1;
const TYPE: u8 = 2;
/// The letters still asked for.
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Both numbers in one: see [`device_number`].
const NUMBER: u8 = 6;

/// How many rules share one look at the type, and how far away an answer may be: jumps reach 32,767 instructions.
const SHARED: usize = 1000;
const REACH: usize = 20_000;

/// BPF_DEVCG_DEV_*.
fn type_number(kind: Kind) -> i32 {
    match kind {
        Kind::Block => 1,
        Kind::Char => 2,
    }
}

/// Major and minor as 12 and 20 bits of one value, which an instruction can compare at once. Its operand has 32 bits and
/// is taken as a signed number, so the register is made one too.
fn device_number(major: u32, minor: u32) -> i32 {
    (major << 20 | minor) as i32
}

/// A program on its way. What loading it takes grows with its branches, as the kernel's verifier follows both sides of
/// each: with answers that all rules share, one look at the type for all rules of a type, and one at both numbers, the
/// usual rules are loaded in 70 µs; with three looks and an answer of its own for every rule it was 250.
struct Assembler {
    instructions: Vec<Instruction>,
    /// Jumps to an answer that is yet to come.
    waiting: Vec<(usize, bool)>,
}

impl Program {
    pub(super) fn of(rules: &Rules) -> Program {
        let instructions = Vec::with_capacity(rules.list.len() * 2 + 20);
        let mut assembler = Assembler { instructions, waiting: Vec::new() };
        assembler.take_apart();
        let backwards: Vec<&Rule> = rules.list.iter().rev().collect();
        for of_kind in backwards.chunk_by(|a, b| a.kind == b.kind).flat_map(|of_kind| of_kind.chunks(SHARED)) {
            assembler.shared(of_kind);
            assembler.answer_in_reach();
        }
        assembler.answers(Some(rules.allow));
        Program(assembler.instructions)
    }
}

impl Assembler {
    fn push(&mut self, code: u8, [dst, src]: [u8; 2], offset: i16, value: i32) -> usize {
        // The two registers are bit fields of one byte, whose order is the machine's.
        let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        let [o0, o1] = offset.to_ne_bytes();
        let [v0, v1, v2, v3] = value.to_ne_bytes();
        self.instructions.push([code, registers, o0, o1, v0, v1, v2, v3]);
        self.instructions.len() - 1
    }

    /// Lets the jump at `from` lead to the next instruction.
    fn land(&mut self, from: usize) {
        // Within `REACH`, so the cut takes nothing off.
        let offset = (self.instructions.len() - from - 1) as i16;
        self.instructions[from][2..4].copy_from_slice(&offset.to_ne_bytes());
    }

    fn jump_to_answer(&mut self, code: u8, register: u8, value: i32, answer: bool) {
        let from = self.push(code, [register, 0], 0, value);
        self.waiting.push((from, answer));
    }

    /// Takes the request apart: `u32 access << 16 | type`, `u32 major`, `u32 minor`. Who asks for nothing, as access(2)
    /// does with F_OK, gets that.
    fn take_apart(&mut self) {
        self.push(code::LOAD, [TYPE, REQUEST], 0, 0);
        self.push(code::COPY, [ASKED, TYPE], 0, 0);
        self.push(code::SHIFT_RIGHT, [ASKED, 0], 0, 16);
        self.push(code::AND, [TYPE, 0], 0, 0xffff);
        self.push(code::LOAD, [MAJOR, REQUEST], 4, 0);
        self.push(code::LOAD, [MINOR, REQUEST], 8, 0);
        self.push(code::COPY, [NUMBER, MAJOR], 0, 0);
        self.push(code::SHIFT_LEFT, [NUMBER, 0], 0, 52);
        self.push(code::SHIFT_RIGHT_SIGNED, [NUMBER, 0], 0, 32);
        self.push(code::OR_REGISTER, [NUMBER, MINOR], 0, 0);
        self.jump_to_answer(code::JUMP_IF_EQUAL, ASKED, 0, true);
    }

    /// Rules of one type, the last one first.
    fn shared(&mut self, rules: &[&Rule]) {
        let kind = rules.first().and_then(|rule| rule.kind);
        let around = kind.map(|kind| self.push(code::JUMP_IF_NOT_EQUAL, [TYPE, 0], 0, type_number(kind)));
        rules.iter().for_each(|rule| self.rule(rule));
        around.into_iter().for_each(|from| self.land(from));
    }

    fn rule(&mut self, rule: &Rule) {
        // Device numbers fit: see `Rule::is_possible`.
        let condition = match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => Some((NUMBER, device_number(major, minor))),
            (Some(major), None) => Some((MAJOR, major as i32)),
            (None, Some(minor)) => Some((MINOR, minor as i32)),
            (None, None) => None,
        };
        if rule.access == Access::ALL {
            return match condition {
                Some((register, value)) => self.jump_to_answer(code::JUMP_IF_EQUAL, register, value, rule.allow),
                // No rule of this type stands before it, which would be one that is never reached: see `Rules::add`.
                None => self.jump_to_answer(code::JUMP, 0, 0, rule.allow),
            };
        }
        let around = condition.map(|(register, value)| self.push(code::JUMP_IF_NOT_EQUAL, [register, 0], 0, value));
        if rule.allow {
            self.push(code::AND, [ASKED, 0], 0, Access::ALL.without(rule.access).0.into());
            self.jump_to_answer(code::JUMP_IF_EQUAL, ASKED, 0, true);
        } else {
            self.jump_to_answer(code::JUMP_IF_ANY, ASKED, rule.access.0.into(), false);
        }
        around.into_iter().for_each(|from| self.land(from));
    }

    /// Puts the answers here when the jumps that wait for them come to their limit.
    fn answer_in_reach(&mut self) {
        if self.waiting.first().is_some_and(|(from, _)| self.instructions.len() - from > REACH) {
            let around = self.push(code::JUMP, [0, 0], 0, 0);
            self.answers(None);
            self.land(around);
        }
    }

    /// The answers that jumps wait for. Who comes along gets the answer `along`; without one nobody does.
    fn answers(&mut self, along: Option<bool>) {
        let waiting = std::mem::take(&mut self.waiting);
        let first = along.unwrap_or(true);
        for answer in [first, !first] {
            // What is never reached isn't taken by the kernel.
            if along != Some(answer) && waiting.iter().all(|(_, wanted)| *wanted != answer) {
                continue;
            }
            waiting.iter().filter(|(_, wanted)| *wanted == answer).for_each(|(from, _)| self.land(*from));
            self.push(code::SET, [ANSWER, 0], 0, answer.into());
            self.push(code::EXIT, [0, 0], 0, 0);
        }
    }
}
