//! New file systems: configured and filled while they are detached, then attached by descriptor.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::super::options::Attributes;
use super::super::{Filesystem, Finish, StandIn};
use super::target::{Kind, open_existing, open_target};
use super::{attach, copyup, fill, legacy};
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::file::{self, Digits};
use crate::sys::kernel::{self, NEW_MOUNT_API};
use crate::sys::{mount, path};

/// mount(2) takes at most a page of data.
const DATA_MAX: usize = 4096;

/// The flags of a host directory that stands in for a file system that can't be mounted.
const STAND_IN: Attributes = Attributes {
    set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
    clear: 0,
};

/// Mounts a new file system inside the root.
pub(super) fn mount_filesystem(fs: &Filesystem, slots: &mut Slots) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    // A directory that corten makes itself has no mode to inherit and nothing to copy: the file system's own default
    // holds (for tmpfs 1777, without which a user other than root couldn't write there).
    let existed = open_existing(root, &fs.target.path, fs.target.follow).map(file::close).is_ok();
    let target = open_target(root, &fs.target, Kind::Directory)?;
    let inherited = if fs.inherit_mode && existed { Some(file::fstat(target)?.permissions()) } else { None };
    let mode = inherited.map(Digits::octal);
    let covered = Covered { mode: mode.as_ref().map(Digits::as_cstr), copy_up: fs.copy_up && existed };
    let mounted = match if kernel::lacks(NEW_MOUNT_API) {
        mount_old(fs, &covered, root, target, slots)
    } else {
        mount_new(fs, &covered, target, slots)
    } {
        Err(trouble) => match &fs.stand_in {
            Some(stand_in) if is_refused(stand_in, trouble.errno) => {
                slots.take(Slot::REFUSED).into_iter().for_each(file::close);
                return bind_stand_in(fs, stand_in, target, slots);
            }
            _ => return Err(trouble),
        },
        Ok(mounted) => mounted,
    };
    file::close(target);
    attach::finish(mounted, &fs.finish, slots)
}

/// Makes a file system for a container that runs: detached, so that it is known before anybody can see it.
pub(super) fn make_filesystem(fs: &Filesystem, slot: Slot, slots: &mut Slots) -> Effect {
    kernel::probe_mount_calls();
    // As above, of a place that is made only when something is mounted there.
    let covered = match slots.find(Slot::ROOTFS).filter(|_| fs.inherit_mode || fs.copy_up) {
        Some(root) => open_existing(root, &fs.target.path, fs.target.follow).ok(),
        None => None,
    };
    let inherited = match covered.filter(|_| fs.inherit_mode) {
        Some(covered) => Some(file::fstat(covered)?.permissions()),
        None => None,
    };
    let mode = inherited.map(Digits::octal);
    let mode = mode.as_ref().map(Digits::as_cstr);
    let made = match create(fs, mode, true, slots) {
        Err(Trouble { errno: Errno::EINVAL, .. }) if fs.without_gid.is_some() => create(fs, mode, false, slots)?,
        created => created?,
    };
    if let Some(namespace) = fs.idmap {
        attach::map_ids(made, slots.get(namespace)?, false)?;
    }
    if let Some(covered) = covered {
        if fs.copy_up {
            copyup::fill(covered, made)?;
        }
        file::close(covered);
    }
    fill(slots, slot, made);
    Ok(())
}

/// linux/magic.h
const MQUEUE_MAGIC: i64 = 0x1980_0202;

/// Labels the file system of message queues that is mounted at a path inside the root.
pub(super) fn label_queues(at: &CStr, label: &CStr, slots: &Slots) -> Effect {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;
    let queues = path::open_in_root(slots.get(Slot::ROOTFS)?, at, flags)?;
    // The way there may have changed meanwhile; a directory of the image keeps its label.
    let labelled = match file::magic(queues) {
        Ok(MQUEUE_MAGIC) => file::set_selinux_label(queues, label),
        Ok(_) => Err(Trouble::new(Call::CheckFilesystem, Errno::EXDEV)),
        Err(trouble) => Err(trouble),
    };
    file::close(queues);
    labelled
}

/// What a new file system takes over from the directory that it covers.
struct Covered<'a> {
    mode: Option<&'a CStr>,
    copy_up: bool,
}

fn mount_new(fs: &Filesystem, covered: &Covered, target: RawFd, slots: &mut Slots) -> Effect<RawFd> {
    let mounted = match create(fs, covered.mode, true, slots) {
        Err(Trouble { errno: Errno::EINVAL, .. }) if fs.without_gid.is_some() => {
            create(fs, covered.mode, false, slots)?
        }
        created => created?,
    };
    if let Some(namespace) = fs.idmap {
        attach::map_ids(mounted, slots.get(namespace)?, false)?;
    }
    if covered.copy_up {
        copyup::fill(target, mounted)?;
    }
    mount::move_mount(mounted, target)?;
    Ok(mounted)
}

/// A detached mount of the file system. A context that the kernel refuses stays open in its slot, for what the kernel
/// wrote there.
fn create(fs: &Filesystem, mode: Option<&CStr>, with_gid: bool, slots: &mut Slots) -> Effect<RawFd> {
    slots.take(Slot::REFUSED).into_iter().for_each(file::close);
    let context = mount::fsopen(&fs.fstype)?;
    let created = configure(context, fs, mode, with_gid);
    match created {
        Ok(_) => file::close(context),
        Err(_) => drop(slots.put(Slot::REFUSED, context)),
    }
    created
}

fn configure(context: RawFd, fs: &Filesystem, mode: Option<&CStr>, with_gid: bool) -> Effect<RawFd> {
    mount::fsconfig_set(context, c"source", Some(&fs.source))?;
    for datum in &fs.data {
        if with_gid || datum.key.as_c_str() != c"gid" {
            mount::fsconfig_set(context, &datum.key, datum.value.as_deref())?;
        }
    }
    if mode.is_some() {
        mount::fsconfig_set(context, c"mode", mode)?;
    }
    mount::fsconfig_create(context)?;
    mount::fsmount(context, fs.finish.attributes.set)
}

fn mount_old(fs: &Filesystem, covered: &Covered, root: RawFd, target: RawFd, slots: &Slots) -> Effect<RawFd> {
    if fs.idmap.is_some() {
        return Err(Trouble::new(Call::MountSetattr, Errno::ENOSYS));
    }
    let flags = fs.flags | legacy::ms_flags(fs.finish.attributes.set);
    let mount_with = |data: &CStr| {
        let mut page = [0; DATA_MAX];
        let data = append_mode(data, covered.mode, &mut page)?;
        legacy::mount_on(slots, target, &fs.fstype, &fs.source, flags, data)
    };
    match (mount_with(&fs.joined), &fs.without_gid) {
        (Err(Trouble { errno: Errno::EINVAL, .. }), Some(without_gid)) => mount_with(without_gid)?,
        (mounted, _) => mounted?,
    }
    let mounted = legacy::reopen(root, &fs.target)?;
    if covered.copy_up {
        copyup::fill(target, mounted)?;
    }
    Ok(mounted)
}

/// `data,mode=755` in a buffer on the stack.
fn append_mode<'p>(data: &CStr, mode: Option<&CStr>, page: &'p mut [u8; DATA_MAX]) -> Effect<&'p CStr> {
    let too_long = Trouble::new(Call::Mount, Errno::E2BIG);
    let mut at = 0;
    let mut append = |bytes: &[u8]| -> Effect {
        let place = page.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(too_long)?;
        place.copy_from_slice(bytes);
        at += bytes.len();
        Ok(())
    };
    append(data.to_bytes())?;
    if let Some(mode) = mode {
        append(if data.is_empty() { b"mode=" } else { b",mode=" })?;
        append(mode.to_bytes())?;
    }
    append(b"\0")?;
    CStr::from_bytes_until_nul(page).map_err(|_| too_long)
}

/// Whether the directory that stands in is asked for: a user namespace may mount a sysfs only together with a network
/// namespace of its own, and control groups only if it owns the cgroup namespace and nothing else claims them.
fn is_refused(stand_in: &StandIn, errno: Errno) -> bool {
    match stand_in {
        StandIn::Sysfs | StandIn::MessageQueues => errno == Errno::EPERM,
        StandIn::Cgroup { .. } => matches!(errno, Errno::EPERM | Errno::EBUSY),
    }
}

/// Binds a directory of the host where the kernel refuses the file system itself.
fn bind_stand_in(fs: &Filesystem, stand_in: &StandIn, target: RawFd, slots: &mut Slots) -> Effect {
    let Finish { attributes, recursive, .. } = fs.finish;
    match stand_in {
        StandIn::Sysfs => bind_in_place(fs, c"/sys", true, target, (STAND_IN, STAND_IN), slots),
        StandIn::MessageQueues => bind_in_place(fs, c"/dev/mqueue", false, target, (attributes, recursive), slots),
        StandIn::Cgroup { dir, cgroup } => {
            let otherwise = cgroup.otherwise.as_deref();
            match (bind_in_place(fs, dir, false, target, (attributes, recursive), slots), otherwise) {
                (Err(Trouble { errno: Errno::ENOENT, .. }), Some(otherwise)) => {
                    bind_in_place(fs, otherwise, false, target, (attributes, recursive), slots)
                }
                (bound, _) => bound,
            }
        }
    }
}

fn bind_in_place(
    fs: &Filesystem,
    source: &CStr,
    below: bool,
    target: RawFd,
    (attributes, recursive): (Attributes, Attributes),
    slots: &mut Slots,
) -> Effect {
    let propagation = &fs.finish.propagation;
    if kernel::lacks(NEW_MOUNT_API | kernel::MOUNT_SETATTR) {
        let source = path::open(path::CWD, source, libc::O_PATH, 0)?;
        legacy::bind(slots, source, target, below)?;
        file::close(source);
        let mounted = legacy::reopen(slots.get(Slot::ROOTFS)?, &fs.target)?;
        attach::change(mounted, attributes, slots)?;
        attach::change(mounted, recursive, slots)?;
        file::close(target);
        return attach::finish_with(mounted, Attributes { set: 0, clear: 0 }, propagation, fs.finish.keep, slots);
    }
    let tree = mount::open_tree(path::CWD, source, below, true)?;
    attach::change(tree, attributes, slots)?;
    mount::move_mount(tree, target)?;
    file::close(target);
    attach::finish_with(tree, recursive, propagation, fs.finish.keep, slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_joined_to_the_data() {
        let mut page = [0; DATA_MAX];
        assert_eq!(append_mode(c"size=64k", Some(c"755"), &mut page).unwrap(), c"size=64k,mode=755");
        assert_eq!(append_mode(c"", Some(c"1777"), &mut page).unwrap(), c"mode=1777");
        assert_eq!(append_mode(c"a", None, &mut page).unwrap(), c"a");
    }

    #[test]
    fn data_longer_than_a_page_is_an_error() {
        let long = std::ffi::CString::new("x".repeat(DATA_MAX)).unwrap();
        assert_eq!(append_mode(&long, None, &mut [0; DATA_MAX]).unwrap_err().errno, Errno::E2BIG);
    }
}
