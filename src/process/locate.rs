//! What the host does at the point *located*: it opens the sources of bind mounts in the mount namespace of the child, with
//! rights that the child lacks, and gives it the descriptors. Runs in the host process.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::plan::{Op, Plan};
use crate::process::sync::Message;
use crate::rootfs;
use crate::sys::file;

/// A source that can't be found there stays away: it is bound as it was taken before.
pub fn give_sources(plan: &Plan, pid: i32, control: RawFd) -> Result {
    let wanted = plan.stage_two.iter().filter_map(|step| match &step.op {
        Op::Rootfs(rootfs::Op::LockTree(lock)) => Some(lock),
        _ => None,
    });
    for lock in wanted {
        let Ok(fd) = rootfs::apply::locate(lock, pid) else { continue };
        let sent = Message::Given(lock.here.0).send_with_descriptor(control, fd);
        file::close(fd);
        match sent {
            // Of a child that is gone tells what it left behind.
            Err(trouble) if !matches!(trouble.errno, Errno::EPIPE | Errno::ECONNRESET) => {
                return Err(Error::os("hand a source over", trouble));
            }
            _ => {}
        }
    }
    Ok(())
}
