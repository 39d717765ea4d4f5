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
use nix::unistd::{chroot, fchdir};

use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};

/// Calls `make` in a new mount namespace where `dir` is a mount point, and comes back.
///
/// # Errors
/// Whatever fails on the way there or back; the error of `make`.
pub fn alone<T>(dir: &Path, make: impl FnOnce() -> Result<T>) -> Result<T> {
    let open = |path: &str| File::open(path).map_err(|error| Error::io(format!("open {path}"), Call::Open, &error));
    // Joining a mount namespace leads to its own root, which is another one for a corten that has been chrooted.
    let (before, root, cwd) = (open("/proc/self/ns/mnt")?, open("/")?, open(".")?);
    unshare(CloneFlags::CLONE_NEWNS).during(Call::Unshare).doing(|| "make a mount namespace for criu")?;
    let made = bind(dir).and_then(|()| make());
    setns(before.as_fd(), CloneFlags::CLONE_NEWNS).during(Call::Setns).doing(|| "leave criu's mount namespace")?;
    fchdir(&root).and_then(|()| chroot(".")).and_then(|()| fchdir(&cwd)).doing(|| "find back after starting criu")?;
    made
}

fn bind(dir: &Path) -> Result {
    const NONE: Option<&str> = None;
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
        crate::host::mountinfo::parse(&text).iter().any(|mount| mount.point == dir)
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
