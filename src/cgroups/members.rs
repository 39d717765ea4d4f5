//! Who is in a container's cgroup.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::file;
use super::group::{Group, Place};
use crate::error::{Doing, Result};

/// The processes in the container's cgroup and in those that were made below it, as pids of the caller's pid namespace,
/// each once and in ascending order. Processes that the caller's namespace doesn't show are left out: the kernel has
/// them as 0. Empty when the cgroup is gone.
pub fn pids(group: &Group) -> Result<Vec<i32>> {
    let Some(place) = group.members() else { return Ok(Vec::new()) };
    let mut pids = Vec::new();
    collect(&place.dir(), &mut pids)?;
    pids.retain(|pid| *pid > 0);
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Whether anybody is in the cgroup or below it. One that can't be read is nobody's.
pub fn is_inhabited(place: &Place) -> bool {
    let mut pids = Vec::new();
    collect(&place.dir(), &mut pids).is_ok_and(|()| !pids.is_empty())
}

fn collect(dir: &Path, pids: &mut Vec<i32>) -> Result<()> {
    let procs = dir.join("cgroup.procs");
    match file::read(&procs) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // ENODEV: it went while it was read. EOPNOTSUPP: a threaded cgroup, whose processes stand in the one above.
        Err(trouble) if matches!(trouble.errno, Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
        Err(trouble) => return Err(trouble).doing(|| format!("read {}", procs.display())),
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::{Place, Version};

    #[test]
    fn members_are_those_of_the_cgroup_and_of_all_below_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("web");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("cgroup.procs"), "30\n7\n0\n").unwrap();
        fs::write(dir.join("a/b/cgroup.procs"), "12\n7\n").unwrap();
        let place = Place {
            version: Version::V2,
            controllers: Vec::new(),
            mount: root.path().to_owned(),
            path: "web".into(),
            made: 0,
        };
        let group = Group { places: vec![place], unit: None };
        assert_eq!(pids(&group).unwrap(), [7, 12, 30]);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(pids(&group).unwrap(), [] as [i32; 0]);
    }
}
