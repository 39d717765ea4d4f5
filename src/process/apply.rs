//! The effects of this domain that are one call or a few: on the host before clone, and in the child after clone. What
//! takes more has a file of its own; what the host does to the fresh child stands in `adopt.rs`.

use std::ffi::CStr;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::process::{Op, console, cwd};
use crate::slots::{Slot, Slots};
use crate::sys::{affinity, capability, descriptor, file, identity, path, property, wait};

/// linux/magic.h
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Host, before clone.
pub fn apply_host(op: &Op, slots: &mut Slots) -> Effect {
    match op {
        Op::OpenHostProc => {
            let fd = path::open(libc::AT_FDCWD, c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0)?;
            slots.put(Slot::HOST_PROC, fd);
            match file::magic(fd)? {
                PROC_SUPER_MAGIC => Ok(()),
                _ => Err(Trouble::new(Call::CheckFilesystem, Errno::EXDEV)),
            }
        }
        Op::CheckInherited { first, count } => {
            // Everything that corten opens is close-on-exec, so one of its own descriptors can't be taken for one that
            // the caller handed down.
            for fd in *first..first.saturating_add(*count) {
                if descriptor::is_cloexec(fd as i32).map_err(|t| Trouble::new(Call::CheckFd, t.errno))? {
                    return Err(Trouble::new(Call::CheckFd, Errno::EBADF));
                }
            }
            Ok(())
        }
        Op::ConnectConsole { path } => {
            let fd = console::connect(path)?;
            slots.put(Slot::CONSOLE, fd);
            Ok(())
        }
        Op::ConnectAgent { path } => {
            let fd = console::connect(path)?;
            slots.put(Slot::AGENT, fd);
            Ok(())
        }
        Op::Undumpable => property::set_dumpable(false),
        Op::Affinity { cpus, .. } => affinity::set(cpus),
        _ => Err(misplaced()),
    }
}

/// What an effect in the child asks the interpreter to do beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It went wrong in a way that the spec wants a warning for.
    Warned(Trouble),
}

/// In the child, after clone: no heap, no panic. What needs the interpreter's own data (`Exec`, `Home`,
/// `FindExecutable`, `LoadFilter`, `StartHook`) is done there.
pub fn apply(op: &Op, slots: &mut Slots) -> Effect<Outcome> {
    match op {
        Op::OomScoreAdjust { text, .. } => write_host_proc(slots, c"self/oom_score_adj", text)?,
        Op::RaiseLimit { resource, hard, .. } => {
            let (soft, before) = property::rlimit(*resource)?;
            if before < *hard {
                property::set_rlimit(0, *resource, soft, *hard)?;
            }
        }
        Op::Undumpable => property::set_dumpable(false)?,
        Op::CloseHost => {
            for slot in [Slot::HOST_PROC, Slot::INIT] {
                slots.take(slot).into_iter().for_each(file::close);
            }
        }
        Op::CloseStdio => (0..3).for_each(file::close),
        Op::NewSession => identity::new_session()?,
        Op::SessionKeyring { name } => property::new_session_keyring(name)?,
        Op::Terminal { rows, columns, owner } => console::apply(slots, *rows, *columns, *owner)?,
        Op::Hostname { name } => property::set_hostname(name)?,
        Op::Domainname { name } => property::set_domainname(name)?,
        Op::Sysctl { file, value } => write_host_proc(slots, file, value)?,
        Op::AppArmor { text, .. } => set_profile(slots, text)?,
        Op::SelinuxExec { label } => write_host_proc(slots, c"self/attr/exec", label)?,
        Op::SelinuxKeyring { label } => write_host_proc(slots, c"self/attr/keycreate", label)?,
        // A line feed is no label (proc_pid_attr(5)).
        Op::SelinuxKeyringEnd => write_host_proc(slots, c"self/attr/keycreate", c"\n")?,
        Op::Affinity { cpus, .. } => affinity::set(cpus)?,
        Op::NoNewPrivileges => property::set_no_new_privileges()?,
        Op::Scheduler { attr, .. } => property::set_scheduler(attr)?,
        Op::IoPriority { value, .. } => property::set_io_priority(*value)?,
        Op::Personality { persona, .. } => property::set_personality(*persona)?,
        Op::MemoryPolicy { mode, nodes, .. } => property::set_memory_policy(*mode, nodes)?,
        Op::Limit { resource, soft, hard, .. } => property::set_rlimit(0, *resource, *soft, *hard)?,
        Op::MakeCwd { path } => cwd::apply_make(slots, path)?,
        Op::EnterCwd { path, first } => cwd::apply_enter(slots, path, *first)?,
        Op::VerifyCwd { .. } => cwd::apply_verify(slots)?,
        Op::OwnStdio { uid } => own_stdio(slots, *uid)?,
        Op::BoundingSet { keep, last } => {
            for number in (0..=*last).filter(|number| keep & 1 << number == 0) {
                capability::drop_bounding(number)?;
            }
        }
        Op::KeepCapabilities { keep } => property::set_keep_capabilities(*keep)?,
        Op::Groups { gids } => set_groups(gids)?,
        Op::Gid { gid } => identity::set_gid(*gid)?,
        Op::Uid { uid } => identity::set_uid(*uid)?,
        Op::Umask { mask } => identity::set_umask(*mask),
        Op::Capabilities { sets } => {
            capability::set(sets.effective, sets.permitted, sets.inheritable)?;
            capability::clear_ambient()?;
        }
        Op::Ambient { set, last } => {
            for number in (0..=*last).filter(|number| set & 1 << number != 0) {
                if let Err(trouble) = capability::raise_ambient(number) {
                    return Ok(Outcome::Warned(trouble));
                }
            }
        }
        Op::CloseDescriptors { from, keep } => {
            let kept = keep.map(|slot| slots.find(slot).unwrap_or(-1));
            descriptor::close_all_but(*from, &kept);
            // What stays is close-on-exec from birth; this is for a kernel that has let something through.
            descriptor::cloexec_from(*from);
            slots.forget_but(&keep[..]);
        }
        Op::ResetSignals => wait::reset_signals()?,
        _ => return Err(misplaced()),
    }
    Ok(Outcome::Done)
}

/// Without supplementary groups to set, a user namespace that denies setgroups is fine as it is.
fn set_groups(gids: &[u32]) -> Effect {
    match identity::set_groups(gids) {
        Err(trouble) if gids.is_empty() && trouble.errno == Errno::EPERM => Ok(()),
        other => other,
    }
}

/// Writes a file of the host's procfs, which no mount inside the container can cover: RESOLVE_NO_XDEV makes that an
/// error even for mounts on top of the host's (CVE-2025-52881).
fn write_host_proc(slots: &Slots, file: &CStr, value: &CStr) -> Effect {
    let proc = slots.get(Slot::HOST_PROC)?;
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS;
    let fd = path::openat2(proc, file, libc::O_WRONLY, resolve)?;
    let result = descriptor::write(fd, value.to_bytes());
    file::close(fd);
    result
}

/// Through the host's procfs, because the container's own may be a file system of the image's choice, which would take
/// the word and do nothing (CVE-2019-16884). Before Linux 5.8 AppArmor has no directory of its own there.
fn set_profile(slots: &Slots, text: &CStr) -> Effect {
    match write_host_proc(slots, c"self/attr/apparmor/exec", text) {
        Err(Trouble { call: Call::Openat2, errno: Errno::ENOENT }) => write_host_proc(slots, c"self/attr/exec", text),
        other => other,
    }
}

/// Gives stdin, stdout and stderr to the container's user. A descriptor whose owner can't change (a socket, another user's
/// file, a read-only mount) stays as it is. /dev/null belongs to everyone: in place of the host's the container gets its
/// own, since a file of outside would be in the way of a checkpoint, and of a security module's rules.
fn own_stdio(slots: &Slots, uid: u32) -> Effect {
    for fd in 0..3 {
        let Ok(stat) = descriptor::stat(fd) else { continue };
        if is_null(&stat) {
            reopen_null(slots, fd)?;
            continue;
        }
        if stat.st_uid == uid {
            continue;
        }
        match descriptor::change_owner(fd, uid) {
            Err(trouble) if !matches!(trouble.errno, Errno::EINVAL | Errno::EPERM | Errno::EROFS | Errno::ENOSYS) => {
                return Err(trouble);
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_null(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}

/// Puts the container's /dev/null in the place of a descriptor. What stands there and is another device, or nothing, leaves
/// it as it is.
fn reopen_null(slots: &Slots, fd: i32) -> Effect {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let Ok(own) = path::open_in_root(slots.get(Slot::ROOTFS)?, c"/dev/null", flags) else { return Ok(()) };
    let replaced = match descriptor::stat(own) {
        Ok(stat) if is_null(&stat) => descriptor::dup_to(own, fd),
        _ => Ok(()),
    };
    file::close(own);
    replaced
}

/// The home directory of `uid` in the container's /etc/passwd, into `home`; the number of its bytes. `/` when there is
/// none (passwd(5)). The file is hostile: it must be a regular one, inside the root, and is read line by line in a
/// fixed buffer; a line that is longer than that is passed over.
pub fn find_home(slots: &Slots, uid: u32, home: &mut [u8]) -> Effect<usize> {
    let root = slots.get(Slot::ROOTFS)?;
    let found = match path::open_in_root(root, c"/etc/passwd", libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY) {
        Ok(fd) => {
            let found = match file::fstat(fd) {
                Ok(stat) if stat.kind() == libc::S_IFREG => scan_passwd(fd, uid, home),
                _ => None,
            };
            file::close(fd);
            found
        }
        Err(_) => None,
    };
    Ok(found.unwrap_or_else(|| {
        if let Some(first) = home.first_mut() {
            *first = b'/';
        }
        1
    }))
}

/// The most of a passwd file that is looked at: 1 MiB.
const PASSWD_READS: usize = 256;

fn scan_passwd(fd: i32, uid: u32, home: &mut [u8]) -> Option<usize> {
    let mut buffer = [0u8; 4096];
    let mut used = 0;
    let mut skipping = false;
    for _ in 0..PASSWD_READS {
        let read = descriptor::read(fd, buffer.get_mut(used..)?).ok()?;
        let filled = used + read;
        let mut start = 0;
        while let Some(length) = buffer.get(start..filled)?.iter().position(|&b| b == b'\n') {
            let line = buffer.get(start..start + length)?;
            start += length + 1;
            if !std::mem::take(&mut skipping) {
                if let Some(found) = home_of(line, uid) {
                    home.get_mut(..found.len())?.copy_from_slice(found);
                    return Some(found.len());
                }
            }
        }
        if read == 0 {
            let line = buffer.get(start..filled)?;
            let found = if skipping { None } else { home_of(line, uid) }?;
            home.get_mut(..found.len())?.copy_from_slice(found);
            return Some(found.len());
        }
        buffer.copy_within(start..filled, 0);
        used = filled - start;
        if used == buffer.len() {
            skipping = true;
            used = 0;
        }
    }
    None
}

/// The home in one line of passwd(5), when it is this user's and not empty.
fn home_of(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&b| b == b':');
    let id = std::str::from_utf8(fields.nth(2)?).ok()?;
    if id.parse::<u32>() != Ok(uid) {
        return None;
    }
    fields.nth(2).filter(|home| !home.is_empty())
}

/// A step in a list where it can't be applied: a bug of planning, told as EPROTO rather than by a panic.
fn misplaced() -> Trouble {
    Trouble::new(Call::None, Errno::EPROTO)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    fn home(passwd: &str, uid: u32) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(passwd.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut home = [0; 128];
        let len = scan_passwd(file.as_raw_fd(), uid, &mut home)?;
        Some(String::from_utf8_lossy(&home[..len]).into_owned())
    }

    #[test]
    fn the_home_of_a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:100:Bob:/home/bob:/bin/sh";
        assert_eq!(home(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home(passwd, 1000).as_deref(), Some("/home/bob"));
        assert_eq!(home(passwd, 7), None);
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_passed_over_whole() {
        let long = format!("x:{}:1000:1::/wrong:\n", "y".repeat(9000));
        let tricky = format!("{}1000:1::/wrong:\n", "a:".repeat(4000));
        let passwd = format!("{long}{tricky}bob:x:1000:100::/home/bob:\n");
        assert_eq!(home(&passwd, 1000).as_deref(), Some("/home/bob"));
    }

    #[test]
    fn damaged_lines_are_no_home() {
        assert_eq!(home("\n:::\nroot:x:zero:0:::\nr:x:0:0\nr:x:0:0:r::sh\n", 0), None);
    }

    #[test]
    fn a_home_without_room_is_no_home() {
        assert_eq!(home(&format!("r:x:0:0::/{}:\n", "d".repeat(200)), 0), None);
    }
}
