//! Readiness (sd_notify(3)): whether a container gets a notify socket of its own, what of its messages goes on to the
//! caller's service manager, and the relay between the two sockets.
//!
//! The container is not believed: a service manager takes what root sends it as true, so only lines that speak of the
//! service's own condition go through. `MAINPID` would hand any process of the host to the manager, `FDSTORE` would
//! fill its store, `NOTIFYACCESS` would open it to others.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::error::Warning;
use crate::field::Field;
use crate::request::{NotifyAddress, NotifySocket};
use crate::sys::{socket, stream};

/// What a service may say of itself. Names that begin with `X_` are for others than the service manager and go too.
const FORWARDED: [&str; 12] = [
    "BUSERROR",
    "ERRNO",
    "EXIT_STATUS",
    "EXTEND_TIMEOUT_USEC",
    "MONOTONIC_USEC",
    "READY",
    "RELOADING",
    "STATUS",
    "STOPPING",
    "VARLINKERROR",
    "WATCHDOG",
    "WATCHDOG_USEC",
];

/// The longest message that is passed on. systemd drops those above a page, and a line of corten's own comes along.
const MESSAGE_MAX: usize = 4000;

/// How many messages are taken at a time, so that a container that never stops talking holds up nothing else.
const BURST: usize = 16;

/// So many bursts empty any socket: it holds `net.unix.max_dgram_qlen` messages, of which systemd makes 512.
const BURSTS: usize = 64;

/// How long a service manager may take to confirm what it was sent, in milliseconds: as long as systemd-notify(1) waits.
const BARRIER_MS: u64 = 5000;

/// A warning about the caller's NOTIFY_SOCKET.
pub fn warning(text: impl Into<String>) -> Warning {
    Warning::new(Field::at("NOTIFY_SOCKET"), text)
}

/// The container's end of it; `None` when there is no program that could become ready.
///
/// # Errors
/// Without a mount namespace of the container's own the socket isn't put where it is looked for.
pub fn plan_notify(address: NotifyAddress, dir: PathBuf, spec: &Spec) -> Result<Option<NotifySocket>, Warning> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mounts = namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::Mount);
    match (spec.process(), mounts) {
        (None, _) => Ok(None),
        (Some(_), false) => Err(warning(
            "a container without a mount namespace gets no notify socket, so nobody is told when it is ready",
        )),
        (Some(_), true) => Ok(Some(NotifySocket { address, dir })),
    }
}

/// A message on its way to the service manager.
#[derive(Debug, PartialEq)]
struct Message {
    bytes: Vec<u8>,
    ready: bool,
}

/// What of a container's message goes on, if anything does. `main_pid` is told along with the readiness, in one message:
/// a service manager that listens to the main process alone believes neither half after the other.
fn plan_message(datagram: &[u8], main_pid: Option<i32>) -> Option<Message> {
    let passes = |line: &[u8]| {
        let Some(at) = line.iter().position(|&b| b == b'=') else { return false };
        let name = &line[..at];
        name.starts_with(b"X_") || FORWARDED.iter().any(|known| known.as_bytes() == name)
    };
    let lines: Vec<&[u8]> = datagram.split(|&b| b == b'\n').filter(|line| passes(line)).collect();
    if lines.is_empty() {
        return None;
    }
    let ready = lines.contains(&b"READY=1".as_slice());
    let mut bytes = lines.join(&b'\n');
    if let Some(pid) = main_pid.filter(|_| ready) {
        bytes.extend(format!("\nMAINPID={pid}").into_bytes());
    }
    Some(Message { bytes, ready })
}

/// Passes on what comes out of the container's notify socket.
#[derive(Debug)]
pub struct Relay {
    container: UnixDatagram,
    manager: UnixDatagram,
    main_pid: Option<i32>,
    pending: Option<Message>,
    ready: bool,
}

impl Relay {
    /// Joins the container's socket with the one at `address`. With `main_pid` the service manager is told that this
    /// process, once ready, is the service; without, it stays with corten itself.
    pub fn connect(container: UnixDatagram, address: &NotifyAddress, main_pid: Option<i32>) -> io::Result<Relay> {
        let manager = UnixDatagram::unbound()?;
        manager.connect_addr(&match address.as_str().strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address.as_str())?,
        })?;
        manager.set_nonblocking(true)?;
        container.set_nonblocking(true)?;
        Ok(Relay { container, manager, main_pid, pending: None, ready: false })
    }

    /// What to wait for: room for what is pending, else something to pass on.
    pub fn watch(&self) -> PollFd<'_> {
        match self.pending {
            Some(_) => PollFd::new(self.manager.as_fd(), PollFlags::POLLOUT),
            None => PollFd::new(self.container.as_fd(), PollFlags::POLLIN),
        }
    }

    /// Whether the container has said that it is ready, and this has been passed on.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Passes on what can be without waiting; true when there may be more of it.
    pub fn pump(&mut self) -> bool {
        (0..BURST).all(|_| self.send() && self.receive()) && self.send()
    }

    /// The last of it, once the container has ended: all that a socket holds, and no more, because somebody else may
    /// still be sending.
    pub fn drain(&mut self) {
        (0..BURSTS).all(|_| self.pump());
    }

    /// Sends what is pending; false when there is no room. A service manager that is gone doesn't hold anything up.
    fn send(&mut self) -> bool {
        let Some(message) = self.pending.take() else { return true };
        match self.manager.send(&message.bytes) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.pending = Some(message);
                false
            }
            _ => {
                self.ready |= message.ready;
                true
            }
        }
    }

    /// Takes one message of the container; false when there is none. Descriptors that come with it are closed by the
    /// kernel, which is the answer that a barrier waits for: all that was said before has been taken.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; MESSAGE_MAX + 1];
        match self.container.recv(&mut buffer) {
            Ok(len) if len <= MESSAGE_MAX => self.pending = plan_message(&buffer[..len], self.main_pid),
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::Interrupted,
        }
        true
    }

    /// Waits until the service manager has taken everything, for a while at most (sd_notify_barrier(3)): it looks up who
    /// has sent a message, and a sender that has ended meanwhile belongs to no service.
    pub fn barrier(&self) {
        let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC) else { return };
        let deadline = Some(stream::monotonic_ms() + BARRIER_MS);
        if !stream::ready_until(self.manager.as_raw_fd(), libc::POLLOUT, deadline) {
            return;
        }
        if socket::send_descriptor(self.manager.as_raw_fd(), b"BARRIER=1", write.as_raw_fd()).is_ok() {
            drop(write);
            // Only the end of the pipe is reported: nobody writes into it.
            stream::ready_until(read.as_raw_fd(), libc::POLLIN, deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(text: &str, main_pid: Option<i32>) -> Option<(String, bool)> {
        let message = plan_message(text.as_bytes(), main_pid)?;
        Some((String::from_utf8(message.bytes).unwrap(), message.ready))
    }

    #[test]
    fn readiness_takes_the_main_pid_along_and_nothing_else_does() {
        assert_eq!(message("READY=1", Some(7)), Some(("READY=1\nMAINPID=7".into(), true)));
        assert_eq!(message("STATUS=a\nREADY=1\n", None), Some(("STATUS=a\nREADY=1".into(), true)));
        assert_eq!(message("STATUS=half=way", Some(7)), Some(("STATUS=half=way".into(), false)));
        assert_eq!(message("READY=0", Some(7)), Some(("READY=0".into(), false)));
    }

    #[test]
    fn a_container_speaks_for_itself_alone() {
        for line in ["MAINPID=1", "FDSTORE=1", "BARRIER=1", "NOTIFYACCESS=all", "READY", "", "=", "ready=1"] {
            assert_eq!(message(line, Some(7)), None, "{line:?}");
        }
        let mixed = "MAINPID=1\nREADY=1\nFDNAME=x\nX_MINE=2";
        assert_eq!(message(mixed, Some(7)), Some(("READY=1\nX_MINE=2\nMAINPID=7".into(), true)));
    }

    #[test]
    fn only_a_program_that_can_reach_it_gets_a_socket() {
        let plan = |spec| {
            let address = NotifyAddress::parse("@n".as_ref()).unwrap();
            plan_notify(address, "/run/corten/web/notify".into(), &serde_json::from_value(spec).unwrap())
        };
        let process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        let linux = json!({"namespaces": [{"type": "mount"}]});
        assert!(plan(json!({"ociVersion": "1.0.2", "process": process, "linux": linux})).unwrap().is_some());
        assert!(plan(json!({"ociVersion": "1.0.2", "linux": linux})).unwrap().is_none());
        let warning = plan(json!({"ociVersion": "1.0.2", "process": process})).unwrap_err();
        assert!(warning.to_string().starts_with("NOTIFY_SOCKET: "), "{warning}");
    }

    /// The manager's socket, a sender in the place of the container, and a relay between them.
    fn relay(main_pid: Option<i32>) -> (tempfile::TempDir, UnixDatagram, UnixDatagram, Relay) {
        let dir = tempfile::tempdir().unwrap();
        let manager = dir.path().join("manager");
        let theirs = UnixDatagram::bind(&manager).unwrap();
        let (inside, ours) = UnixDatagram::pair().unwrap();
        let address = NotifyAddress::parse(manager.as_os_str()).unwrap();
        (dir, theirs, inside, Relay::connect(ours, &address, main_pid).unwrap())
    }

    fn next(socket: &UnixDatagram) -> Option<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8192];
        socket.recv(&mut buffer).ok().map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    #[test]
    fn messages_come_through_one_by_one() {
        let (_dir, manager, inside, mut relay) = relay(Some(42));
        for text in ["STATUS=one", "MAINPID=1", &format!("STATUS={}", "x".repeat(5000)), "READY=1"] {
            inside.send(text.as_bytes()).unwrap();
        }
        relay.pump();
        assert_eq!(next(&manager).unwrap(), "STATUS=one");
        assert_eq!(next(&manager).unwrap(), "READY=1\nMAINPID=42");
        assert_eq!(next(&manager), None);
        assert!(relay.is_ready());
    }

    #[test]
    fn what_finds_no_room_waits_and_is_not_lost() {
        let (_dir, manager, inside, mut relay) = relay(None);
        let mut sent = 0;
        while relay.pending.is_none() {
            inside.send(format!("STATUS={sent}").as_bytes()).unwrap();
            relay.pump();
            sent += 1;
        }
        assert!(relay.watch().events().contains(PollFlags::POLLOUT));
        for expected in 0..sent {
            assert_eq!(next(&manager).unwrap(), format!("STATUS={expected}"));
            relay.pump();
        }
        assert!(relay.pending.is_none());
    }

    #[test]
    fn a_burst_ends_and_a_drain_takes_all() {
        let (_dir, manager, inside, mut relay) = relay(None);
        inside.set_nonblocking(true).unwrap();
        // What isn't passed on needs no room at the other end.
        while inside.send(b"MAINPID=1").is_ok() {}
        relay.drain();
        assert_eq!(next(&relay.container), None);
        assert_eq!(next(&manager), None);
    }

    #[test]
    fn a_manager_that_is_gone_holds_nothing_up() {
        let (_dir, manager, inside, mut relay) = relay(Some(42));
        drop(manager);
        inside.send(b"READY=1").unwrap();
        relay.pump();
        assert!(relay.is_ready());
        relay.barrier();
    }

    #[test]
    fn a_barrier_ends_when_the_manager_has_taken_it() {
        let (_dir, manager, _inside, relay) = relay(None);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| relay.barrier());
            let mut buffer = [0; 64];
            let len = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"BARRIER=1");
            waiting.join().unwrap();
        });
    }

    #[test]
    fn a_barrier_of_the_container_is_answered() {
        let (_dir, manager, inside, mut relay) = relay(None);
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        socket::send_descriptor(inside.as_raw_fd(), b"BARRIER=1", write.as_raw_fd()).unwrap();
        drop(write);
        assert!(!stream::ready_until(read.as_raw_fd(), libc::POLLIN, Some(0)));
        relay.pump();
        assert!(stream::ready_until(read.as_raw_fd(), libc::POLLIN, Some(0)));
        assert_eq!(next(&manager), None);
    }
}
