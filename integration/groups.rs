//! Control groups for what a driver starts: one in every hierarchy, which looks like the top from inside.
//!
//! Shared by the drivers that run other people's programs (`oci-conformance/`, `integration/engines/`): those make groups with
//! names of their own choice and may leave them behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// A mounted hierarchy of control groups.
pub struct Hierarchy {
    pub mount: PathBuf,
    /// `cgroup` or `cgroup2`.
    pub kind: String,
    /// What to mount it by: its controllers, or its name.
    data: String,
    /// The driver's own group.
    own: PathBuf,
}

impl Hierarchy {
    /// Mounts the hierarchy at `place`: the caller's cgroup namespace decides what its top is.
    pub fn mount_at(&self, place: &Path) -> nix::Result<()> {
        let kind = self.kind.as_str();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(kind), place, Some(kind), flags, Some(self.data.as_str()).filter(|it| !it.is_empty()))
    }
}

/// Those that this process sees, by their file system and not by their names.
pub fn hierarchies() -> Vec<Hierarchy> {
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

/// A new group in every hierarchy; removed when dropped, with those inside it.
pub struct Groups(Vec<PathBuf>);

impl Groups {
    /// `prefix` and this process's id are the name, and `suffix` where a process has several. [`sweep`] knows it again.
    pub fn new(prefix: &str, suffix: &str) -> std::io::Result<Groups> {
        let mut groups = Groups(Vec::new());
        for hierarchy in hierarchies() {
            let group = hierarchy.own.join(format!("{prefix}{}{suffix}", std::process::id()));
            fs::create_dir(&group)?;
            groups.0.push(group.clone());
            // A new cpuset is empty, and takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| hierarchy.kind == "cgroup") {
                if let Ok(value) = fs::read(hierarchy.own.join(file)) {
                    fs::write(group.join(file), value)?;
                }
            }
        }
        Ok(groups)
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            if let Err(error) = remove(group) {
                eprintln!("{} is left behind: {error}", group.display());
            }
        }
    }
}

/// Moves this process into the groups.
pub fn join<P: AsRef<Path>>(groups: &[P]) -> std::io::Result<()> {
    groups.iter().try_for_each(|group| fs::write(group.as_ref().join("cgroup.procs"), std::process::id().to_string()))
}

/// Removes the groups that a driver left which was killed itself: their names have its pid.
pub fn sweep(prefix: &str) {
    for hierarchy in hierarchies() {
        for item in fs::read_dir(&hierarchy.own).into_iter().flatten().flatten() {
            let name = item.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(prefix));
            let pid = rest.map(|rest| rest.split('-').next().unwrap_or(rest));
            if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
                let _ = remove(&item.path());
            }
        }
    }
}

/// Removes a group and those inside it. What died with its pid namespace may still be leaving.
fn remove(group: &Path) -> std::io::Result<()> {
    for item in fs::read_dir(group)?.flatten().filter(|item| item.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&item.path())?;
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
