//! A container's notify socket in its state directory, and the wait of `start` and `run --detach` for its readiness.
//!
//! The container sees the directory `notify` on /run/notify, read-only. The socket in it belongs to whoever passes its
//! messages on, so each maker puts a fresh one in the place of the last. Once nobody listens, sending gives the
//! container ECONNREFUSED, which sd_notify(3) takes calmly.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::StateDir;
use super::init::Init;
use super::{Record, Warning};
use crate::error::{Doing, Result};
use crate::fault::{Call, During};
use crate::process::notify::{self, Relay};
use crate::request::{NotifyAddress, NotifySocket};
use crate::sys::file::with_open_umask;

/// The directory's name in the container's directory.
pub const DIR: &str = "notify";

/// How long one wait lasts before the init is looked at again: one that is being torn down is as good as gone, but its
/// pidfd doesn't say so yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Makes the directory. Whoever the container's user is on the host must be able to pass through it; nobody else gets
/// into the container's directory around it.
pub fn make_directory(dir: &StateDir) -> Result<()> {
    with_open_umask(|| mkdirat(dir.fd(), DIR, Mode::from_bits_truncate(0o755)))
        .during(Call::Mkdir)
        .doing(|| format!("create {}", dir.child(DIR)))
}

/// Puts a new socket into the directory, for every user to send to.
pub fn bind(dir: &StateDir) -> Result<UnixDatagram> {
    let doing = || format!("make a socket in {}", dir.child(DIR));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inner: OwnedFd = openat(dir.fd(), DIR, flags, Mode::empty()).during(Call::Open).doing(doing)?;
    match unlinkat(&inner, NotifySocket::NAME, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        failed => failed.during(Call::Unlink).doing(doing)?,
    }
    // By descriptor, because the path of a state root may be longer than an address (108 bytes, unix(7)). bind(2) never
    // follows a link at the end, and its mode is all that the umask leaves.
    let path = format!("/proc/self/fd/{}/{}", inner.as_raw_fd(), NotifySocket::NAME);
    with_open_umask(|| UnixDatagram::bind(path)).doing(doing)
}

/// The relay from a container's socket to `address`, else to the one in the record. A service manager that can't be
/// reached is a warning: the container is none the worse for it.
pub fn relay(
    socket: Option<UnixDatagram>,
    record: &Record,
    address: Option<NotifyAddress>,
    main_pid: Option<i32>,
    warnings: &mut Vec<Warning>,
) -> Option<Relay> {
    let socket = socket?;
    let recorded = || NotifyAddress::parse(record.notify_socket.as_ref()?.as_ref()).ok();
    let address = address.or_else(recorded)?;
    Relay::connect(socket, &address, main_pid)
        .map_err(|error| warnings.push(notify::warning(format!("connect to {}: {error}", address.as_str()))))
        .ok()
}

/// Passes on what the container says until it is ready or has ended, names its init as the main process, and sees to it
/// that the service manager has taken this before corten ends.
pub fn wait_until_ready(
    socket: Option<UnixDatagram>,
    record: &Record,
    address: Option<NotifyAddress>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let Some(init) = record.init else { return Ok(()) };
    let Some(mut relay) = relay(socket, record, address, Some(init.pid), warnings) else { return Ok(()) };
    relay_until_ready(&mut relay, &init)?;
    if relay.is_ready() {
        relay.barrier();
    }
    Ok(())
}

fn relay_until_ready(relay: &mut Relay, init: &Init) -> Result<()> {
    let doing = || "wait for the container to be ready";
    let held = init.hold()?;
    let timeout = PollTimeout::try_from(LOOK_AGAIN).unwrap_or(PollTimeout::MAX);
    loop {
        let mut watched = vec![relay.watch()];
        watched.extend(held.as_ref().and_then(|init| init.pidfd()).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // First, so that what the container said before its end is passed on after it.
        let alive = init.alive()?;
        match poll(&mut watched, if alive { timeout } else { PollTimeout::ZERO }) {
            Ok(_) | Err(Errno::EINTR) => {}
            failed => drop(failed.during(Call::Poll).doing(doing)?),
        }
        relay.pump();
        if relay.is_ready() || !alive {
            return Ok(());
        }
    }
}
