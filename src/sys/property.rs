//! Properties of a process that one call sets each: limits, scheduling, personality, memory policy, keyring, dumpable.

use std::ffi::CStr;

use nix::errno::Errno;

use crate::fault::{Call, Effect};
use crate::sys::{check, check_int};

/// prctl(2) with one number.
fn prctl(option: i32, value: u64) -> Effect {
    // SAFETY: the options used in this file take numbers and no pointer.
    check_int(unsafe { libc::prctl(option, value, 0, 0, 0) }, Call::Prctl).map(drop)
}

/// Whether other processes may ptrace this one and own its /proc files (CVE-2016-9962).
pub fn set_dumpable(dumpable: bool) -> Effect {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// Keeps the permitted capabilities over a change of user ids.
pub fn set_keep_capabilities(keep: bool) -> Effect {
    prctl(libc::PR_SET_KEEPCAPS, keep.into())
}

pub fn set_no_new_privileges() -> Effect {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// The caller adopts the orphans among its descendants.
pub fn set_subreaper() -> Effect {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// The caller is killed when its parent dies.
pub fn set_parent_death_signal(signal: i32) -> Effect {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64)
}

/// Sets a resource limit of process `pid` (0: the caller); `resource` is a RLIMIT_* number.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Effect {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: limit lives through the call; the old limit isn't asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &limit, none) }, Call::Prlimit).map(drop)
}

/// The soft and hard limit of a resource of the caller.
pub fn rlimit(resource: u32) -> Effect<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let none: *const libc::rlimit64 = std::ptr::null();
    // SAFETY: limit lives through the call; nothing is set.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, none, &mut limit) }, Call::Prlimit)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Arguments of sched_setattr(2), version 0 of the structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    /// Nanoseconds, as are the next two.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// Sets policy and parameters of the caller's scheduler.
pub fn set_scheduler(attr: &SchedAttr) -> Effect {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: attr lives through the call and carries its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attr, 0) }, Call::SchedSetattr).map(drop)
}

/// Sets the I/O priority of the caller's process group, or of the caller alone; `value` is class << 13 | data
/// (ioprio_set(2)).
pub fn set_io_priority(value: i32) -> Effect {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) }, Call::Ioprio).map(drop)
}

/// Sets the execution domain.
pub fn set_personality(persona: u32) -> Effect {
    // SAFETY: takes a number.
    check_int(unsafe { libc::personality(persona.into()) }, Call::Personality).map(drop)
}

/// Sets the memory policy; `nodes` is a bit mask, `mode` includes the mode flags (set_mempolicy(2)).
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Effect {
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than the number it is given.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the mask is null or as long as the number of bits says.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }, Call::SetMempolicy).map(drop)
}

/// Joins a new session keyring with this name, searchable by its owner; a kernel without keys is no error.
pub fn new_session_keyring(name: &CStr) -> Effect {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    const KEYCTL_SETPERM: i32 = 5;
    // All for the possessor; view, read and search for the owner, so that a program which changes its user still
    // finds its keys (keyctl_setperm(3)).
    const PERMISSIONS: u32 = 0x3f0b_0000;
    // SAFETY: the name is NUL-terminated.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    let key = match check(joined, Call::Keyctl) {
        Err(trouble) if trouble.errno == Errno::ENOSYS => return Ok(()),
        key => key?,
    };
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, PERMISSIONS) }, Call::Keyctl).map(drop)
}

pub fn set_hostname(name: &CStr) -> Effect {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length describe a live string.
    check_int(unsafe { libc::sethostname(bytes.as_ptr().cast(), bytes.len()) }, Call::Sethostname).map(drop)
}

pub fn set_domainname(name: &CStr) -> Effect {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length describe a live string.
    check_int(unsafe { libc::setdomainname(bytes.as_ptr().cast(), bytes.len()) }, Call::Setdomainname).map(drop)
}
