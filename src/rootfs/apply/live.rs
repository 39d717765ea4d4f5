//! Mounts of a container that runs, found and taken off. Its processes change what is mounted meanwhile, so that a path
//! is good for finding a mount and never for taking one off.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::Place;
use super::{fill, legacy};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::file::{self, Digits};
use crate::sys::{mount, path};

/// How many mounts may be stacked on the one that goes. More comes of a program that mounts without a pause.
const STACKED: usize = 1000;

/// Opens (O_PATH) what is on top at a place, which must be this mount: one that is covered can't be reached by any path.
pub(super) fn find(place: &Place, slots: &mut Slots) -> Effect {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let fd = path::openat2(slots.get(Slot::ROOTFS)?, &place.path, flags, path::IN_ROOT | path::NO_SYMLINKS)?;
    let found = file::mount_id(fd)?;
    let same = match (place.unique, found.unique) {
        (Some(wanted), Some(found)) => wanted == found,
        _ => place.id == found.id,
    };
    if !same {
        return Err(Trouble::new(Call::CheckMount, Errno::EBUSY));
    }
    fill(slots, place.slot, fd);
    Ok(())
}

/// Takes off the mount that a descriptor stands for. umount2(2) goes up to what is stacked on it; that is mounted on this
/// one and would go with it, so it is asked until the kernel says that this one is no longer there.
pub(super) fn detach(mount: Slot, lenient: bool, slots: &mut Slots) -> Effect {
    let Some(fd) = slots.take(mount) else {
        return if lenient { Ok(()) } else { Err(Trouble::new(Call::None, Errno::EBADF)) };
    };
    for _ in 0..STACKED {
        match detach_top(fd, slots) {
            Ok(()) => {}
            Err(Trouble { errno: Errno::EINVAL, .. }) if lenient || !is_attached(fd) => {
                file::close(fd);
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Err(Trouble::new(Call::Umount, Errno::EBUSY))
}

/// EINVAL is also what umount2(2) says of a mount that is locked (mount_namespaces(7)). A copy can be taken only of what is
/// attached, and of that unless it is unbindable: so the host asks for the mount once more before it forgets it.
fn is_attached(fd: RawFd) -> bool {
    mount::open_tree(fd, c"", true, true).map(file::close).is_ok()
}

/// Through /proc/self/fd where that is at hand: a working directory takes the right to search it, which the container's root
/// needn't have in a source of the host's.
fn detach_top(fd: RawFd, slots: &Slots) -> Effect {
    if slots.find(Slot::SELF_FD).is_some() || !file::fstat(fd)?.is_dir() {
        let link = Digits::decimal(fd as u32);
        return legacy::in_self_fd(slots, || mount::detach_linked(link.as_cstr()));
    }
    file::fchdir(fd)?;
    let detached = mount::detach(c".");
    file::chdir(c"/")?;
    detached
}
