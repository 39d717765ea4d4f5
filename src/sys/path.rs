//! openat and openat2: every descriptor is O_CLOEXEC at birth. Paths inside a container's root go through
//! [`open_in_root`], where the kernel itself keeps the walk inside the root (openat2(2)).

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::kernel;
use crate::fault::{Call, Effect, Trouble};

/// The directory that relative paths start from.
pub const CWD: RawFd = libc::AT_FDCWD;

/// How openat2 walks, see openat2(2).
pub const IN_ROOT: u64 = libc::RESOLVE_IN_ROOT;
pub const NO_MAGICLINKS: u64 = libc::RESOLVE_NO_MAGICLINKS;
pub const NO_SYMLINKS: u64 = libc::RESOLVE_NO_SYMLINKS;

/// A walk that races with renames can end in EAGAIN; this many times it is tried again.
const RETRIES: usize = 128;

/// openat with O_CLOEXEC. `mode` counts with O_CREAT only.
pub fn open(dir: RawFd, path: &CStr, flags: i32, mode: u32) -> Effect<RawFd> {
    loop {
        // SAFETY: `path` is NUL-terminated and outlives the call; the kernel reads nothing else.
        let fd = unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode) };
        match Errno::result(fd) {
            Err(Errno::EINTR) => continue,
            other => return other.map_err(|errno| Trouble::new(Call::Open, errno)),
        }
    }
}

/// openat2 with O_CLOEXEC and the given RESOLVE_ flags.
pub fn openat2(dir: RawFd, path: &CStr, flags: i32, resolve: u64) -> Effect<RawFd> {
    kernel::require(kernel::OPENAT2, Call::Openat2)?;
    // SAFETY: open_how is plain numbers, for which all zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = resolve;
    let mut errno = Errno::EAGAIN;
    for _ in 0..RETRIES {
        // SAFETY: `path` is NUL-terminated, `how` is an open_how of the given size, and both outlive the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), &raw const how, size_of::<libc::open_how>())
        };
        match Errno::result(fd) {
            Ok(fd) => return Ok(fd as RawFd),
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(other) => {
                errno = other;
                break;
            }
        }
    }
    Err(Trouble::new(Call::Openat2, errno))
}

/// Opens a path as a process whose root directory is `root` would see it, following symbolic links inside the root but
/// never the magic links of a procfs.
pub fn open_in_root(root: RawFd, path: &CStr, flags: i32) -> Effect<RawFd> {
    openat2(root, path, flags, IN_ROOT | NO_MAGICLINKS)
}
