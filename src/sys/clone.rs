//! clone3 and clone: a child with its own copy of memory, in new namespaces.

use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::kernel;

/// What the caller of a clone turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Child,
    /// The child's pid in the caller's pid namespace.
    Parent(i32),
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Clones the calling process with its memory copied, as fork does, plus `flags` (CLONE_NEW*, CLONE_PARENT).
///
/// The process must have one thread, and the child may only call what is safe there: no heap, no locks. Falls back to
/// clone(2) where the kernel or an outer seccomp filter lacks clone3.
pub fn clone(flags: u64) -> Effect<Side> {
    clone_with(flags, std::ptr::null_mut(), None)
}

/// The same, with the child in the cgroup of version 2 whose directory is open as `cgroup` (CLONE_INTO_CGROUP, Linux
/// 5.7). There is no other way for this: ENOSYS where the kernel has none.
pub fn clone_into(flags: u64, cgroup: RawFd) -> Effect<Side> {
    clone_with(flags, std::ptr::null_mut(), Some(cgroup))
}

/// The same; the kernel also writes the child's pid, as the caller's pid namespace has it, into `note` before the child
/// runs (CLONE_PARENT_SETTID). In shared memory that tells the child, and whoever else has it, a number that the caller
/// may not live to tell.
pub fn clone_noting(flags: u64, note: &AtomicU32) -> Effect<Side> {
    clone_with(flags | libc::CLONE_PARENT_SETTID as u64, note.as_ptr(), None)
}

/// linux/sched.h; libc's constant doesn't fit its own type on every target.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn clone_with(flags: u64, note: *mut u32, cgroup: Option<RawFd>) -> Effect<Side> {
    let parent = flags & libc::CLONE_PARENT as u64 != 0;
    // With CLONE_PARENT the exit signal is the caller's own and clone3 insists on 0 here (clone(2)).
    let exit_signal = if parent { 0 } else { libc::SIGCHLD as u64 };
    let mut args = CloneArgs { flags, exit_signal, parent_tid: note as u64, ..CloneArgs::default() };
    if let Some(fd) = cgroup {
        kernel::require(kernel::CLONE3 | kernel::INTO_CGROUP, Call::Clone)?;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd as u64;
    }
    let mut result = -1;
    let missing = kernel::lacks(kernel::CLONE3);
    if !missing {
        // SAFETY: without CLONE_VM the child runs on its own copy of this stack, so returning twice is sound; args
        // lives through the call and its size is passed; the note is null or a live word.
        result = unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) };
    }
    if result < 0 && cgroup.is_some() {
        // Before 5.7 the structure was shorter, and clone3 said E2BIG to anything in the rest.
        let errno = if Errno::last() == Errno::E2BIG { Errno::ENOSYS } else { Errno::last() };
        return Err(Trouble::new(Call::Clone, errno));
    }
    if missing || (result < 0 && Errno::last() == Errno::ENOSYS) {
        let flags = flags | exit_signal;
        // SAFETY: as above; a null stack means the copied one. The third argument is the place for the pid on every
        // machine that Rust's Linux targets have, whatever the order of the last two.
        result = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, note, 0usize, 0usize) };
    }
    match result {
        0 => Ok(Side::Child),
        pid if pid > 0 => Ok(Side::Parent(pid as i32)),
        _ => Err(Trouble::new(Call::Clone, Errno::last())),
    }
}

/// Ends the calling process without running destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes a number and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Stops the calling process until somebody continues or kills it; used by fault injection.
pub fn stop() {
    // SAFETY: takes numbers.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// Kills the calling process without a word; used by fault injection. A pid namespace's init can't send itself SIGKILL
/// (pid_namespaces(7)), but a memory fault kills it as any other process.
pub fn die() -> ! {
    loop {
        // SAFETY: not sound on purpose: address 0 is never mapped, so the write traps and the process ends. The loop is
        // for Rust's own handler of SIGSEGV, which gives the default disposition back and returns to the write.
        unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(0) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::sys::shared::Shared;
    use crate::sys::wait::{self, End};

    #[test]
    fn a_child_finds_its_own_number_in_shared_memory_before_it_runs() {
        let shared = Shared::map(None, 4, true).unwrap();
        let note = shared.word(0).unwrap();
        match clone_noting(0, note).unwrap() {
            Side::Child => exit_now(i32::from(note.load(Ordering::Acquire) != wait::own_pid() as u32)),
            Side::Parent(pid) => {
                assert_eq!(note.load(Ordering::Acquire), pid as u32);
                assert_eq!(wait::wait(pid), Ok(End::Exited(0)));
            }
        }
    }
}
