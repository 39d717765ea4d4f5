//! Where processes are in the machine's hierarchies of control groups, whatever their layout is and whoever made them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::sandbox::cgroups_below;

/// The cgroups of a process, by controller; `""` is version 2, whose controllers stand there as well as far as the cgroup
/// has them.
pub fn cgroups_of(pid: i32) -> BTreeMap<String, PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the cgroups of a process");
    let mount = |controllers: &str| {
        mountinfo.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let (fstype, options) = (kind.next()?, kind.nth(1)?);
            let is_it = match controllers {
                "" => fstype == "cgroup2",
                names => fstype == "cgroup" && names.split(',').all(|name| options.split(',').any(|o| o == name)),
            };
            is_it.then(|| place.split(' ').nth(4)).flatten()
        })
    };
    let mut found = BTreeMap::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let Some(mount) = mount(controllers) else { continue };
        let dir = Path::new(mount).join(path.trim_start_matches('/'));
        if controllers.is_empty() {
            let list = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            found.extend(list.split_whitespace().map(|name| (name.to_owned(), dir.clone())));
        }
        found.extend(controllers.split(',').map(|name| (name.to_owned(), dir.clone())));
    }
    found
}

/// The cgroup whose list of processes is a container's: that of the freezer of version 1, else that of version 2.
pub fn members_of(pid: i32) -> PathBuf {
    let cgroups = cgroups_of(pid);
    let found = cgroups.get("freezer").or_else(|| cgroups.get(""));
    found.unwrap_or_else(|| panic!("process {pid} is in no cgroup that has all of a container: {cgroups:?}")).clone()
}

/// Every cgroup of the machine whose name has this id in it.
pub fn cgroups_named(id: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(id));
    cgroups_below(Path::new("/sys/fs/cgroup")).into_iter().filter(named).collect()
}
