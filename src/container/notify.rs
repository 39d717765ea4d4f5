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
        if alive {
            _ = relay.pump()
        } else {
            relay.drain()
        }
        if relay.is_ready() || !alive {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::super::fixture::{Fixture, PROGRAM, rewrite};
    use super::super::start::start;
    use super::super::{ContainerId, Store};
    use super::*;

    /// A created container with a notify directory, and the service manager's end.
    fn fixture(script: &str) -> (Fixture, UnixDatagram) {
        let mut fixture = Fixture::created(script, |_| ());
        make_directory(&fixture.store().find(&fixture.id).unwrap()).unwrap();
        let manager = fixture.root.path().join("manager");
        let socket = UnixDatagram::bind(&manager).unwrap();
        rewrite(&mut fixture, |_, record| record.notify_socket = Some(manager.to_str().unwrap().to_owned()));
        (fixture, socket)
    }

    fn send(fixture: &Fixture, text: &str) {
        let path = fixture.root.path().join("state/web/notify/notify.sock");
        UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), path).unwrap();
    }

    fn receive(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// A record whose init can be waited for, after `start` has released it.
    fn wait(fixture: &Fixture, socket: UnixDatagram, address: Option<NotifyAddress>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        wait_until_ready(Some(socket), &fixture.record, address, &mut warnings).unwrap();
        warnings
    }

    #[test]
    fn readiness_comes_with_the_init_s_pid_and_is_confirmed() {
        let (fixture, manager) = fixture(PROGRAM);
        let socket = bind(&fixture.store().find(&fixture.id).unwrap()).unwrap();
        send(&fixture, "STATUS=soon");
        send(&fixture, "READY=1");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&fixture, socket, None));
            assert_eq!(receive(&manager), "STATUS=soon");
            assert_eq!(receive(&manager), format!("READY=1\nMAINPID={}", fixture.init.pid()));
            assert_eq!(receive(&manager), "BARRIER=1");
            assert_eq!(waiting.join().unwrap(), []);
        });
    }

    #[test]
    fn a_container_that_ends_without_being_ready_ends_the_wait() {
        let (fixture, manager) = fixture(PROGRAM);
        let socket = bind(&fixture.store().find(&fixture.id).unwrap()).unwrap();
        send(&fixture, "STOPPING=1");
        fixture.init.kill_group();
        assert_eq!(wait(&fixture, socket, None), []);
        assert_eq!(receive(&manager), "STOPPING=1", "what it said before is passed on");
    }

    #[test]
    fn start_holds_no_lock_while_it_waits() {
        let (fixture, manager) = fixture(PROGRAM);
        let other = fixture.root.path().join("other");
        let second = UnixDatagram::bind(&other).unwrap();
        std::thread::scope(|scope| {
            let address = NotifyAddress::parse(other.as_os_str()).ok();
            let starting = scope.spawn(|| start(&fixture.store(), &fixture.id, &|_| None, address, &mut Vec::new()));
            while fixture.status() != "running" {
                std::thread::yield_now();
            }
            drop(fixture.store().find(&fixture.id).unwrap().lock().unwrap());
            send(&fixture, "READY=1");
            assert!(receive(&second).starts_with("READY=1\nMAINPID="), "the caller of start is told");
            assert_eq!(receive(&second), "BARRIER=1");
            starting.join().unwrap().unwrap();
        });
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut [0; 16]).is_err(), "and the caller of create is not");
    }

    #[test]
    fn a_manager_that_cannot_be_reached_is_a_warning_and_no_wait() {
        let (fixture, manager) = fixture(PROGRAM);
        let socket = bind(&fixture.store().find(&fixture.id).unwrap()).unwrap();
        drop(manager);
        let warnings = wait(&fixture, socket, None);
        assert!(warnings[0].to_string().starts_with("NOTIFY_SOCKET: connect to /"), "{warnings:?}");
    }

    #[test]
    fn every_user_may_send_whatever_the_umask_and_the_length_of_the_path() {
        let root = tempfile::tempdir().unwrap();
        let long = root.path().join("r".repeat(200)).join("s".repeat(200));
        let id = ContainerId::parse("web").unwrap();
        let record = Record::new("web", "1.3.0", "/b".into(), "/b/rootfs".into());
        let guard = Store::open(&long).unwrap().create(&id, &record).unwrap();
        make_directory(&guard).unwrap();
        let dir = long.join("web/notify");
        let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o755);
        let first = bind(&guard).unwrap();
        let inode = std::fs::symlink_metadata(dir.join(NotifySocket::NAME)).unwrap().ino();
        let second = bind(&guard).unwrap();
        assert_ne!(std::fs::symlink_metadata(dir.join(NotifySocket::NAME)).unwrap().ino(), inode);
        assert_eq!(mode(&dir.join(NotifySocket::NAME)) & 0o222, 0o222);
        drop((first, second));
        guard.remove().unwrap();
        assert!(!dir.exists() && !long.join("web").exists());
    }

    #[test]
    fn a_socket_is_never_made_through_a_link() {
        let (fixture, _manager) = fixture(PROGRAM);
        let dir = fixture.store().find(&fixture.id).unwrap();
        let inside = fixture.root.path().join("state/web/notify");
        symlink(fixture.root.path().join("victim"), inside.join(NotifySocket::NAME)).unwrap();
        bind(&dir).unwrap();
        assert!(!fixture.root.path().join("victim").exists());
        std::fs::remove_dir_all(&inside).unwrap();
        symlink(fixture.root.path(), &inside).unwrap();
        assert!(bind(&dir).is_err());
    }
}
