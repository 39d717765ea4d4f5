//! The mount calls: the descriptor-based ones of Linux 5.2 (open_tree, move_mount, fsopen, fsconfig, fsmount) and 5.12
//! (mount_setattr), and the old ones (mount, umount2, pivot_root). Nothing here decides which to use.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::kernel;
use crate::fault::{Call, Effect, Trouble};

const EMPTY: &CStr = c"";
const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
const RECURSIVE: u32 = libc::AT_RECURSIVE as u32;

fn checked(call: Call, result: i64) -> Effect<RawFd> {
    Errno::result(result).map(|fd| fd as RawFd).map_err(|errno| Trouble::new(call, errno))
}

fn pointer(text: Option<&CStr>) -> *const libc::c_char {
    text.map_or(std::ptr::null(), CStr::as_ptr)
}

/// What a call answers that no kernel without it (and no filter) would: see [`kernel::probe_mount_calls`].
pub(super) fn open_tree_exists() -> bool {
    // SAFETY: the path is NUL-terminated; the flags are refused before anything is looked at.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, -1, EMPTY.as_ptr(), u32::MAX) };
    Errno::result(result) == Err(Errno::EINVAL)
}

pub(super) fn mount_setattr_exists() -> bool {
    // SAFETY: the path is NUL-terminated; a structure of size 0 is refused before anything is read.
    let result = unsafe { libc::syscall(libc::SYS_mount_setattr, -1, EMPTY.as_ptr(), 0, std::ptr::null::<u8>(), 0) };
    Errno::result(result) == Err(Errno::EINVAL)
}

/// A detached copy of the mount tree at a path: `recursive` takes the mounts below along; `follow` goes through a
/// symbolic link at the end of the path.
pub fn open_tree(dir: RawFd, path: &CStr, recursive: bool, follow: bool) -> Effect<RawFd> {
    kernel::require(kernel::NEW_MOUNT_API, Call::OpenTree)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= RECURSIVE;
    }
    if path.is_empty() {
        flags |= EMPTY_PATH;
    }
    if !follow {
        flags |= libc::AT_SYMLINK_NOFOLLOW as u32;
    }
    // SAFETY: `path` is NUL-terminated and outlives the call.
    checked(Call::OpenTree, unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Attaches a detached tree on the file that `target` stands for.
pub fn move_mount(tree: RawFd, target: RawFd) -> Effect {
    kernel::require(kernel::NEW_MOUNT_API, Call::MoveMount)?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are NUL-terminated.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, tree, EMPTY.as_ptr(), target, EMPTY.as_ptr(), flags) };
    checked(Call::MoveMount, result).map(drop)
}

/// Starts the configuration of a new file system of this type.
pub fn fsopen(fstype: &CStr) -> Effect<RawFd> {
    kernel::require(kernel::NEW_MOUNT_API, Call::Fsopen)?;
    // SAFETY: `fstype` is NUL-terminated and outlives the call.
    checked(Call::Fsopen, unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC) })
}

fn fsconfig(fs: RawFd, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> Effect {
    // SAFETY: both strings are absent or NUL-terminated and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, fs, command, pointer(key), pointer(value), 0) };
    checked(Call::Fsconfig, result).map(drop)
}

/// Sets `key=value`, or the flag `key` when there is no value.
pub fn fsconfig_set(fs: RawFd, key: &CStr, value: Option<&CStr>) -> Effect {
    let command = if value.is_some() { libc::FSCONFIG_SET_STRING } else { libc::FSCONFIG_SET_FLAG };
    fsconfig(fs, command, Some(key), value)
}

/// Starts a new configuration of the file system that is mounted where `mounted` is.
pub fn fspick(mounted: RawFd) -> Effect<RawFd> {
    kernel::require(kernel::NEW_MOUNT_API, Call::Fsopen)?;
    let flags = libc::FSPICK_CLOEXEC | libc::FSPICK_EMPTY_PATH;
    // SAFETY: the path is NUL-terminated.
    checked(Call::Fsopen, unsafe { libc::syscall(libc::SYS_fspick, mounted, EMPTY.as_ptr(), flags) })
}

/// Gives a picked file system its new configuration.
pub fn fsconfig_reconfigure(fs: RawFd) -> Effect {
    fsconfig(fs, libc::FSCONFIG_CMD_RECONFIGURE, None, None)
}

/// Creates the superblock, or finds the one that exists.
pub fn fsconfig_create(fs: RawFd) -> Effect {
    fsconfig(fs, libc::FSCONFIG_CMD_CREATE, None, None)
}

/// What the kernel has written about the configuration (fsconfig(2), "Message retrieval"), as much as there is room
/// for: the number of bytes.
pub fn fs_messages(fs: RawFd, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the pointer and length describe the rest of a live buffer.
        match unsafe { libc::read(fs, rest.as_mut_ptr().cast(), rest.len()) } {
            n if n > 0 => done += n as usize,
            _ => break,
        }
    }
    done
}

/// A detached mount of the configured file system with these MOUNT_ATTR_ flags.
pub fn fsmount(fs: RawFd, attributes: u64) -> Effect<RawFd> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_fsmount, fs, libc::FSMOUNT_CLOEXEC, attributes as u32) };
    checked(Call::Fsmount, result)
}

/// What mount_setattr(2) changes; all zero changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// MOUNT_ATTR_ flags.
    pub set: u64,
    pub clear: u64,
    /// One of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, or 0.
    pub propagation: u64,
    /// A user namespace, together with MOUNT_ATTR_IDMAP in `set`.
    pub namespace: RawFd,
}

/// Changes the mount whose root `mount` is, and the mounts below it if `recursive`.
pub fn mount_setattr(mount: RawFd, change: Change, recursive: bool) -> Effect {
    kernel::require(kernel::MOUNT_SETATTR, Call::MountSetattr)?;
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.namespace.max(0) as u64,
    };
    let flags = EMPTY_PATH | if recursive { RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated, `attr` is a mount_attr of the given size, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount,
            EMPTY.as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(Call::MountSetattr, result).map(drop)
}

/// Whether there is a mount with this unique number in a mount namespace; `None` where the kernel can't tell (before
/// Linux 6.11).
pub fn is_in(namespace: RawFd, unique: u64) -> Option<bool> {
    /// linux/nsfs.h: _IOR(0xb7, 0x5, __u64)
    const NS_GET_MNTNS_ID: libc::c_ulong = 0x8008_b705;
    /// statmount(2) has one number on all architectures but alpha.
    const SYS_STATMOUNT: libc::c_long = 457;
    /// linux/mount.h: struct mnt_id_req with `mnt_ns_id`.
    #[repr(C)]
    struct Wanted {
        size: u32,
        spare: u32,
        mount: u64,
        param: u64,
        namespace: u64,
    }
    /// What STATMOUNT_MNT_BASIC asks for: the numbers of the mount.
    const BASIC: u64 = 2;
    let mut id = 0u64;
    // SAFETY: the call writes one u64, which `id` is.
    Errno::result(unsafe { libc::ioctl(namespace, NS_GET_MNTNS_ID, &raw mut id) }).ok()?;
    let wanted = Wanted { size: size_of::<Wanted>() as u32, spare: 0, mount: unique, param: BASIC, namespace: id };
    // Larger than struct statmount, of which the answer has the fixed part alone.
    let mut answer = [0u64; 128];
    // SAFETY: `wanted` has the size that it names, and the kernel writes no more than the buffer's.
    let result =
        unsafe { libc::syscall(SYS_STATMOUNT, &raw const wanted, answer.as_mut_ptr(), size_of_val(&answer), 0) };
    match Errno::result(result) {
        Ok(_) => Some(true),
        Err(Errno::ENOENT) => Some(false),
        Err(_) => None,
    }
}

/// mount(2) with MS_ flags.
pub fn mount(source: Option<&CStr>, target: &CStr, fstype: Option<&CStr>, flags: u64, data: Option<&CStr>) -> Effect {
    // SAFETY: all strings are absent or NUL-terminated and outlive the call.
    let result = unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(fstype), flags, pointer(data).cast()) };
    checked(Call::Mount, result.into()).map(drop)
}

/// Detaches the mount at a path (MNT_DETACH) without following a symbolic link.
pub fn detach(path: &CStr) -> Effect {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    let result = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    checked(Call::Umount, result.into()).map(drop)
}

/// The same for what a magic link of /proc/self/fd stands for.
pub fn detach_linked(link: &CStr) -> Effect {
    // SAFETY: `link` is NUL-terminated and outlives the call.
    let result = unsafe { libc::umount2(link.as_ptr(), libc::MNT_DETACH) };
    checked(Call::Umount, result.into()).map(drop)
}

/// Makes the working directory the root mount and stacks the old root on the same place (pivot_root(2), "Notes").
pub fn pivot_root_here() -> Effect {
    // SAFETY: both paths are NUL-terminated.
    let result = unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) };
    checked(Call::PivotRoot, result).map(drop)
}
