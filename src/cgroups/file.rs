//! Reading and writing the files of a cgroup, on the host. They hold a few lines, are read whole, and take a value in
//! one write.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::{descriptor, file, path};

/// The whole of a file.
pub fn read(file: &Path) -> Effect<String> {
    fs::read_to_string(file).map_err(|error| Trouble::new(Call::Read, errno(error)))
}

/// The whole of a file in a cgroup that is held by descriptor.
pub fn read_at(cgroup: BorrowedFd, name: &CStr) -> nix::Result<String> {
    let fd = openat(cgroup, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).map_err(errno)?;
    Ok(text)
}

/// Writes a value to a file of a cgroup that is held by descriptor.
pub fn write_at(cgroup: BorrowedFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    let fd = openat(cgroup, name, OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    File::from(fd).write_all(value).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Writes a value to a file that must exist.
pub fn write(file: &Path, value: &[u8]) -> Effect {
    let fd = path::open(path::CWD, &c_string(file), libc::O_WRONLY, 0)?;
    let written = descriptor::write(fd, value);
    file::close(fd);
    written
}

/// The path as the calls take it. A path with a NUL doesn't exist, and neither does an empty one.
pub fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}
