//! What is handed over to the caller beside the process itself: the pid file and the pidfd. Runs in the host process.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Doing, Result};
use crate::fault::{Call, Effect, Trouble};
use crate::field::Field;
use crate::request::Request;
use crate::sys::{pidfd, socket};

/// Hands over everything that the request names.
pub fn all(request: &Request, pid: i32) -> Result {
    if let Some(path) = &request.pidfd_socket {
        let sent = send_pidfd(path, pid).doing(|| format!("send the pidfd to {}", path.display()));
        sent.map_err(|error| error.field(Field::at("--pidfd-socket")))?;
    }
    match &request.pid_file {
        Some(path) => {
            let written = write_pid_file(path, pid).doing(|| format!("write the pid file {}", path.display()));
            written.map_err(|error| error.field(Field::at("--pid-file")))
        }
        None => Ok(()),
    }
}

/// Writes the pid without an end of line (engines read the whole file as a number), at once: who waits for the file
/// never sees half of it.
pub fn write_pid_file(path: &Path, pid: i32) -> Effect {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let next = path.with_file_name(format!(".{name}"));
    // A name that somebody has taken already, maybe with a link to a file that matters, goes; it is never written to.
    let _ = fs::remove_file(&next);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(&next).map_err(in_call(Call::Open))?;
    let written = file.write_all(pid.to_string().as_bytes()).map_err(in_call(Call::Write));
    written.and_then(|()| fs::rename(&next, path).map_err(in_call(Call::Rename))).inspect_err(|_| {
        let _ = fs::remove_file(&next);
    })
}

/// The protocol of console sockets: one message with one descriptor.
pub fn send_pidfd(path: &Path, pid: i32) -> Effect {
    let stream = UnixStream::connect(path).map_err(in_call(Call::Connect))?;
    let pidfd: OwnedFd = pidfd::open(pid)?;
    socket::send_descriptor(stream.as_raw_fd(), b"pidfd", pidfd.as_raw_fd())
}

/// std refuses a path with a NUL, and a socket's that is too long, without an errno.
fn in_call(call: Call) -> impl Fn(std::io::Error) -> Trouble {
    move |error| Trouble::new(call, error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_holds_the_number_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write_pid_file(&path, 4711).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4711");
        write_pid_file(&path, 12).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "12");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pid_file_is_never_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in ["pid", ".pid"] {
            std::os::unix::fs::symlink(&victim, dir.path().join(name)).unwrap();
        }
        write_pid_file(&dir.path().join("pid"), 4711).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(dir.path().join("pid")).unwrap(), "4711");
    }

    #[test]
    fn a_pid_file_that_cannot_be_made_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("pid/full")).unwrap();
        assert!(write_pid_file(&dir.path().join("pid"), 4711).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_pidfd_arrives_as_one_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        send_pidfd(&path, std::process::id() as i32).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let fd = socket::receive_descriptor(stream.as_raw_fd()).unwrap();
        assert!(fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().to_string_lossy().contains("pidfd"));
        crate::sys::file::close(fd);
    }
}
