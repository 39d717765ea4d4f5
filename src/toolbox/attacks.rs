//! Tools that go for what isn't theirs, as a container's program would: for the runtime's own binary by every call that
//! changes a file, for other processes of the same pid namespace by their files in /proc, and for a path that is looked at.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat2};
use nix::mount::MsFlags;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::json;

use super::files::{done, one, two};
use super::{Entry, Failure, Next, Outcome, entry, print};
use crate::fault::Trouble;
use crate::sys::{file, mount, path};

pub(super) const TOOLS: &[Entry] = &[
    entry("chown", "ID PATH  (user and group)", |args| {
        let (id, path) = two(args, "chown ID PATH")?;
        let id = Some(id.parse()?);
        done(chown(path, id, id))
    }),
    entry("truncate", "PATH", |args| {
        done(OpenOptions::new().write(true).truncate(true).open(one(args, "truncate PATH")?).map(drop))
    }),
    entry("touch", "PATH  (the times of a file that exists)", |args| {
        let now = TimeSpec::UTIME_NOW;
        utimensat(AT_FDCWD, one(args, "touch PATH")?, &now, &now, UtimensatFlags::FollowSymlink)?;
        Ok(Next::On)
    }),
    entry("rename", "FROM TO", |args| {
        let (from, to) = two(args, "rename FROM TO")?;
        done(fs::rename(from, to))
    }),
    entry("link", "FILE NAME  (a hard link, links followed)", |args| {
        let (file, name) = two(args, "link FILE NAME")?;
        nix::unistd::linkat(AT_FDCWD, file, AT_FDCWD, name, AtFlags::AT_SYMLINK_FOLLOW)?;
        Ok(Next::On)
    }),
    entry("remount", "PATH  (its mount, for writing, by mount(2))", |args| {
        let none = None::<&str>;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        nix::mount::mount(none, one(args, "remount PATH")?, none, flags, none)?;
        Ok(Next::On)
    }),
    entry("thaw", "PATH  (its mount, for writing, by mount_setattr(2))", |args| {
        by_descriptor(one(args, "thaw PATH")?, |fd| {
            mount::mount_setattr(fd, mount::Change { clear: libc::MOUNT_ATTR_RDONLY, ..Default::default() }, false)
        })
    }),
    entry("clone", "PATH  (its mount, by open_tree(2))", |args| {
        by_descriptor(one(args, "clone PATH")?, |fd| mount::open_tree(fd, c"", false, false).map(file::close))
    }),
    entry("swap", "A B STOP  (exchanges two names until there is a file STOP)", swap),
    entry(
        "prowl",
        "STOP PROGRAM  (goes for all processes whose program isn't PROGRAM, until there is a file STOP)",
        prowl,
    ),
];

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        trouble.errno.into()
    }
}

fn by_descriptor(name: &str, act: impl Fn(i32) -> Result<(), Trouble>) -> Outcome {
    let name = CString::new(name).unwrap_or_default();
    let fd = path::open(path::CWD, &name, libc::O_PATH, 0)?;
    let acted = act(fd);
    file::close(fd);
    acted?;
    Ok(Next::On)
}

fn swap(args: &[&str]) -> Outcome {
    let [a, b, stop] = args else { return Err(Failure::usage("swap A B STOP")) };
    print("ready")?;
    let mut count = 0u64;
    while count % 64 != 0 || !Path::new(stop).exists() {
        renameat2(AT_FDCWD, *a, AT_FDCWD, *b, RenameFlags::RENAME_EXCHANGE)?;
        count += 1;
    }
    print(&count.to_string())
}

/// What has been reached of other processes.
#[derive(Default)]
struct Loot {
    /// The programs that were seen, by their names in /proc.
    programs: BTreeSet<String>,
    /// Calls that changed a program.
    changed: BTreeSet<String>,
    /// Descriptors of others that could be looked at.
    descriptors: BTreeSet<String>,
    /// Working and root directories of others that could be entered.
    directories: BTreeSet<String>,
    /// Memory of others that could be opened: what ptrace(2) takes.
    traced: u64,
}

fn prowl(args: &[&str]) -> Outcome {
    let (stop, own) = two(args, "prowl STOP PROGRAM")?;
    let me = std::process::id().to_string();
    let mut loot = Loot::default();
    print("ready")?;
    loop {
        for item in fs::read_dir("/proc")?.flatten() {
            let name = item.file_name().to_string_lossy().into_owned();
            if name.starts_with(|c: char| c.is_ascii_digit()) && name != me {
                go_for(&name, own, &mut loot);
            }
        }
        if Path::new(stop).exists() {
            break;
        }
    }
    let found = json!({
        "programs": loot.programs,
        "changed": loot.changed,
        "descriptors": loot.descriptors,
        "directories": loot.directories,
        "traced": loot.traced,
    });
    print(&found.to_string())
}

fn go_for(pid: &str, own: &str, loot: &mut Loot) {
    let of = |file: &str| format!("/proc/{pid}/{file}");
    // It may become its program at any moment, so the link is opened first and named afterwards.
    let program = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(of("exe"));
    let held = program.as_ref().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    let name = fs::read_link(&held).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.is_empty() && name != own {
        let mut note = |call: &str, changed: bool| _ = changed && loot.changed.insert(format!("{call} {name}"));
        note("write", OpenOptions::new().write(true).open(&held).is_ok_and(overwrite));
        note("append", OpenOptions::new().append(true).open(&held).is_ok_and(overwrite));
        note("read and write", OpenOptions::new().read(true).write(true).open(&held).is_ok_and(overwrite));
        note("truncate", OpenOptions::new().write(true).truncate(true).open(&held).is_ok());
        note("chmod", fs::set_permissions(&held, fs::Permissions::from_mode(0o777)).is_ok());
        note("chown", chown(&held, Some(1000), Some(1000)).is_ok());
        loot.programs.insert(name);
    }
    for item in fs::read_dir(of("fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(item.path()).map(|name| name.to_string_lossy().into_owned());
        loot.descriptors.extend(target.map(|target| format!("{} {target}", item.file_name().to_string_lossy())));
    }
    for directory in ["cwd", "root"] {
        if fs::read_dir(of(directory)).is_ok() {
            loot.directories.insert(format!("{directory} of {pid}"));
        }
    }
    loot.traced += u64::from(OpenOptions::new().read(true).write(true).open(of("mem")).is_ok());
}

fn overwrite(mut file: File) -> bool {
    let _ = file.rewind();
    file.write_all(b"overwritten").is_ok()
}
