//! A way through a cgroup and all below it, by descriptor. What is in there was named, nested and may be changed at this
//! very moment by a container: no path is put together from its names, no link is followed, and how deep it goes costs
//! neither stack nor descriptors.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How many cgroups one walk goes into. Somebody who makes new ones ahead of it must not keep it for ever.
const MOST: usize = 1 << 20;

/// A place in the tree, with what is still to be seen on the way back.
pub struct Descent {
    here: OwnedFd,
    /// Cgroups in this one that haven't been looked at.
    waiting: Vec<CString>,
    above: Vec<Level>,
    entered: usize,
}

/// A cgroup above the present one.
struct Level {
    /// Which directory it is; `..` must lead back to it.
    identity: (u64, u64),
    waiting: Vec<CString>,
    /// The name in it that was gone into.
    left_by: CString,
}

impl Descent {
    /// Stands at the top; ENOENT when there is no such cgroup.
    pub fn begin(top: &Path) -> nix::Result<Descent> {
        let here = open(top, DIRECTORY, Mode::empty())?;
        let waiting = names(here.as_fd())?;
        Ok(Descent { here, waiting, above: Vec::new(), entered: 0 })
    }

    /// The present cgroup.
    pub fn here(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// The next cgroup in this one.
    pub fn next(&mut self) -> Option<CString> {
        self.waiting.pop()
    }

    /// Goes into a cgroup of this one; `false` when it is gone.
    pub fn enter(&mut self, name: CString) -> nix::Result<bool> {
        if self.entered >= MOST {
            return Err(Errno::ELOOP);
        }
        let opened = openat(&self.here, name.as_c_str(), DIRECTORY, Mode::empty())
            .and_then(|fd| names(fd.as_fd()).map(|names| (fd, names)));
        let (fd, inner) = match opened {
            Err(errno) if is_gone(errno) => return Ok(false),
            opened => opened?,
        };
        let identity = identity(self.here.as_fd())?;
        self.here = fd;
        let waiting = std::mem::replace(&mut self.waiting, inner);
        self.above.push(Level { identity, waiting, left_by: name });
        self.entered += 1;
        Ok(true)
    }

    /// Goes back up and gives the name of what was left; `None` at the top.
    pub fn leave(&mut self) -> nix::Result<Option<CString>> {
        let Some(level) = self.above.pop() else { return Ok(None) };
        let back = openat(&self.here, c"..", DIRECTORY, Mode::empty())?;
        // Nobody can move a cgroup elsewhere (rename works within one directory, in version 1 only).
        if identity(back.as_fd())? != level.identity {
            return Err(Errno::ESTALE);
        }
        self.here = back;
        self.waiting = level.waiting;
        Ok(Some(level.left_by))
    }
}

/// Visits a cgroup and all below it, each before those in it. One that goes meanwhile is passed over, and so is a top
/// that isn't there.
pub fn walk(top: &Path, visit: &mut dyn FnMut(BorrowedFd) -> nix::Result<()>) -> nix::Result<()> {
    let mut descent = match Descent::begin(top) {
        Err(errno) if is_gone(errno) => return Ok(()),
        begun => begun?,
    };
    visit(descent.here())?;
    loop {
        match descent.next() {
            Some(name) => {
                if descent.enter(name)? {
                    visit(descent.here())?;
                }
            }
            None => {
                if descent.leave()?.is_none() {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether this is what the kernel says of a cgroup that was removed; ENODEV comes from its files while they are open.
pub fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

fn identity(dir: BorrowedFd) -> nix::Result<(u64, u64)> {
    fstat(dir).map(|stat| (stat.st_dev, stat.st_ino))
}

/// The directories in this one. Names are bytes: a container chooses them.
fn names(dir: BorrowedFd) -> nix::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::openat(dir, ".", DIRECTORY, Mode::empty())? {
        let entry = entry?;
        let name = entry.file_name();
        let is_dir = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR),
        };
        if is_dir && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::mkdirat;

    use super::*;

    fn count(top: &Path) -> usize {
        let mut count = 0;
        walk(top, &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        count
    }

    #[test]
    fn a_walk_sees_every_directory_once_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("a/cgroup.procs"), "").unwrap();
        std::os::unix::fs::symlink("/", root.path().join("a/link")).unwrap();
        assert_eq!(count(root.path()), 6);
        assert_eq!(count(&root.path().join("none")), 0);
    }

    #[test]
    fn a_walk_goes_deeper_than_any_path_and_any_table_of_descriptors() {
        const DEPTH: usize = 3000;
        let root = tempfile::tempdir().unwrap();
        let mut here = open(root.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            mkdirat(&here, "deeper", Mode::S_IRWXU).unwrap();
            here = openat(&here, "deeper", DIRECTORY, Mode::empty()).unwrap();
        }
        assert_eq!(count(root.path()), DEPTH + 1);
    }

    #[test]
    fn what_goes_while_it_is_walked_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir_all(root.path().join(name).join("inner")).unwrap();
        }
        let mut seen = 0;
        walk(root.path(), &mut |_| {
            seen += 1;
            for name in ["a", "b", "c"] {
                let _ = fs::remove_dir_all(root.path().join(name));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 1);
    }
}
