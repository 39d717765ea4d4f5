//! The terminal: a pty of the container's own devpts, opened and checked by descriptor (CVE-2025-52565).

use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::{descriptor, file, path, socket, tty};

/// linux/magic.h
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// The name that goes along with the master; receivers show it and nothing else.
const NAME: &[u8] = b"/dev/ptmx";

/// Host: connects to the socket that wants the master.
pub fn connect(path: &Path) -> Effect<RawFd> {
    use std::os::fd::IntoRawFd;
    UnixStream::connect(path)
        .map(IntoRawFd::into_raw_fd)
        .map_err(|error| Trouble::new(Call::Connect, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL))))
}

/// Sends a terminal's master to who wants it.
pub fn send(receiver: RawFd, master: RawFd) -> Effect {
    socket::send_descriptor(receiver, NAME, master)
}

/// Opens the pty, sends its master away, and makes the other end stdio and the controlling terminal. The other end
/// stays in [`Slot::TERMINAL`] for the bind on /dev/console.
pub fn apply(slots: &mut Slots, rows: u16, columns: u16, owner: u32) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    let master = path::open_in_root(root, c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY)?;
    let result = set_up(slots, master, rows, columns, owner);
    file::close(master);
    result
}

fn set_up(slots: &mut Slots, master: RawFd, rows: u16, columns: u16, owner: u32) -> Effect {
    // Every ptmx device has the number 5:2 (Documentation/admin-guide/devices.txt); anything else is the rootfs's own.
    let stat = descriptor::stat(master)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(5, 2) {
        return Err(Trouble::new(Call::CheckDevice, Errno::ENODEV));
    }
    tty::unlock(master)?;
    let peer = tty::peer(master)?;
    if file::magic(peer)? != DEVPTS_SUPER_MAGIC {
        return Err(Trouble::new(Call::CheckFilesystem, Errno::ENODEV));
    }
    if rows > 0 || columns > 0 {
        tty::set_size(peer, rows, columns)?;
    }
    if owner != 0 {
        descriptor::change_owner(peer, owner)?;
    }
    let receiver = slots.take(Slot::CONSOLE).ok_or(Trouble::new(Call::Sendmsg, Errno::EBADF))?;
    send(receiver, master)?;
    file::close(receiver);
    tty::take_control(peer)?;
    for stdio in 0..3 {
        descriptor::dup_to(peer, stdio)?;
    }
    slots.put(Slot::TERMINAL, peer);
    Ok(())
}
