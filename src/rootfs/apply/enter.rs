//! The change of the root. Afterwards [`Slot::ROOTFS`] still stands for the container's root, which is now "/".

use super::fill;
use crate::fault::Effect;
use crate::slots::{Slot, Slots};
use crate::sys::{file, mount, namespace, path};

/// pivot_root(".", ".") stacks the old root on the new one, so that no directory for it is needed inside the rootfs;
/// then the old root goes. It becomes a slave first, or its unmounting would propagate to the host.
pub(super) fn pivot(slots: &mut Slots) -> Effect {
    let old = path::open(path::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    file::fchdir(slots.get(Slot::ROOTFS)?)?;
    mount::pivot_root_here()?;
    file::fchdir(old)?;
    mount::mount(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None)?;
    mount::detach(c".")?;
    file::chdir(c"/")?;
    file::close(old);
    Ok(())
}

/// Moves the rootfs over "/": the host's mounts stay below, out of sight, for a root that can't be pivoted away. With
/// `rootfsPropagation` shared "/" is still the host's peer, and what is put there would cover the host's root as well:
/// it becomes private first. It is out of reach afterwards, so nobody misses its peers.
pub(super) fn move_root(slots: &mut Slots) -> Effect {
    mount::mount(None, c"/", None, libc::MS_PRIVATE, None)?;
    file::fchdir(slots.get(Slot::ROOTFS)?)?;
    mount::mount(Some(c"."), c"/", None, libc::MS_MOVE, None)?;
    file::chroot(c".")?;
    file::chdir(c"/")
}

/// Enters the rootfs without a mount namespace.
pub(super) fn chroot(slots: &mut Slots) -> Effect {
    file::fchdir(slots.get(Slot::ROOTFS)?)?;
    file::chroot(c".")?;
    file::chdir(c"/")
}

/// Goes on in a copy of the caller's mount namespace, and keeps that one. If anything fails before the way back, the copy
/// ends with this process and all mounts with it.
pub(super) fn leave_namespace(caller: Slot, slots: &mut Slots) -> Effect {
    let own = path::open(slots.get(Slot::HOST_PROC)?, c"self/ns/mnt", libc::O_RDONLY, 0)?;
    fill(slots, caller, own);
    namespace::unshare(libc::CLONE_NEWNS as u64)
}

/// A copy of the tree that is in no namespace. When its last descriptor closes, at the end of stage two, the kernel dissolves it
/// but leaves its mounts connected (UMOUNT_CONNECTED, dissolve_on_fput of fs/namespace.c): they are found by whoever has it
/// for a root, and gone with the last of them. Nothing outside of it is above its root, so no `..` leads out.
pub(super) fn detach_root(slots: &mut Slots) -> Effect {
    let tree = mount::open_tree(slots.get(Slot::ROOTFS)?, c"", true, false)?;
    fill(slots, Slot::ROOTFS, tree);
    Ok(())
}

/// setns makes the root of the namespace the process's, so the root is entered anew; in between nothing is looked up.
pub(super) fn return_namespace(caller: Slot, slots: &mut Slots) -> Effect {
    let own = slots.get(caller)?;
    namespace::join(own, libc::CLONE_NEWNS as u64)?;
    chroot(slots)?;
    if let Some(own) = slots.take(caller) {
        file::close(own);
    }
    Ok(())
}
