//! setns, unshare and the questions one can ask of a namespace descriptor (namespaces(7), ioctl_ns(2)).

use std::os::fd::RawFd;

use crate::fault::{Call, Effect};
use crate::sys::check_int;

/// `NS_GET_NSTYPE` of linux/nsfs.h: `_IO(0xb7, 0x3)`.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// Magic number of the file system that namespace files stand on (linux/magic.h).
pub const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Joins the namespace behind `fd`; `kind` is its CLONE_NEW* flag, so that a wrong one is refused by the kernel. With the
/// pidfd of a process and several flags, that process's namespaces, all or none (Linux 5.8; EINVAL before).
pub fn join(fd: RawFd, kind: u64) -> Effect {
    // SAFETY: takes numbers.
    check_int(unsafe { libc::setns(fd, kind as i32) }, Call::Setns).map(drop)
}

/// Moves the caller into new namespaces.
pub fn unshare(kinds: u64) -> Effect {
    // SAFETY: takes a number; the process has one thread.
    check_int(unsafe { libc::unshare(kinds as i32) }, Call::Unshare).map(drop)
}

/// The CLONE_NEW* flag of the namespace behind a descriptor.
pub fn kind_of(fd: RawFd) -> Effect<u64> {
    // SAFETY: NS_GET_NSTYPE takes no argument.
    check_int(unsafe { libc::ioctl(fd, NS_GET_NSTYPE) }, Call::Ioctl).map(|kind| kind as u64)
}

/// Brings a network interface of the caller's network namespace up (netdevice(7)).
pub fn interface_up(name: &[u8]) -> Effect {
    // SAFETY: takes numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check_int(socket, Call::Socket)?;
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.iter().take(libc::IFNAMSIZ - 1)) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request lives through the call and its name ends with NUL.
    let result = check_int(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request) }, Call::Ioctl);
    super::file::close(socket);
    result.map(drop)
}
