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
mod code {
    /// `dst = *(u32 *)(src + offset)`
    pub(super) const LOAD: u8 = 0x61;
    /// `dst = src`, `dst = value`: 64 bits wide.
    pub(super) const MOVE: u8 = 0xbf;
    pub(super) const SET: u8 = 0xb7;
    pub(super) const AND: u8 = 0x57;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    /// Jumps skip `offset` instructions.
    pub(super) const JUMP: u8 = 0x05;
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

/// BPF_DEVCG_DEV_*.
fn type_number(kind: Kind) -> i32 {
    match kind {
        Kind::Block => 1,
        Kind::Char => 2,
    }
}

impl Program {
    pub(super) fn of(rules: &Rules) -> Program {
        let mut program = Program(Vec::with_capacity(rules.list.len() * 6 + 12));
        program.begin();
        rules.list.iter().rev().for_each(|rule| program.rule(rule));
        program.answer(rules.allow);
        program
    }

    fn push(&mut self, code: u8, [dst, src]: [u8; 2], offset: i16, value: i32) {
        // The two registers are bit fields of one byte, whose order is the machine's.
        let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        let [o0, o1] = offset.to_ne_bytes();
        let [v0, v1, v2, v3] = value.to_ne_bytes();
        self.0.push([code, registers, o0, o1, v0, v1, v2, v3]);
    }

    /// Takes the request apart: `u32 access << 16 | type`, `u32 major`, `u32 minor`. Who asks for nothing, as access(2)
    /// does with F_OK, gets that.
    fn begin(&mut self) {
        self.push(code::LOAD, [TYPE, REQUEST], 0, 0);
        self.push(code::MOVE, [ASKED, TYPE], 0, 0);
        self.push(code::SHIFT_RIGHT, [ASKED, 0], 0, 16);
        self.push(code::AND, [TYPE, 0], 0, 0xffff);
        self.push(code::LOAD, [MAJOR, REQUEST], 4, 0);
        self.push(code::LOAD, [MINOR, REQUEST], 8, 0);
        self.push(code::JUMP_IF_NOT_EQUAL, [ASKED, 0], 2, 0);
        self.answer(true);
    }

    fn answer(&mut self, allowed: bool) {
        self.push(code::SET, [ANSWER, 0], 0, allowed.into());
        self.push(code::EXIT, [0, 0], 0, 0);
    }

    fn rule(&mut self, rule: &Rule) {
        let conditions = [
            rule.kind.map(|kind| (TYPE, type_number(kind))),
            // Device numbers fit: see `Rule::is_possible`.
            rule.major.map(|major| (MAJOR, major as i32)),
            rule.minor.map(|minor| (MINOR, minor as i32)),
        ];
        // How many instructions follow the conditions.
        let verdict = if rule.access == Access::ALL { 2 } else { 4 };
        let conditions: Vec<(u8, i32)> = conditions.into_iter().flatten().collect();
        for (i, (register, value)) in conditions.iter().enumerate() {
            let skip = conditions.len() - 1 - i + verdict;
            self.push(code::JUMP_IF_NOT_EQUAL, [*register, 0], skip as i16, *value);
        }
        match (rule.access, rule.allow) {
            (Access::ALL, allow) => self.answer(allow),
            (access, true) => {
                self.push(code::AND, [ASKED, 0], 0, i32::from(Access::ALL.without(access).0));
                self.push(code::JUMP_IF_NOT_EQUAL, [ASKED, 0], 2, 0);
                self.answer(true);
            }
            (access, false) => {
                // Over the jump that skips the answer.
                self.push(code::JUMP_IF_ANY, [ASKED, 0], 1, access.0.into());
                self.push(code::JUMP, [0, 0], 2, 0);
                self.answer(false);
            }
        }
    }
}
