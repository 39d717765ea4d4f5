//! capget, capset and the capability bits of prctl (capabilities(7)). One capset sets all three sets at once; the `caps`
//! crate would take a call per capability.

use crate::fault::{Call, Effect};
use crate::sys::{check, check_int};

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: 64-bit sets.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What the caller has and the kernel knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    /// The caller's effective set, one bit a capability.
    pub effective: u64,
    /// The caller's bounding set.
    pub bounding: u64,
    /// The highest capability that the kernel knows: the last one whose bounding bit can be read.
    pub last: u8,
}

/// Asks the kernel. A set that it won't tell is empty.
pub fn probe() -> Probe {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: header and data are of the layout that version 3 demands and live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) };
    let mut probe = Probe::default();
    if result == 0 {
        probe.effective = u64::from(data[0].effective) | u64::from(data[1].effective) << 32;
    }
    for number in 0..64u8 {
        // SAFETY: PR_CAPBSET_READ takes a number and no pointer.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) } {
            0 => probe.last = number,
            1 => {
                probe.last = number;
                probe.bounding |= 1 << number;
            }
            _ => break,
        }
    }
    probe
}

/// Sets the effective, permitted and inheritable sets of the calling thread.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Effect {
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [
        Data { effective: effective as u32, permitted: permitted as u32, inheritable: inheritable as u32 },
        Data {
            effective: (effective >> 32) as u32,
            permitted: (permitted >> 32) as u32,
            inheritable: (inheritable >> 32) as u32,
        },
    ];
    // SAFETY: header and data are of the layout that version 3 demands and live through the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, data.as_ptr()) }, Call::Capset).map(drop)
}

/// Takes one capability out of the bounding set for good.
pub fn drop_bounding(number: u8) -> Effect {
    // SAFETY: PR_CAPBSET_DROP takes a number and no pointer.
    check_int(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) }, Call::Prctl)
        .map(drop)
}

/// Raises one ambient capability; it must be permitted and inheritable (capabilities(7)).
pub fn raise_ambient(number: u8) -> Effect {
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    // SAFETY: PR_CAP_AMBIENT takes numbers and no pointer.
    let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(number), 0, 0) };
    check_int(result, Call::Ambient).map(drop)
}

/// Empties the ambient set; a kernel before 4.3 has none and that is no error.
pub fn clear_ambient() -> Effect {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    // SAFETY: PR_CAP_AMBIENT takes numbers and no pointer.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) };
    Ok(())
}
