//! Children: how they ended, and the signals around them.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::check_int;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Killed(i32),
}

impl End {
    /// The exit code a shell would show: 128 + n for a signal.
    pub fn code(self) -> i32 {
        match self {
            End::Exited(code) => code,
            End::Killed(signal) => 128 + signal,
        }
    }

    fn from_status(status: i32) -> End {
        if libc::WIFSIGNALED(status) {
            End::Killed(libc::WTERMSIG(status))
        } else {
            End::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// Waits until the child `pid` has ended and reaps it.
pub fn wait(pid: i32) -> Effect<End> {
    loop {
        let mut status = 0;
        // SAFETY: status lives through the call.
        match unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } {
            n if n == pid => return Ok(End::from_status(status)),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Trouble::new(Call::Wait, Errno::last())),
        }
    }
}

/// Whether the child `pid` has ended; it is not reaped.
pub fn has_ended(pid: i32) -> bool {
    // SAFETY: siginfo_t is plain data, for which zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: info lives through the call.
    let found = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, options) };
    // SAFETY: waitid has filled the fields of a child's end, or left the zeroes.
    found == 0 && unsafe { info.si_pid() } == pid
}

/// ESRCH when the process behind a pidfd has ended and been reaped.
pub fn check_pidfd(pidfd: RawFd) -> Effect {
    // SAFETY: signal 0 only asks; a null siginfo is allowed; the rest are numbers.
    let asked = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, 0, std::ptr::null::<libc::siginfo_t>(), 0) };
    super::check(asked, Call::Kill).map(drop)
}

/// Reaps one ended child if there is one: its pid and end. `None` when none has ended, or there are no children.
pub fn reap_one() -> Option<(i32, End)> {
    let mut status = 0;
    // SAFETY: status lives through the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::__WALL) };
    (pid > 0).then(|| (pid, End::from_status(status)))
}

/// Kills a process by number; the caller knows that it is its own child and not yet reaped.
pub fn kill_child(pid: i32) {
    // SAFETY: takes numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Kills a child that is not yet reaped, and the process group that it leads.
pub fn kill_group(pid: i32) {
    // SAFETY: takes numbers. The second call is for a child that has not come to lead its group yet.
    unsafe {
        libc::kill(-pid, libc::SIGKILL);
        libc::kill(pid, libc::SIGKILL);
    }
}

/// Sends a signal to a child that is not yet reaped.
pub fn signal_child(pid: i32, signal: i32) {
    // SAFETY: takes numbers.
    unsafe { libc::kill(pid, signal) };
}

/// Kills a child and reaps it; one that is reaped already is left alone by the kernel's rules for waiting.
pub fn kill_and_reap(pid: i32) {
    kill_child(pid);
    let _ = wait(pid);
}

/// The same, for a child that may hang in the kernel beyond any signal, or be held by who traces it: once `limit` is over it
/// is left to end when it can, and to be reaped by another.
pub fn kill_and_reap_within(pid: i32, limit: Duration) {
    kill_child(pid);
    reap_within(pid, limit);
}

/// Reaps a child if it ends in this time. It isn't asked for through a pidfd, which older kernels lack.
pub fn reap_within(pid: i32, limit: Duration) -> bool {
    const PAUSE_MILLISECONDS: i32 = 1;
    let deadline = Instant::now() + limit;
    loop {
        let mut status = 0;
        // SAFETY: status lives through the call.
        let found = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG | libc::__WALL) };
        match found {
            0 if Instant::now() < deadline => {
                // SAFETY: of no descriptors none is looked at.
                unsafe { libc::poll(std::ptr::null_mut(), 0, PAUSE_MILLISECONDS) };
            }
            0 => return false,
            -1 if Errno::last() == Errno::EINTR => {}
            _ => return true,
        }
    }
}

/// Empties the signal mask and restores every default disposition: what the caller ignores would survive execve, and a shell can't
/// trap what it was started with ignored (a daemon under nohup(1) would take SIGHUP from every container).
pub fn reset_signals() -> Effect {
    default_dispositions();
    // SAFETY: sigset_t is filled by sigemptyset before it is used; the pointers live through the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        check_int(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()), Call::Sigprocmask)?;
    }
    Ok(())
}

/// Every signal's default disposition. For a child that is about to execute something else: it may share its memory with its parent,
/// the dispositions it may not.
pub(super) fn default_dispositions() {
    let action = [0u64; 8];
    for signal in 1..=64 {
        // SAFETY: all zeros is the kernel's sigaction with SIG_DFL, no flags and an empty mask, and 64 bytes are more than it reads.
        // The raw call, because the C library refuses its own two signals and may have been started with them ignored. SIGKILL and
        // SIGSTOP answer EINVAL, which is right.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null_mut::<u64>(), 8) };
    }
}

/// Gives a signal its default disposition back.
pub fn default_signal(signal: i32) {
    // SAFETY: SIG_DFL is no function of ours; numbers that don't exist give EINVAL.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// The pid of the caller in its own pid namespace.
pub fn own_pid() -> i32 {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::getpid() }
}
