//! Delegation (admin-guide/cgroup-v2.rst, "Delegation"): who owns a cgroup's directory and some of its files can make
//! cgroups below it and move processes among them, and never out of it. The limits stay the host's: their files aren't
//! given away.

use std::ffi::{CStr, CString};
use std::path::Path;

use nix::errno::Errno;

use super::file::read;
use crate::fault::{Effect, Trouble};
use crate::sys::{file, path};

/// The kernel's own list of the files that a delegatee needs, since Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// What stood in the list first, for a kernel or a machine without it.
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// The caller's group id stays as it is (fchownat(2)).
const SAME: u32 = u32::MAX;

/// Gives a cgroup of version 2 to a user. Files that this kernel or this cgroup hasn't got are passed over.
pub fn delegate(dir: &CStr, uid: u32) -> Effect {
    let dir = path::open(path::CWD, dir, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let delegated = delegate_open(dir, uid);
    file::close(dir);
    delegated
}

fn delegate_open(dir: i32, uid: u32) -> Effect {
    let list = read(Path::new(LIST)).unwrap_or_else(|_| FILES.to_owned());
    for name in names(&list) {
        match file::lchownat(dir, &name, uid, SAME) {
            Err(Trouble { errno: Errno::ENOENT, .. }) => {}
            given => given?,
        }
    }
    // The directory comes last: with it the rest is usable.
    file::lchownat(dir, c".", uid, SAME)
}

/// The names in the list; the kernel writes no paths, so one is nothing that belongs there.
fn names(list: &str) -> impl Iterator<Item = CString> {
    list.lines().filter(|name| !name.is_empty() && !name.contains('/') && *name != "..").flat_map(CString::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn only_names_are_taken_from_the_list() {
        let found: Vec<_> = names("cgroup.procs\n../memory.max\n\n..\n/x\nmemory.oom.group").collect();
        assert_eq!(found, [c"cgroup.procs".to_owned(), c"memory.oom.group".to_owned()]);
    }

    #[test]
    fn a_directory_and_its_files_of_the_list_change_hands_and_the_rest_stays() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["cgroup.procs", "memory.max"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let path = super::super::file::c_string(dir.path());
        delegate(&path, 1234).unwrap();
        let uid = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().uid();
        assert_eq!((uid("."), uid("cgroup.procs"), uid("memory.max")), (1234, 1234, 0));
        assert_eq!(delegate(c"/nowhere", 1).unwrap_err().errno, Errno::ENOENT);
    }
}
