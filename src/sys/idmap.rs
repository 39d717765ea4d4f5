//! A user namespace that exists only to carry id mappings for mount_setattr(MOUNT_ATTR_IDMAP): a child is cloned into
//! it, its maps are written, its namespace is opened, and the child is killed and reaped. Runs in the host process and
//! may allocate.

use std::fs;
use std::io;
use std::os::fd::{IntoRawFd, RawFd};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// One line of an id map (user_namespaces(7)): `length` ids from `inside` on are the ids from `outside` on. On an
/// idmapped mount `inside` is the id in the file system and `outside` the id that the mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub length: u32,
}

/// A descriptor of a new user namespace with these maps.
pub fn make_namespace(uids: &[IdRange], gids: &[IdRange]) -> Effect<RawFd> {
    let child = clone_sleeper()?;
    let opened = map_and_open(child, uids, gids);
    // SAFETY: `child` is our own child and not yet reaped, so the number can't belong to anybody else.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        while libc::waitpid(child, std::ptr::null_mut(), libc::__WALL) == -1 && Errno::last() == Errno::EINTR {}
    }
    opened
}

/// A child in a new user namespace that sleeps until it is killed.
fn clone_sleeper() -> Effect<libc::pid_t> {
    let flags = (libc::CLONE_NEWUSER | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: without CLONE_VM this is a fork; the child makes system calls only and never returns from this block.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if pid == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
        pid
    };
    Errno::result(pid).map(|pid| pid as libc::pid_t).map_err(|errno| Trouble::new(Call::Clone, errno))
}

fn map_and_open(child: libc::pid_t, uids: &[IdRange], gids: &[IdRange]) -> Effect<RawFd> {
    let write = |name: &str, ranges: &[IdRange]| {
        fs::write(format!("/proc/{child}/{name}"), render_map(ranges)).map_err(|error| trouble(Call::Write, &error))
    };
    write("uid_map", uids)?;
    write("gid_map", gids)?;
    let namespace = fs::File::open(format!("/proc/{child}/ns/user")).map_err(|error| trouble(Call::Open, &error))?;
    Ok(namespace.into_raw_fd())
}

/// The text of a uid_map. The kernel takes it in one write of at most 340 lines.
fn render_map(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.length)).collect()
}

fn trouble(call: Call, error: &io::Error) -> Trouble {
    Trouble::new(call, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_one_line_a_range() {
        let ranges =
            [IdRange { inside: 0, outside: 1000, length: 1 }, IdRange { inside: 1, outside: 5000, length: 10 }];
        assert_eq!(render_map(&ranges), "0 1000 1\n1 5000 10\n");
    }
}
