//! Where a program runs: in namespaces and control groups of its own, so that it may leave behind what it likes.
//!
//! The programs make control groups with fixed names at the top of the hierarchies, and some end without deleting their
//! container. So each runs as if on a machine of its own: the driver makes a group in every hierarchy; the *stage* joins
//! them and leaves the driver's namespaces; *init*, the first process of the new pid namespace, mounts the hierarchies anew
//! (a cgroup namespace shows the group as the top), and reaps. When the program has ended, or the stage was stopped at the
//! time limit, everything that still runs dies with init, and the driver removes the groups and the directory.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::tap::End;

const NONE: Option<&str> = None;
/// Exit code of a stage that couldn't be set up; no program ends with it.
const BROKEN: u8 = 99;
/// The driver's groups in the hierarchies; its pid follows.
const PREFIX: &str = "corten-conformance-";

/// A mounted hierarchy of control groups.
struct Hierarchy {
    mount: PathBuf,
    /// `cgroup` or `cgroup2`.
    kind: String,
    /// What to mount it by: its controllers, or its name.
    data: String,
    /// The driver's own group.
    own: PathBuf,
}

fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    mounts.lines().filter_map(|line| hierarchy(line, &own)).collect()
}

fn hierarchy(line: &str, own: &str) -> Option<Hierarchy> {
    let (place, filesystem) = line.split_once(" - ")?;
    let place: Vec<&str> = place.split(' ').collect();
    let mut filesystem = filesystem.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    if !["cgroup", "cgroup2"].contains(&kind) {
        return None;
    }
    // Version 2 has options of the mount alone, none that chooses the hierarchy.
    let chooses = |o: &&str| {
        kind == "cgroup" && !["rw", "ro", "xattr", "clone_children"].contains(o) && !o.starts_with("release_agent=")
    };
    let names: Vec<&str> = options.split(',').filter(chooses).collect();
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (listed, path) = (parts.next()?, parts.next()?);
        let mut listed: Vec<&str> = listed.split(',').filter(|name| !name.is_empty()).collect();
        let mut names = names.clone();
        listed.sort_unstable();
        names.sort_unstable();
        (listed == names).then_some(path)
    })?;
    let data = names.join(",");
    let data = if data.starts_with("name=") { format!("none,{data}") } else { data };
    let below = path.strip_prefix(place.get(3)?).unwrap_or(path).trim_start_matches('/');
    let mount = PathBuf::from(place.get(4)?);
    Some(Hierarchy { own: mount.join(below), mount, kind: kind.to_owned(), data })
}

/// A place for one program and one runtime; removed when dropped.
pub struct Place {
    dir: PathBuf,
    groups: Vec<PathBuf>,
}

impl Place {
    /// `dir` must not exist; programs and root file system are found in `programs`.
    pub fn new(dir: &Path, programs: &Path, runtime: &Path) -> std::io::Result<Place> {
        let mut place = Place { dir: dir.to_owned(), groups: Vec::new() };
        for name in ["tmp", "state"] {
            fs::create_dir_all(dir.join(name))?;
        }
        for name in ["runtimetest", &archive()] {
            fs::copy(programs.join(name), dir.join(name))?;
        }
        let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let script = format!("#!/bin/sh\nexec {} --root {} \"$@\"\n", quoted(runtime), quoted(&dir.join("state")));
        fs::write(dir.join("runtime"), script)?;
        fs::set_permissions(dir.join("runtime"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        for hierarchy in hierarchies() {
            let group = hierarchy.own.join(format!("{PREFIX}{}", std::process::id()));
            fs::create_dir(&group)?;
            place.groups.push(group.clone());
            // A new cpuset is empty, and takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| hierarchy.kind == "cgroup") {
                if let Ok(value) = fs::read(hierarchy.own.join(file)) {
                    fs::write(group.join(file), value)?;
                }
            }
        }
        Ok(place)
    }

    /// Runs the program; what it prints goes to the two files.
    pub fn run(&self, program: &Path, v1_only: bool, limit: u32, out: fs::File, err: fs::File) -> std::io::Result<End> {
        let mut stage = Command::new("/proc/self/exe");
        stage.arg("--stage").arg(limit.to_string()).arg(if v1_only { "v1" } else { "all" }).arg(program);
        stage.args(&self.groups).current_dir(&self.dir).stdin(std::process::Stdio::null()).stdout(out).stderr(err);
        stage.env("TMPDIR", self.dir.join("tmp")).env("RUNTIME", self.dir.join("runtime"));
        let status = stage.status()?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) if code == i32::from(BROKEN) => {
                return Err(std::io::Error::other("the place of a program can't be made"));
            }
            (Some(code), _) if code > 128 => End::Signalled(code - 128),
            (Some(code), _) => End::Exited(code),
            (_, Some(signal)) if signal == Signal::SIGALRM as i32 => End::TimedOut,
            (_, signal) => End::Signalled(signal.unwrap_or(0)),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for group in &self.groups {
            if let Err(error) = remove_group(group) {
                eprintln!("conformance: {} is left behind: {error}", group.display());
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("conformance: {} is left behind: {error}", self.dir.display());
        }
    }
}

/// Removes the groups that a driver left which was killed itself: their names have its pid.
pub fn sweep() {
    for hierarchy in hierarchies() {
        for item in fs::read_dir(&hierarchy.own).into_iter().flatten().flatten() {
            let name = item.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
                let _ = remove_group(&item.path());
            }
        }
    }
}

/// Removes a group and those inside it. What died with the pid namespace may still be leaving.
fn remove_group(group: &Path) -> std::io::Result<()> {
    for item in fs::read_dir(group)?.flatten().filter(|item| item.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&item.path())?;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
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
    let enter = || -> std::io::Result<()> {
        for group in groups {
            fs::write(Path::new(group).join("cgroup.procs"), std::process::id().to_string())?;
        }
        let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWCGROUP;
        unshare(namespaces | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    };
    if let Err(error) = enter() {
        eprintln!("conformance: enter the program's place: {error}");
        return ExitCode::from(BROKEN);
    }
    // Ends this process by SIGALRM, and init with it.
    nix::unistd::alarm::set(limit.parse().unwrap_or(60));
    let init = Command::new("/proc/self/exe").args(["--init", layout, program]).status();
    init.map_or(ExitCode::from(BROKEN), |status| ExitCode::from(status.code().unwrap_or(BROKEN.into()) as u8))
}

/// `--init v1|all PROGRAM`: mounts, runs the program, and reaps until it has ended.
pub fn init(arguments: &[String]) -> ExitCode {
    let [layout, program] = arguments else { return ExitCode::from(BROKEN) };
    let ready = || -> std::io::Result<()> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(mounts(layout == "v1")?)
    };
    if let Err(error) = ready() {
        eprintln!("conformance: mount for the program: {error}");
        return ExitCode::from(BROKEN);
    }
    let Ok(child) = Command::new(program).spawn() else { return ExitCode::from(BROKEN) };
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() as u32 == child.id() => {
                return ExitCode::from(code as u8);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() as u32 == child.id() => {
                return ExitCode::from(128 + signal as u8);
            }
            Err(Errno::ECHILD) => return ExitCode::from(BROKEN),
            _ => {}
        }
    }
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
            kind => {
                mount(Some(kind), &it.mount, Some(kind), closed, Some(it.data.as_str()).filter(|it| !it.is_empty()))?
            }
        }
    }
    Ok(())
}
