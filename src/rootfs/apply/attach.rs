//! Bind mounts: a tree is taken, changed while nobody can see it, and attached by descriptor.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::options::{Attributes, Propagation};
use super::super::{Attachment, Finish, Lock, Remount, Target, TargetKind, Tree};
use super::target::{Kind, open_existing, open_target};
use super::{fill, legacy, node};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::file::{self, Stat};
use crate::sys::kernel::{self, MOUNT_SETATTR, NEW_MOUNT_API};
use crate::sys::mount::{self, Change};
use crate::sys::path;

/// Takes a detached copy of the source's mount tree; on old kernels the source itself.
pub(super) fn take_tree(tree: &Tree, slots: &mut Slots) -> Effect {
    kernel::probe_mount_calls();
    let otherwise = tree.cgroup.as_ref().and_then(|cgroup| cgroup.otherwise.as_deref());
    let fd = match (take(tree, &tree.source), otherwise) {
        (Err(Trouble { errno: Errno::ENOENT, .. }), Some(otherwise)) => take(tree, otherwise)?,
        (taken, _) => taken?,
    };
    if let Some(node) = tree.device {
        if !node::is(file::fstat(fd)?, node) {
            return Err(Trouble::new(Call::CheckDevice, Errno::ENXIO));
        }
    }
    if tree.slave && !kernel::lacks(NEW_MOUNT_API | MOUNT_SETATTR) {
        let change = Change { propagation: libc::MS_SLAVE, ..Change::default() };
        mount::mount_setattr(fd, change, tree.recursive)?;
    }
    fill(slots, tree.slot, fd);
    Ok(())
}

fn take(tree: &Tree, source: &CStr) -> Effect<RawFd> {
    if kernel::lacks(NEW_MOUNT_API) {
        let flags = if tree.follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
        path::open(path::CWD, source, flags, 0)
    } else {
        mount::open_tree(path::CWD, source, tree.recursive, tree.follow)
    }
}

/// Takes the same file's tree from the container's own mount namespace. Where that can't be, the tree stays the host's: a
/// directory with mounts below can't be taken without them there, for what they cover would show (EINVAL).
pub(super) fn lock_tree(lock: &Lock, slots: &mut Slots) -> Effect {
    let Some(here) = slots.take(lock.here) else { return Ok(()) };
    let (found, taken) = (file::fstat(here)?, file::fstat(slots.get(lock.tree)?)?);
    // On kernels without the call the source itself was opened, and will be opened again by its path in here.
    if !kernel::lacks(NEW_MOUNT_API) && (found.dev, found.ino) == (taken.dev, taken.ino) {
        if let Ok(tree) = mount::open_tree(here, c"", lock.recursive, true) {
            fill(slots, lock.tree, tree);
        }
    }
    file::close(here);
    Ok(())
}

/// Gives a detached tree the id mappings of a user namespace (mount_setattr(2), "ID-mapped mounts").
pub(super) fn map_ids(tree: RawFd, namespace: RawFd, recursive: bool) -> Effect {
    mount::mount_setattr(tree, Change { set: libc::MOUNT_ATTR_IDMAP, namespace, ..Change::default() }, recursive)
}

/// Makes the place of a mount that somebody else is going to make, where it is missing: a directory, or a file when the
/// source is one.
pub(super) fn make_place(target: &Target, source: Option<&CStr>, slots: &Slots) -> Effect {
    let kind = match source {
        Some(source) => {
            let source = path::open(path::CWD, source, libc::O_PATH, 0)?;
            let stat = file::fstat(source);
            file::close(source);
            if stat?.is_dir() { Kind::Directory } else { Kind::File }
        }
        None => Kind::Directory,
    };
    open_target(slots.get(Slot::ROOTFS)?, target, kind).map(file::close)
}

/// Attaches a taken tree inside the root.
pub(super) fn attach_tree(attachment: &Attachment, slots: &mut Slots) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    let tree = slots.take(attachment.tree).ok_or(Trouble::new(Call::None, Errno::EBADF))?;
    let stat = file::fstat(tree)?;
    if attachment.copy_symlink && stat.is_symlink() {
        node::copy_symlink(root, tree, &attachment.target.path)?;
        file::close(tree);
        return Ok(());
    }
    // Until its flags were changed the container's processes could use the mount without them.
    if attachment.live && kernel::lacks(MOUNT_SETATTR) && is_changed(attachment) {
        return Err(Trouble::new(Call::MountSetattr, Errno::ENOSYS));
    }
    if attachment.target.kind == TargetKind::Proc && !is_procfs_root(tree)? {
        return Err(Trouble::new(Call::CheckFilesystem, Errno::EPERM));
    }
    let kind = if stat.is_dir() { Kind::Directory } else { Kind::File };
    let target = open_target(root, &attachment.target, kind)?;
    require_same_kind(stat, target)?;
    if kernel::lacks(NEW_MOUNT_API) {
        legacy::bind_taken(slots, tree, &attachment.source, target, attachment.recursive)?;
        file::close(tree);
        file::close(target);
        let mounted = legacy::reopen(root, &attachment.target)?;
        change(mounted, attachment.finish.attributes, slots)?;
        return finish(mounted, &attachment.finish, slots);
    }
    // On a kernel without mount_setattr flags can only be changed once the tree is attached.
    let early = !kernel::lacks(MOUNT_SETATTR);
    if early {
        protect(tree, &attachment.finish, slots)?;
    }
    mount::move_mount(tree, target)?;
    file::close(target);
    if !early {
        if attachment.slave {
            legacy::propagate(slots, tree, libc::MS_SLAVE | libc::MS_REC)?;
        }
        change(tree, attachment.finish.attributes, slots)?;
        return finish(tree, &attachment.finish, slots);
    }
    finish_with(tree, Attributes { set: 0, clear: 0 }, &attachment.finish.propagation, attachment.finish.keep, slots)
}

fn is_changed(attachment: &Attachment) -> bool {
    let Finish { attributes, recursive, propagation, .. } = &attachment.finish;
    attachment.slave || !attributes.is_empty() || !recursive.is_empty() || !propagation.is_empty()
}

/// What keeps the container from the host, while nobody can see the tree. A mount that comes on a shared one becomes shared
/// itself, so that how it propagates is said again once it is there.
fn protect(tree: RawFd, finish: &Finish, slots: &Slots) -> Effect {
    change(tree, finish.attributes, slots)?;
    if !finish.recursive.is_empty() {
        let Attributes { set, clear } = finish.recursive;
        mount::mount_setattr(tree, Change { set, clear, ..Change::default() }, true)?;
    }
    let cuts = |flags: &&u64| matches!(**flags & !libc::MS_REC, libc::MS_SLAVE | libc::MS_PRIVATE);
    finish.propagation.iter().take_while(cuts).try_for_each(|flags| propagate(tree, *flags, slots))
}

/// A directory goes on a directory and a file on a file. The kernel says ENOTDIR or EINVAL by its age; engines look for
/// the words of the first.
fn require_same_kind(mounted: Stat, target: RawFd) -> Effect {
    if mounted.is_dir() == file::fstat(target)?.is_dir() {
        return Ok(());
    }
    Err(Trouble::new(Call::CheckTarget, Errno::ENOTDIR))
}

/// Whether a descriptor is the root of a procfs and not just something in it.
pub(super) fn is_procfs_root(fd: RawFd) -> Effect<bool> {
    /// The inode number of a procfs' root (PROC_ROOT_INO in the kernel).
    const ROOT_INODE: u64 = 1;
    Ok(file::magic(fd)? == file::PROC_MAGIC && file::fstat(fd)?.ino == ROOT_INODE)
}

/// Sets and clears flags of one mount. Flags that aren't named stay, as a user namespace's locked ones have to.
pub(super) fn change(at: RawFd, attributes: Attributes, slots: &Slots) -> Effect {
    if attributes.is_empty() {
        return Ok(());
    }
    // `relatime` asks for the kernel's default; a user namespace that may not leave the host's policy keeps that.
    let atime = libc::MOUNT_ATTR__ATIME;
    let default_atime = attributes.clear & atime != 0 && attributes.set & atime == 0;
    match change_once(at, attributes, slots) {
        Err(Trouble { errno: Errno::EPERM, .. }) if default_atime => {
            change_once(at, Attributes { clear: attributes.clear & !atime, ..attributes }, slots)
        }
        changed => changed,
    }
}

fn change_once(at: RawFd, attributes: Attributes, slots: &Slots) -> Effect {
    if kernel::lacks(MOUNT_SETATTR) {
        return legacy::change(slots, at, attributes);
    }
    let Attributes { set, clear } = attributes;
    mount::mount_setattr(at, Change { set, clear, ..Change::default() }, false)
}

/// What is left to do once a mount is in its place; takes the descriptor over.
pub(super) fn finish(mounted: RawFd, finish: &Finish, slots: &mut Slots) -> Effect {
    finish_with(mounted, finish.recursive, &finish.propagation, finish.keep, slots)
}

/// The same for a mount whose flags aren't those of its step.
pub(super) fn finish_with(
    mounted: RawFd,
    recursive: Attributes,
    propagation: &[Propagation],
    keep: Option<Slot>,
    slots: &mut Slots,
) -> Effect {
    if !recursive.is_empty() {
        let Attributes { set, clear } = recursive;
        mount::mount_setattr(mounted, Change { set, clear, ..Change::default() }, true)?;
    }
    for flags in propagation {
        propagate(mounted, *flags, slots)?;
    }
    match keep {
        Some(slot) => fill(slots, slot, mounted),
        None => file::close(mounted),
    }
    Ok(())
}

fn propagate(at: RawFd, flags: u64, slots: &Slots) -> Effect {
    if kernel::lacks(MOUNT_SETATTR) {
        return legacy::propagate(slots, at, flags);
    }
    let change = Change { propagation: flags & !libc::MS_REC, ..Change::default() };
    mount::mount_setattr(at, change, flags & libc::MS_REC != 0)
}

/// Changes what is mounted on a path already.
pub(super) fn remount(remount: &Remount, slots: &mut Slots) -> Effect {
    let mounted = open_existing(slots.get(Slot::ROOTFS)?, &remount.target.path, remount.target.follow)?;
    if !remount.data.is_empty() {
        reconfigure(remount, mounted, slots)?;
    }
    change(mounted, remount.finish.attributes, slots)?;
    finish(mounted, &remount.finish, slots)
}

/// Changes the file system behind a mount.
fn reconfigure(remount: &Remount, mounted: RawFd, slots: &Slots) -> Effect {
    if kernel::lacks(NEW_MOUNT_API) {
        return legacy::reconfigure(slots, mounted, remount.flags, &remount.joined);
    }
    let context = mount::fspick(mounted)?;
    for datum in &remount.data {
        mount::fsconfig_set(context, &datum.key, datum.value.as_deref())?;
    }
    mount::fsconfig_reconfigure(context)?;
    file::close(context);
    Ok(())
}

/// Makes a mount read-only; what lies below it stays as it is.
pub(super) fn make_read_only(at: RawFd, slots: &Slots) -> Effect {
    change(at, Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 }, slots)
}
