//! The exec fifo, where a created container waits for `start`.
//!
//! The protocol: `create` makes the fifo and opens the init's end before clone. The init reads one byte of it.
//! `start` opens the other end (ENXIO: nobody waits there), writes the byte, and waits for POLLERR: the init's end is
//! close-on-exec, so it goes away when the program is reached, and just so when the init dies. Which of the two it
//! was, the step page tells.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd;

use super::dir::{Locked, StateDir};
use super::init::LiveInit;
use crate::error::{Doing, Result};
use crate::fault::{Call, During, Trouble};
use crate::sys::pipe;

/// The file's name in the container's directory.
pub const NAME: &str = "exec.fifo";

/// Makes the fifo and opens the init's end, close-on-exec. The host must drop it after clone: whoever
/// keeps it open keeps `start` waiting.
///
/// It is opened for writing as well, so that a `start` that dies between its open and its write leaves the init
/// asleep; with the reading end alone the init would see the end of the file for ever.
pub fn make(dir: &Locked) -> Result<OwnedFd> {
    let doing = || format!("create {}", dir.child(NAME));
    unistd::mkfifoat(dir.fd(), NAME, Mode::from_bits_truncate(0o600)).during(Call::Mknod).doing(doing)?;
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir.fd(), NAME, flags, Mode::empty()).during(Call::Open).doing(doing)
}

/// Opens `start`'s end; `None` when nobody waits at the other one.
pub fn open(dir: &StateDir) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir.fd(), NAME, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENXIO | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).during(Call::Open).doing(|| format!("open {}", dir.child(NAME))),
    }
}

/// How a released init left the fifo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It took the byte and then closed its end: it reached its program, or failed on the way there.
    Left,
    /// It died with the byte still in the fifo.
    NeverWoke,
}

/// Lets the init go on, and waits until it has left the fifo. That may take as long as its startContainer hooks do;
/// the init's death ends the wait.
pub fn release(writer: &OwnedFd, init: &LiveInit) -> Result<Released> {
    match unistd::write(writer, &[0]) {
        Ok(_) => {}
        // The reader is gone since it was looked for.
        Err(Errno::EPIPE) => return Ok(Released::NeverWoke),
        Err(errno) => return Err(errno).during(Call::Write).doing(|| "let the container's init go on"),
    }
    wait_left(writer, init).doing(|| "wait for the container's program to start")?;
    match pipe::unread(writer.as_fd()).doing(|| "read the state of the exec fifo")? {
        0 => Ok(Released::Left),
        _ => Ok(Released::NeverWoke),
    }
}

fn wait_left(writer: &OwnedFd, init: &LiveInit) -> Result<(), Trouble> {
    loop {
        // POLLERR is always reported.
        let mut polled = vec![PollFd::new(writer.as_fd(), PollFlags::empty())];
        polled.extend(init.pidfd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(n) if n > 0 => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Trouble::new(Call::Poll, errno)),
        }
    }
}
