//! What pipe(7) and fifo(7) can be asked beyond reading and writing.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// How many bytes stand unread in a pipe or fifo; either end may ask (FIONREAD, ioctl(2)).
pub fn unread(pipe: BorrowedFd) -> Effect<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer, and `bytes` is one that outlives the call.
    match unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut bytes) } {
        0 => Ok(usize::try_from(bytes).unwrap_or(0)),
        _ => Err(Trouble::new(Call::Ioctl, Errno::last())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn both_ends_know_how_much_is_unread() {
        let (read, write) = nix::unistd::pipe().unwrap();
        assert_eq!(unread(write.as_fd()), Ok(0));
        nix::unistd::write(&write, b"abc").unwrap();
        assert_eq!((unread(read.as_fd()), unread(write.as_fd())), (Ok(3), Ok(3)));
        drop(read);
        assert_eq!(unread(write.as_fd()), Ok(3), "bytes that nobody took stay visible to the writer");
    }
}
