//! Tools about standard streams and inherited descriptors: terminals, window sizes, echo, socket activation.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::files::one;
use super::{Entry, Failure, Next, Outcome, entry, print};
use crate::sys::inspect;

pub(super) const TOOLS: &[Entry] = &[
    entry("tty", "  the terminal on stdin", |_| tty()),
    entry("winsize", "  ROWS COLUMNS of the terminal on stdin", |_| winsize()),
    entry("read-line", "  print one line of stdin with `got ` in front", |_| read_line()),
    entry("cat-stdin", "  copy stdin to stdout until it ends", |_| cat_stdin()),
    entry("stderr", "TEXT", |args| {
        eprintln!("{}", one(args, "stderr TEXT")?);
        Ok(Next::On)
    }),
    entry("listen-fds", "  LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES and what stands behind the descriptors", listen_fds),
    entry("notify", "TEXT  send a datagram to NOTIFY_SOCKET", notify),
];

fn tty() -> Outcome {
    if !std::io::stdin().is_terminal() {
        return print("not a tty");
    }
    let path = nix::unistd::ttyname(std::io::stdin().as_fd())?;
    print(&path.to_string_lossy())
}

fn winsize() -> Outcome {
    match inspect::window_size(std::io::stdin()) {
        Some((rows, columns)) => print(&format!("{rows} {columns}")),
        None => Err(nix::errno::Errno::ENOTTY.into()),
    }
}

fn read_line() -> Outcome {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    print(&format!("got {}", line.trim_end()))
}

fn cat_stdin() -> Outcome {
    let mut all = Vec::new();
    std::io::stdin().lock().read_to_end(&mut all)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&all)?;
    out.flush()?;
    Ok(Next::On)
}

fn listen_fds(_: &[&str]) -> Outcome {
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        print(&format!("{name}={}", std::env::var(name).unwrap_or_else(|_| "(unset)".to_owned())))?;
    }
    let count = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    for fd in 3..3 + count {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        print(&format!("{fd} {}", target.map_or_else(|e| e.to_string(), |t| t.to_string_lossy().into_owned())))?;
    }
    Ok(Next::On)
}

fn notify(args: &[&str]) -> Outcome {
    let text = one(args, "notify TEXT")?;
    let path = std::env::var("NOTIFY_SOCKET")
        .map_err(|_| Failure { text: "NOTIFY_SOCKET isn't set".to_owned(), errno: None })?;
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.send_to(text.as_bytes(), path)?;
    Ok(Next::On)
}

/// Which of the three standard streams are terminals.
pub(super) fn standard_terminals() -> [bool; 3] {
    let is = |fd: BorrowedFd<'_>| fd.is_terminal();
    [is(std::io::stdin().as_fd()), is(std::io::stdout().as_fd()), is(std::io::stderr().as_fd())]
}
