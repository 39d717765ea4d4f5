//! `tmpcopyup`: a new tmpfs gets a copy of the directory that it is going to cover. Links are copied as links and
//! nothing is opened through one; depth and buffers are bounded because this runs without a heap.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::file::{self, Stat};
use crate::sys::path;

const DEPTH: u32 = 64;
const ENTRIES: usize = 2048;
const CHUNK: usize = 16 * 1024;
/// Offsets in a record of getdents64(2).
const RECLEN: usize = 16;
const NAME: usize = 19;

/// Copies the content of one directory (O_PATH) into another.
pub(super) fn fill(source: RawFd, target: RawFd) -> Effect {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let source = path::open(source, c".", flags, 0)?;
    let target = path::open(target, c".", flags, 0)?;
    let stat = file::fstat(source)?;
    file::with_open_umask(|| copy_directory(source, target, DEPTH))?;
    keep_owner(file::chown(target, stat.uid, stat.gid))?;
    file::close(source);
    file::close(target);
    Ok(())
}

/// In a user namespace an owner may be unmapped; the copy then belongs to the mapped root.
fn keep_owner(chown: Effect) -> Effect {
    match chown {
        Err(Trouble { errno: Errno::EINVAL | Errno::EPERM, .. }) => Ok(()),
        other => other,
    }
}

fn copy_directory(source: RawFd, target: RawFd, depth: u32) -> Effect {
    let deeper = depth.checked_sub(1).ok_or(Trouble::new(Call::Open, Errno::ELOOP))?;
    let mut entries = [0; ENTRIES];
    loop {
        let len = file::getdents(source, &mut entries)?;
        let mut records = match entries.get(..len) {
            None | Some([]) => return Ok(()),
            Some(records) => records,
        };
        while let Some((name, rest)) = split_record(records) {
            if name != c"." && name != c".." {
                copy_entry(source, target, name, deeper)?;
            }
            records = rest;
        }
    }
}

/// The name in the first record, and the records after it.
fn split_record(records: &[u8]) -> Option<(&CStr, &[u8])> {
    let len = match records.get(RECLEN..RECLEN + 2)? {
        [low, high] => usize::from(u16::from_ne_bytes([*low, *high])),
        _ => return None,
    };
    let name = CStr::from_bytes_until_nul(records.get(NAME..len)?).ok()?;
    Some((name, records.get(len..)?))
}

fn copy_entry(source: RawFd, target: RawFd, name: &CStr, depth: u32) -> Effect {
    let stat = file::lstatat(source, name)?;
    match stat.kind() {
        libc::S_IFDIR => copy_subdirectory(source, target, name, stat, depth),
        libc::S_IFREG => copy_file(source, target, name),
        libc::S_IFLNK => copy_link(source, target, name).and_then(|()| set_owner(target, name, stat)),
        _ => file::mknodat(target, name, stat.mode, stat.rdev).and_then(|()| set_owner(target, name, stat)),
    }
}

fn set_owner(target: RawFd, name: &CStr, stat: Stat) -> Effect {
    keep_owner(file::lchownat(target, name, stat.uid, stat.gid))
}

fn copy_subdirectory(source: RawFd, target: RawFd, name: &CStr, stat: Stat, depth: u32) -> Effect {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let from = path::open(source, name, flags, 0)?;
    file::mkdirat(target, name, stat.permissions())?;
    let to = path::open(target, name, flags, 0)?;
    copy_directory(from, to, depth)?;
    keep_owner(file::chown(to, stat.uid, stat.gid))?;
    file::fchmod(to, stat.permissions())?;
    file::close(from);
    file::close(to);
    Ok(())
}

#[inline(never)]
fn copy_link(source: RawFd, target: RawFd, name: &CStr) -> Effect {
    let mut content = [0; libc::PATH_MAX as usize + 1];
    let room = content.len() - 1;
    file::readlinkat(source, name, content.get_mut(..room).unwrap_or_default())?;
    let content = CStr::from_bytes_until_nul(&content);
    file::symlinkat(content.unwrap_or_default(), target, name)
}

/// Owner first: a change of the owner clears the set-user-id bit.
#[inline(never)]
fn copy_file(source: RawFd, target: RawFd, name: &CStr) -> Effect {
    // A FIFO put in the file's place meanwhile would block an open without O_NONBLOCK.
    let from = path::open(source, name, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)?;
    let stat = file::fstat(from)?;
    if stat.kind() != libc::S_IFREG {
        return Err(Trouble::new(Call::Open, Errno::EAGAIN));
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let to = path::open(target, name, flags, 0o600)?;
    let mut chunk = [0; CHUNK];
    loop {
        let len = file::read(from, &mut chunk)?;
        match chunk.get(..len) {
            None | Some([]) => break,
            Some(bytes) => file::write_all(to, bytes)?,
        }
    }
    keep_owner(file::chown(to, stat.uid, stat.gid))?;
    file::fchmod(to, stat.permissions())?;
    file::close(from);
    file::close(to);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_copy_has_the_same_files_modes_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        for i in 0..200 {
            fs::write(from.path().join(format!("a/b/file-{i}")), vec![7; i * 100]).unwrap();
        }
        fs::set_permissions(from.path().join("a/b/file-7"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(from.path().join("a"), fs::Permissions::from_mode(0o777)).unwrap();
        symlink("/etc/shadow", from.path().join("a/link")).unwrap();
        let open = |dir: &tempfile::TempDir| {
            let at = CString::new(dir.path().to_str().unwrap()).unwrap();
            path::open(path::CWD, &at, libc::O_PATH, 0).unwrap()
        };
        fill(open(&from), open(&to)).unwrap();
        let at = to.path();
        assert_eq!(fs::read(at.join("a/b/file-199")).unwrap(), vec![7; 19_900]);
        assert_eq!(fs::metadata(at.join("a/b/file-7")).unwrap().permissions().mode() & 0o7777, 0o4711);
        assert_eq!(fs::metadata(at.join("a")).unwrap().permissions().mode() & 0o7777, 0o777);
        assert_eq!(fs::read_link(at.join("a/link")).unwrap().to_str(), Some("/etc/shadow"));
        assert_eq!(fs::read_dir(at.join("a/b")).unwrap().count(), 200);
    }

    #[test]
    fn a_directory_without_end_is_refused() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join(vec!["d"; 80].join("/"))).unwrap();
        let open = |dir: &tempfile::TempDir| {
            let at = CString::new(dir.path().to_str().unwrap()).unwrap();
            path::open(path::CWD, &at, libc::O_PATH, 0).unwrap()
        };
        assert_eq!(fill(open(&from), open(&to)).unwrap_err().errno, Errno::ELOOP);
    }
}
