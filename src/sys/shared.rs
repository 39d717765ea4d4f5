//! Memory shared between the host process, the init and `start`: a mapping that both sides see.

use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// A shared mapping. It is never unmapped: the processes that hold one are short-lived or exec.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    start: *mut u8,
    len: usize,
}

impl Shared {
    /// Maps `len` bytes of the file `fd`, or of fresh anonymous memory.
    pub fn map(fd: Option<RawFd>, len: usize, writable: bool) -> Effect<Shared> {
        let flags = libc::MAP_SHARED | if fd.is_none() { libc::MAP_ANONYMOUS } else { 0 };
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd.unwrap_or(-1), 0) };
        if start == libc::MAP_FAILED {
            return Err(Trouble::new(Call::Mmap, Errno::last()));
        }
        Ok(Shared { start: start.cast(), len })
    }

    /// The 32-bit word at a byte offset; `None` outside of the mapping or off its alignment.
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if offset % 4 != 0 || offset.checked_add(4)? > self.len {
            return None;
        }
        // SAFETY: the word lies inside the mapping, which is page-aligned and never unmapped, and all access to it is
        // atomic, also from the other processes.
        Some(unsafe { AtomicU32::from_ptr(self.start.add(offset).cast()) })
    }

    /// Copies bytes into the mapping; what doesn't fit is left out.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let room = self.len.saturating_sub(offset).min(bytes.len());
        // SAFETY: source and target are valid for `room` bytes and don't overlap: the mapping is no Rust object.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset.min(self.len)), room) };
    }

    /// Copies bytes out of the mapping; what lies outside stays as it is in `buffer`.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) {
        let room = self.len.saturating_sub(offset).min(buffer.len());
        // SAFETY: as in write.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(offset.min(self.len)), buffer.as_mut_ptr(), room) };
    }
}

/// Nanoseconds of the wall clock: the one clock that a time namespace doesn't shift.
pub fn wall_clock() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}
