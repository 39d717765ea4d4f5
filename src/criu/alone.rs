//! A mount namespace for criu alone, in which the root file system is a mount point, as a restore wants it. Nobody outside sees
//! its mounts, and it is gone with criu, however that ends, or corten.
//!
//! corten itself goes there for the moment in which criu is started: criu takes the directory for its log from corten's
//! descriptors, mounts in there, and may do so only in its own namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chroot, fchdir};

use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};
use crate::field::Field;

/// Calls `make` in a new mount namespace where `dir` is a mount point, and comes back.
///
/// # Errors
/// Whatever fails on the way there or back; the error of `make`.
pub fn alone<T>(dir: &Path, make: impl FnOnce() -> Result<T>) -> Result<T> {
    elsewhere(
        || unshare(CloneFlags::CLONE_NEWNS).during(Call::Unshare).doing(|| "make a mount namespace for criu"),
        || bind(dir).and_then(|()| make()),
    )
}

/// Makes the root of the process's mount namespace read-only, unless it is: not every criu does.
///
/// # Errors
/// Whatever fails on the way there or back.
pub fn make_root_read_only(pid: i32) -> Result {
    let (namespace, root) = (open(&format!("/proc/{pid}/ns/mnt"))?, format!("/proc/{pid}/root"));
    let flags = statvfs(root.as_str()).doing(|| format!("look at {root}"))?.flags();
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
    let kept =
        kept.into_iter().filter(|(has, _)| flags.contains(*has)).fold(MsFlags::empty(), |all, (_, one)| all | one);
    let remount = kept | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    elsewhere(
        || {
            setns(namespace, CloneFlags::CLONE_NEWNS)
                .during(Call::Setns)
                .doing(|| "enter the container's mount namespace")
        },
        || mount(NONE, "/", NONE, remount, NONE).during(Call::Mount).doing(|| "make the restored root read-only"),
    )
    .map_err(|error| error.field(Field::at("/root/readonly")))
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

fn bind(dir: &Path) -> Result {
    let private = mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE);
    private.during(Call::Mount).doing(|| "make the mounts of criu's namespace private")?;
    let bound = mount(Some(dir), dir, NONE, MsFlags::MS_REC | MsFlags::MS_BIND, NONE);
    bound.during(Call::Mount).doing(|| format!("bind {} on itself for criu", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork_test;

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
            assert!(alone(&dir, || Ok(mounted(&dir))).unwrap());
            assert!(!mounted(&dir));
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/usr"));
            let failed = alone(&dir, || Err::<(), _>(Error::EmptyId)).unwrap_err();
            assert_eq!(failed.to_string(), Error::EmptyId.to_string());
            assert!(alone(Path::new("/nowhere"), || Ok(())).unwrap_err().to_string().contains("/nowhere"));
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/usr"));
            String::new()
        });
        assert_eq!(outcome, "");
    }
}
