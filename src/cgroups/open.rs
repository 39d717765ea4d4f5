//! Opens a cgroup that is there already, for a process that is to enter it: `exec`. Runs on the host, before clone.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::file::{c_string, read};
use super::members::listed;
use super::{Open, Version, tree};
use crate::fault::{Call, During, Effect, Trouble};
use crate::slots::Slots;
use crate::sys::{file, path};

/// Opens the container's cgroup in a hierarchy, or the one below it that was asked for by name.
pub(super) fn open(step: &Open, slots: &mut Slots) -> Effect {
    let top = step.mount.join(&step.path);
    if step.optional && step.below.is_none() && !top.exists() {
        return Ok(());
    }
    let dir = match (&step.below, step.version) {
        // Names of cgroups below the container's own are its own choice: the kernel keeps the way inside.
        (Some(below), _) => {
            let own = path::open(path::CWD, &c_string(&top), libc::O_PATH | libc::O_DIRECTORY, 0)?;
            let resolve = libc::RESOLVE_BENEATH | path::NO_SYMLINKS;
            let opened = path::openat2(own, &c_string(below), libc::O_RDONLY | libc::O_DIRECTORY, resolve);
            file::close(own);
            opened?
        }
        (None, Version::V1) => directory(&top)?,
        (None, Version::V2) => directory(&open_for_processes(&top, step.init)?)?,
    };
    let entry = match step.version {
        Version::V1 => {
            let tasks = path::open(dir, c"tasks", libc::O_WRONLY, 0);
            file::close(dir);
            tasks?
        }
        // clone3 refuses a descriptor that is O_PATH (CLONE_INTO_CGROUP in clone(2)).
        Version::V2 => dir,
    };
    slots.put(step.slot, entry);
    Ok(())
}

fn directory(dir: &Path) -> Effect<i32> {
    path::open(path::CWD, &c_string(dir), libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

/// The container's cgroup of version 2; when that has handed controllers down, as an init system in it does, it may have no
/// processes of its own any more (cgroups(7), "no internal processes"), and the newcomer goes where the init is.
fn open_for_processes(top: &Path, init: i32) -> Effect<PathBuf> {
    match read(&top.join("cgroup.subtree_control")) {
        Ok(controllers) if !controllers.trim().is_empty() => {}
        _ => return Ok(top.to_owned()),
    }
    let mut at = tree::Descent::begin(top).during(Call::Open)?;
    let mut way = PathBuf::new();
    loop {
        if listed(at.here().as_fd()).during(Call::Read)?.contains(&init) {
            return Ok(top.join(way));
        }
        loop {
            if let Some(name) = at.take_next() {
                way.push(OsStr::from_bytes(name.to_bytes()));
                if at.enter(name).during(Call::Open)? {
                    break;
                }
                way.pop();
            } else if at.leave().during(Call::Open)?.is_some() {
                way.pop();
            } else {
                return Err(Trouble::new(Call::CheckCgroup, Errno::EBUSY));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn where_controllers_are_handed_down_the_cgroup_of_the_init_is_found() {
        let root = tempfile::tempdir().unwrap();
        let found = |init| open_for_processes(root.path(), init);
        assert_eq!(found(7).unwrap(), root.path(), "no such file: nothing is handed down");
        fs::write(root.path().join("cgroup.subtree_control"), "\n").unwrap();
        assert_eq!(found(7).unwrap(), root.path());
        fs::write(root.path().join("cgroup.subtree_control"), "memory pids\n").unwrap();
        for (name, procs) in [("", ""), ("a", "5\n"), ("a/deep", ""), ("init.scope", "7\n"), ("z", "9\n")] {
            fs::create_dir_all(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("cgroup.procs"), procs).unwrap();
        }
        assert_eq!(found(7).unwrap(), root.path().join("init.scope"));
        assert_eq!(found(5).unwrap(), root.path().join("a"));
        assert_eq!(found(1).unwrap_err(), Trouble::new(Call::CheckCgroup, Errno::EBUSY));
    }

    #[test]
    fn a_cgroup_below_is_opened_by_its_name_and_no_way_leads_out() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["web/inner", "other"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
            fs::write(root.path().join(dir).join("tasks"), "").unwrap();
        }
        let opened = |below: &str| {
            let mut slots = Slots::with_room(20);
            let step = Open {
                version: Version::V1,
                hierarchy: "cpu".into(),
                mount: root.path().to_owned(),
                path: "web".into(),
                below: Some(below.into()),
                init: 7,
                optional: false,
                slot: crate::slots::Slot(19),
            };
            open(&step, &mut slots).inspect(|()| slots.filled().for_each(file::close)).map_err(|trouble| trouble.errno)
        };
        assert_eq!(opened("inner"), Ok(()));
        assert_eq!(opened("none"), Err(Errno::ENOENT));
        assert_eq!(opened("../other"), Err(Errno::EXDEV));
        assert_eq!(opened("/etc"), Err(Errno::EXDEV));
    }
}
