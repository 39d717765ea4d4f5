//! Reading and writing the files of a cgroup, on the host. They hold a few lines, are read whole, and take a value in
//! one write.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::{descriptor, file, path};

/// The whole of a file.
pub fn read(file: &Path) -> Effect<String> {
    fs::read_to_string(file)
        .map_err(|error| Trouble::new(Call::Read, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))
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
