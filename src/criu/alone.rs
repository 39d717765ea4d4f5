//! A mount namespace for criu alone, in which it finds what it needs mounted: the root file system as a mount point, for a
//! restore, and the hierarchies of control groups. Nobody outside sees its mounts, and it is gone with criu, however that ends,
//! or corten.
//!
//! Without the hierarchies criu would mount them itself, and a mount of version 2 without options takes the options of the
//! host's own away (`nsdelegate`; admin-guide/cgroup-v2.rst, "Mounting").
//!
//! corten itself goes there for the moment in which criu is started: criu takes the directory for its log from corten's
//! descriptors, mounts in there, and may do so only in its own namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chroot, fchdir};

use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};
use crate::field::Field;
use crate::host::cgroups::Layout;

/// What is mounted for criu.
#[derive(Clone, Copy, Debug)]
pub struct Alone<'a> {
    /// Becomes a mount point.
    pub root: Option<&'a Path>,
    /// A directory that is covered by one with the hierarchies of control groups.
    pub yard: &'a Path,
    /// The hierarchies: the name that criu looks for, and where the host has it mounted.
    pub hierarchies: &'a [(String, PathBuf)],
}

/// Calls `make` in a new mount namespace with these mounts, and comes back.
///
/// # Errors
/// Whatever fails on the way there or back; the error of `make`.
pub fn alone<T>(alone: &Alone, make: impl FnOnce() -> Result<T>) -> Result<T> {
    elsewhere(
        || unshare(CloneFlags::CLONE_NEWNS).during(Call::Unshare).doing(|| "make a mount namespace for criu"),
        || mount_all(alone).and_then(|()| make()),
    )
}

/// The hierarchies of a host, by the names of their controllers as /proc/PID/cgroup has them.
pub fn hierarchies(layout: &Layout) -> Vec<(String, PathBuf)> {
    let plain = |controllers: &[String]| {
        let names: Vec<_> = controllers.iter().map(|name| name.trim_start_matches("name=")).collect();
        names.join(",")
    };
    let v1 = layout.v1.iter().map(|hierarchy| (plain(&hierarchy.controllers), hierarchy.mount.clone()));
    v1.chain(layout.unified.iter().map(|unified| ("unified".to_owned(), unified.mount.clone()))).collect()
}

/// Makes the root of the process's mount namespace read-only, unless it is: not every criu does.
///
/// # Errors
/// Whatever fails on the way there or back.
pub fn make_root_read_only(pid: i32) -> Result {
    let namespace = open(&format!("/proc/{pid}/ns/mnt"))?;
    let enter = || {
        let joined = setns(namespace, CloneFlags::CLONE_NEWNS).during(Call::Setns);
        joined.doing(|| "enter the container's mount namespace")
    };
    elsewhere(enter, remount_root).map_err(|error| error.field(Field::at("/root/readonly")))
}

/// "/" is the namespace's own root here: what `/proc/PID/root` shows is the process's choice.
fn remount_root() -> Result {
    let flags = statvfs("/").doing(|| "look at the restored root")?.flags();
    if flags.contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    // A remount says every flag anew.
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.into_iter().filter(|(has, _)| flags.contains(*has));
    let remount = kept.fold(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, |all, (_, one)| all | one);
    mount(NONE, "/", NONE, remount, NONE).during(Call::Mount).doing(|| "make the restored root read-only")
}

fn open(path: &str) -> Result<File> {
    File::open(path).map_err(|error| Error::io(format!("open {path}"), Call::Open, &error))
}

/// Does something in another mount namespace.
fn elsewhere<T>(enter: impl FnOnce() -> Result, act: impl FnOnce() -> Result<T>) -> Result<T> {
    // Joining a mount namespace leads to its own root, which is another one for a corten that has been chrooted.
    let (before, root, cwd) = (open("/proc/self/ns/mnt")?, open("/")?, open(".")?);
    enter()?;
    let acted = act();
    setns(before.as_fd(), CloneFlags::CLONE_NEWNS).during(Call::Setns).doing(|| "come back from a mount namespace")?;
    fchdir(&root)
        .and_then(|()| chroot("."))
        .and_then(|()| fchdir(&cwd))
        .doing(|| "find back from a mount namespace")?;
    acted
}

const NONE: Option<&str> = None;

/// Slaves of the host's, not private: what was a slave of a mount of the host gets that from criu again, which takes it over from
/// what is mounted here (MOVE_MOUNT_SET_GROUP; the kernel refuses a private mount).
fn mount_all(alone: &Alone) -> Result {
    let slave = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE);
    slave.during(Call::Mount).doing(|| "keep what is mounted for criu from the host")?;
    if let Some(root) = alone.root {
        bind(root, root)?;
    }
    let yard = mount(Some("yard"), alone.yard, Some("tmpfs"), MsFlags::empty(), Some("mode=700"));
    yard.during(Call::Mount).doing(|| format!("mount a directory for criu on {}", alone.yard.display()))?;
    for (name, place) in alone.hierarchies {
        let at = alone.yard.join(name);
        std::fs::create_dir(&at).doing(|| format!("make {}", at.display()))?;
        bind(place, &at)?;
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result {
    let bound = mount(Some(source), target, NONE, MsFlags::MS_REC | MsFlags::MS_BIND, NONE);
    bound.during(Call::Mount).doing(|| format!("bind {} on {} for criu", source.display(), target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork_test;

    fn own<'a>(root: &'a Path, yard: &'a Path, hierarchies: &'a [(String, PathBuf)]) -> Alone<'a> {
        Alone { root: Some(root), yard, hierarchies }
    }

    fn mounted(dir: &Path) -> bool {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        crate::host::mountinfo::parse(text.as_bytes()).iter().any(|mount| mount.target == dir)
    }

    #[test]
    fn the_mount_point_is_there_for_the_moment_and_nobody_else() {
        if !fork_test::is_root("the_mount_point_is_there_for_the_moment_and_nobody_else") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let outcome = fork_test::in_namespaces(0, None, || {
            std::env::set_current_dir("/usr").unwrap();
            let yard = dir.join("yard");
            std::fs::create_dir(&yard).unwrap();
            let hierarchies = [("cpu,cpuacct".to_owned(), dir.join("source"))];
            std::fs::create_dir_all(dir.join("source/web")).unwrap();
            let mounts = own(&dir, &yard, &hierarchies);
            let seen = alone(&mounts, || Ok((mounted(&dir), yard.join("cpu,cpuacct/web").is_dir()))).unwrap();
            assert_eq!(seen, (true, true));
            assert!(!mounted(&dir) && !yard.join("cpu,cpuacct").exists());
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/usr"));
            let failed = alone(&mounts, || Err::<(), _>(Error::EmptyId)).unwrap_err();
            assert_eq!(failed.to_string(), Error::EmptyId.to_string());
            let nowhere = own(Path::new("/nowhere"), &yard, &[]);
            assert!(alone(&nowhere, || Ok(())).unwrap_err().to_string().contains("/nowhere"));
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/usr"));
            String::new()
        });
        assert_eq!(outcome, "");
    }

    #[test]
    fn hierarchies_have_the_names_that_criu_looks_for() {
        let named = crate::host::cgroups::Hierarchy {
            controllers: vec!["name=systemd".into()],
            mount: "/sys/fs/cgroup/systemd".into(),
            own: PathBuf::new(),
            options: Vec::new(),
        };
        let pair = crate::host::cgroups::Hierarchy {
            controllers: vec!["cpu".into(), "cpuacct".into()],
            mount: "/sys/fs/cgroup/cpuacct,cpu".into(),
            ..named.clone()
        };
        let unified = crate::host::cgroups::Unified {
            mount: "/sys/fs/cgroup/unified".into(),
            own: PathBuf::new(),
            controllers: Vec::new(),
            options: Vec::new(),
        };
        let layout = Layout { v1: vec![named, pair], unified: Some(unified) };
        let names: Vec<_> = hierarchies(&layout).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["systemd", "cpu,cpuacct", "unified"]);
    }
}
