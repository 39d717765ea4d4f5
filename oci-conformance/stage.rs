//! Where a program runs: in namespaces and control groups of its own, so that it may leave behind what it likes.
//!
//! The programs make control groups with fixed names at the top of the hierarchies, and some end without deleting their
//! container. So each runs as if on a machine of its own: the driver makes a group in every hierarchy; the *stage* joins
//! them and leaves the driver's namespaces; *init*, the first process of the new pid namespace, mounts the hierarchies anew
//! (a cgroup namespace shows the group as the top), and reaps. When the program has ended, or the stage was stopped at the
//! time limit, everything that still runs dies with init, and the driver removes the groups and the directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::apart::{self, BROKEN, Outcome};
use crate::groups::{self, Groups, hierarchies};
use crate::tap::End;

const NONE: Option<&str> = None;
/// The driver's groups in the hierarchies; its pid follows.
const PREFIX: &str = "corten-conformance-";

/// A place for one program and one runtime; removed when dropped.
pub struct Place {
    dir: PathBuf,
    groups: Groups,
}

impl Place {
    /// `dir` must not exist; programs and root file system are found in `programs`.
    pub fn new(dir: &Path, programs: &Path, runtime: &Path) -> std::io::Result<Place> {
        let place = Place { dir: dir.to_owned(), groups: Groups::new(PREFIX, "")? };
        for name in ["tmp", "state"] {
            fs::create_dir_all(dir.join(name))?;
        }
        for name in ["runtimetest", &archive()] {
            fs::copy(programs.join(name), dir.join(name))?;
        }
        script(&dir.join("runtime"), &[runtime, Path::new("--root"), &dir.join("state")])?;
        Ok(place)
    }

    /// Runs the program; what it prints goes to the two files.
    pub fn run(&self, program: &Path, v1_only: bool, limit: u32, out: fs::File, err: fs::File) -> std::io::Result<End> {
        let mut stage = Command::new("/proc/self/exe");
        stage.arg("--stage").arg(limit.to_string()).arg(if v1_only { "v1" } else { "all" }).arg(program);
        stage
            .args(self.groups.paths())
            .current_dir(&self.dir)
            .stdin(std::process::Stdio::null())
            .stdout(out)
            .stderr(err);
        stage.env("TMPDIR", self.dir.join("tmp")).env("RUNTIME", self.dir.join("runtime"));
        let status = stage.status()?;
        Ok(match apart::outcome(status) {
            Outcome::Exited(code) => End::Exited(code),
            Outcome::Signalled(signal) => End::Signalled(signal),
            Outcome::TimedOut => End::TimedOut,
            Outcome::Broken => return Err(std::io::Error::other("the place of a program can't be made")),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("conformance: {} is left behind: {error}", self.dir.display());
        }
    }
}

/// A program that is another one with these arguments before its own.
pub fn script(path: &Path, words: &[&Path]) -> std::io::Result<()> {
    let quoted = |word: &&Path| format!("'{}'", word.display().to_string().replace('\'', r"'\''"));
    let words: Vec<String> = words.iter().map(quoted).collect();
    fs::write(path, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Removes the groups of a driver that was killed itself.
pub fn sweep() {
    groups::sweep(PREFIX);
}

/// The name that the programs look for: they name the machine as Go does.
pub fn archive() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        other => other,
    };
    format!("rootfs-{machine}.tar.gz")
}

/// `--stage LIMIT v1|all PROGRAM GROUP...`: joins the groups and leaves the namespaces.
pub fn stage(arguments: &[String]) -> ExitCode {
    let [limit, layout, program, groups @ ..] = arguments else { return ExitCode::from(BROKEN) };
    apart::leave(groups, CloneFlags::empty(), limit.parse().unwrap_or(60), &["--init", layout, program])
}

/// `--init v1|all PROGRAM`: mounts, runs the program, and reaps until it has ended.
pub fn init(arguments: &[String]) -> ExitCode {
    let [layout, program] = arguments else { return ExitCode::from(BROKEN) };
    let ready = || -> std::io::Result<()> {
        apart::die_with_parent()?;
        Ok(mounts(layout == "v1")?)
    };
    if let Err(error) = ready() {
        eprintln!("conformance: mount for the program: {error}");
        return ExitCode::from(BROKEN);
    }
    Command::new(program).spawn().map_or(ExitCode::from(BROKEN), apart::reap)
}

/// proc, the hierarchies and /dev/null, for this namespace alone (crun 1.8.1 gives the owner of its stdin away). crun refuses
/// a machine with both versions of control groups, so version 2 is covered for it where version 1 is there.
fn mounts(v1_only: bool) -> nix::Result<()> {
    let hierarchies = hierarchies();
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), closed, NONE)?;
    mknod("null", SFlag::S_IFCHR, Mode::empty(), makedev(1, 3))?;
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        "null",
        Mode::from_bits_truncate(0o666),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )?;
    mount(Some("null"), "/dev/null", NONE, MsFlags::MS_BIND, NONE)?;
    let hybrid = hierarchies.iter().any(|it| it.kind == "cgroup");
    for it in &hierarchies {
        umount2(&it.mount, MntFlags::MNT_DETACH)?;
        match it.kind.as_str() {
            "cgroup2" if v1_only && hybrid => mount(Some("none"), &it.mount, Some("tmpfs"), closed, NONE)?,
            _ => it.mount_at(&it.mount)?,
        }
    }
    Ok(())
}
