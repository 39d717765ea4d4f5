//! The effects of this domain on the host: cgroups are made, opened and limited before anyone is in them.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::delegate::delegate;
use super::file::{c_string, read, write};
use super::freeze::would_freeze;
use super::members::listed;
use super::{Make, Op, Version, devices, open, tree};
use crate::fault::{Call, During, Effect, Trouble};
use crate::slots::Slots;
use crate::sys::{file, path};

/// Host, before clone.
pub fn apply_host(op: &Op, slots: &mut Slots) -> Effect {
    match op {
        Op::Make(make) => match apply_make(make, slots) {
            Err(trouble) if make.optional && is_forbidden(trouble.errno) => Ok(()),
            made => made,
        },
        Op::Open(step) => open::open(step, slots),
        Op::Write { file, value } => write(path_of(file), value.to_bytes()),
        Op::WriteFirst { choices } => write_first(choices),
        Op::WriteIfPresent { file, value } => match write(path_of(file), value.to_bytes()) {
            Err(trouble) if is_missing(trouble) => Ok(()),
            written => written,
        },
        Op::Delegate { dir, uid, optional } => match delegate(dir, *uid) {
            Err(trouble) if *optional && (is_forbidden(trouble.errno) || trouble.errno == Errno::ENOENT) => Ok(()),
            delegated => delegated,
        },
        Op::OpenLimit { file, slot } => {
            slots.put(*slot, path::open(path::CWD, file, libc::O_WRONLY, 0)?);
            Ok(())
        }
        Op::RuleDevice { slot, value, optional, last, .. } => {
            devices::write_rule(*slot, value.to_bytes(), *optional, *last, slots)
        }
        Op::AttachDevices(devices) => devices::attach(&devices.dir, &devices.program.0),
        _ => Err(Trouble::new(Call::None, Errno::EPROTO)),
    }
}

fn path_of(file: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(file.to_bytes()))
}

/// The file isn't there; what a write itself has to say about missing things is another matter.
fn is_missing(trouble: Trouble) -> bool {
    trouble == Trouble::new(Call::Open, Errno::ENOENT)
}

fn write_first(choices: &[(CString, CString)]) -> Effect {
    let mut last = Err(Trouble::new(Call::Open, Errno::ENOENT));
    for (file, value) in choices {
        last = write(path_of(file), value.to_bytes());
        match last {
            Err(trouble) if is_missing(trouble) => {}
            written => return written,
        }
    }
    last
}

fn is_forbidden(errno: Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS)
}

fn apply_make(make: &Make, slots: &mut Slots) -> Effect {
    let dir = make.mount.join(&make.path);
    if !make_dirs(&make.mount, &make.path)? {
        refuse_inhabited(&dir)?;
    }
    refuse_frozen(make, &dir)?;
    if make.fill_cpuset {
        fill_cpuset(&make.mount, &make.path)?;
    }
    if make.version == Version::V2 && !make.enable.is_empty() {
        enable(make, &dir);
    }
    let (name, flags) = match make.version {
        Version::V1 => (dir.join("tasks"), libc::O_WRONLY),
        // clone3 refuses a descriptor that is O_PATH (CLONE_INTO_CGROUP in clone(2)).
        Version::V2 => (dir, libc::O_RDONLY | libc::O_DIRECTORY),
    };
    slots.put(make.slot, path::open(path::CWD, &c_string(&name), flags, 0)?);
    Ok(())
}

/// Makes the cgroup; `false` when it exists already. Those above it may go at any moment, with the last container in them,
/// so they are made again as long as that happens.
pub(super) fn make_dirs(mount: &Path, path: &Path) -> Effect<bool> {
    let dir = &mount.join(path);
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        match mkdir(dir) {
            Ok(()) => return Ok(true),
            Err(trouble) if trouble.errno == Errno::EEXIST => return Ok(false),
            Err(trouble) if trouble.errno == Errno::ENOENT => {}
            Err(trouble) => return Err(trouble),
        }
        let mut above = mount.to_owned();
        for name in path.parent().unwrap_or(Path::new("")) {
            above.push(name);
            match mkdir(&above) {
                Err(trouble) if !matches!(trouble.errno, Errno::EEXIST | Errno::ENOENT) => return Err(trouble),
                _ => {}
            }
        }
    }
    Err(Trouble::new(Call::Mkdir, Errno::ENOENT))
}

fn mkdir(dir: &Path) -> Effect {
    file::mkdirat(path::CWD, &c_string(dir), 0o755)
}

/// A cgroup that somebody else is in must not become a container's: it would be limited, frozen and killed with it.
/// EBUSY.
pub(super) fn refuse_inhabited(dir: &Path) -> Effect {
    match inhabitants(dir)? {
        0 => Ok(()),
        _ => Err(Trouble::new(Call::CheckCgroup, Errno::EBUSY)),
    }
}

/// How many processes are in a cgroup and below it, those of other pid namespaces included.
pub fn inhabitants(dir: &Path) -> Effect<usize> {
    let mut count = 0;
    let walked = tree::walk(dir, &mut |here| {
        count += listed(here)?.len();
        Ok(())
    });
    walked.during(Call::CheckCgroup).map(|()| count)
}

/// In a frozen cgroup, or below one, the init would stand still before it could say a word. EAGAIN.
fn refuse_frozen(make: &Make, dir: &Path) -> Effect {
    // Only the hierarchy of the freezer can be frozen in version 1.
    if make.version == Version::V1 && !make.hierarchy.split(',').any(|name| name == "freezer") {
        return Ok(());
    }
    match would_freeze(dir, make.version)? {
        true => Err(Trouble::new(Call::CheckCgroup, Errno::EAGAIN)),
        false => Ok(()),
    }
}

/// A new cpuset of version 1 is empty, and nobody can enter it. It gets what the nearest cpuset above has
/// (cpuset(7)); the config's own values come later.
pub(super) fn fill_cpuset(mount: &Path, path: &Path) -> Effect {
    let parts: Vec<&Path> = path.ancestors().filter(|part| *part != Path::new("")).collect();
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = |part: &Path| mount.join(part).join(name);
        // From the container's cgroup up to the first that is filled, then down again.
        let mut empty: Vec<PathBuf> = Vec::new();
        let mut filled = String::new();
        for part in parts.iter().copied().chain([Path::new("")]) {
            let value = read(&file(part))?;
            if !value.trim().is_empty() {
                filled = value;
                break;
            }
            empty.push(file(part));
        }
        for file in empty.iter().rev() {
            write(file, filled.trim().as_bytes())?;
        }
    }
    Ok(())
}

/// Gives the cgroup its controllers, as far as the cgroups above it may hand them down (cgroups(7), "Cgroups v2
/// subtree control"). What can't be had shows where it is missed, at the limit that needs it.
fn enable(make: &Make, dir: &Path) {
    let present = |dir: &Path, file: &str| read(&dir.join(file)).unwrap_or_default();
    let lacks = |list: &str, name: &String| !list.split_whitespace().any(|present| present == name);
    let has = present(dir, "cgroup.controllers");
    if !make.enable.iter().any(|name| lacks(&has, name)) {
        return;
    }
    let mut above = make.mount.clone();
    let mut names = make.path.iter();
    loop {
        let enabled = present(&above, "cgroup.subtree_control");
        let control = above.join("cgroup.subtree_control");
        // One by one, because one that can't be had would take the others along.
        for name in make.enable.iter().filter(|name| lacks(&enabled, name)) {
            let _ = write(&control, format!("+{name}").as_bytes());
        }
        match names.next() {
            Some(name) => above.push(name),
            None => return,
        }
        if above == dir {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_first_file_that_is_there_is_written_and_a_missing_one_may_be_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| c_string(&dir.path().join(name));
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let apply = |op: Op| apply_host(&op, &mut Slots::with_room(0));
        fs::write(dir.path().join("b"), "").unwrap();
        fs::write(dir.path().join("c"), "").unwrap();
        let choices = ["a", "b", "c"].map(|name| (path(name), CString::new(format!("to {name}")).unwrap()));
        assert_eq!(apply(Op::WriteFirst { choices: choices.to_vec() }), Ok(()));
        assert_eq!([text("b"), text("c")], ["to b", ""]);
        let missing = Err(Trouble::new(Call::Open, Errno::ENOENT));
        assert_eq!(apply(Op::WriteFirst { choices: choices[..1].to_vec() }), missing);
        assert_eq!(apply(Op::Write { file: path("a"), value: c"1".to_owned() }), missing);
        assert_eq!(apply(Op::WriteIfPresent { file: path("a"), value: c"1".to_owned() }), Ok(()));
        assert_eq!(apply(Op::WriteIfPresent { file: path("c"), value: c"2".to_owned() }), Ok(()));
        assert_eq!(text("c"), "2");
        assert!(!dir.path().join("a").exists());
    }
}
