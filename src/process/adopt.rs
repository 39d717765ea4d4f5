//! What the host does to the fresh child that the child has no right to: limits and the OOM killer's badness. Runs in
//! the host process, so it may allocate; nothing that runs after clone may come here.

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::process::{Op, handover};
use crate::sys::property;

/// Carries out a step of the adopt or the ready list on the child `pid`.
pub fn apply_adopt(op: &Op, pid: i32) -> Effect {
    match op {
        Op::RaiseLimit { resource, hard, .. } => {
            // The child was cloned with the limits of this process.
            let (soft, before) = property::rlimit(*resource)?;
            if before < *hard { property::set_rlimit(pid, *resource, soft, *hard) } else { Ok(()) }
        }
        Op::OomScoreAdjust { value, .. } => std::fs::write(format!("/proc/{pid}/oom_score_adj"), value.to_string())
            .map_err(|error| Trouble::new(Call::Write, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))),
        Op::WritePidFile { path } => handover::write_pid_file(path, pid),
        Op::SendPidfd { path } => handover::send_pidfd(path, pid),
        _ => Err(Trouble::new(Call::None, Errno::EPROTO)),
    }
}
