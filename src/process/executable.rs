//! The program: found when the container is created, so that its absence is an error then and not at `start`.

use std::ffi::CString;

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};
use crate::sys::descriptor;

/// The number of the first candidate that the process may execute.
///
/// The errno says what is wrong with a program that was named by path; for one that was searched it is ENOENT, or
/// EACCES when something was there that can't be executed (execvp(3)).
pub fn find(candidates: &[CString]) -> Effect<usize> {
    let mut worst = Errno::ENOENT;
    for (i, path) in candidates.iter().enumerate() {
        match executable(path) {
            Ok(()) => return Ok(i),
            Err(errno) if candidates.len() == 1 => worst = errno,
            Err(Errno::EACCES) => worst = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(Trouble::new(Call::FindExecutable, worst))
}

fn executable(path: &CString) -> Result<(), Errno> {
    let stat = descriptor::stat_path(path).map_err(|trouble| trouble.errno)?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => {}
        libc::S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::EACCES),
    }
    // root may "execute" a file without any x bit as far as faccessat2 goes for directories only; execve wants one.
    if stat.st_mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    descriptor::may_execute(path).map_err(|trouble| trouble.errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<CString> {
        paths.iter().map(|p| CString::new(*p).unwrap()).collect()
    }

    #[test]
    fn the_first_executable_candidate_wins() {
        assert_eq!(find(&paths(&["/nonexistent/sh", "/etc", "/bin/sh"])), Ok(2));
    }

    #[test]
    fn a_path_tells_exactly_what_is_wrong() {
        let errno = |path: &str| find(&paths(&[path])).unwrap_err().errno;
        assert_eq!(errno("/nonexist"), Errno::ENOENT);
        assert_eq!(errno("/etc"), Errno::EISDIR);
        assert_eq!(errno("/etc/passwd"), Errno::EACCES);
        assert_eq!(errno("/dev/null"), Errno::EACCES);
    }

    #[test]
    fn a_search_without_result_is_not_found() {
        assert_eq!(find(&paths(&["/nonexist/a", "/etc/a"])).unwrap_err().errno, Errno::ENOENT);
        assert_eq!(find(&[]).unwrap_err().errno, Errno::ENOENT);
    }
}
