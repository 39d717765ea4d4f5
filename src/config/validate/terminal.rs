//! The terminal of the config against the flags of the command line: who holds the other end of it?

use super::{Facts, Findings};
use crate::field::Field;

pub(super) fn check(facts: &Facts, found: &mut Findings) {
    let terminal = facts.spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    let leaves = facts.request.mode.leaves();
    let socket = facts.request.console_socket.is_some();
    let flag = Field::at("--console-socket");
    if leaves && terminal && !socket {
        let why = "cannot allocate tty if corten will detach without setting console socket";
        found.refuse(flag, why, "pass --console-socket with a listening unix socket, or set process.terminal to false");
    } else if socket && !(leaves && terminal) {
        let why = "cannot use console socket if corten will not detach or allocate tty";
        found.refuse(
            flag,
            why,
            "leave --console-socket away, or set process.terminal to true and use create or --detach",
        );
    }
}
