//! The only unsafe code: thin typed wrappers over system calls that nix lacks or that must work after clone. Each file
//! wraps one family of calls. A wrapper takes and returns plain values, allocates nothing, and names its call in the
//! [`Trouble`] it returns.

pub mod affinity;
pub mod attempt;
pub mod bpf;
pub mod capability;
pub mod clone;
pub mod descriptor;
pub mod exec;
pub mod file;
pub mod identity;
pub mod idmap;
pub mod inherited;
pub mod inspect;
pub mod kernel;
pub mod mount;
pub mod namespace;
pub mod path;
pub mod pidfd;
pub mod pipe;
pub mod property;
pub mod seal;
pub mod seccomp;
pub mod shared;
pub mod socket;
pub mod spawn;
pub mod stream;
pub mod tty;
pub mod wait;

#[cfg(test)]
pub mod fork_test;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// Turns a libc return value into a result, with the call's name.
pub(crate) fn check(result: libc::c_long, call: Call) -> Effect<libc::c_long> {
    if result < 0 { Err(Trouble::new(call, Errno::last())) } else { Ok(result) }
}

/// The same for functions that return a C int.
pub(crate) fn check_int(result: libc::c_int, call: Call) -> Effect<libc::c_int> {
    check(result.into(), call).map(|value| value as libc::c_int)
}
