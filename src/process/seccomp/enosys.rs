//! System calls that are newer than the profile.
//!
//! A profile that allows what it knows refuses a call that didn't exist when it was written, with the errno of what is
//! forbidden. A C library that finds EPERM there gives up; with ENOSYS it falls back to the older call (clone3 and
//! faccessat2 broke containers in this way). So numbers above the largest one that the profile names get ENOSYS, by a few
//! instructions in front of the filter; what the profile names, in whatever rule, is left to it. runc has done so since
//! 1.0.0-rc93, and engines count on it.

use libseccomp::{ScmpArch, ScmpSyscall};

use super::program::{AT_ARCHITECTURE, AT_NUMBER, JUMP, JUMP_BITS, JUMP_EQUAL, JUMP_GREATER, LOAD, RETURN};
use super::{Action, Architecture, Filter};
use crate::sys::seccomp::Instruction;

/// SECCOMP_RET_ERRNO with ENOSYS.
const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// AUDIT_ARCH_X86_64. The kernel has one number for x86_64 and x32.
const X86_64: u32 = 0xc000_003e;
/// libseccomp's number for x32, and the bit that x32 has in the numbers of its calls (__X32_SYSCALL_BIT).
const X32: u32 = 0x4000_003e;
const X32_BIT: u32 = 0x4000_0000;
/// Number 0 on s390 is `setup` of old, through which the kernel takes numbers that don't fit the instruction.
const S390: [u32; 2] = [0x0000_0016, 0x8000_0016];

/// The largest number that a filter names, by architecture: libseccomp's token and the number.
pub type Largest = Vec<(u32, u32)>;

/// What a filter names on these architectures. Names that one lacks have no number there; where it has none of all, the
/// filter knows nothing of that architecture and decides alone.
pub fn largest(filter: &Filter, architectures: &[(Architecture, ScmpArch)]) -> Largest {
    let number = |name: &str, arch| {
        let number = ScmpSyscall::from_name_by_arch(name, arch).ok()?.as_raw_syscall();
        u32::try_from(number).ok()
    };
    let names = || filter.rules.iter().flat_map(|rule| &rule.names);
    let of = |(architecture, arch): &(Architecture, ScmpArch)| {
        let largest = names().filter_map(|name| number(name, *arch)).max()?;
        (largest > 0).then_some((architecture.token, largest))
    };
    architectures.iter().filter_map(of).collect()
}

/// Whether a newer call would be refused otherwise. A tracer is trusted to know what it doesn't know.
pub fn is_needed(default: Action) -> bool {
    !matches!(default, Action::Allow | Action::Log | Action::Trace(_))
}

/// The instructions that stand before a filter; they end by going on into it.
pub fn prologue(largest: &Largest) -> Vec<Instruction> {
    let of = |token: u32| largest.iter().find(|(other, _)| *other == token).map(|(_, number)| *number);
    let mut groups = Vec::new();
    if of(X86_64).is_some() || of(X32).is_some() {
        groups.push(x86(of(X86_64), of(X32)));
    }
    for &(token, number) in largest.iter().filter(|(token, _)| ![X86_64, X32].contains(token)) {
        groups.push(plain(token, number));
    }
    let mut rest: usize = groups.iter().map(Vec::len).sum();
    if rest == 0 {
        return Vec::new();
    }
    let mut program = vec![one(LOAD, 0, 0, AT_ARCHITECTURE)];
    for mut group in groups {
        rest -= group.len();
        // Out of this group means over all that follow.
        if let Some(last) = group.last_mut() {
            last.k = rest as u32;
        }
        program.extend(group);
    }
    program
}

const fn one(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

const REFUSE: Instruction = one(RETURN, 0, 0, NO_SUCH_CALL);
/// How far is filled in when all groups stand.
const OUT: Instruction = one(JUMP, 0, 0, 0);

fn plain(token: u32, largest: u32) -> Vec<Instruction> {
    match S390.contains(&token) {
        false => vec![
            one(JUMP_EQUAL, 0, 4, token),
            one(LOAD, 0, 0, AT_NUMBER),
            one(JUMP_GREATER, 0, 1, largest),
            REFUSE,
            OUT,
        ],
        true => vec![
            one(JUMP_EQUAL, 0, 5, token),
            one(LOAD, 0, 0, AT_NUMBER),
            one(JUMP_EQUAL, 1, 0, 0),
            one(JUMP_GREATER, 0, 1, largest),
            REFUSE,
            OUT,
        ],
    }
}

fn x86(x86_64: Option<u32>, x32: Option<u32>) -> Vec<Instruction> {
    match (x86_64, x32) {
        (Some(x86_64), Some(x32)) => vec![
            one(JUMP_EQUAL, 0, 6, X86_64),
            one(LOAD, 0, 0, AT_NUMBER),
            one(JUMP_BITS, 1, 0, X32_BIT),
            one(JUMP_GREATER, 1, 2, x86_64),
            one(JUMP_GREATER, 0, 1, x32),
            REFUSE,
            OUT,
        ],
        // The calls of the other one are the filter's to refuse.
        (only_x86_64, only_x32) => {
            let (with_bit, without) = if only_x32.is_some() { (0, 2) } else { (2, 0) };
            vec![
                one(JUMP_EQUAL, 0, 5, X86_64),
                one(LOAD, 0, 0, AT_NUMBER),
                one(JUMP_BITS, with_bit, without, X32_BIT),
                one(JUMP_GREATER, 0, 1, only_x86_64.or(only_x32).unwrap_or(u32::MAX)),
                REFUSE,
                OUT,
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_lets_the_unknown_through_needs_no_prologue() {
        for (default, needed) in [
            (Action::Allow, false),
            (Action::Log, false),
            (Action::Trace(1), false),
            (Action::Errno(1), true),
            (Action::KillProcess, true),
            (Action::Trap, true),
        ] {
            assert_eq!(is_needed(default), needed, "{default:?}");
        }
        assert!(prologue(&Vec::new()).is_empty());
    }

    #[test]
    fn every_group_leads_into_the_filter() {
        for largest in [
            vec![(X86_64, 435)],
            vec![(X32, X32_BIT + 435)],
            vec![(X86_64, 435), (0x4000_0003, 440), (X32, X32_BIT + 435)],
            vec![(S390[0], 5), (S390[1], 6)],
        ] {
            let program = prologue(&largest);
            let out: Vec<usize> = program
                .iter()
                .enumerate()
                .filter(|(_, one)| one.code == JUMP)
                .map(|(at, one)| at + 1 + one.k as usize)
                .collect();
            assert!(!out.is_empty() && out.iter().all(|to| *to == program.len()), "{program:?}");
        }
    }
}
