//! Running the program that already runs from another file: its own file, a copy of it in memory that nobody can change
//! (memfd_create(2)), and execveat(2). In the host process, before anything else; nothing here decides.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;

use super::{check, check_int, file, kernel, path};
use crate::fault::{Call, Effect, Trouble};

/// The link to the program's own file.
pub const OWN: &CStr = c"/proc/self/exe";

/// What a copy in memory is called in /proc, behind `/memfd:`.
pub const COPY_NAME: &CStr = c"corten";

/// All of these make a copy that stays as it is, and under which nobody can take a seal away (fcntl(2)).
const SEALS: i32 = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// Opens the program's own file; O_PATH will do for all but reading.
pub fn open_own(flags: i32) -> Effect<RawFd> {
    path::open(path::CWD, OWN, flags, 0)
}

/// Whether the file is one in memory that nobody can change any more. Any other kind of file isn't.
pub fn is_sealed(fd: RawFd) -> bool {
    // SAFETY: takes numbers only.
    let seals = unsafe { libc::fcntl(fd, libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}

/// A copy of an open file in memory, sealed, open for reading alone: nobody may have it open for writing when it is
/// executed (execve(2), ETXTBSY).
pub fn copy_to_memory(from: RawFd) -> Effect<RawFd> {
    kernel::require(kernel::MEMFD, Call::Memfd)?;
    let copy = memfd()?;
    let filled = fill(copy, from).and_then(|()| {
        let mut name = [0u8; 32];
        let prefix = b"/proc/self/fd/";
        let digits = file::Digits::decimal(copy as u32);
        let digits = digits.as_cstr().to_bytes_with_nul();
        name[..prefix.len()].copy_from_slice(prefix);
        name[prefix.len()..prefix.len() + digits.len()].copy_from_slice(digits);
        path::open(path::CWD, CStr::from_bytes_until_nul(&name).unwrap_or_default(), libc::O_RDONLY, 0)
    });
    file::close(copy);
    filled
}

/// With MFD_EXEC where the kernel knows it (6.3): a sysctl may say that files in memory aren't programs otherwise.
fn memfd() -> Effect<RawFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    for flags in [flags | libc::MFD_EXEC, flags] {
        // SAFETY: the name is NUL-terminated.
        match check_int(unsafe { libc::memfd_create(COPY_NAME.as_ptr(), flags) }, Call::Memfd) {
            Err(trouble) if trouble.errno == Errno::EINVAL => continue,
            made => return made,
        }
    }
    Err(Trouble::new(Call::Memfd, Errno::EINVAL))
}

fn fill(copy: RawFd, from: RawFd) -> Effect {
    loop {
        // SAFETY: without an offset, the descriptor's own is used and no memory of this process.
        match unsafe { libc::sendfile(copy, from, std::ptr::null_mut(), 1 << 30) } {
            0 => break,
            n if n > 0 => {}
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Trouble::new(Call::Sendfile, Errno::last())),
        }
    }
    // SAFETY: takes numbers only.
    check_int(unsafe { libc::fcntl(copy, libc::F_ADD_SEALS, SEALS) }, Call::Fcntl).map(drop)
}

/// Executes an open file with this process's own arguments and environment; returns only when that fails.
pub fn execute(fd: RawFd) -> Trouble {
    // SAFETY: every C library has this variable with this type (environ(7)).
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let args: Vec<CString> = std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect();
    let argv: Vec<_> = args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: the path and the strings behind argv are NUL-terminated and outlive the call, argv ends with null, and the
    // process has one thread, so that nobody changes environ meanwhile.
    let result = unsafe {
        let flags = libc::AT_EMPTY_PATH;
        libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), environ, flags)
    };
    check(result, Call::Execveat).err().unwrap_or(Trouble::new(Call::Execveat, Errno::EIO))
}

/// Whether this program was executed from a descriptor: the kernel then calls it `/dev/fd/N` (getauxval(3), AT_EXECFN).
pub fn executed_by_descriptor() -> bool {
    // SAFETY: takes a number. AT_EXECFN is null or a NUL-terminated string that lives as long as the process.
    unsafe {
        let name = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        !name.is_null() && CStr::from_ptr(name).to_bytes().starts_with(b"/dev/fd/")
    }
}

/// Names the process in /proc/PID/comm: before Linux 6.14 an execveat leaves the number of its descriptor there.
pub fn set_name(name: &CStr) {
    // SAFETY: the kernel reads up to 16 bytes and stops at the NUL. It can't fail with a valid pointer.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    #[test]
    fn a_copy_in_memory_holds_the_same_bytes_and_takes_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, vec![7u8; 3 << 20]).unwrap();
        let original = File::open(&path).unwrap();
        let fd = copy_to_memory(original.as_raw_fd()).unwrap();
        assert!(is_sealed(fd) && !is_sealed(original.as_raw_fd()));
        // SAFETY: the descriptor is new and nobody else has it.
        let copy = unsafe { File::from_raw_fd(fd) };
        let name = format!("/proc/self/fd/{fd}");
        assert_eq!(fs::read(&name).unwrap(), fs::read(path).unwrap());
        let mut again = fs::OpenOptions::new().write(true).open(&name).unwrap();
        assert_eq!(again.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(copy.set_len(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(again.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
