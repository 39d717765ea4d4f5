//! Seccomp filters, run as the kernel runs them: what a fuzz target asks of a program is its answer.

use corten::process::seccomp::Action;
use corten::process::seccomp::program::{
    JUMP, JUMP_BITS, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, LOAD, Program, RETURN,
};

/// Runs a program on seccomp_data (seccomp(2)), given in words. Panics where the kernel would have refused the program.
pub fn answer(program: &Program, data: &[u32; 16]) -> u32 {
    let (mut at, mut word) = (0, 0u32);
    loop {
        let one = program.instructions().get(at).expect("a program ends with an answer");
        let choose = |condition: bool| usize::from(if condition { one.jt } else { one.jf });
        at += 1;
        match one.code {
            LOAD => word = data[one.k as usize / 4],
            RETURN => return one.k,
            JUMP => at += one.k as usize,
            JUMP_EQUAL => at += choose(word == one.k),
            JUMP_GREATER => at += choose(word > one.k),
            JUMP_GREATER_OR_EQUAL => at += choose(word >= one.k),
            JUMP_BITS => at += choose(word & one.k != 0),
            _ => word &= one.k,
        }
    }
}

/// An action as the kernel numbers it (linux/seccomp.h).
pub fn number(action: Action) -> u32 {
    match action {
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Notify => 0x7fc0_0000,
        Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}
