//! The few operations on resctrl. Its directories bring their files with them, and take them along when they go; a test's
//! tree, on an ordinary file system, is helped to do so.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::super::file;
use crate::fault::{Call, Effect, Trouble};
use crate::sys::{file as calls, path};

pub(super) struct Tree {
    pub(super) pretended: bool,
}

/// What a directory of resctrl has.
const FILES: [&str; 2] = ["tasks", "schemata"];

impl Tree {
    pub(super) fn is_group(&self, dir: &Path) -> bool {
        dir.join("tasks").exists()
    }

    pub(super) fn read(&self, name: &Path) -> Effect<String> {
        file::read(name)
    }

    pub(super) fn write(&self, name: &Path, value: &[u8]) -> Effect {
        file::write(name, value)
    }

    /// ENOSPC when the CPU has no class left.
    pub(super) fn make_group(&self, dir: &Path) -> Effect {
        calls::mkdirat(path::CWD, &file::c_string(dir), 0o755)?;
        if self.pretended {
            let made = fs::create_dir(dir.join("mon_groups"))
                .and_then(|()| FILES.iter().try_for_each(|name| fs::write(dir.join(name), "")));
            made.map_err(|_| Trouble::new(Call::Mkdir, Errno::EIO))?;
        }
        Ok(())
    }

    /// One that is gone is as good as removed.
    pub(super) fn remove_group(&self, dir: &Path) -> Effect {
        if self.pretended {
            FILES.iter().for_each(|name| drop(fs::remove_file(dir.join(name))));
            fs::remove_dir(dir.join("mon_groups")).ok();
        }
        match fs::remove_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Trouble::new(Call::Rmdir, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))
            }
            _ => Ok(()),
        }
    }
}
