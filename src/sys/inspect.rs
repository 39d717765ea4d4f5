//! What a process can ask the kernel about itself and nix can't: used by the toolbox (`corten probe`), so that a
//! container without /proc still shows its capabilities, its scheduler, its keyring. Reads only, except for the
//! window size of a terminal.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::sys::property::SchedAttr;

/// The answer of uname(2).
pub struct Names {
    pub hostname: String,
    pub domainname: String,
    pub machine: String,
    pub release: String,
}

fn text(field: &[libc::c_char]) -> String {
    let bytes: Vec<u8> = field.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// uname(2). It can't fail with a valid buffer; an error would leave the fields empty.
pub fn names() -> Names {
    // SAFETY: all-zero bytes are a valid utsname (arrays of characters), and the kernel fills exactly this structure.
    let uts = unsafe {
        let mut uts: libc::utsname = std::mem::zeroed();
        libc::uname(&mut uts);
        uts
    };
    Names {
        hostname: text(&uts.nodename),
        domainname: text(&uts.domainname),
        machine: text(&uts.machine),
        release: text(&uts.release),
    }
}

/// The five capability sets as bits, one bit a capability (capabilities(7)).
#[derive(Default)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// capget(2) and the capability questions of prctl(2); works without /proc.
pub fn capability_sets() -> CapabilitySets {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Default, Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 takes a header and an array of two data structures; both live across the call.
    unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) };
    let join = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    let mut sets = CapabilitySets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
        ..CapabilitySets::default()
    };
    for bit in 0..64 {
        // SAFETY: PR_CAPBSET_READ and PR_CAP_AMBIENT_IS_SET take plain numbers and touch no memory.
        let (bounding, ambient) = unsafe {
            (
                libc::prctl(libc::PR_CAPBSET_READ, bit, 0, 0, 0),
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, bit, 0, 0),
            )
        };
        sets.bounding |= u64::from(bounding == 1) << bit;
        sets.ambient |= u64::from(ambient == 1) << bit;
    }
    sets
}

/// 0: no seccomp, 2: a filter is loaded (PR_GET_SECCOMP); `None` where the kernel has no seccomp or refuses.
pub fn seccomp_mode() -> Option<i32> {
    // SAFETY: PR_GET_SECCOMP takes no pointer.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    (mode >= 0).then_some(mode)
}

/// The process' personality(2) without changing it.
pub fn personality() -> Option<u32> {
    // SAFETY: 0xffffffff asks and sets nothing.
    let persona = unsafe { libc::personality(0xffff_ffff) };
    u32::try_from(persona).ok()
}

/// sched_getattr(2) of the caller.
pub fn scheduler() -> Option<SchedAttr> {
    let mut attributes = SchedAttr::default();
    let size = std::mem::size_of::<SchedAttr>() as u32;
    // SAFETY: the kernel writes at most `size` bytes into the structure.
    let rc = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut attributes, size, 0) };
    (rc == 0).then_some(attributes)
}

/// Class and level of the caller's I/O priority (ioprio_get(2)): class 0 none, 1 real time, 2 best effort, 3 idle.
pub fn io_priority() -> Option<(u32, u32)> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: plain numbers.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) };
    u32::try_from(value).ok().map(|v| (v >> 13, v & 0x1fff))
}

/// Mode (with its flags in the high bits) and nodes of the caller's memory policy (get_mempolicy(2)).
pub fn memory_policy() -> Option<(i32, Vec<u32>)> {
    const WORDS: usize = 64;
    let mut mode: i32 = 0;
    let mut mask = [0u64; WORDS];
    let bits = WORDS * 64;
    let null: *const u8 = std::ptr::null();
    // SAFETY: the mask has room for `bits` nodes; address and flags are zero, so no other memory is touched.
    let rc = unsafe { libc::syscall(libc::SYS_get_mempolicy, &mut mode, mask.as_mut_ptr(), bits, null, 0) };
    let set = |node: &u32| mask[*node as usize / 64] >> (node % 64) & 1 == 1;
    (rc == 0).then(|| (mode, (0..bits as u32).filter(set).collect()))
}

/// Description of the session keyring as keyctl(KEYCTL_DESCRIBE) has it: `type;uid;gid;perm;name`.
pub fn session_keyring() -> Option<String> {
    const DESCRIBE: i32 = 6;
    const SESSION: i32 = -3;
    let mut buffer = [0u8; 512];
    // SAFETY: the kernel writes at most `len` bytes and a final NUL into the buffer.
    let len = unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, SESSION, buffer.as_mut_ptr(), buffer.len(), 0) };
    if len <= 0 {
        return None;
    }
    CStr::from_bytes_until_nul(&buffer).ok().map(|s| s.to_string_lossy().into_owned())
}

/// Seconds of a clock, for example `libc::CLOCK_BOOTTIME`.
pub fn clock_seconds(clock: libc::clockid_t) -> Option<i64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec lives across the call.
    let rc = unsafe { libc::clock_gettime(clock, &mut now) };
    (rc == 0).then_some(now.tv_sec)
}

/// Rows and columns of a terminal (TIOCGWINSZ); `None` when it is no terminal.
pub fn window_size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills exactly this structure.
    let rc = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    (rc == 0).then_some((size.ws_row, size.ws_col))
}

/// Sets rows and columns of a terminal (TIOCSWINSZ); its foreground process group gets SIGWINCH.
pub fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads exactly this structure.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a network interface is up (SIOCGIFFLAGS); `None` when there is none of that name.
pub fn interface_is_up(socket: impl AsFd, name: &str) -> Option<bool> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags of this ifreq.
    let rc = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request) };
    // SAFETY: on success the kernel has filled the flags member of the union; before it was zero.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    (rc == 0).then_some(i32::from(flags) & libc::IFF_UP != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_answer_what_proc_says() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let hex = |key: &str| {
            let line = status.lines().find(|l| l.starts_with(key)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let sets = capability_sets();
        assert_eq!((sets.effective, sets.bounding), (hex("CapEff:"), hex("CapBnd:")));
        assert_eq!((sets.permitted, sets.inheritable), (hex("CapPrm:"), hex("CapInh:")));
        assert_eq!(sets.ambient, hex("CapAmb:"));
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(names().hostname, hostname.trim_end());
        assert_eq!(personality(), Some(0));
        assert_eq!(memory_policy(), Some((0, vec![])));
        assert_eq!(scheduler().map(|s| s.policy), Some(0));
    }

    #[test]
    fn what_is_no_terminal_has_no_size() {
        assert_eq!(window_size(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
