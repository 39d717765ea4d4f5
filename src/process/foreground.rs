//! A foreground run: passes signals on to the init, copies between the caller's terminal and the container's, reaps
//! whatever becomes an orphan, and ends with the init's exit code.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, SetArg, Termios};
use nix::unistd;

use crate::error::{Doing, Result};
use crate::process::notify::Relay;
use crate::sys::wait::{self, End};
use crate::sys::{file, property, tty};

/// Signals that are caught from before the clone, so that none that comes early is lost: a container that ends at once
/// must not leave its runtime waiting.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks all signals and opens them as a descriptor. The init empties its mask before it executes its program.
    pub fn block() -> Result<Signals> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None).doing(|| "block signals")?;
        let fd = SignalFd::with_flags(&all, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .doing(|| "open signals as a descriptor")?;
        Ok(Signals { fd })
    }
}

/// Makes the caller adopt what its containers leave behind.
pub fn become_subreaper() -> Result {
    property::set_subreaper().doing(|| "become a subreaper")
}

/// Stays until the init `pid` has ended. `terminal` is the master of the container's terminal; `relay` passes on what the
/// container tells the service manager.
pub fn wait_for(pid: i32, signals: &Signals, terminal: Option<OwnedFd>, mut relay: Option<Relay>) -> Result<End> {
    let end = wait_relaying(pid, signals, terminal, &mut relay);
    // What it said last is still in the socket.
    relay.iter_mut().for_each(Relay::drain);
    end
}

fn wait_relaying(pid: i32, signals: &Signals, terminal: Option<OwnedFd>, relay: &mut Option<Relay>) -> Result<End> {
    let stdin = std::io::stdin();
    let stdout = std::io::stdout();
    let Some(master) = terminal else { return wait_without_terminal(pid, signals, relay) };
    let _raw = RawMode::enter(stdin.as_fd());
    let _ = fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK));
    let mut to_container = Copy::new(stdin.as_fd(), master.as_fd());
    let mut from_container = Copy::new(master.as_fd(), stdout.as_fd());
    // corten holds the other end too: a program that closes its terminal and opens it anew, as an init system does, would
    // else have said its last word in between.
    let mut peer = tty::peer(master.as_raw_fd()).ok();
    let mut end = None;
    // After the init's end what it wrote is still on its way out of the terminal: the copy goes on until the terminal
    // says that it is empty and nobody holds its other end.
    let mut told_to_leave = false;
    while end.is_none() || !(from_container.done() || told_to_leave) {
        let mut watched = vec![PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN)];
        // What nobody is going to take must not be waited for, or the wait would end at once for ever.
        watched.extend(if end.is_none() { to_container.watch() } else { None });
        watched.extend(from_container.watch());
        watched.extend(relay.as_ref().map(Relay::watch));
        // Somebody may hold the other end beyond the init's life; then silence is the end.
        // What is here already is passed on, however slow the reader is.
        let linger = end.is_some() && from_container.pending.is_empty();
        let patience = if linger { PollTimeout::from(LINGER_MS) } else { PollTimeout::NONE };
        match poll(&mut watched, patience) {
            Ok(0) => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing(|| "wait for the container"),
        }
        told_to_leave |= take_signals(pid, signals, Some(master.as_fd()), &mut end)?;
        if end.is_some() {
            peer.take().into_iter().for_each(file::close);
        }
        if end.is_none() {
            to_container.pump();
        }
        from_container.pump();
        relay.as_mut().map(Relay::pump);
    }
    peer.into_iter().for_each(file::close);
    end.map_or_else(|| wait::wait(pid).doing(|| "wait for the container"), Ok)
}

/// How long the terminal may be silent after the init's end before nothing more is expected, in milliseconds.
const LINGER_MS: u16 = 200;

fn wait_without_terminal(pid: i32, signals: &Signals, relay: &mut Option<Relay>) -> Result<End> {
    loop {
        let mut watched = vec![PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN)];
        watched.extend(relay.as_ref().map(Relay::watch));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing(|| "wait for the container"),
        }
        let mut end = None;
        take_signals(pid, signals, None, &mut end)?;
        if let Some(end) = end {
            return Ok(end);
        }
        relay.as_mut().map(Relay::pump);
    }
}

/// Takes every signal that has come: SIGCHLD reaps, SIGWINCH resizes, all others are the init's. `end` is filled in when
/// the init has ended; after that the answer says whether somebody wants corten itself to end.
fn take_signals(pid: i32, signals: &Signals, terminal: Option<BorrowedFd>, end: &mut Option<End>) -> Result<bool> {
    let mut told_to_leave = false;
    while let Some(info) = signals.fd.read_signal().doing(|| "read signals")? {
        match Signal::try_from(info.ssi_signo as i32) {
            Ok(Signal::SIGCHLD) => {
                while let Some((child, how)) = wait::reap_one() {
                    if child == pid {
                        *end = Some(how);
                    }
                }
            }
            Ok(Signal::SIGWINCH) if terminal.is_some() => {
                if let Some(master) = terminal {
                    tty::copy_size(0, master.as_raw_fd());
                }
            }
            // A blocked signal is queued even when it is ignored, so this is what a write of corten's own to a pipe
            // without a reader brings. The container has not written it.
            Ok(Signal::SIGPIPE) if info.ssi_pid == std::process::id() => {}
            _ if end.is_none() => wait::signal_child(pid, info.ssi_signo as i32),
            Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT) => told_to_leave = true,
            _ => {}
        }
    }
    Ok(told_to_leave)
}

/// One direction of the copying, with what is read and not yet written.
struct Copy<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    pending: Vec<u8>,
    ended: bool,
}

impl<'a> Copy<'a> {
    fn new(from: BorrowedFd<'a>, to: BorrowedFd<'a>) -> Copy<'a> {
        Copy { from, to, pending: Vec::new(), ended: false }
    }

    /// What to wait for: room for what is pending, else something to read.
    fn watch(&self) -> Option<PollFd<'a>> {
        match (self.pending.is_empty(), self.ended) {
            (false, _) => Some(PollFd::new(self.to, PollFlags::POLLOUT)),
            (true, false) => Some(PollFd::new(self.from, PollFlags::POLLIN)),
            (true, true) => None,
        }
    }

    fn done(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// Moves what can be moved without waiting.
    fn pump(&mut self) {
        if self.pending.is_empty() && !self.ended && ready(self.from, PollFlags::POLLIN) {
            let mut buffer = [0; 32 * 1024];
            match unistd::read(self.from, &mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // EIO is how a terminal's master says that the other end is closed.
                Err(_) => self.ended = true,
            }
        }
        if !self.pending.is_empty() && ready(self.to, PollFlags::POLLOUT) {
            // A pipe that is ready takes PIPE_BUF bytes without waiting; more might not fit (pipe(7)).
            let part = &self.pending[..self.pending.len().min(libc::PIPE_BUF)];
            match unistd::write(self.to, part) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => {
                    // Nobody reads any more: go on draining, so that the container isn't held up.
                    self.pending.clear();
                }
            }
        }
    }
}

fn ready(fd: BorrowedFd, events: PollFlags) -> bool {
    let mut watched = [PollFd::new(fd, events)];
    matches!(poll(&mut watched, PollTimeout::ZERO), Ok(n) if n > 0)
}

/// The caller's terminal in raw mode, as long as this lives.
struct RawMode<'a> {
    fd: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// `None` when stdin is no terminal.
    fn enter(fd: BorrowedFd<'a>) -> Option<RawMode<'a>> {
        let before = termios::tcgetattr(fd).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(fd, SetArg::TCSANOW, &raw).ok()?;
        Some(RawMode { fd, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.fd, SetArg::TCSADRAIN, &self.before);
    }
}
