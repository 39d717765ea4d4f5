//! The sealed executable (CVE-2019-5736): a process that enters a container runs from a file that nothing in there can
//! change, and that isn't the host's.
//!
//! Whoever becomes a container's process brings its own program along as /proc/self/exe, until its execve and, when the
//! container names that link as its program, beyond. So the verbs that enter a container (the table in `cli/verbs.rs`
//! says which) begin by executing corten once more, from one of two images:
//!
//! - a **clone** of the mount that the program is on, detached and read-only: nothing is copied, and no change gets
//!   through. When its descriptor closes, which is at the execve, the clone belongs to no mount namespace any more, and
//!   the kernel then refuses to copy it, to attach it or to change its flags, to whoever it may be;
//! - a **copy** in memory, sealed, where the caller may not clone mounts or the kernel can't.
//!
//! Neither is needed by a caller whose containers can't have the program's owner for a user. How the second image knows
//! what it is: by what the kernel says of its file, and no variable or argument, which a container could see.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};
use crate::fault::Effect;
use crate::sys::mount::Change;
use crate::sys::seal::{self, COPY_NAME};
use crate::sys::{capability, file, mount, path};

/// What this process runs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// A detached read-only clone of the mount that the host's program is on.
    Clone,
    /// A sealed copy in memory.
    Copy,
    /// The host's file, which no container of this caller can change.
    OutOfReach,
    /// The host's file: it is executed no further than this module.
    Open,
}

impl Image {
    /// For the debug log.
    pub fn words(self) -> &'static str {
        match self {
            Image::Clone => "corten runs from a read-only clone of its mount",
            Image::Copy => "corten runs from a sealed copy of itself in memory",
            Image::OutOfReach => {
                "corten runs from its own file, which belongs to an id that the caller's containers can't have"
            }
            Image::Open => "corten runs from its own file",
        }
    }
}

/// Makes sure that a container can't change what this process runs from. Comes back in the sealed image, or at once where
/// none is needed; with the same arguments, environment and descriptors.
///
/// # Errors
/// When neither image can be made. Going on would break a promise.
pub fn seal() -> Result<Image> {
    let image = current().map_err(|trouble| Error::os("look at corten's own program", trouble))?;
    if image != Image::Open {
        if image != Image::OutOfReach {
            restore_name();
        }
        return Ok(image);
    }
    // Only a sealed copy is told beyond doubt, so whoever was executed from a descriptor already, and isn't known for
    // sealed, gets that: there is no way round in a circle.
    if !seal::executed_by_descriptor() {
        let _ = execute(clone());
    }
    let Err(trouble) = execute(copy());
    Err(Error::os("seal corten's own program, which a container could change otherwise", trouble).hint(
        "neither a read-only clone of its mount (open_tree, mount_setattr) nor a sealed copy in memory (memfd_create; see \
         the sysctl vm.memfd_noexec) was allowed. A corten that belongs to root, with nobody else allowed to write, needs \
         neither when an ordinary user calls it",
    ))
}

/// Becomes the image behind a descriptor.
fn execute(image: Effect<RawFd>) -> Effect<std::convert::Infallible> {
    let fd = image?;
    let trouble = seal::execute(fd);
    file::close(fd);
    Err(trouble)
}

/// The clone lives as long as its descriptor; being executed it outlives that, but in no namespace.
fn clone() -> Effect<RawFd> {
    let own = seal::open_own(libc::O_PATH)?;
    let clone = mount::open_tree(own, c"", false, false);
    file::close(own);
    let clone = clone?;
    let read_only = Change { set: libc::MOUNT_ATTR_RDONLY, ..Change::default() };
    mount::mount_setattr(clone, read_only, false).map(|()| clone).inspect_err(|_| file::close(clone))
}

fn copy() -> Effect<RawFd> {
    let own = seal::open_own(libc::O_RDONLY)?;
    let copy = seal::copy_to_memory(own);
    file::close(own);
    copy
}

/// What the kernel says of the file that this process runs from.
fn current() -> Effect<Image> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    let name = file::readlinkat(path::CWD, seal::OWN, &mut buffer)?;
    // Only then is it worth a look: a program that is reached by a path isn't sealed, however read-only it is now.
    let mut sealed = false;
    if is_clone(name) {
        let own = seal::open_own(libc::O_PATH)?;
        sealed = file::mount_flags(own).is_ok_and(|flags| flags & libc::ST_RDONLY != 0);
        file::close(own);
    } else if is_copy(name) {
        let own = seal::open_own(libc::O_RDONLY)?;
        sealed = seal::is_sealed(own);
        file::close(own);
    }
    match (sealed, is_clone(name)) {
        (true, true) => return Ok(Image::Clone),
        (true, false) => return Ok(Image::Copy),
        _ => {}
    }
    let euid = nix::unistd::geteuid().as_raw();
    // Most callers are root, and they are spared the questions.
    if euid != 0 {
        let own = seal::open_own(libc::O_PATH)?;
        let stat = file::fstat(own);
        file::close(own);
        if is_out_of_reach(euid, capability::probe().effective, &stat?) {
            return Ok(Image::OutOfReach);
        }
    }
    Ok(Image::Open)
}

/// The name of a mount's root that has no place in any namespace. A program that has a path can't be called so: `/` is a
/// directory to everyone.
fn is_clone(name: &[u8]) -> bool {
    name == b"/"
}

fn is_copy(name: &[u8]) -> bool {
    name.strip_prefix(b"/memfd:").is_some_and(|rest| rest.starts_with(COPY_NAME.to_bytes()))
}

/// Whether no container of this caller can change the file: it belongs to root, nobody else may write to it (an access
/// list shows as the group's permissions), and the caller neither is root nor has a capability by which its containers
/// could be. What it can map are its own id and what newuidmap gives it from /etc/subuid, where root's id doesn't stand
/// unless root has given itself away. To the kernel a user namespace that doesn't map the file's owner has no rights over
/// the file at all (capabilities(7), user_namespaces(7)).
fn is_out_of_reach(euid: u32, effective: u64, program: &file::Stat) -> bool {
    euid != 0 && effective == 0 && program.uid == 0 && program.permissions() & 0o022 == 0
}

/// The process is called as it was before: by the name that it was executed by.
fn restore_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = name.as_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if let Ok(name) = CString::new(name) {
        seal::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(uid: u32, permissions: u32) -> file::Stat {
        file::Stat { mode: libc::S_IFREG | permissions, rdev: 0, dev: 1, ino: 2, uid, gid: 0 }
    }

    #[test]
    fn root_s_program_is_out_of_an_ordinary_users_reach() {
        assert!(is_out_of_reach(1000, 0, &program(0, 0o755)));
        assert!(!is_out_of_reach(0, 0, &program(0, 0o755)), "a container of root's can be root");
        assert!(!is_out_of_reach(1000, 1 << 7, &program(0, 0o755)), "with CAP_SETUID any id can be mapped");
        assert!(!is_out_of_reach(1000, 0, &program(1000, 0o755)), "the caller's own file");
        assert!(!is_out_of_reach(1000, 0, &program(100_000, 0o755)), "one of the caller's subordinate ids");
        assert!(!is_out_of_reach(1000, 0, &program(65_534, 0o755)), "whose it is doesn't show here");
        for writable in [0o775, 0o757, 0o777] {
            assert!(!is_out_of_reach(1000, 0, &program(0, writable)), "{writable:o}");
        }
    }

    #[test]
    fn a_program_with_a_path_is_neither_clone_nor_copy() {
        for name in ["/usr/bin/corten", "/x (deleted)", "/memfd:other (deleted)", "//", ""] {
            assert!(!is_clone(name.as_bytes()) && !is_copy(name.as_bytes()), "{name}");
        }
        assert!(is_clone(b"/") && is_copy(b"/memfd:corten (deleted)"));
    }

    #[test]
    fn a_program_that_runs_from_its_path_is_not_taken_for_sealed() {
        assert!(matches!(current(), Ok(Image::Open | Image::OutOfReach)));
    }
}
