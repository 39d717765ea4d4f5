//! The harness's only unsafe code: a pidfd, so that the end of a process is an event to wait for and not a guess, and
//! a clean set of descriptors.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A process by descriptor (pidfd_open(2)).
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// `None` when there is no such process.
    pub fn open(pid: i32) -> Option<Pidfd> {
        // SAFETY: pidfd_open takes two numbers and returns a new descriptor (close-on-exec) or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        // SAFETY: the descriptor is new and nobody else has it.
        (fd >= 0).then(|| Pidfd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// One that somebody else has opened, as a pidfd socket gives.
    pub fn from_fd(fd: OwnedFd) -> Pidfd {
        Pidfd(fd)
    }

    /// Waits for the end of the process; false when `limit` passes first.
    pub fn wait(&self, limit: Duration) -> bool {
        wait_readable(&self.0, limit)
    }

    /// The pid behind it, from /proc/self/fdinfo; -1 when the process is gone.
    pub fn pid(&self) -> i32 {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd())).unwrap_or_default();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or(-1)
    }
}

/// Waits until a descriptor can be read (or has ended); false when `limit` passes first.
pub fn wait_readable(fd: impl AsFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit.as_millis() as i32).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.is_ok_and(|n| n > 0),
        }
    }
}

/// Marks every descriptor above stderr close-on-exec: what the caller of the suite leaves open is none of the
/// runtime's descriptors.
pub fn keep_inherited_descriptors_away() {
    // SAFETY: plain numbers; the descriptors stay open here.
    unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
}
