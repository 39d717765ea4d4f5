//! The effects of device rules, on the host.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::{bpf, descriptor, file, path};

/// How corten's programs are called, so that one can be told from another's; at most 15 bytes.
const NAME: &CStr = c"corten_devices";

/// Writes one exception to the file in the slot; `last` closes it. A cgroup can't allow what the one above doesn't:
/// that is EPERM (Documentation/admin-guide/cgroup-v1/devices.rst, "Hierarchy").
pub fn write_rule(slot: Slot, rule: &[u8], optional: bool, last: bool, slots: &mut Slots) -> Effect {
    let file = slots.get(slot)?;
    match descriptor::write(file, rule) {
        Err(trouble) if optional && trouble.errno == Errno::EPERM => {}
        written => written?,
    }
    if last {
        slots.take(slot).into_iter().for_each(file::close);
    }
    Ok(())
}

/// Attaches a program to a cgroup of version 2. One that corten has attached there before is replaced, without a moment in
/// between; those of others go on ruling beside it: a device must be allowed by all.
pub fn attach(dir: &CStr, program: &[[u8; 8]]) -> Effect {
    let cgroup = path::open(path::CWD, dir, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let attached = attach_to(cgroup, program);
    file::close(cgroup);
    attached
}

fn attach_to(cgroup: RawFd, program: &[[u8; 8]]) -> Effect {
    let own = own_programs(cgroup)?;
    let program = match bpf::load_device_program(program, NAME) {
        Ok(program) => program,
        Err(trouble) => {
            own.into_iter().for_each(file::close);
            return Err(trouble);
        }
    };
    let attached = match own.first() {
        None => bpf::attach_device_program(cgroup, program, None),
        Some(&before) => match bpf::attach_device_program(cgroup, program, Some(before)) {
            // Before Linux 5.6 nothing can be replaced; both rule until the old one goes.
            Err(trouble) if trouble.errno == Errno::EINVAL => bpf::attach_device_program(cgroup, program, None)
                .and_then(|()| bpf::detach_device_program(cgroup, before)),
            attached => attached,
        },
    };
    // Should there ever be several of corten's, one is left.
    let rest = own.iter().skip(1).map(|&before| bpf::detach_device_program(cgroup, before));
    let attached = attached.and_then(|()| rest.fold(Ok(()), Effect::and));
    own.into_iter().chain([program]).for_each(file::close);
    attached
}

/// Descriptors of the programs on the cgroup that bear corten's name; a new cgroup has none.
fn own_programs(cgroup: RawFd) -> Effect<Vec<RawFd>> {
    let mut own = Vec::new();
    for id in bpf::device_programs(cgroup)? {
        let program = match bpf::open_program(id) {
            Ok(program) => program,
            // It went meanwhile.
            Err(Trouble { errno: Errno::ENOENT, .. }) => continue,
            Err(trouble) => {
                own.into_iter().for_each(file::close);
                return Err(trouble);
            }
        };
        match bpf::has_name(program, NAME) {
            Ok(true) => own.push(program),
            _ => file::close(program),
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_fits() {
        assert!(NAME.to_bytes().len() <= 15);
    }
}
