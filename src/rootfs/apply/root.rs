//! Handles on the two procfs, and the rootfs as a mount of its own.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::Root;
use super::{attach, fill, legacy};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::kernel::{self, MOUNT_SETATTR, NEW_MOUNT_API};
use crate::sys::mount::{self, Change};
use crate::sys::{file, path};

const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY;

/// How many directories the rootfs may be below the mount it is on.
const DEPTH: usize = 4096;

/// Opens the host's /proc, checked to be one, and in it the directory of this process's descriptors. A host without
/// /proc leaves both slots empty; steps that need one then say so.
pub(super) fn open_host_proc(slots: &mut Slots) -> Effect {
    kernel::probe_mount_calls();
    if let Some(proc) = slots.find(Slot::HOST_PROC) {
        return open_self_fd(proc, slots);
    }
    let proc = match path::open(path::CWD, c"/proc", DIRECTORY | libc::O_NOFOLLOW, 0) {
        Err(Trouble { errno: Errno::ENOENT, .. }) => return Ok(()),
        other => other?,
    };
    if file::magic(proc)? != file::PROC_MAGIC {
        file::close(proc);
        return Ok(());
    }
    fill(slots, Slot::HOST_PROC, proc);
    open_self_fd(proc, slots)
}

fn open_self_fd(proc: RawFd, slots: &mut Slots) -> Effect {
    match path::open(proc, c"self/fd", libc::O_RDONLY | libc::O_DIRECTORY, 0) {
        // This /proc belongs to a pid namespace that doesn't see us; only mount(2) by descriptor needs it.
        Err(Trouble { errno: Errno::ENOENT, .. }) => {}
        self_fd => fill(slots, Slot::SELF_FD, self_fd?),
    }
    Ok(())
}

/// Opens the rootfs (O_PATH). No part of `root.path` may be a symbolic link: the caller's view of where the rootfs is
/// and the kernel's must be the same.
pub(super) fn open_root(root: &Root) -> Effect<RawFd> {
    let Some(bundle) = &root.bundle else {
        return path::openat2(path::CWD, &root.path, DIRECTORY, path::NO_SYMLINKS);
    };
    let bundle = path::open(path::CWD, bundle, DIRECTORY, 0)?;
    let opened = path::openat2(bundle, &root.path, DIRECTORY, path::NO_SYMLINKS);
    file::close(bundle);
    opened
}

/// Walks up from the rootfs to the mount that it is on and makes that private. pivot_root(2) refuses a new root whose
/// parent mount is shared, and without this the rootfs' own mount would appear on the host.
pub(super) fn make_parent_private(root: &Root) -> Effect {
    make_private_around(open_root(root)?)
}

/// Walks up from a directory to the mount that it is on, and makes that private; takes the descriptor over.
pub(super) fn make_private_around(mut here: RawFd) -> Effect {
    for _ in 0..DEPTH {
        match make_private(here) {
            // It isn't the root of a mount: the parent may be.
            Err(Trouble { errno: Errno::EINVAL, .. }) => {}
            done => {
                file::close(here);
                return done;
            }
        }
        let parent = path::open(here, c"..", DIRECTORY, 0)?;
        file::close(here);
        here = parent;
    }
    Err(Trouble::new(Call::Mount, Errno::ENAMETOOLONG))
}

fn make_private(at: RawFd) -> Effect {
    if kernel::lacks(MOUNT_SETATTR) {
        file::fchdir(at)?;
        let done = mount::mount(None, c".", None, libc::MS_PRIVATE, None);
        file::chdir(c"/")?;
        return done;
    }
    mount::mount_setattr(at, Change { propagation: libc::MS_PRIVATE, ..Change::default() }, false)
}

/// Binds the rootfs, with what is mounted below, on its own path and keeps it in [`Slot::ROOTFS`].
pub(super) fn attach_root(root: &Root, slots: &mut Slots) -> Effect {
    let place = open_root(root)?;
    let rootfs = if kernel::lacks(NEW_MOUNT_API) {
        legacy::bind(slots, place, place, true)?;
        open_root(root)?
    } else {
        let tree = mount::open_tree(place, c"", true, false)?;
        mount::move_mount(tree, place)?;
        tree
    };
    file::close(place);
    fill(slots, Slot::ROOTFS, rootfs);
    Ok(())
}

/// Opens the container's own /proc, if there is one: a directory of the root (no link) that is the root of a procfs.
/// Whatever else stands there leaves the slot empty, and writes that need it fail.
pub(super) fn open_container_proc(slots: &mut Slots) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    let proc = match path::open(root, c"proc", DIRECTORY | libc::O_NOFOLLOW, 0) {
        Err(Trouble { errno: Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP, .. }) => return Ok(()),
        other => other?,
    };
    if attach::is_procfs_root(proc)? {
        fill(slots, Slot::PROC, proc);
    } else {
        file::close(proc);
    }
    Ok(())
}
