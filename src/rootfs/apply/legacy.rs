//! mount(2) by descriptor, for kernels without the new mount calls and for outer seccomp filters that hide them.
//!
//! mount(2) only takes paths. A descriptor's path is its magic link in /proc/self/fd, named relative to
//! [`Slot::SELF_FD`] so that it also works after the root has changed.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::options::Attributes;
use super::super::{Target, TargetKind};
use super::target::open_existing;
use crate::fault::{Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::file::{self, Digits};
use crate::sys::{mount, path};

/// MOUNT_ATTR_ flags and what mount(2) calls them.
const FLAGS: [(u64, u64); 8] = [
    (libc::MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
    (libc::MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
    (libc::MOUNT_ATTR_NODEV, libc::MS_NODEV),
    (libc::MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
    (libc::MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME),
    (libc::MOUNT_ATTR_NOATIME, libc::MS_NOATIME),
    (libc::MOUNT_ATTR_STRICTATIME, libc::MS_STRICTATIME),
    (libc::MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
];

/// Since Linux 5.10 (mount(2)).
const MS_NOSYMFOLLOW: u64 = 256;
/// In statvfs: the kernel's ST_NOSYMFOLLOW.
const ST_NOSYMFOLLOW: u64 = 0x2000;

/// The MS_ flags for MOUNT_ATTR_ flags.
pub(super) fn ms_flags(attributes: u64) -> u64 {
    FLAGS.iter().filter(|(attribute, _)| attributes & attribute != 0).fold(0, |flags, (_, flag)| flags | flag)
}

/// The MOUNT_ATTR_ flags that a mount has now, from statvfs.
fn current_attributes(flags: u64) -> u64 {
    const SAME: u64 =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let mut attributes = flags & SAME;
    if flags & libc::ST_NODIRATIME != 0 {
        attributes |= libc::MOUNT_ATTR_NODIRATIME;
    }
    if flags & ST_NOSYMFOLLOW != 0 {
        attributes |= libc::MOUNT_ATTR_NOSYMFOLLOW;
    }
    if flags & libc::ST_NOATIME != 0 {
        attributes |= libc::MOUNT_ATTR_NOATIME;
    } else if flags & libc::ST_RELATIME == 0 {
        attributes |= libc::MOUNT_ATTR_STRICTATIME;
    }
    attributes
}

/// Runs `call` in /proc/self/fd, and in "/" again afterwards: a working directory in the host's procfs must not
/// outlive this (CVE-2024-21626).
pub(super) fn in_self_fd(slots: &Slots, call: impl FnOnce() -> Effect) -> Effect {
    file::fchdir(slots.get(Slot::SELF_FD)?)?;
    let done = call();
    file::chdir(c"/")?;
    done
}

/// The same for a call on the mount behind one descriptor. Where this /proc is out of reach, a directory is named by
/// being the working directory.
fn on_mount(slots: &Slots, at: RawFd, call: impl FnOnce(&CStr) -> Effect) -> Effect {
    if slots.find(Slot::SELF_FD).is_some() || !file::fstat(at)?.is_dir() {
        let name = Digits::decimal(at as u32);
        return in_self_fd(slots, || call(name.as_cstr()));
    }
    file::fchdir(at)?;
    let done = call(c".");
    file::chdir(c"/")?;
    done
}

/// Binds what one descriptor stands for on what another stands for.
pub(super) fn bind(slots: &Slots, source: RawFd, target: RawFd, recursive: bool) -> Effect {
    let (source, target) = (Digits::decimal(source as u32), Digits::decimal(target as u32));
    let flags = libc::MS_BIND | if recursive { libc::MS_REC } else { 0 };
    in_self_fd(slots, || mount::mount(Some(source.as_cstr()), target.as_cstr(), None, flags, None))
}

/// Binds a source that may have been opened in another mount namespace, where mount(2) can't bind it from: then it is
/// opened once more by its path here, and must be the same file.
pub(super) fn bind_taken(slots: &Slots, taken: RawFd, at: &CStr, target: RawFd, recursive: bool) -> Effect {
    let bound = bind(slots, taken, target, recursive);
    let Err(Trouble { errno: Errno::EINVAL, .. }) = bound else { return bound };
    let source = path::open(path::CWD, at, libc::O_PATH, 0)?;
    let (here, there) = (file::fstat(source)?, file::fstat(taken)?);
    if (here.dev, here.ino) != (there.dev, there.ino) {
        return bound;
    }
    bind(slots, source, target, recursive)?;
    file::close(source);
    Ok(())
}

/// Mounts a new file system on what a descriptor stands for.
pub(super) fn mount_on(slots: &Slots, target: RawFd, fstype: &CStr, source: &CStr, flags: u64, data: &CStr) -> Effect {
    let target = Digits::decimal(target as u32);
    in_self_fd(slots, || mount::mount(Some(source), target.as_cstr(), Some(fstype), flags, Some(data)))
}

/// Changes a mount's flags. Flags that aren't named keep their value: dropping a locked one would be EPERM.
pub(super) fn change(slots: &Slots, at: RawFd, attributes: Attributes) -> Effect {
    let now = current_attributes(file::mount_flags(at)?);
    let wanted = now & !attributes.clear | attributes.set;
    let mut flags = ms_flags(wanted) | libc::MS_REMOUNT | libc::MS_BIND;
    if wanted & libc::MOUNT_ATTR__ATIME == 0 {
        flags |= libc::MS_RELATIME;
    }
    on_mount(slots, at, |name| mount::mount(None, name, None, flags, None))
}

/// Changes a file system's own flags and options; the mount keeps its flags.
pub(super) fn reconfigure(slots: &Slots, at: RawFd, flags: u64, data: &CStr) -> Effect {
    let now = current_attributes(file::mount_flags(at)?);
    let mut flags = flags | ms_flags(now) | libc::MS_REMOUNT;
    if now & libc::MOUNT_ATTR__ATIME == 0 {
        flags |= libc::MS_RELATIME;
    }
    let name = Digits::decimal(at as u32);
    in_self_fd(slots, || mount::mount(None, name.as_cstr(), None, flags, Some(data)))
}

/// Changes how a mount propagates.
pub(super) fn propagate(slots: &Slots, at: RawFd, flags: u64) -> Effect {
    on_mount(slots, at, |name| mount::mount(None, name, None, flags, None))
}

/// Opens the mount that now covers a target: a descriptor from before the mount shows what is below.
pub(super) fn reopen(root: RawFd, target: &Target) -> Effect<RawFd> {
    if matches!(target.kind, TargetKind::Ordinary | TargetKind::Proc) {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        return path::openat2(root, &target.path, flags, path::IN_ROOT | path::NO_SYMLINKS);
    }
    open_existing(root, &target.path, target.follow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_the_way_through_statvfs() {
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOATIME;
        assert_eq!(ms_flags(attributes), libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOATIME);
        let flags = libc::ST_RDONLY | libc::ST_NODEV | libc::ST_NOATIME;
        assert_eq!(current_attributes(flags), attributes);
        assert_eq!(current_attributes(libc::ST_RELATIME), 0);
        assert_eq!(current_attributes(0), libc::MOUNT_ATTR_STRICTATIME);
    }
}
