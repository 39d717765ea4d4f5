//! The effects of this domain on the host before clone, and in stage one after clone. What the host does to the fresh
//! child stands in `adopt.rs`.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::namespaces::{Kind, Op};
use crate::slots::{Slot, Slots};
use crate::sys::{descriptor, file, identity, namespace, path, property};

/// Host, before clone.
pub fn apply_host(op: &Op, slots: &mut Slots) -> Effect {
    match op {
        Op::Open { kind, path, slot } => {
            // Whatever stands there is opened before it can be looked at: a fifo must not wait for its other end, and a
            // terminal must not become corten's own.
            let fd = path::open(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
            slots.put(*slot, fd);
            check_kind(fd, *kind)
        }
        _ => Err(misplaced()),
    }
}

/// Refuses a file that is no namespace, or one of another kind. nsfs answers for itself, so a file that only looks
/// like a namespace can't pass (runtime-tools linux_ns_path_type).
fn check_kind(fd: RawFd, kind: Kind) -> Effect {
    let wrong = Err(Trouble::new(Call::CheckNamespace, Errno::EINVAL));
    if file::magic(fd)? != namespace::NSFS_MAGIC {
        return wrong;
    }
    if namespace::kind_of(fd)? == kind.flag() { Ok(()) } else { wrong }
}

/// In the child, after clone: no heap, no panic. `Op::Fork` is the interpreter's.
pub fn apply(op: &Op, slots: &Slots) -> Effect {
    match op {
        Op::Join { kind, slot } => namespace::join(slots.get(*slot)?, kind.flag()),
        Op::Unshare { kinds } => namespace::unshare(kinds.0),
        Op::Become { uid, gid } => {
            identity::set_gid(*gid)?;
            identity::set_uid(*uid)
        }
        Op::TimeOffsets { text } => {
            // The change of user has made the process undumpable, and its /proc files the real root's.
            property::set_dumpable(true)?;
            let fd = path::open(slots.get(Slot::HOST_PROC)?, c"self/timens_offsets", libc::O_WRONLY, 0)?;
            let result = descriptor::write(fd, text.to_bytes());
            file::close(fd);
            property::set_dumpable(false)?;
            result
        }
        Op::EnterTime => {
            // setns with one's own time_for_children moves the caller itself, so that no second fork is needed
            // (time_namespaces(7), timens_install in the kernel).
            let proc = slots.get(Slot::HOST_PROC)?;
            let fd = path::open(proc, c"self/ns/time_for_children", libc::O_RDONLY, 0)?;
            let result = namespace::join(fd, Kind::Time.flag());
            file::close(fd);
            result
        }
        Op::LoopbackUp => namespace::interface_up(b"lo"),
        _ => Err(misplaced()),
    }
}

/// A step in a list where it can't be applied: a bug of planning, told as EPROTO rather than by a panic.
fn misplaced() -> Trouble {
    Trouble::new(Call::None, Errno::EPROTO)
}
