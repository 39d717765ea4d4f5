//! A process tree apart: namespaces and control groups of its own, with a first process that reaps, and a time limit.
//!
//! Two steps, each a new start of the same program. [`leave`] joins the groups, leaves the driver's namespaces and starts the
//! second, which is the first process of the new pid namespace: it mounts what it needs, starts the real work and goes on as
//! [`reap`]. When the work has ended, or the limit passed, all that still runs dies with that first process.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};

use crate::groups;

/// Exit code of a tree that couldn't be set up; no work ends with it.
pub const BROKEN: u8 = 99;

/// How the work of a tree ended.
pub enum Outcome {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    /// The tree could not be set up.
    Broken,
}

/// Reads what the process that called [`leave`] ended with.
pub fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) if code == i32::from(BROKEN) => Outcome::Broken,
        (Some(code), _) if code > 128 => Outcome::Signalled(code - 128),
        (Some(code), _) => Outcome::Exited(code),
        (_, Some(signal)) if signal == Signal::SIGALRM as i32 => Outcome::TimedOut,
        (_, signal) => Outcome::Signalled(signal.unwrap_or(0)),
    }
}

/// Joins `groups`, leaves the driver's namespaces (mount, pid, cgroup, ipc, uts, and `more`), and runs this program again with
/// `arguments` as the first process inside. After `limit` seconds SIGALRM ends this process, and the tree with it.
pub fn leave(groups: &[String], more: CloneFlags, limit: u32, arguments: &[&str]) -> ExitCode {
    let enter = || -> std::io::Result<()> {
        groups::join(groups)?;
        let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWCGROUP;
        unshare(namespaces | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS | more)?;
        die_with_parent()
    };
    if let Err(error) = enter() {
        eprintln!("leave the driver's namespaces: {error}");
        return ExitCode::from(BROKEN);
    }
    nix::unistd::alarm::set(limit);
    let init = Command::new("/proc/self/exe").args(arguments).status();
    init.map_or(ExitCode::from(BROKEN), |status| ExitCode::from(status.code().unwrap_or(BROKEN.into()) as u8))
}

/// The first process calls this before all else.
pub fn die_with_parent() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Reaps all that is inherited until `work` has ended, and returns its exit code (128 + number for a signal).
pub fn reap(work: Child) -> ExitCode {
    let own = |pid: nix::unistd::Pid| pid.as_raw() as u32 == work.id();
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if own(pid) => return ExitCode::from(code as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) if own(pid) => return ExitCode::from(128 + signal as u8),
            Err(Errno::ECHILD) => return ExitCode::from(BROKEN),
            _ => {}
        }
    }
}
