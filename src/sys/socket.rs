//! The control socket: messages of fixed size, and a descriptor along with one (unix(7), cmsg(3)).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::check_int;

/// Room for one control message that carries one descriptor, aligned as the kernel wants it.
#[repr(C, align(8))]
struct ControlRoom([u8; 64]);

/// A pair of connected sockets that keep message boundaries, both close-on-exec.
pub fn pair() -> Effect<(RawFd, RawFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: fds is room for the two numbers.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }, Call::Socket)?;
    Ok((fds[0], fds[1]))
}

/// Sends one message. By write(2) and not by a call for sockets: the child may have a seccomp filter by now, and one that
/// forbids write(2) to a program is hardly there. (corten ignores SIGPIPE, as does its child until the program.)
pub fn send(socket: RawFd, message: &[u8]) -> Effect {
    loop {
        // SAFETY: pointer and length describe a live slice.
        let sent = unsafe { libc::write(socket, message.as_ptr().cast(), message.len()) };
        match sent {
            n if n >= 0 => return Ok(()),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Trouble::new(Call::Write, Errno::last())),
        }
    }
}

/// Receives one message, by read(2); 0 is the end: the other side is gone.
pub fn receive(socket: RawFd, message: &mut [u8]) -> Effect<usize> {
    loop {
        // SAFETY: pointer and length describe a live buffer.
        let got = unsafe { libc::read(socket, message.as_mut_ptr().cast(), message.len()) };
        match got {
            n if n >= 0 => return Ok(n as usize),
            _ if Errno::last() == Errno::EINTR => {}
            _ if Errno::last() == Errno::ECONNRESET => return Ok(0),
            _ => return Err(Trouble::new(Call::Read, Errno::last())),
        }
    }
}

/// Sends bytes with exactly one descriptor: the protocol of console and pidfd sockets.
pub fn send_descriptor(socket: RawFd, bytes: &[u8], fd: RawFd) -> Effect {
    let mut room = ControlRoom([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which zeroes are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = room.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE is arithmetic on a number.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
    // SAFETY: the control room is aligned and larger than CMSG_SPACE of one descriptor, so the first header and its
    // data lie inside.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
    }
    loop {
        // SAFETY: every pointer in the message describes memory that lives through the call.
        match unsafe { libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL) } {
            n if n >= 0 => return Ok(()),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Trouble::new(Call::Sendmsg, Errno::last())),
        }
    }
}

/// Receives one descriptor, close-on-exec; ENOMSG when the message carries none.
pub fn receive_descriptor(socket: RawFd) -> Effect<RawFd> {
    let (_, fd) = receive_with(socket, &mut [0; 4096])?;
    fd.ok_or(Trouble::new(Call::Recvmsg, Errno::ENOMSG))
}

/// Receives one message and the descriptor that it may carry, close-on-exec; size 0 is the end, as for [`receive`].
pub fn receive_with(socket: RawFd, bytes: &mut [u8]) -> Effect<(usize, Option<RawFd>)> {
    let mut room = ControlRoom([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which zeroes are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = room.0.as_mut_ptr().cast();
    message.msg_controllen = room.0.len() as _;
    let size = loop {
        // SAFETY: every pointer in the message describes memory that lives through the call.
        match unsafe { libc::recvmsg(socket, &mut message, libc::MSG_CMSG_CLOEXEC) } {
            n if n >= 0 => break n as usize,
            _ if Errno::last() == Errno::EINTR => {}
            _ if Errno::last() == Errno::ECONNRESET => return Ok((0, None)),
            _ => return Err(Trouble::new(Call::Recvmsg, Errno::last())),
        }
    };
    // SAFETY: CMSG_FIRSTHDR checks that a whole header lies inside the control room; type and level are looked at
    // before the data is.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_RIGHTS {
            None
        } else {
            Some(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned())
        }
    };
    Ok((size, fd))
}

/// Waits until there is something to receive, or the other side is gone; `false` when neither has come in this time, or a
/// signal came first.
pub fn await_input(socket: RawFd, limit: Duration) -> Effect<bool> {
    let mut polled = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
    let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, which lives through the call.
    match Errno::result(unsafe { libc::poll(&raw mut polled, 1, limit) }) {
        Ok(found) => Ok(found > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(Trouble::new(Call::Poll, errno)),
    }
}

/// The owner of a descriptor that has just been received.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Receives one descriptor and closes the socket: nothing else is to come.
pub fn receive_last(socket: RawFd) -> Effect<OwnedFd> {
    let received = receive_descriptor(socket);
    super::file::close(socket);
    received.map(own)
}
