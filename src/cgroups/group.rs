//! Where a container's cgroups are: decided by planning, kept in state.json, used by every later verb.

use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fault::{Call, Trouble};

/// The version of a hierarchy's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V1,
    V2,
}

/// The container's cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub version: Version,
    /// The controllers of the hierarchy: of version 2 those that its root has.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted on the host; absolute.
    pub mount: PathBuf,
    /// The cgroup, relative to the mount; never empty, never with `..`.
    pub path: PathBuf,
    /// How many of the cgroups above it came into being with the container; they go with it if nobody else is in them.
    #[serde(default)]
    pub made: u16,
}

impl Place {
    /// The directory of the cgroup.
    pub fn dir(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    /// The directory of the cgroup, for who freezes, kills or removes what is in it. A path that names no cgroup below
    /// the mount, as only a record can have that corten didn't write, is refused: it would be everybody's.
    ///
    /// # Errors
    /// [`Error::Os`] of EINVAL.
    pub fn own_dir(&self) -> Result<PathBuf> {
        let mut parts = self.path.components().peekable();
        if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            let doing = format!("use {:?} as a container's cgroup in {}", self.path, self.mount.display());
            return Err(Error::os(doing, Trouble::new(Call::CheckCgroup, Errno::EINVAL)));
        }
        Ok(self.dir())
    }

    /// The hierarchy as /proc/self/cgroup names it: `cpu,cpuacct`, `name=systemd`; `unified` for version 2.
    pub fn hierarchy(&self) -> String {
        match self.version {
            Version::V1 => self.controllers.join(","),
            Version::V2 => "unified".to_owned(),
        }
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Whether systemd makes the cgroups of its units in this hierarchy: in that of version 2, in its own of version 1,
    /// and in those whose controllers it has properties for (CGROUP_MASK_V1 in its sources).
    pub fn is_systemds(&self) -> bool {
        const ITS: [&str; 7] = ["cpu", "cpuacct", "blkio", "memory", "devices", "pids", "name=systemd"];
        self.version == Version::V2 || ITS.iter().any(|controller| self.has(controller))
    }
}

/// All cgroups of a container; empty without control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    pub places: Vec<Place>,
    /// The systemd unit that the cgroups belong to; `None` when corten has made them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// A transient scope of a systemd manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// `runc-ID.scope`
    pub name: String,
    /// `machine.slice`
    pub slice: String,
    /// Of the caller's own service manager, not the system's.
    pub user: bool,
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The cgroup whose hierarchy has this controller.
    pub fn find(&self, controller: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.has(controller))
    }

    /// The cgroup of version 2, where the host has one.
    pub fn unified(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.version == Version::V2)
    }

    /// The cgroup that freezes the container: the freezer of version 1, else that of version 2, where it is no controller.
    pub fn freezer(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.version == Version::V1 && place.has("freezer")).or_else(|| self.unified())
    }

    /// The cgroup whose list of processes is taken for the container's: that of the freezer or of version 2, as these
    /// hold everybody whatever was moved in the others, else any.
    pub fn members(&self) -> Option<&Place> {
        self.freezer().or_else(|| self.places.first())
    }
}

/// How many cgroups above each place are missing now, looked at before anything is made. Those of slices are systemd's to
/// make and to remove.
pub fn probe_missing(group: &mut Group) {
    let of_unit = group.unit.is_some();
    for place in group.places.iter_mut().filter(|place| !of_unit || !place.is_systemds()) {
        let above = place.path.ancestors().skip(1).filter(|path| *path != Path::new(""));
        place.made = above.take_while(|path| !place.mount.join(path).exists()).count() as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(version: Version, controllers: &[&str]) -> Place {
        let controllers = controllers.iter().map(|name| name.to_string()).collect();
        Place { version, controllers, mount: PathBuf::from("/m"), path: PathBuf::from("a/b"), made: 0 }
    }

    #[test]
    fn the_freezer_is_the_controller_of_version_1_or_the_core_of_version_2() {
        let v1 = place(Version::V1, &["freezer"]);
        let v2 = place(Version::V2, &["hugetlb"]);
        let hybrid = Group { places: vec![v2.clone(), v1.clone()], unit: None };
        assert_eq!(hybrid.freezer(), Some(&v1));
        let unified = Group { places: vec![v2.clone()], unit: None };
        assert_eq!(unified.freezer(), Some(&v2));
        assert_eq!(unified.members(), Some(&v2));
        assert_eq!(Group { places: vec![place(Version::V1, &["memory"])], unit: None }.freezer(), None);
    }

    #[test]
    fn a_hierarchys_root_is_nobodys_own_cgroup() {
        for path in ["", "/", ".", "..", "a/../..", "/sys/fs/cgroup"] {
            let place = Place { path: path.into(), ..place(Version::V1, &["freezer"]) };
            assert!(place.own_dir().is_err(), "{path:?}");
        }
        assert_eq!(place(Version::V1, &[]).own_dir().unwrap(), Path::new("/m/a/b"));
    }

    #[test]
    fn the_cgroups_above_that_are_missing_are_counted() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        let path = |path: &str| Place { mount: root.path().to_owned(), path: path.into(), ..place(Version::V1, &[]) };
        let mut group = Group { places: vec![path("x"), path("a/x"), path("b/c/x"), path("a/b/x")], unit: None };
        probe_missing(&mut group);
        assert_eq!(group.places.iter().map(|place| place.made).collect::<Vec<_>>(), [0, 0, 2, 1]);
    }

    #[test]
    fn the_slices_of_a_unit_are_systemds_where_it_makes_them() {
        let root = tempfile::tempdir().unwrap();
        let path = |controllers: &[&str]| Place {
            mount: root.path().to_owned(),
            path: "a.slice/x.scope".into(),
            ..place(Version::V1, controllers)
        };
        let places = vec![path(&["memory"]), path(&["freezer"]), path(&["cpu", "cpuacct"]), path(&["name=systemd"])];
        let unit = Unit { name: "x.scope".into(), slice: "a.slice".into(), user: false };
        let mut group = Group { places, unit: Some(unit) };
        probe_missing(&mut group);
        assert_eq!(group.places.iter().map(|place| place.made).collect::<Vec<_>>(), [0, 1, 0, 0]);
    }
}
