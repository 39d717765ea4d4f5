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

/// Waits until one of three descriptors is ready for its events, or the deadline ([`monotonic_ms`]) has passed: which
/// ones are, `None` when it has. A negative descriptor is never ready.
pub fn any_until(watched: [(RawFd, i16); 3], deadline: Option<u64>) -> Option<[bool; 3]> {
    let mut polled = watched.map(|(fd, events)| libc::pollfd { fd, events, revents: 0 });
    loop {
        // SAFETY: three pollfds that live through the call.
        match unsafe { libc::poll(polled.as_mut_ptr(), 3, patience(deadline)) } {
            0 if deadline.is_none_or(|deadline| deadline > monotonic_ms()) => {}
            0 => return None,
            n if n < 0 && Errno::last() == Errno::EINTR => {}
            _ => return Some(polled.map(|polled| polled.revents != 0)),
        }
    }
}

/// Milliseconds to a deadline as poll(2) wants them.
fn patience(deadline: Option<u64>) -> i32 {
    deadline.map_or(-1, |deadline| deadline.saturating_sub(monotonic_ms()).min(i32::MAX as u64) as i32)
}

/// Writes what fits without waiting: how much that was, `None` when the reader is gone. SIGPIPE must be ignored and the
/// descriptor be nonblocking.
pub fn write_some(fd: RawFd, bytes: &[u8]) -> Option<usize> {
    loop {
        // SAFETY: pointer and length describe a live slice.
        match unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } {
            n if n >= 0 => return Some(n as usize),
            _ if Errno::last() == Errno::EINTR => {}
            _ if Errno::last() == Errno::EAGAIN => return Some(0),
            _ => return None,
        }
    }
}

/// A descriptor of the child `pid` that becomes ready when it has ended; -1 on kernels without (before 5.3).
pub fn watch_child(pid: i32) -> RawFd {
    if kernel::lacks(kernel::PIDFD) {
        return -1;
    }
    // SAFETY: takes numbers. The descriptor is close-on-exec by the kernel's own rule.
    unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as RawFd }
}

/// Milliseconds of a clock that only goes forward.
pub fn monotonic_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).saturating_mul(1000).saturating_add(now.tv_nsec as u64 / 1_000_000)
}

/// Waits for `events` on a descriptor until the deadline ([`monotonic_ms`]); false when it has passed.
pub fn ready_until(fd: RawFd, events: i16, deadline: Option<u64>) -> bool {
    loop {
        let wait = patience(deadline);
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

/// Reads what is there; 0 at the end, and `None` when there is nothing yet. The descriptor must be nonblocking.
pub fn read_some(fd: RawFd, buffer: &mut [u8]) -> Option<usize> {
    loop {
        // SAFETY: pointer and length describe a live buffer.
        match unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } {
            n if n >= 0 => return Some(n as usize),
            _ if Errno::last() == Errno::EINTR => {}
            _ if Errno::last() == Errno::EAGAIN => return None,
            _ => return Some(0),
        }
    }
}
