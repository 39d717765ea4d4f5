//! Pipes and children watched up to a deadline, without heap: what the init needs to run a hook.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect};
use crate::sys::{check_int, kernel};

/// A pipe: read end, write end, both close-on-exec.
pub fn pair() -> Effect<(RawFd, RawFd)> {
    let mut fds = [0; 2];
    // SAFETY: fds is room for the two numbers.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }, Call::Pipe)?;
    Ok((fds[0], fds[1]))
}

/// Makes reads and writes give EAGAIN where they would wait.
pub fn set_nonblocking(fd: RawFd) {
    // SAFETY: takes numbers; on a descriptor that is not open it fails without effect.
    unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
}

/// Writes what fits, and gives up without a word when the reader is gone. SIGPIPE must be ignored.
pub fn write_quietly(fd: RawFd, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: pointer and length describe a live slice.
        match unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) } {
            n if n > 0 => rest = rest.get(n as usize..).unwrap_or_default(),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return,
        }
    }
}

/// Milliseconds of a clock that only goes forward.
pub fn monotonic_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).saturating_mul(1000).saturating_add(now.tv_nsec as u64 / 1_000_000)
}

/// What a read up to a deadline brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Bytes(usize),
    End,
    Late,
}

/// Waits for `events` on a descriptor until the deadline ([`monotonic_ms`]); false when it has passed.
pub fn ready_until(fd: RawFd, events: i16, deadline: Option<u64>) -> bool {
    loop {
        let wait = match deadline {
            None => -1,
            Some(deadline) => deadline.saturating_sub(monotonic_ms()).min(i32::MAX as u64) as i32,
        };
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: one pollfd that lives through the call.
        match unsafe { libc::poll(&mut poll, 1, wait) } {
            0 if wait == i32::MAX => {}
            0 => return false,
            n if n > 0 => return true,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return true,
        }
    }
}

/// Reads what is there, waiting for it until the deadline.
pub fn read_until(fd: RawFd, buffer: &mut [u8], deadline: Option<u64>) -> Event {
    if !ready_until(fd, libc::POLLIN, deadline) {
        return Event::Late;
    }
    loop {
        // SAFETY: pointer and length describe a live buffer.
        match unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } {
            n if n > 0 => return Event::Bytes(n as usize),
            n if n < 0 && Errno::last() == Errno::EINTR => {}
            _ => return Event::End,
        }
    }
}

/// Waits until the child `pid` has ended, without reaping it; false when the deadline came first. A kernel without
/// pidfds (before 5.3) waits without a deadline.
pub fn wait_child_until(pid: i32, deadline: Option<u64>) -> bool {
    if deadline.is_none() || kernel::lacks(kernel::PIDFD) {
        return true;
    }
    // SAFETY: takes numbers. The descriptor is close-on-exec by the kernel's own rule.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as RawFd;
    if pidfd < 0 {
        return true;
    }
    let ended = ready_until(pidfd, libc::POLLIN, deadline);
    super::descriptor::close(pidfd);
    ended
}
