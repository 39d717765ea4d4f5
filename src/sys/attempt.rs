//! Any system call, by number, in a child of its own: for tools that find out what a filter does to it.

use nix::errno::Errno;

use crate::fault::Effect;
use crate::sys::clone::{self, Side};
use crate::sys::wait::{self, End};

/// Makes the call. Exit code 0 is success, any other the errno; a filter that kills shows as the signal.
pub fn attempt(number: i64, arguments: [u64; 3]) -> Effect<End> {
    match clone::clone(0)? {
        Side::Child => {
            let [first, second, third] = arguments;
            // SAFETY: whatever the call does to memory or descriptors, it does to this child's copies of them, and the
            // child ends right after.
            let failed = unsafe { libc::syscall(number as libc::c_long, first, second, third) } < 0;
            clone::exit_now(if failed { Errno::last() as i32 } else { 0 })
        }
        Side::Parent(pid) => wait::wait(pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_with_its_errno() {
        assert_eq!(attempt(libc::SYS_getppid, [0; 3]), Ok(End::Exited(0)));
        assert_eq!(attempt(libc::SYS_close, [1 << 20, 0, 0]), Ok(End::Exited(libc::EBADF)));
        assert_eq!(attempt(100_000, [0; 3]), Ok(End::Exited(libc::ENOSYS)));
    }
}
