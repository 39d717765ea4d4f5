//! The two ends that an engine holds: the socket that a terminal or a pidfd is sent to, and a terminal of one's own.

use std::fs::{self, File};
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::stat::Mode;

use super::runtime::{LIMIT, Lines};
use super::sandbox::Sandbox;
use super::sys::wait_readable;

/// A listening socket for `--console-socket` or `--pidfd-socket`.
pub struct SocketServer {
    pub path: PathBuf,
    listener: UnixListener,
}

/// What came over such a socket in one message.
pub struct ReceivedFd {
    pub payload: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    /// How many messages came in all, up to the end of the connection.
    pub messages: usize,
}

impl SocketServer {
    /// Listens in the sandbox. A socket's name has room for 108 bytes only; the sandbox's own path can be longer, so
    /// the socket stands in the suite's directory under a short name.
    pub fn new(sandbox: &Sandbox) -> SocketServer {
        let suite = sandbox.dir().parent().unwrap_or(sandbox.dir());
        let path = suite.join(format!("socket-{}", fresh()));
        let listener = UnixListener::bind(&path).expect("listen");
        SocketServer { path, listener }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the one connection and everything that comes over it.
    #[track_caller]
    pub fn receive(&self) -> ReceivedFd {
        self.receive_messages(usize::MAX)
    }

    /// Takes the one connection and its first message, while the other side may go on.
    #[track_caller]
    pub fn receive_first(&self) -> ReceivedFd {
        self.receive_messages(1)
    }

    #[track_caller]
    fn receive_messages(&self, most: usize) -> ReceivedFd {
        assert!(wait_readable(&self.listener, LIMIT), "nobody connects to the socket");
        let (stream, _) = self.listener.accept().expect("accept");
        let mut received = ReceivedFd { payload: Vec::new(), fds: Vec::new(), messages: 0 };
        loop {
            assert!(wait_readable(&stream, LIMIT), "nothing comes over the socket");
            let mut bytes = [0u8; 4096];
            let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).expect("receive");
            let mut fds = Vec::new();
            for control in message.cmsgs().expect("control messages") {
                if let ControlMessageOwned::ScmRights(new) = control {
                    fds.extend(new);
                }
            }
            let len = message.bytes;
            if len == 0 && fds.is_empty() {
                return received;
            }
            received.messages += 1;
            received.payload.extend(&bytes[..len]);
            // SAFETY: the kernel has just made these descriptors for us.
            received.fds.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            if received.messages == most {
                return received;
            }
        }
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn fresh() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A pseudo terminal: the test holds the master, the runtime gets the other end.
pub struct Pty {
    master: PtyMaster,
    path: String,
}

impl Pty {
    /// Both ends are close-on-exec, and the test doesn't make the terminal its own.
    pub fn open() -> Pty {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("open a terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let path = ptsname_r(&master).expect("ptsname");
        Pty { master, path }
    }

    /// The other end.
    pub fn peer(&self) -> OwnedFd {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        open(self.path.as_str(), flags, Mode::empty()).expect("open the terminal's other end")
    }

    /// What is written to the terminal, as lines.
    pub fn lines(&self) -> Lines {
        Lines::new(self.master.as_fd().try_clone_to_owned().expect("duplicate the master"))
    }

    pub fn type_in(&self, text: &str) {
        let fd = self.master.as_fd().try_clone_to_owned().expect("duplicate the master");
        File::from(fd).write_all(text.as_bytes()).expect("type");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        corten::sys::inspect::set_window_size(self.master.as_fd(), rows, columns).expect("set the window size");
    }
}
