//! Terminals: a pseudo-terminal of the container's own devpts, its size, and the controlling terminal (ioctl_tty(2)).

use std::os::fd::RawFd;

use crate::fault::{Call, Effect};
use crate::sys::check_int;

/// `TIOCGPTPEER`, `_IO('T', 0x41)`: opens the other end of a pty by descriptor, so that no path can be swapped
/// (Linux 4.13, CVE-2025-52565).
const TIOCGPTPEER: libc::c_ulong = 0x5441;

/// Unlocks the other end of a pty master.
pub fn unlock(master: RawFd) -> Effect {
    let unlocked: libc::c_int = 0;
    // SAFETY: the number lives through the call.
    check_int(unsafe { libc::ioctl(master, libc::TIOCSPTLCK as _, &unlocked) }, Call::Ioctl).map(drop)
}

/// The other end of a pty master, close-on-exec and not made the controlling terminal.
pub fn peer(master: RawFd) -> Effect<RawFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value.
    check_int(unsafe { libc::ioctl(master, TIOCGPTPEER as _, flags) }, Call::Ioctl)
}

/// The number N of /dev/pts/N behind a master.
pub fn number(master: RawFd) -> Effect<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the number lives through the call.
    check_int(unsafe { libc::ioctl(master, libc::TIOCGPTN as _, &mut number) }, Call::Ioctl)?;
    Ok(number)
}

/// Sets the size in characters.
pub fn set_size(fd: RawFd, rows: u16, columns: u16) -> Effect {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: size lives through the call.
    check_int(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ as _, &size) }, Call::Ioctl).map(drop)
}

/// The size in characters (rows, columns); `None` for what is no terminal.
pub fn size(fd: RawFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: size lives through the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ as _, &mut size) };
    (result == 0).then_some((size.ws_row, size.ws_col))
}

/// Copies the size of one terminal to another; no terminal, no effect.
pub fn copy_size(from: RawFd, to: RawFd) {
    if let Some((rows, columns)) = size(from) {
        let _ = set_size(to, rows, columns);
    }
}

/// Makes `fd` the controlling terminal of the caller's session.
pub fn take_control(fd: RawFd) -> Effect {
    // SAFETY: TIOCSCTTY takes a number.
    check_int(unsafe { libc::ioctl(fd, libc::TIOCSCTTY as _, 0) }, Call::Ioctl).map(drop)
}
