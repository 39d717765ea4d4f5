//! bpf(2), as far as device programs need it. The kernel marks every descriptor it makes here as close-on-exec.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::property;

/// Commands, types and flags of linux/bpf.h.
const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// Who may use the code of a program, for the kernel; ours calls none of the kernel's functions, so it may be any.
const LICENSE: &CStr = c"Apache-2.0";

/// The first fields of `union bpf_attr`, command by command. What follows them is zero to the kernel.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    before: [u64; 8],
    name: [u8; 16],
}

/// A structure that is the first part of `union bpf_attr`, for one command.
///
/// # Safety
/// Plain numbers without padding bytes, and every address in it is that of memory which the command may use as long as
/// the structure's fields say.
unsafe trait Attributes {
    const COMMAND: i32;
    const CALL: Call;
}

// SAFETY: numbers; `load_device_program` fills the addresses in.
unsafe impl Attributes for Load {
    const COMMAND: i32 = PROG_LOAD;
    const CALL: Call = Call::BpfLoad;
}
// SAFETY: numbers, no address.
unsafe impl Attributes for Attach {
    const COMMAND: i32 = PROG_ATTACH;
    const CALL: Call = Call::BpfAttach;
}
// SAFETY: numbers; `device_programs` fills the address in.
unsafe impl Attributes for Query {
    const COMMAND: i32 = PROG_QUERY;
    const CALL: Call = Call::BpfQuery;
}
// SAFETY: numbers, no address.
unsafe impl Attributes for ById {
    const COMMAND: i32 = PROG_GET_FD_BY_ID;
    const CALL: Call = Call::BpfQuery;
}
// SAFETY: numbers; `has_name` fills the address in.
unsafe impl Attributes for InfoByFd {
    const COMMAND: i32 = OBJ_GET_INFO_BY_FD;
    const CALL: Call = Call::BpfQuery;
}

fn bpf<A: Attributes>(attributes: &mut A) -> Effect<i32> {
    command(A::COMMAND, attributes, A::CALL)
}

fn command<A: Attributes>(command: i32, attributes: &mut A, call: Call) -> Effect<i32> {
    // SAFETY: the structure is as long as the call is told and lives through it; `Attributes` vouches for what it holds.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>()) };
    Errno::result(result).map(|result| result as i32).map_err(|errno| Trouble::new(call, errno))
}

fn address<T: ?Sized>(of: *const T) -> u64 {
    of.cast::<u8>() as usize as u64
}

fn padded(name: &CStr) -> [u8; 16] {
    let mut padded = [0; 16];
    // The last byte stays a NUL.
    padded[..15].iter_mut().zip(name.to_bytes()).for_each(|(place, byte)| *place = *byte);
    padded
}

/// Has the kernel check and take a program of type BPF_PROG_TYPE_CGROUP_DEVICE.
pub fn load_device_program(instructions: &[[u8; 8]], name: &CStr) -> Effect<RawFd> {
    let load = || {
        let mut attributes = Load {
            prog_type: TYPE_CGROUP_DEVICE,
            insn_cnt: instructions.len() as u32,
            insns: address(instructions),
            license: address(LICENSE.as_ptr()),
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
            prog_name: padded(name),
        };
        bpf(&mut attributes)
    };
    match load() {
        // Before Linux 5.11 programs count as locked memory of the user, and all containers of a user share one limit.
        Err(trouble) if trouble.errno == Errno::EPERM => with_locked_memory(load).unwrap_or(Err(trouble)),
        loaded => loaded,
    }
}

/// Runs `load` without a limit of locked memory; `None` when that can't be had.
fn with_locked_memory<T>(load: impl Fn() -> T) -> Option<T> {
    let (soft, hard) = property::rlimit(libc::RLIMIT_MEMLOCK).ok()?;
    property::set_rlimit(0, libc::RLIMIT_MEMLOCK, libc::RLIM64_INFINITY, libc::RLIM64_INFINITY).ok()?;
    let loaded = load();
    // Lowering it again takes no privilege.
    property::set_rlimit(0, libc::RLIMIT_MEMLOCK, soft, hard).ok()?;
    Some(loaded)
}

/// Attaches a program to a cgroup beside those that are there, or in the place of one (Linux 5.6).
pub fn attach_device_program(cgroup: RawFd, program: RawFd, replaced: Option<RawFd>) -> Effect {
    let mut attributes = Attach {
        target_fd: cgroup as u32,
        attach_bpf_fd: program as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replaced.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replaced.unwrap_or(0) as u32,
    };
    bpf(&mut attributes).map(drop)
}

/// Takes a program off a cgroup.
pub fn detach_device_program(cgroup: RawFd, program: RawFd) -> Effect {
    let mut attributes = Attach {
        target_fd: cgroup as u32,
        attach_bpf_fd: program as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    command(PROG_DETACH, &mut attributes, Call::BpfAttach).map(drop)
}

/// The ids of the device programs that are attached to a cgroup itself. A kernel that can't say (before 4.15, or without
/// CONFIG_CGROUP_BPF) has none.
pub fn device_programs(cgroup: RawFd) -> Effect<Vec<u32>> {
    // The kernel takes 64 at most (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0u32; 64];
    let mut attributes = Query {
        target_fd: cgroup as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: address(ids.as_mut_ptr()),
        prog_cnt: ids.len() as u32,
        padding: 0,
    };
    match bpf(&mut attributes) {
        Err(trouble) if trouble.errno == Errno::EINVAL => return Ok(Vec::new()),
        queried => queried?,
    };
    Ok(ids.iter().take(attributes.prog_cnt as usize).copied().collect())
}

/// A descriptor of the program with an id.
pub fn open_program(id: u32) -> Effect<RawFd> {
    bpf(&mut ById { prog_id: id, next_id: 0, open_flags: 0 })
}

/// Whether a program was loaded under this name.
pub fn has_name(program: RawFd, name: &CStr) -> Effect<bool> {
    let mut info = Info { before: [0; 8], name: [0; 16] };
    let address = address(&raw mut info);
    bpf(&mut InfoByFd { bpf_fd: program as u32, info_len: size_of::<Info>() as u32, info: address })?;
    Ok(info.name == padded(name))
}
