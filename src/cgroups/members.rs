//! Who is in a container's cgroup.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;

use super::group::{Group, Place};
use super::{file, tree};
use crate::error::{Doing, Result};
use crate::fault::{Call, During};

/// The processes in the container's cgroup and in those that were made below it, as pids of the caller's pid namespace,
/// each once and in ascending order. Processes that the caller's namespace doesn't show are left out: the kernel has
/// them as 0. Empty when the cgroup is gone.
pub fn pids(group: &Group) -> Result<Vec<i32>> {
    match group.members() {
        Some(place) => pids_below(&place.own_dir()?),
        None => Ok(Vec::new()),
    }
}

/// The same for one directory and all below it.
pub fn pids_below(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let walked = tree::walk(dir, &mut |here| {
        pids.extend(listed(here)?);
        Ok(())
    });
    walked.during(Call::Read).doing(|| format!("read who is in the cgroup {}", dir.display()))?;
    pids.retain(|pid| *pid > 0);
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Whether anybody is in the cgroup or below it. One that can't be read is nobody's.
pub fn is_inhabited(place: &Place) -> bool {
    pids_below(&place.dir()).is_ok_and(|pids| !pids.is_empty())
}

/// What cgroup.procs of one cgroup lists, zeros included. Nothing when it went while it was read, and nothing for a
/// threaded cgroup, whose processes stand in the one above (EOPNOTSUPP).
pub fn listed(cgroup: BorrowedFd) -> nix::Result<Vec<i32>> {
    match file::read_at(cgroup, c"cgroup.procs") {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(errno) if tree::is_gone(errno) || errno == Errno::EOPNOTSUPP => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
