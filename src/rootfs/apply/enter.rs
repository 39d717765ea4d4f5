//! The change of the root. Afterwards [`Slot::ROOTFS`] still stands for the container's root, which is now "/".

use crate::fault::Effect;
use crate::slots::{Slot, Slots};
use crate::sys::{file, mount, path};

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
