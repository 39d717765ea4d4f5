//! The rootfs steps carried out. [`apply_host`] runs on the host before clone and may allocate; [`apply`] runs after
//! clone in the container's init: no heap, no panic, no formatting, and what it opens it closes itself.
//!
//! A step that fails ends the init, so error paths leave their descriptors to the kernel. The working directory is "/"
//! (the host's, then the container's) after every step.

mod attach;
mod copyup;
mod enter;
mod filesystem;
mod hide;
mod legacy;
mod live;
mod mask;
mod node;
mod root;
mod target;

use std::ffi::CString;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::{IdLine, IdNamespace, Lock, Op};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::idmap::IdRange;
use crate::sys::{file, idmap, mount, path};

/// Carries out a step of the host's list.
pub fn apply_host(op: &Op, slots: &mut Slots) -> Effect {
    match op {
        Op::MakeIdNamespace(ids) => make_id_namespace(ids, slots),
        _ => apply(op, slots),
    }
}

/// Host: the source of a bind mount, in the mount namespace of the process `pid`.
pub fn locate(lock: &Lock, pid: i32) -> Effect<RawFd> {
    let root = CString::new(format!("/proc/{pid}/root")).unwrap_or_default();
    let root = path::open(path::CWD, &root, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let flags = if lock.follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
    let found = path::openat2(root, &lock.source, flags, path::IN_ROOT);
    file::close(root);
    found
}

/// Carries out one step, in the container's init.
pub fn apply(op: &Op, slots: &mut Slots) -> Effect {
    match op {
        Op::OpenHostProc => root::open_host_proc(slots),
        Op::Propagate(flags) | Op::PropagateRoot(flags) => mount::mount(None, c"/", None, *flags, None),
        Op::PrivateParent(place) => root::make_parent_private(place),
        Op::AttachRoot(place) => root::attach_root(place, slots),
        Op::OpenRoot(place) => root::open_root(place).map(|fd| fill(slots, Slot::ROOTFS, fd)),
        Op::OpenInitRoot { file } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            path::open(slots.get(Slot::HOST_PROC)?, file, flags, 0).map(|fd| fill(slots, Slot::ROOTFS, fd))
        }
        Op::OpenOwnRoot => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            path::open(path::CWD, c"/", flags, 0).map(|fd| fill(slots, Slot::ROOTFS, fd))
        }
        Op::MakePlace { target, source } => attach::make_place(target, source.as_deref(), slots),
        Op::TakeTree(tree) => attach::take_tree(tree, slots),
        // Writing id maps needs the host's side: this step is never planned for the inside.
        Op::MakeIdNamespace(_) => Err(Trouble::new(Call::None, Errno::EINVAL)),
        Op::OpenIdNamespace { path: at, slot } => {
            path::open(path::CWD, at, libc::O_RDONLY, 0).map(|fd| fill(slots, *slot, fd))
        }
        Op::MapIds { tree, namespace, recursive, .. } => {
            attach::map_ids(slots.get(*tree)?, slots.get(*namespace)?, *recursive)
        }
        Op::LockTree(lock) => attach::lock_tree(lock, slots),
        Op::AttachTree(attachment) => attach::attach_tree(attachment, slots),
        Op::MountFilesystem(filesystem) => filesystem::mount_filesystem(filesystem, slots),
        Op::MakeFilesystem { filesystem, slot } => filesystem::make_filesystem(filesystem, *slot, slots),
        Op::FindMount(place) => live::find(place, slots),
        Op::DetachMount { mount, lenient, .. } => live::detach(*mount, *lenient, slots),
        Op::LabelQueues { path, label } => filesystem::label_queues(path, label, slots),
        Op::Remount(remount) => attach::remount(remount, slots),
        Op::MakeDevice(device) => node::make_device(device, slots),
        Op::BindDevice { tree, path } => node::bind_device(*tree, path, slots),
        Op::BindConsole => node::bind_console(slots),
        Op::Symlink(link) => node::make_symlink(link, slots),
        Op::OpenProc => root::open_container_proc(slots),
        Op::HideHostFilesystems => hide::hide_host_filesystems(slots),
        Op::PivotRoot => enter::pivot(slots),
        Op::MoveRoot => enter::move_root(slots),
        Op::Chroot => enter::chroot(slots),
        Op::LeaveNamespace { caller } => enter::leave_namespace(*caller, slots),
        Op::DetachRoot => enter::detach_root(slots),
        Op::ReturnNamespace { caller } => enter::return_namespace(*caller, slots),
        Op::ReadOnlyMount { mount, .. } => attach::make_read_only(slots.get(*mount)?, slots),
        Op::ReadOnlyRoot => attach::make_read_only(slots.get(Slot::ROOTFS)?, slots),
        Op::ReadOnlyPath { path } => mask::make_path_read_only(path, slots),
        Op::MaskPath { path, null, label } => mask::mask(path, *null, label.as_deref(), slots),
    }
}

/// Puts a descriptor into a slot and closes the one that stood there.
fn fill(slots: &mut Slots, slot: Slot, fd: RawFd) {
    if let Some(before) = slots.put(slot, fd) {
        file::close(before);
    }
}

fn make_id_namespace(ids: &IdNamespace, slots: &mut Slots) -> Effect {
    let ranges = |lines: &[IdLine]| -> Vec<IdRange> {
        let range = |line: &IdLine| IdRange { inside: line.inside, outside: line.outside, length: line.length };
        lines.iter().map(range).collect()
    };
    let namespace = idmap::make_namespace(&ranges(&ids.uids), &ranges(&ids.gids))?;
    fill(slots, ids.slot, namespace);
    Ok(())
}

#[cfg(test)]
mod tests;
