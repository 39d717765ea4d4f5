//! seccomp(2): loading a filter, and which flags the kernel knows.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::check;

/// An instruction of classic BPF: struct sock_filter of linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// Loads a filter for the calling thread; with SECCOMP_FILTER_FLAG_NEW_LISTENER the result is the listener, which is
/// close-on-exec (`init_listener` in the kernel). EACCES without no_new_privs and CAP_SYS_ADMIN.
pub fn load(program: &[Instruction], flags: libc::c_ulong) -> Effect<RawFd> {
    let len = u16::try_from(program.len()).map_err(|_| Trouble::new(Call::Seccomp, Errno::E2BIG))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the pointer and length describe live instructions of the kernel's layout, which it copies.
    let loaded = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &filter) };
    Ok(check(loaded, Call::Seccomp)? as RawFd)
}

/// Whether the kernel knows a flag of [`load`]: it looks at the flags before it looks for a program.
pub fn knows_flag(flag: libc::c_ulong) -> bool {
    let none = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: a null program is what is asked for; the kernel answers EFAULT and changes nothing.
    let asked = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flag, none) };
    asked < 0 && Errno::last() == Errno::EFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_kernel_s_layout() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Instruction, k), std::mem::offset_of!(libc::sock_filter, k));
    }

    #[test]
    fn flags_are_told_apart() {
        assert!(knows_flag(libc::SECCOMP_FILTER_FLAG_LOG));
        assert!(!knows_flag(1 << 30));
    }
}
