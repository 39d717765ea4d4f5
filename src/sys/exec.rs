//! execve with its arrays built beforehand: after clone nothing may be allocated, so the pointers stand ready.

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use crate::fault::{Call, Effect, Trouble};

/// A program's arguments and environment in the form execve wants. The one variable that is only known inside the
/// container, HOME, has its own room at the end.
pub struct Image {
    // The strings that the pointers below point into; never changed once the pointers are taken.
    _args: Vec<CString>,
    _env: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    home: Box<[u8; HOME_ROOM]>,
}

/// `HOME=` and the longest path.
const HOME_ROOM: usize = 5 + libc::PATH_MAX as usize;

impl Image {
    pub fn new(args: Vec<CString>, env: Vec<CString>) -> Image {
        let argv = args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
        // Two nulls: the first gives way to HOME when it is set.
        let envp = env.iter().map(|var| var.as_ptr()).chain([std::ptr::null(), std::ptr::null()]).collect();
        Image { _args: args, _env: env, argv, envp, home: Box::new([0; HOME_ROOM]) }
    }

    /// Adds `HOME=<directory>` to the environment; ENAMETOOLONG when it has no room.
    pub fn set_home(&mut self, directory: &[u8]) -> Effect {
        let too_long = Trouble::new(Call::None, Errno::ENAMETOOLONG);
        let (name, value) = self.home.split_at_mut_checked(5).ok_or(too_long)?;
        name.copy_from_slice(b"HOME=");
        let (value, end) = value.split_at_mut_checked(directory.len()).ok_or(too_long)?;
        value.copy_from_slice(directory);
        *end.first_mut().ok_or(too_long)? = 0;
        let home = self.home.as_ptr().cast();
        if let Some(place) = self.envp.iter_mut().find(|variable| variable.is_null()) {
            *place = home;
        }
        Ok(())
    }

    /// Becomes the program at `path`; returns only when that fails.
    pub fn exec(&self, path: &CStr) -> Trouble {
        // SAFETY: argv and envp end with null and their strings live as long as self.
        unsafe { libc::execve(path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        Trouble::new(Call::Exec, Errno::last())
    }
}
