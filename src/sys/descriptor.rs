//! Descriptors by number: what runs after clone can't use owning types, because dropping one would be an effect.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::{check, check_int, file, kernel};

/// Reads until the buffer is full or the file ends, resuming after signals.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Effect<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the pointer and length describe the rest of a live buffer.
        match unsafe { libc::read(fd, rest.as_mut_ptr().cast(), rest.len()) } {
            0 => break,
            n if n > 0 => done += n as usize,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Trouble::new(Call::Read, Errno::last())),
        }
    }
    Ok(done)
}

/// Writes bytes with one call (kernel files want their value in one piece).
pub fn write(fd: RawFd, bytes: &[u8]) -> Effect {
    loop {
        // SAFETY: the pointer and length describe a live slice.
        match unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } {
            n if n == bytes.len() as isize => return Ok(()),
            n if n >= 0 => return Err(Trouble::new(Call::Write, Errno::EIO)),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Trouble::new(Call::Write, Errno::last())),
        }
    }
}

/// Closes all descriptors from `first` on but for those in `keep`; no order is needed there, and -1 is nothing.
pub fn close_all_but(first: u32, keep: &[RawFd]) {
    let mut from = first;
    loop {
        let next = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).filter(|&fd| fd >= from).min();
        match next {
            Some(kept) => {
                if kept > from {
                    close_between(from, kept - 1);
                }
                from = kept.saturating_add(1);
            }
            None => return close_from(from),
        }
    }
}

fn close_between(first: u32, last: u32) {
    // SAFETY: takes numbers; callers have nothing open there that they still need.
    let closed =
        !kernel::lacks(kernel::CLOSE_RANGE) && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 };
    if !closed {
        (first..=last).for_each(|fd| file::close(fd as RawFd));
    }
}

/// Closes all descriptors from `first` on (close_range(2), Linux 5.9), else one by one up to the limit of open files.
pub fn close_from(first: u32) {
    if !close_range(first, 0) {
        each_above(first, file::close);
    }
}

/// Marks all descriptors from `first` on as close-on-exec (Linux 5.11), else one by one.
pub fn cloexec_from(first: u32) {
    if !close_range(first, libc::CLOSE_RANGE_CLOEXEC) {
        each_above(first, |fd| {
            // SAFETY: F_SETFD takes numbers; a closed descriptor gives EBADF.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        });
    }
}

/// Whether the kernel has done it.
fn close_range(first: u32, flags: u32) -> bool {
    if kernel::lacks(kernel::CLOSE_RANGE) {
        return false;
    }
    // SAFETY: takes numbers; callers have nothing open there that they still need.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) == 0 }
}

fn each_above(first: u32, act: impl Fn(RawFd)) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit lives through the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    // A caller may have lowered the soft limit below descriptors that it has open, so look a bit further.
    let end = limit.rlim_max.clamp(1024, 1 << 20) as i64;
    for fd in i64::from(first)..end {
        act(fd as RawFd);
    }
}

/// Puts `fd` at number `at` without close-on-exec.
pub fn dup_to(fd: RawFd, at: RawFd) -> Effect {
    // SAFETY: takes numbers; whatever stood at `at` is meant to be replaced.
    check_int(unsafe { libc::dup2(fd, at) }, Call::Dup).map(drop)
}

/// The close-on-exec flag of a descriptor; EBADF when it is not open.
pub fn is_cloexec(fd: RawFd) -> Effect<bool> {
    // SAFETY: takes numbers.
    check_int(unsafe { libc::fcntl(fd, libc::F_GETFD) }, Call::Fcntl).map(|flags| flags & libc::FD_CLOEXEC != 0)
}

/// What fstat(2) says of a descriptor.
pub fn stat(fd: RawFd) -> Effect<libc::stat> {
    // SAFETY: stat is plain data, for which zeroes are valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: stat lives through the call.
    check_int(unsafe { libc::fstat(fd, &mut stat) }, Call::Fstat)?;
    Ok(stat)
}

/// What stat(2) says of a path, symlinks followed.
pub fn stat_path(path: &CStr) -> Effect<libc::stat> {
    // SAFETY: stat is plain data, for which zeroes are valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated and stat lives through the call.
    check_int(unsafe { libc::stat(path.as_ptr(), &mut stat) }, Call::Stat)?;
    Ok(stat)
}

/// Whether the caller's effective ids may execute `path` (faccessat2(2), else access(2): by the real ids, which are the
/// same here).
///
/// The kernel has no EPERM for X_OK (access(2)): it is the answer of a seccomp filter that lacks the call, as that of
/// runtime-tools' default config lacks faccessat2. Where both calls are closed, execve has the only word.
pub fn may_execute(path: &CStr) -> Effect {
    let closed = |trouble: &Trouble| [Errno::ENOSYS, Errno::EPERM].contains(&trouble.errno);
    // SAFETY: the path is NUL-terminated.
    let result =
        unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    match check(result, Call::Access) {
        Err(trouble) if closed(&trouble) => {}
        other => return other.map(drop),
    }
    // SAFETY: the path is NUL-terminated.
    match check_int(unsafe { libc::access(path.as_ptr(), libc::X_OK) }, Call::Access) {
        Err(trouble) if closed(&trouble) => Ok(()),
        other => other.map(drop),
    }
}

/// Changes the owner of an open file; the group stays.
pub fn change_owner(fd: RawFd, uid: u32) -> Effect {
    // SAFETY: takes numbers; -1 leaves the group.
    check_int(unsafe { libc::fchown(fd, uid, u32::MAX) }, Call::Chown).map(drop)
}

/// Whether the working directory is inside the caller's root: the kernel's getcwd marks a directory that isn't
/// reachable with `(unreachable)` (getcwd(2), CVE-2024-21626).
pub fn cwd_is_reachable() -> Effect<bool> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: pointer and length describe a live buffer. The raw call is used because libc hides the mark as ENOENT.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) }, Call::Getcwd)?;
    Ok(buffer[0] == b'/')
}
/// Standard input, output and error of this process, for a program that gets them.
pub fn stdio() -> [BorrowedFd<'static>; 3] {
    // SAFETY: corten opens what its caller left closed, and never closes them itself.
    unsafe { [0, 1, 2].map(|fd| BorrowedFd::borrow_raw(fd)) }
}
