//! pidfd_open(2), pidfd_send_signal(2) and pidfd_getfd(2): a process held by descriptor, so that a reused pid is never
//! taken for it.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::kernel;

/// A descriptor of the process `pid`; it becomes readable when the process has ended. ESRCH when there is no such
/// process, ENOSYS on kernels before 5.3. The descriptor is O_CLOEXEC (pidfd_open(2) always sets it).
pub fn open(pid: i32) -> Effect<OwnedFd> {
    kernel::require(kernel::PIDFD, Call::Pidfd)?;
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        // Kernels before 6.9 say EINVAL of a number that no process has any more and a process group or session still has.
        let gone = pid > 0 && Errno::last() == Errno::EINVAL;
        return Err(Trouble::new(Call::Pidfd, if gone { Errno::ESRCH } else { Errno::last() }));
    }
    // SAFETY: the call has just returned this descriptor and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal (by number; 0 only checks) to the process behind the descriptor. ESRCH when it is gone.
pub fn send_signal(pidfd: BorrowedFd, signal: i32) -> Effect {
    // SAFETY: the siginfo pointer may be null (the kernel then fills it as kill(2) does); the rest are integers.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    match result {
        0 => Ok(()),
        _ => Err(Trouble::new(Call::Kill, Errno::last())),
    }
}

/// A copy of another process's descriptor, close-on-exec (pidfd_getfd(2)). ENOSYS before Linux 5.6.
pub fn copy_descriptor(pidfd: BorrowedFd, number: i32) -> Effect<OwnedFd> {
    // SAFETY: takes three numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let fd = super::check(fd, Call::PidfdGetfd)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// kill(2) with any signal number; real-time signals have no name in nix.
pub fn kill(pid: i32, signal: i32) -> Effect {
    // SAFETY: kill takes two integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Trouble::new(Call::Kill, Errno::last())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_own_process_can_be_asked_by_descriptor() {
        let me = open(std::process::id() as i32).unwrap();
        assert_eq!(send_signal(me.as_fd(), 0), Ok(()));
        assert_eq!(send_signal(me.as_fd(), 4096), Err(Trouble::new(Call::Kill, Errno::EINVAL)));
    }

    #[test]
    fn a_pid_that_cannot_exist_is_no_process() {
        assert_eq!(open(i32::MAX).unwrap_err().errno, Errno::ESRCH);
    }

    #[test]
    fn the_own_descriptor_can_be_copied() {
        let file = tempfile::tempfile().unwrap();
        let me = open(std::process::id() as i32).unwrap();
        let copy = copy_descriptor(me.as_fd(), file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert_eq!(copy_descriptor(me.as_fd(), 1 << 20).unwrap_err(), Trouble::new(Call::PidfdGetfd, Errno::EBADF));
    }
}
