//! `--no-pivot` leaves the host's mounts below the container's root. A process that gets back there must not find the
//! host's procfs or sysfs, which have none of the container's masks: they are unmounted, or covered where the kernel
//! keeps them (locked mounts of a user namespace).

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::root;
use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::file::{self, Digits};
use crate::sys::{mount, path};

const PATH_MAX: usize = libc::PATH_MAX as usize;
/// A line of mountinfo has two escaped paths and the options of a mount.
const BUFFER: usize = 32 * 1024;
/// More mounts than a mount namespace may hold (/proc/sys/fs/mount-max).
const ROUNDS: usize = 100_000;

/// Unmounts or covers every procfs and sysfs that isn't inside the rootfs.
pub(super) fn hide_host_filesystems(slots: &mut Slots) -> Effect {
    let proc = slots.get(Slot::HOST_PROC)?;
    let name = Digits::decimal(slots.get(Slot::ROOTFS)? as u32);
    let mut buffer = [0; PATH_MAX];
    let rootfs = file::readlinkat(slots.get(Slot::SELF_FD)?, name.as_cstr(), &mut buffer)?;
    for _ in 0..ROUNDS {
        // The list changes with every unmounted entry, so it is read anew until nothing more goes.
        let mut gone = false;
        each_filesystem(proc, rootfs, &mut |at| {
            gone = detach(at);
            Ok(!gone)
        })?;
        if !gone {
            return each_filesystem(proc, rootfs, &mut |at| cover(at).map(|()| true));
        }
    }
    Err(Trouble::new(Call::Umount, Errno::EBUSY))
}

/// Unmounts; the host must not lose the mount as well. What happens to a mount point happens to the peers of the mount
/// that it is in, and what happens inside a mount to the mount's own peers: so both lose theirs first.
fn detach(at: &CStr) -> bool {
    let alone = leave_peers(at).is_ok();
    alone && mount::detach(at).is_ok()
}

fn leave_peers(at: &CStr) -> Effect {
    let mut buffer = [0; PATH_MAX];
    let above = path::open(path::CWD, parent(at, &mut buffer), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    root::make_private_around(above)?;
    mount::mount(None, at, None, libc::MS_SLAVE | libc::MS_REC, None)
}

/// The directory that a mount point is in. (A mount point may be a file, which has no `..` to open.)
fn parent<'b>(at: &CStr, buffer: &'b mut [u8; PATH_MAX]) -> &'b CStr {
    let bytes = at.to_bytes();
    let end = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    if let (Some(place), Some(directory)) = (buffer.get_mut(..end), bytes.get(..end)) {
        place.copy_from_slice(directory);
    }
    match CStr::from_bytes_until_nul(buffer) {
        Ok(directory) if end > 0 => directory,
        _ => c"/",
    }
}

/// Covers what is still within reach under this path.
fn cover(at: &CStr) -> Effect {
    let fd = match path::open(path::CWD, at, libc::O_PATH | libc::O_NOFOLLOW, 0) {
        Err(Trouble { errno: Errno::ENOENT | Errno::ENOTDIR, .. }) => return Ok(()),
        other => other?,
    };
    let magic = file::magic(fd)?;
    file::close(fd);
    if magic != file::PROC_MAGIC && magic != file::SYSFS_MAGIC {
        return Ok(());
    }
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount::mount(Some(c"tmpfs"), at, Some(c"tmpfs"), flags, Some(c"nr_inodes=1,mode=0"))
}

/// Calls `visit` with the mount point of every procfs and sysfs outside the rootfs, until it says `false`.
fn each_filesystem(proc: RawFd, rootfs: &[u8], visit: &mut dyn FnMut(&CStr) -> Effect<bool>) -> Effect {
    let fd = path::open(proc, c"self/mountinfo", libc::O_RDONLY, 0)?;
    let mut buffer = [0; BUFFER];
    let mut filled = 0;
    let result = 'read: loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            break Err(Trouble::new(Call::Read, Errno::ENAMETOOLONG));
        }
        let len = file::read(fd, room)?;
        if len == 0 {
            break Ok(());
        }
        filled += len;
        let mut start = 0;
        while let Some(rest) = buffer.get(start..filled) {
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { break };
            let mut point = [0; PATH_MAX];
            if let Some(at) = rest.get(..end).and_then(|line| pseudo_mount_point(line, rootfs, &mut point)) {
                if !visit(at)? {
                    break 'read Ok(());
                }
            }
            start += end + 1;
        }
        buffer.copy_within(start.min(filled)..filled, 0);
        filled -= start.min(filled);
    };
    file::close(fd);
    result
}

/// The mount point in a line of mountinfo (proc_pid_mountinfo(5)), if it is a procfs or sysfs outside the rootfs.
fn pseudo_mount_point<'p>(line: &[u8], rootfs: &[u8], point: &'p mut [u8; PATH_MAX]) -> Option<&'p CStr> {
    let mut fields = line.split(|&byte| byte == b' ');
    let escaped = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    if !matches!(fields.next()?, b"proc" | b"sysfs") {
        return None;
    }
    let mut len = 0;
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'\\' { octal(bytes.next()?, bytes.next()?, bytes.next()?) } else { byte };
        *point.get_mut(len)? = byte;
        len += 1;
    }
    *point.get_mut(len)? = 0;
    let inside = point.get(..len)?.strip_prefix(rootfs);
    if inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")) {
        return None;
    }
    CStr::from_bytes_until_nul(point).ok()
}

fn octal(high: &u8, middle: &u8, low: &u8) -> u8 {
    let digit = |byte: &u8| byte.wrapping_sub(b'0') & 7;
    digit(high) << 6 | digit(middle) << 3 | digit(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(line: &str) -> Option<String> {
        let mut buffer = [0; PATH_MAX];
        pseudo_mount_point(line.as_bytes(), b"/run/c/rootfs", &mut buffer).map(|at| at.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_mount_point_is_in_a_directory() {
        for (at, directory) in [(c"/proc", c"/"), (c"/run/c/proc", c"/run/c"), (c"/", c"/")] {
            assert_eq!(parent(at, &mut [0; PATH_MAX]), directory);
        }
    }

    #[test]
    fn only_procfs_and_sysfs_outside_the_rootfs_are_hidden() {
        assert_eq!(point("23 1 0:5 / /proc rw - proc proc rw").as_deref(), Some("/proc"));
        assert_eq!(point("23 1 0:5 / /a\\040b rw shared:1 - sysfs s rw").as_deref(), Some("/a b"));
        assert_eq!(point("23 1 0:5 / /run/c/rootfs/proc rw - proc proc rw"), None);
        assert_eq!(point("23 1 0:5 / /run/c/rootfs-2/proc rw - proc proc rw").as_deref(), Some("/run/c/rootfs-2/proc"));
        assert_eq!(point("23 1 0:5 / /tmp rw - tmpfs proc rw"), None);
        assert_eq!(point("torn"), None);
    }
}
