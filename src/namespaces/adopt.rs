//! What the host does to the fresh child in its new user namespace: it writes the identity maps (user_namespaces(7)).
//! Runs in the host process, so it may allocate and start a program; nothing that runs after clone may come here.

use std::process::{Command, Stdio};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::namespaces::idmap::Map;
use crate::namespaces::{IdKind, Op};

/// Carries out a step of the adopt list on the child `pid`. `said` gets what a program that was run for it wrote last.
pub fn apply_adopt(op: &Op, pid: i32, said: &mut String) -> Effect {
    match op {
        Op::DenySetgroups => apply_deny_setgroups(pid),
        Op::Map { ids, map, by_helper: false } => apply_map(pid, *ids, map),
        Op::Map { ids, map, by_helper: true } => apply_map_by_helper(pid, *ids, map, said),
        _ => Err(Trouble::new(Call::None, Errno::EPROTO)),
    }
}

/// Writes a map of the child `pid` with the caller's own privilege. The kernel takes it in one write only.
fn apply_map(pid: i32, ids: IdKind, map: &Map) -> Effect {
    let file = match ids {
        IdKind::User => "uid_map",
        IdKind::Group => "gid_map",
    };
    write_proc(pid, file, &map.text())
}

/// Writes `deny` to the child's setgroups file. A kernel before 3.19 has no such file and needs none.
fn apply_deny_setgroups(pid: i32) -> Effect {
    match write_proc(pid, "setgroups", "deny") {
        Err(trouble) if trouble.errno == Errno::ENOENT => Ok(()),
        other => other,
    }
}

/// Has newuidmap or newgidmap write the map, which check it against /etc/subuid and /etc/subgid (newuidmap(1)).
/// ENOENT when the program is not installed; EPERM when it refuses.
fn apply_map_by_helper(pid: i32, ids: IdKind, map: &Map, said: &mut String) -> Effect {
    let program = match ids {
        IdKind::User => "newuidmap",
        IdKind::Group => "newgidmap",
    };
    let ranges = map.0.iter().flat_map(|r| [r.container.to_string(), r.host.to_string(), r.size.to_string()]);
    let ran = Command::new(program).arg(pid.to_string()).args(ranges).stdin(Stdio::null()).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            *said = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
            Err(Trouble::new(Call::MapIds, Errno::EPERM))
        }
        Err(error) => Err(Trouble::new(Call::MapIds, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))),
    }
}

fn write_proc(pid: i32, file: &str, text: &str) -> Effect {
    std::fs::write(format!("/proc/{pid}/{file}"), text).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        Trouble::new(if errno == Errno::ENOENT { Call::Open } else { Call::Write }, errno)
    })
}
