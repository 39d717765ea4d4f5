//! Device files and symbolic links. They are made by name in a directory that was opened inside the root, never through
//! a link (CVE-2026-41579: an image whose /dev is a symbolic link), and looked at again once they are there.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::{Device, Node, Symlink};
use super::legacy;
use super::target::{Kind, open_or_make, open_parent};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::file::{self, Stat};
use crate::sys::kernel::{self, MOUNT_SETATTR, NEW_MOUNT_API};
use crate::sys::{mount, path};

const LINK_MAX: usize = libc::PATH_MAX as usize;

/// Whether a file is this device.
pub(super) fn is(stat: Stat, node: Node) -> bool {
    let same_number = node.kind == libc::S_IFIFO || stat.rdev == libc::makedev(node.major, node.minor);
    stat.kind() == node.kind && same_number
}

/// Makes a device. One that is there already and is the same device is left as it is; another file is an error
/// (config-linux.md, "Devices").
pub(super) fn make_device(device: &Device, slots: &Slots) -> Effect {
    let (parent, name) = open_parent(slots.get(Slot::ROOTFS)?, &device.path)?;
    let name = name.as_cstr();
    let rdev = libc::makedev(device.node.major, device.node.minor);
    let made = file::with_open_umask(|| file::mknodat(parent, name, device.node.kind | device.mode, rdev));
    let existed = match made {
        Err(Trouble { errno: Errno::EEXIST, .. }) => true,
        other => other.map(|()| false)?,
    };
    let fd = path::open(parent, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    if !is(file::fstat(fd)?, device.node) {
        return Err(Trouble::new(Call::CheckDevice, if existed { Errno::EEXIST } else { Errno::EAGAIN }));
    }
    if !existed {
        file::chown(fd, device.uid, device.gid)?;
    }
    file::close(fd);
    file::close(parent);
    Ok(())
}

/// Attaches a device of the host, taken and checked before, on a file made for it.
pub(super) fn bind_device(tree: Slot, at: &CStr, slots: &mut Slots) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    let tree = slots.take(tree).ok_or(Trouble::new(Call::None, Errno::EBADF))?;
    let target = open_or_make(root, at, Kind::File, false)?;
    if file::fstat(target)?.is_symlink() {
        return Err(Trouble::new(Call::CheckTarget, Errno::ELOOP));
    }
    if kernel::lacks(NEW_MOUNT_API) {
        legacy::bind_taken(slots, tree, at, target, false)?;
    } else {
        mount::move_mount(tree, target)?;
        if kernel::lacks(MOUNT_SETATTR) {
            // What is mounted over the device must not appear over the host's as well.
            legacy::propagate(slots, tree, libc::MS_SLAVE)?;
        }
    }
    file::close(target);
    file::close(tree);
    Ok(())
}

/// Attaches the container's end of its terminal on /dev/console, by descriptor on both sides: neither /dev/pts/N nor
/// /dev/console can be a link to something else (CVE-2025-52565).
pub(super) fn bind_console(slots: &mut Slots) -> Effect {
    if !kernel::lacks(NEW_MOUNT_API) {
        let peer = slots.get(Slot::TERMINAL)?;
        let tree = mount::open_tree(peer, c"", false, true)?;
        slots.put(Slot::TERMINAL, tree);
        file::close(peer);
    }
    bind_device(Slot::TERMINAL, c"/dev/console", slots)
}

/// Makes a symbolic link. A file of that name stays, unless the link is to replace it.
pub(super) fn make_symlink(link: &Symlink, slots: &Slots) -> Effect {
    if let Some(needed) = &link.if_in_proc {
        let found = slots.get(Slot::HOST_PROC).and_then(|proc| file::lstatat(proc, needed));
        if found.is_err() {
            return Ok(());
        }
    }
    let (parent, name) = open_parent(slots.get(Slot::ROOTFS)?, &link.path)?;
    let name = name.as_cstr();
    let made = match file::symlinkat(&link.content, parent, name) {
        Err(Trouble { errno: Errno::EEXIST, .. }) if link.replace && !has_content(parent, name, &link.content)? => {
            file::unlinkat(parent, name)?;
            file::symlinkat(&link.content, parent, name)
        }
        Err(Trouble { errno: Errno::EEXIST, .. }) => Ok(()),
        made => made,
    };
    file::close(parent);
    made
}

/// Whether a name is a symbolic link with this content.
fn has_content(parent: RawFd, name: &CStr, content: &CStr) -> Effect<bool> {
    let mut buffer = [0; LINK_MAX];
    match file::readlinkat(parent, name, &mut buffer) {
        Ok(found) => Ok(found == content.to_bytes()),
        Err(Trouble { errno: Errno::EINVAL, .. }) => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

/// Makes a link with the content of another one (`copy-symlink`).
pub(super) fn copy_symlink(root: RawFd, source: RawFd, at: &CStr) -> Effect {
    let mut buffer = [0; LINK_MAX + 1];
    let room = buffer.get_mut(..LINK_MAX).unwrap_or_default();
    file::readlinkat(source, c"", room)?;
    let content = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    let (parent, name) = open_parent(root, at)?;
    match file::symlinkat(content, parent, name.as_cstr()) {
        Err(Trouble { errno: Errno::EEXIST, .. }) if has_content(parent, name.as_cstr(), content)? => {}
        made => made?,
    }
    file::close(parent);
    Ok(())
}

/// The container's /dev/null, checked to be the null device: what stands behind masked files (CVE-2025-31133).
pub(super) fn open_null(root: RawFd) -> Effect<RawFd> {
    const NULL: Node = Node { kind: libc::S_IFCHR, major: 1, minor: 3 };
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let fd = path::openat2(root, c"/dev/null", flags, path::IN_ROOT | path::NO_SYMLINKS)?;
    if is(file::fstat(fd)?, NULL) { Ok(fd) } else { Err(Trouble::new(Call::CheckDevice, Errno::ENXIO)) }
}
