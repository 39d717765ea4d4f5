//! Masked and read-only paths, the last steps: nothing is created any more, and what isn't there needs no cover.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::MaskLabel;
use super::target::open_existing;
use super::{attach, fill, legacy, node};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::kernel::{self, MOUNT_SETATTR, NEW_MOUNT_API};
use crate::sys::{file, mount};

const EMPTY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
/// [`MASK_DATA`](super::super::MASK_DATA) in pieces, and as mount(2) takes it.
const EMPTY_DATA: [(&CStr, &CStr); 3] = [(c"nr_inodes", c"1"), (c"nr_blocks", c"1"), (c"mode", c"755")];
const EMPTY_JOINED: &CStr = c"nr_inodes=1,nr_blocks=1,mode=755";

/// Opens a path inside the root; `None` if it isn't there.
fn open_if_there(root: RawFd, at: &CStr) -> Effect<Option<RawFd>> {
    refuse_linked_top(root, at)?;
    match open_existing(root, at, true) {
        Ok(fd) => Ok(Some(fd)),
        Err(Trouble { errno: Errno::ENOENT | Errno::ENOTDIR, .. }) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// A symbolic link in the place of /proc or /sys would have the mask land elsewhere (CVE-2023-28642).
fn refuse_linked_top(root: RawFd, at: &CStr) -> Effect {
    const TOPS: [(&CStr, &[u8]); 2] = [(c"proc", b"/proc/"), (c"sys", b"/sys/")];
    for (top, prefix) in TOPS {
        if at.to_bytes().starts_with(prefix) && file::lstatat(root, top).is_ok_and(|stat| stat.is_symlink()) {
            return Err(Trouble::new(Call::CheckTarget, Errno::ELOOP));
        }
    }
    Ok(())
}

/// Whether a path led to the container's root itself: "/", or a symbolic link to it.
fn is_root(root: RawFd, place: RawFd) -> Effect<bool> {
    let (root, place) = (file::fstat(root)?, file::fstat(place)?);
    Ok((root.dev, root.ino) == (place.dev, place.ino))
}

/// Makes a path read-only by a bind of itself; the other flags of its mount stay.
pub(super) fn make_path_read_only(at: &CStr, slots: &mut Slots) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    let Some(place) = open_if_there(root, at)? else { return Ok(()) };
    if is_root(root, place)? {
        // A mount on top of the root is one that no path leads to.
        file::close(place);
        return attach::make_read_only(root, slots);
    }
    let mounted = if kernel::lacks(NEW_MOUNT_API) {
        legacy::bind(slots, place, place, true)?;
        let mounted = open_existing(root, at, true)?;
        attach::make_read_only(mounted, slots)?;
        mounted
    } else {
        let tree = mount::open_tree(place, c"", true, false)?;
        if !kernel::lacks(MOUNT_SETATTR) {
            attach::make_read_only(tree, slots)?;
        }
        mount::move_mount(tree, place)?;
        if kernel::lacks(MOUNT_SETATTR) {
            attach::make_read_only(tree, slots)?;
        }
        tree
    };
    file::close(place);
    file::close(mounted);
    Ok(())
}

/// Hides a path: a file behind the null device, a directory behind an empty read-only file system.
pub(super) fn mask(at: &CStr, null: Slot, label: Option<&MaskLabel>, slots: &mut Slots) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    let Some(place) = open_if_there(root, at)? else { return Ok(()) };
    if file::fstat(place)?.is_dir() {
        mask_directory(place, label, slots)?;
    } else {
        let null = match slots.find(null) {
            Some(fd) => fd,
            None => {
                let fd = node::open_null(root)?;
                fill(slots, null, fd);
                fd
            }
        };
        bind_on(null, place, slots)?;
    }
    file::close(place);
    Ok(())
}

fn bind_on(source: RawFd, place: RawFd, slots: &Slots) -> Effect {
    if kernel::lacks(NEW_MOUNT_API) {
        return legacy::bind(slots, source, place, false);
    }
    let tree = mount::open_tree(source, c"", false, false)?;
    mount::move_mount(tree, place)?;
    file::close(tree);
    Ok(())
}

/// The first masked directory gets the empty file system itself, the others copies of that mount: one superblock for
/// all, and a mount that hangs somewhere can be copied on every kernel.
fn mask_directory(place: RawFd, label: Option<&MaskLabel>, slots: &mut Slots) -> Effect {
    if let Some(empty) = slots.find(Slot::MASK) {
        return bind_on(empty, place, slots);
    }
    if kernel::lacks(NEW_MOUNT_API) {
        let data = label.map_or(EMPTY_JOINED, |label| label.joined.as_c_str());
        return legacy::mount_on(slots, place, c"tmpfs", c"tmpfs", legacy::ms_flags(EMPTY), data);
    }
    let context = mount::fsopen(c"tmpfs")?;
    for (key, value) in EMPTY_DATA {
        mount::fsconfig_set(context, key, Some(value))?;
    }
    if let Some(label) = label {
        mount::fsconfig_set(context, c"context", Some(&label.label))?;
    }
    mount::fsconfig_create(context)?;
    let empty = mount::fsmount(context, EMPTY)?;
    file::close(context);
    mount::move_mount(empty, place)?;
    fill(slots, Slot::MASK, empty);
    Ok(())
}
