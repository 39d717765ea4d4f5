//! The one dialect on the control socket between host and child: messages of one fixed size, no text. One of them comes
//! with a descriptor.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::fault::{Effect, Fault};
use crate::plan::Point;
use crate::sys::socket;

/// One message.
#[derive(Clone, Copy)]
pub enum Message {
    /// Host to child: go on.
    Go,
    /// Child to host: I have come to this point.
    At(Point),
    /// Child to host: the init is this process, in the host's pid namespace.
    Forked(i32),
    /// Child to host: the listener of my filter has this number here, or comes along.
    Listener(i32),
    /// Child to host: the descriptor that comes along is this namespace of mine (its CLONE_NEW* flag) or, with 0, my root.
    Handed(i32),
    /// Child to host: the descriptor that comes along is the mount in this slot, which I am about to attach.
    Mount(u16),
    /// Host to child: the descriptor that comes along belongs into this slot.
    Given(u16),
    /// Child to host: this went wrong and I go on.
    Warning(Fault),
    /// Child to host: this went wrong and I end.
    Failed(Fault),
}

const SIZE: usize = 8 + Fault::SIZE;

/// What the child hands over of itself, below /proc/self: CLONE_NEW* flag, name, and how it is opened. An ordinary user's
/// host process can't open these: they are those of a process that nobody may look into.
pub const HANDED: [(i32, &CStr, i32); 9] = [
    (libc::CLONE_NEWNS, c"self/ns/mnt", libc::O_RDONLY),
    (libc::CLONE_NEWUTS, c"self/ns/uts", libc::O_RDONLY),
    (libc::CLONE_NEWIPC, c"self/ns/ipc", libc::O_RDONLY),
    (libc::CLONE_NEWNET, c"self/ns/net", libc::O_RDONLY),
    (libc::CLONE_NEWPID, c"self/ns/pid", libc::O_RDONLY),
    (libc::CLONE_NEWCGROUP, c"self/ns/cgroup", libc::O_RDONLY),
    (libc::CLONE_NEWTIME, c"self/ns/time", libc::O_RDONLY),
    (libc::CLONE_NEWUSER, c"self/ns/user", libc::O_RDONLY),
    (0, c"self/root", libc::O_PATH | libc::O_DIRECTORY),
];

impl Message {
    fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let (kind, value): (u32, i32) = match self {
            Message::Go => (1, 0),
            Message::At(point) => (2, point as i32),
            Message::Forked(pid) => (3, pid),
            Message::Warning(_) => (4, 0),
            Message::Failed(_) => (5, 0),
            Message::Listener(number) => (8, number),
            Message::Handed(kind) => (6, kind),
            Message::Given(slot) => (7, slot.into()),
            Message::Mount(slot) => (9, slot.into()),
        };
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&value.to_ne_bytes());
        if let Message::Warning(fault) | Message::Failed(fault) = self {
            bytes[8..].copy_from_slice(&fault.to_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; SIZE]) -> Option<Message> {
        let kind = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let value = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let fault = || {
            let mut fault = [0; Fault::SIZE];
            fault.copy_from_slice(&bytes[8..]);
            Fault::from_bytes(&fault)
        };
        match kind {
            1 => Some(Message::Go),
            2 => Point::ALL.into_iter().find(|point| *point as i32 == value).map(Message::At),
            3 => Some(Message::Forked(value)),
            4 => fault().map(Message::Warning),
            5 => fault().map(Message::Failed),
            6 => Some(Message::Handed(value)),
            8 => Some(Message::Listener(value)),
            7 => u16::try_from(value).ok().map(Message::Given),
            9 => u16::try_from(value).ok().map(Message::Mount),
            _ => None,
        }
    }

    /// Sends the message; no heap, so it works after clone.
    pub fn send(self, socket: RawFd) -> Effect {
        socket::send(socket, &self.to_bytes())
    }

    /// Sends the message together with a descriptor.
    pub fn send_with_descriptor(self, socket: RawFd, fd: RawFd) -> Effect {
        socket::send_descriptor(socket, &self.to_bytes(), fd)
    }

    /// As [`Message::receive`], with the descriptor that came along.
    pub fn receive_with_descriptor(socket: RawFd) -> Effect<(Option<Message>, Option<RawFd>)> {
        let mut bytes = [0; SIZE];
        let (size, fd) = socket::receive_with(socket, &mut bytes)?;
        let message = if size == SIZE { Message::from_bytes(&bytes) } else { None };
        Ok((message, fd))
    }

    /// The next message; `None` when the other side is gone or has sent something foreign.
    pub fn receive(socket: RawFd) -> Effect<Option<Message>> {
        let mut bytes = [0; SIZE];
        match socket::receive(socket, &mut bytes)? {
            SIZE => Ok(Message::from_bytes(&bytes)),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::fault::{Call, Stage, Trouble};

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let fault = Fault::new(Stage::Start, 4, Trouble::new(Call::Exec, Errno::ENOENT));
        let (a, b) = socket::pair().unwrap();
        for message in [
            Message::Go,
            Message::Forked(77),
            Message::Listener(9),
            Message::Handed(0),
            Message::Given(9),
            Message::Mount(7),
            Message::Warning(fault),
            Message::Failed(fault),
        ]
        .into_iter()
        .chain(Point::ALL.map(Message::At))
        {
            message.send(a).unwrap();
            let got = Message::receive(b).unwrap().unwrap();
            assert_eq!(got.to_bytes(), message.to_bytes());
        }
        crate::sys::file::close(a);
        assert!(Message::receive(b).unwrap().is_none());
        crate::sys::file::close(b);
    }

    #[test]
    fn a_descriptor_comes_along_with_its_message_alone() {
        use std::os::fd::AsRawFd;
        let (a, b) = socket::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        Message::Handed(7).send_with_descriptor(a, file.as_raw_fd()).unwrap();
        Message::Go.send(a).unwrap();
        let (message, fd) = Message::receive_with_descriptor(b).unwrap();
        assert!(matches!(message, Some(Message::Handed(7))));
        let same = |a: std::fs::Metadata, b: std::fs::Metadata| {
            use std::os::unix::fs::MetadataExt;
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        };
        assert!(same(std::fs::File::from(socket::own(fd.unwrap())).metadata().unwrap(), file.metadata().unwrap()));
        assert!(matches!(Message::receive_with_descriptor(b).unwrap(), (Some(Message::Go), None)));
        crate::sys::file::close(a);
        assert!(matches!(Message::receive_with_descriptor(b).unwrap(), (None, None)));
        crate::sys::file::close(b);
    }

    #[test]
    fn a_foreign_message_is_none() {
        assert!(Message::from_bytes(&[9; SIZE]).is_none());
    }
}
