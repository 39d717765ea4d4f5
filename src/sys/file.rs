//! Calls on single files, by descriptor: stat, make, read, write. All take raw descriptors because they run after clone,
//! where nothing may happen behind the code's back, not even a close.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// The magic numbers of file systems (statfs(2)).
pub const PROC_MAGIC: i64 = libc::PROC_SUPER_MAGIC;
pub const SYSFS_MAGIC: i64 = 0x6265_6572;

/// What stat tells about a file; the numbers have their stat(2) meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub mode: u32,
    pub rdev: u64,
    pub dev: u64,
    pub ino: u64,
    pub uid: u32,
    pub gid: u32,
}

impl Stat {
    /// The file's type: one of the S_IF constants.
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub fn is_symlink(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

fn checked(call: Call, result: i32) -> Effect {
    Errno::result(result).map(drop).map_err(|errno| Trouble::new(call, errno))
}

/// The file behind a descriptor (O_PATH will do).
pub fn fstat(fd: RawFd) -> Effect<Stat> {
    stat_with(fd, c"", libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW, Call::Fstat)
}

/// The file of this name, without following a symbolic link at its end.
pub fn lstatat(dir: RawFd, name: &CStr) -> Effect<Stat> {
    stat_with(dir, name, libc::AT_SYMLINK_NOFOLLOW, Call::Stat)
}

fn stat_with(dir: RawFd, name: &CStr, flags: i32, call: Call) -> Effect<Stat> {
    // SAFETY: stat is plain numbers, for which all zero is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is NUL-terminated and `stat` is writable for the whole call.
    checked(call, unsafe { libc::fstatat(dir, name.as_ptr(), &raw mut stat, flags) })?;
    Ok(Stat {
        mode: stat.st_mode,
        rdev: stat.st_rdev,
        dev: stat.st_dev,
        ino: stat.st_ino,
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}

/// The magic number of the file system.
pub fn magic(fd: RawFd) -> Effect<i64> {
    // SAFETY: statfs is plain numbers, for which all zero is a value.
    let mut statfs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `statfs` is writable for the whole call.
    checked(Call::Fstatfs, unsafe { libc::fstatfs(fd, &raw mut statfs) })?;
    Ok(statfs.f_type)
}

/// The ids of the mount that a descriptor stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountId {
    /// As in /proc/PID/mountinfo; another mount may get it once this one is gone.
    pub id: u64,
    /// Never used again. `None` before Linux 6.8.
    pub unique: Option<u64>,
}

/// Which mount a descriptor stands on (statx(2)); asks nothing of the file system. ENOSYS before Linux 5.8.
pub fn mount_id(fd: RawFd) -> Effect<MountId> {
    /// linux/stat.h
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    let ask = |mask: u32| -> Effect<Option<u64>> {
        let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
        // SAFETY: statx is plain numbers, for which all zero is a value.
        let mut statx: libc::statx = unsafe { std::mem::zeroed() };
        // SAFETY: the empty path is NUL-terminated and `statx` is writable for the whole call.
        checked(Call::Statx, unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, &raw mut statx) })?;
        Ok((statx.stx_mask & mask != 0).then_some(statx.stx_mnt_id))
    };
    let id = ask(libc::STATX_MNT_ID)?.ok_or(Trouble::new(Call::Statx, Errno::ENOSYS))?;
    Ok(MountId { id, unique: ask(STATX_MNT_ID_UNIQUE)? })
}

/// The ST_ flags of the mount that a descriptor stands on.
pub fn mount_flags(fd: RawFd) -> Effect<u64> {
    // SAFETY: statvfs is plain numbers, for which all zero is a value.
    let mut statvfs: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `statvfs` is writable for the whole call.
    checked(Call::Fstatfs, unsafe { libc::fstatvfs(fd, &raw mut statvfs) })?;
    Ok(statvfs.f_flag)
}

pub fn mkdirat(dir: RawFd, name: &CStr, mode: u32) -> Effect {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    checked(Call::Mkdir, unsafe { libc::mkdirat(dir, name.as_ptr(), mode) })
}

/// `mode` holds the type (S_IFCHR …) as well.
pub fn mknodat(dir: RawFd, name: &CStr, mode: u32, rdev: u64) -> Effect {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    checked(Call::Mknod, unsafe { libc::mknodat(dir, name.as_ptr(), mode, rdev) })
}

pub fn symlinkat(content: &CStr, dir: RawFd, name: &CStr) -> Effect {
    // SAFETY: both strings are NUL-terminated and outlive the call.
    checked(Call::Symlink, unsafe { libc::symlinkat(content.as_ptr(), dir, name.as_ptr()) })
}

/// Reads a symbolic link into `buffer` and gives back its content. An empty name means the descriptor itself.
/// A content that doesn't fit is ENAMETOOLONG. One byte is kept free, so that a NUL can follow.
pub fn readlinkat<'b>(dir: RawFd, name: &CStr, buffer: &'b mut [u8]) -> Effect<&'b [u8]> {
    // SAFETY: `name` is NUL-terminated, and the kernel writes at most the buffer's length.
    let len = unsafe { libc::readlinkat(dir, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let len = Errno::result(len).map_err(|errno| Trouble::new(Call::Readlink, errno))? as usize;
    if len >= buffer.len() {
        return Err(Trouble::new(Call::Readlink, Errno::ENAMETOOLONG));
    }
    buffer.get(..len).ok_or(Trouble::new(Call::Readlink, Errno::ENAMETOOLONG))
}

/// Removes a name that is no directory.
pub fn unlinkat(dir: RawFd, name: &CStr) -> Effect {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    checked(Call::Unlink, unsafe { libc::unlinkat(dir, name.as_ptr(), 0) })
}

/// Changes the owner of what the descriptor stands for, even if that is a symbolic link.
pub fn chown(fd: RawFd, uid: u32, gid: u32) -> Effect {
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the empty path is NUL-terminated.
    checked(Call::Chown, unsafe { libc::fchownat(fd, c"".as_ptr(), uid, gid, flags) })
}

/// The same by name, never through a symbolic link.
pub fn lchownat(dir: RawFd, name: &CStr, uid: u32, gid: u32) -> Effect {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    checked(Call::Chown, unsafe { libc::fchownat(dir, name.as_ptr(), uid, gid, libc::AT_SYMLINK_NOFOLLOW) })
}

/// The SELinux label of an open file, which O_PATH isn't enough for.
pub fn set_selinux_label(fd: RawFd, label: &CStr) -> Effect {
    let (name, size) = (c"security.selinux", label.to_bytes_with_nul().len());
    // SAFETY: both strings live through the call, and the size is the label's.
    checked(Call::Setxattr, unsafe { libc::fsetxattr(fd, name.as_ptr(), label.as_ptr().cast(), size, 0) })
}

/// Needs a descriptor that is open for more than O_PATH.
pub fn fchmod(fd: RawFd, mode: u32) -> Effect {
    // SAFETY: takes numbers only.
    checked(Call::Chmod, unsafe { libc::fchmod(fd, mode) })
}

/// Runs `make` with a umask of 0, so that modes are what they say.
pub fn with_open_umask<T>(make: impl FnOnce() -> T) -> T {
    // SAFETY: umask takes a number and can't fail.
    let before = unsafe { libc::umask(0) };
    let made = make();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    made
}

/// Reads what fits; 0 at the end.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Effect<usize> {
    loop {
        // SAFETY: the kernel writes at most the buffer's length.
        let len = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match Errno::result(len) {
            Err(Errno::EINTR) => continue,
            other => return other.map(|len| len as usize).map_err(|errno| Trouble::new(Call::Read, errno)),
        }
    }
}

/// Writes all of it.
pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> Effect {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads at most the slice's length.
        let len = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        match Errno::result(len) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Trouble::new(Call::Write, errno)),
            Ok(len) => bytes = bytes.get(len as usize..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// The raw records of getdents64(2); 0 at the end.
pub fn getdents(fd: RawFd, buffer: &mut [u8]) -> Effect<usize> {
    // SAFETY: the kernel writes at most the buffer's length.
    let len = unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) };
    Errno::result(len).map(|len| len as usize).map_err(|errno| Trouble::new(Call::Getdents, errno))
}

/// Closes a descriptor; there is nothing to do about an error.
pub fn close(fd: RawFd) {
    // SAFETY: takes a number only; the callers own the descriptor.
    unsafe { libc::close(fd) };
}

/// A second descriptor for the same open file, close-on-exec.
pub fn dup(fd: RawFd) -> Effect<RawFd> {
    // SAFETY: takes numbers only.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    Errno::result(copy).map_err(|errno| Trouble::new(Call::Fcntl, errno))
}

pub fn fchdir(fd: RawFd) -> Effect {
    // SAFETY: takes a number only.
    checked(Call::Fchdir, unsafe { libc::fchdir(fd) })
}

pub fn chdir(path: &CStr) -> Effect {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    checked(Call::Chdir, unsafe { libc::chdir(path.as_ptr()) })
}

pub fn chroot(path: &CStr) -> Effect {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    checked(Call::Chroot, unsafe { libc::chroot(path.as_ptr()) })
}

/// A number as a C string on the stack: the name of a descriptor in /proc/self/fd, or an octal mode.
pub struct Digits {
    bytes: [u8; 16],
    start: usize,
}

impl Digits {
    pub fn decimal(number: u32) -> Digits {
        Digits::of(number, 10)
    }

    pub fn octal(number: u32) -> Digits {
        Digits::of(number, 8)
    }

    fn of(mut number: u32, base: u32) -> Digits {
        let mut digits = Digits { bytes: [0; 16], start: 15 };
        loop {
            digits.start = digits.start.saturating_sub(1);
            if let Some(place) = digits.bytes.get_mut(digits.start) {
                *place = b'0' + (number % base) as u8;
            }
            number /= base;
            if number == 0 {
                return digits;
            }
        }
    }

    pub fn as_cstr(&self) -> &CStr {
        let bytes = self.bytes.get(self.start..).unwrap_or_default();
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_c_string_without_the_heap() {
        assert_eq!(Digits::decimal(0).as_cstr(), c"0");
        assert_eq!(Digits::decimal(u32::MAX).as_cstr(), c"4294967295");
        assert_eq!(Digits::octal(0o1777).as_cstr(), c"1777");
    }

    #[test]
    fn a_symlink_is_seen_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let fd = super::super::path::open(super::super::path::CWD, &path, libc::O_PATH, 0).unwrap();
        assert!(lstatat(fd, c"link").unwrap().is_symlink());
        let mut buffer = [0; 64];
        assert_eq!(readlinkat(fd, c"link", &mut buffer).unwrap(), b"/nowhere");
        let mut short = [0; 4];
        assert_eq!(readlinkat(fd, c"link", &mut short).unwrap_err().errno, Errno::ENAMETOOLONG);
        close(fd);
    }
}
