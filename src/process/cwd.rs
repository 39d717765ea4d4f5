//! The working directory, resolved inside the container's root and entered by descriptor. A path that leads through a
//! magic link such as /proc/self/fd/7 is refused by the kernel (CVE-2024-21626).

use std::ffi::CStr;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::slots::{Slot, Slots};
use crate::sys::{descriptor, file, path};

const PATH_MAX: usize = libc::PATH_MAX as usize;

/// Makes the directory and its parents where they are missing, owned by the container's root, mode 0755.
pub fn apply_make(slots: &Slots, cwd: &CStr) -> Effect {
    let root = slots.get(Slot::ROOTFS)?;
    if let Ok(fd) = open(root, cwd) {
        file::close(fd);
        return Ok(());
    }
    let too_long = Trouble::new(Call::Mkdir, Errno::ENAMETOOLONG);
    let mut buffer = [0u8; PATH_MAX];
    let bytes = cwd.to_bytes();
    buffer.get_mut(..bytes.len()).ok_or(too_long)?.copy_from_slice(bytes);
    let mut start = 0;
    // One component at a time: the parent is opened inside the root each time, the child made in it by name.
    while start < bytes.len() {
        let rest = bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        if length > 0 {
            make_one(root, &mut buffer, start, start + length)?;
        }
        start += length + 1;
    }
    Ok(())
}

/// Makes the component `start..end` of the path in `buffer` unless it is there.
fn make_one(root: i32, buffer: &mut [u8; PATH_MAX], start: usize, end: usize) -> Effect {
    let cut = std::mem::replace(buffer.get_mut(end).ok_or(Trouble::new(Call::Mkdir, Errno::ENAMETOOLONG))?, 0);
    let result = (|| {
        match open(root, c_str(buffer, 0)) {
            Ok(fd) => {
                file::close(fd);
                return Ok(());
            }
            Err(trouble) if trouble.errno == Errno::ENOENT => {}
            Err(trouble) => return Err(trouble),
        }
        // The parent is the path up to this component, without its last slash.
        let slash = start.saturating_sub(1);
        let kept = buffer.get_mut(slash).map(|byte| std::mem::replace(byte, 0)).unwrap_or(0);
        let parent = if slash == 0 { path::open_in_root(root, c".", FLAGS) } else { open(root, c_str(buffer, 0)) };
        if start > 0 {
            if let Some(byte) = buffer.get_mut(slash) {
                *byte = kept;
            }
        }
        let parent = parent?;
        let made = file::mkdirat(parent, c_str(buffer, start), 0o755);
        file::close(parent);
        match made {
            Err(trouble) if trouble.errno == Errno::EEXIST => Ok(()),
            other => other,
        }
    })();
    if let Some(byte) = buffer.get_mut(end) {
        *byte = cut;
    }
    result
}

fn c_str(buffer: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(buffer.get(start..).unwrap_or(b"\0")).unwrap_or(c"")
}

const FLAGS: i32 = libc::O_PATH | libc::O_DIRECTORY;

fn open(root: i32, cwd: &CStr) -> Effect<i32> {
    path::open_in_root(root, cwd, FLAGS)
}

/// Enters the directory. The first try has the rights of before the change of user; when those are not enough (a home
/// on a file system that refuses root, for example) the second is made as the user.
pub fn apply_enter(slots: &mut Slots, cwd: &CStr, first: bool) -> Effect {
    if slots.find(Slot::CWD).or(slots.find(Slot::CHECKED_CWD)).is_some() {
        return Ok(());
    }
    let entered = open(slots.get(Slot::ROOTFS)?, cwd).and_then(|fd| {
        let result = file::fchdir(fd);
        result.map(|()| fd).inspect_err(|_| file::close(fd))
    });
    match entered {
        Ok(fd) => {
            slots.put(Slot::CWD, fd);
            Ok(())
        }
        Err(trouble) if first && matches!(trouble.errno, Errno::EACCES | Errno::EPERM) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

/// Refuses a working directory outside of the container's root. One that has been found good is not asked about again: a
/// filter may forbid getcwd(2) by then.
pub fn apply_verify(slots: &mut Slots) -> Effect {
    let Some(cwd) = slots.take(Slot::CWD) else { return Ok(()) };
    if !descriptor::cwd_is_reachable()? {
        return Err(Trouble::new(Call::CheckCwd, Errno::EPERM));
    }
    slots.put(Slot::CHECKED_CWD, cwd);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn root(dir: &std::path::Path) -> Slots {
        let mut slots = Slots::with_room(16);
        slots.put(Slot::ROOTFS, std::fs::File::open(dir).unwrap().into_raw_fd());
        slots
    }

    #[test]
    fn every_missing_component_is_made_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let slots = root(dir.path());
        for cwd in ["/a/b/c", "//d//e/", "/a", "/", "/a/../f/g"] {
            apply_make(&slots, &CString::new(cwd).unwrap()).unwrap();
        }
        for made in ["a/b/c", "d/e", "f/g"] {
            assert!(dir.path().join(made).is_dir(), "{made}");
        }
    }

    #[test]
    fn a_symlink_in_the_path_stays_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        let slots = root(dir.path());
        // The link leads to a path that doesn't exist inside: nothing is made, neither here nor there.
        assert!(apply_make(&slots, c"/out/x").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_magic_link_is_no_working_directory() {
        let slots = root(std::path::Path::new("/"));
        let open = std::fs::File::open("/tmp").unwrap();
        let cwd = CString::new(format!("/proc/self/fd/{}", open.as_raw_fd())).unwrap();
        assert!(apply_enter(&mut root(std::path::Path::new("/")), &cwd, false).is_err());
        drop(slots);
    }
}
