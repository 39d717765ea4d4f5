//! User and group ids by raw system calls: libc's versions would signal other threads, of which there are none, through
//! locks, which a child after clone must not take.

use crate::fault::{Call, Effect};
use crate::sys::{check, check_int};

/// Sets the real, effective and saved user id.
pub fn set_uid(uid: u32) -> Effect {
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }, Call::Setuid).map(drop)
}

/// Sets the real, effective and saved group id.
pub fn set_gid(gid: u32) -> Effect {
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }, Call::Setgid).map(drop)
}

/// Sets the supplementary groups.
pub fn set_groups(gids: &[u32]) -> Effect {
    // SAFETY: pointer and length describe a live slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }, Call::Setgroups).map(drop)
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    // SAFETY: takes a number and can't fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// Makes the caller the leader of a process group of its own.
pub fn lead_group() {
    // SAFETY: takes numbers; it fails only for a session's leader, which leads a group already.
    unsafe { libc::setpgid(0, 0) };
}

/// A new session without a terminal (setsid(2)).
pub fn new_session() -> Effect {
    // SAFETY: takes nothing.
    check_int(unsafe { libc::setsid() }, Call::Setsid).map(drop)
}
