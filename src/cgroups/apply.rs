//! The effects of this domain in the child, after clone: no heap, no panic. Those on the host stand in `make.rs`.

use nix::errno::Errno;

use crate::cgroups::{Op, Version};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::{affinity, descriptor, file, path};

/// In the child. `inside`: clone has put it into the cgroup of version 2 already.
pub fn apply(op: &Op, slots: &mut Slots, inside: bool) -> Effect {
    match op {
        Op::Enter { slot, version, .. } => match slots.take(*slot) {
            Some(fd) => {
                let entered = enter(fd, *version, inside);
                file::close(fd);
                entered
            }
            // The host may do without: see `Make::optional`.
            None => Ok(()),
        },
        Op::ResetAffinity => affinity::reset(),
        Op::WriteLate { slot, value, .. } => write_late(*slot, value.to_bytes(), slots),
        _ => Err(Trouble::new(Call::None, Errno::EPROTO)),
    }
}

/// A thread that moves itself by "0" into `tasks` spares the kernel the lock that a pid in `cgroup.procs` takes for the
/// sake of other threads: 10 µs against up to 14 ms on an idle machine (kernel/cgroup/cgroup.c,
/// cgroup_procs_write_start). Version 2 has no such file, and only a kernel without CLONE_INTO_CGROUP gets here.
fn enter(fd: i32, version: Version, inside: bool) -> Effect {
    match version {
        Version::V1 => descriptor::write(fd, b"0"),
        Version::V2 if inside => Ok(()),
        Version::V2 => {
            let procs = path::open(fd, c"cgroup.procs", libc::O_WRONLY, 0)?;
            let entered = descriptor::write(procs, b"0");
            file::close(procs);
            entered
        }
    }
}

fn write_late(slot: Slot, value: &[u8], slots: &mut Slots) -> Effect {
    let fd = slots.take(slot).ok_or(Trouble::new(Call::Write, Errno::EBADF))?;
    let written = descriptor::write(fd, value);
    file::close(fd);
    written
}
