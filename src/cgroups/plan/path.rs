//! From `linux.cgroupsPath` to a place in each hierarchy. Pure.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;

use super::super::group::{Group, Place, Version};
use super::super::systemd;
use crate::error::Violation;
use crate::field::Field;
use crate::host::Host;
use crate::request::{CgroupDriver, Request};

/// The places of a container's cgroups (runtime-spec, config-linux.md, "Cgroups Path"): an absolute path begins at the
/// mount of each hierarchy, a relative one where the runtime likes. That is below the caller's own cgroup in version 1,
/// and beside it in version 2, where a cgroup with processes in it can't give controllers to its children
/// (cgroups(7), "no internal processes"). Without a path it is the container's id, as a relative one.
pub fn plan_group(spec: &Spec, host: &Host, request: &Request) -> Result<Group, Violation> {
    if request.cgroup_driver == CgroupDriver::Systemd {
        return systemd::plan::plan_group(spec, host, request);
    }
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let given = given.filter(|path| !path.as_os_str().is_empty());
    let path = given.unwrap_or(Path::new(&request.id));
    let inner = clean(path)?;
    let absolute = path.is_absolute();
    let layout = &host.cgroups;
    let mut places = Vec::with_capacity(layout.v1.len() + 1);
    // Version 2 first: should the way into it be barred, that is seen before any of the many others is made.
    if let Some(unified) = &layout.unified {
        let base = if absolute { Path::new("") } else { unified.own.parent().unwrap_or(Path::new("")) };
        places.push(Place {
            version: Version::V2,
            controllers: unified.controllers.clone(),
            mount: unified.mount.clone(),
            path: base.join(&inner),
            made: 0,
        });
    }
    for hierarchy in &layout.v1 {
        let base = if absolute { Path::new("") } else { hierarchy.own.as_path() };
        places.push(Place {
            version: Version::V1,
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            path: base.join(&inner),
            made: 0,
        });
    }
    Ok(Group { places, unit: None })
}

/// The path without its `/` and its `.`; one with `..` or nothing in it is refused.
fn clean(path: &Path) -> Result<PathBuf, Violation> {
    let field = Field::at("/linux/cgroupsPath");
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                let why = format!("must not contain \"..\", but is {path:?}");
                return Err(Violation::new(field, why).hint("an absolute path begins at the mount of each hierarchy"));
            }
        }
    }
    if inner.as_os_str().is_empty() {
        let why = format!("must name a cgroup of the container's own, and {path:?} is the root of every hierarchy");
        return Err(Violation::new(field, why).hint("write it like /corten/NAME, or leave it away"));
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroups::Layout;
    use crate::request::Mode;

    fn group(path: Option<&str>, layout: Layout) -> Result<Group, Violation> {
        let mut linux = serde_json::json!({});
        if let Some(path) = path {
            linux["cgroupsPath"] = path.into();
        }
        let spec = serde_json::from_value(serde_json::json!({"ociVersion": "1.3.0", "linux": linux})).unwrap();
        plan_group(&spec, &Host { cgroups: layout, ..Host::fixture() }, &Request::new("web", "/b", Mode::Create))
    }

    fn dirs(path: Option<&str>, layout: Layout) -> Vec<String> {
        group(path, layout).unwrap().places.iter().map(|place| place.dir().display().to_string()).collect()
    }

    #[test]
    fn an_absolute_path_begins_at_the_mount_of_each_hierarchy() {
        let dirs = dirs(Some("/machine//./web"), Layout::fixture_hybrid());
        assert_eq!(dirs[0], "/sys/fs/cgroup/unified/machine/web");
        assert_eq!(dirs[1], "/sys/fs/cgroup/cpuset/machine/web");
        assert_eq!(dirs.len(), 13);
    }

    #[test]
    fn a_relative_path_begins_at_the_callers_cgroup_in_version_1_and_beside_it_in_version_2() {
        let mut layout = Layout::fixture_hybrid();
        layout.v1.truncate(1);
        layout.v1[0].own = "user.slice".into();
        layout.unified.as_mut().unwrap().own = "user.slice/session".into();
        assert_eq!(
            dirs(Some("pod/web"), layout.clone()),
            ["/sys/fs/cgroup/unified/user.slice/pod/web", "/sys/fs/cgroup/cpuset/user.slice/pod/web"]
        );
        for path in [None, Some("")] {
            assert_eq!(
                dirs(path, layout.clone()),
                ["/sys/fs/cgroup/unified/user.slice/web", "/sys/fs/cgroup/cpuset/user.slice/web"]
            );
        }
    }

    #[test]
    fn a_caller_in_the_root_cgroup_has_its_containers_below_the_root() {
        let mut layout = Layout::fixture_unified();
        layout.unified.as_mut().unwrap().own = PathBuf::new();
        assert_eq!(dirs(None, layout), ["/sys/fs/cgroup/web"]);
    }

    #[test]
    fn a_path_that_leads_out_or_nowhere_is_refused() {
        for path in ["/a/../b", "../b", "/..", "/", "//", "/./"] {
            let violation = group(Some(path), Layout::fixture_v1()).unwrap_err();
            assert_eq!(violation.field, Field::at("/linux/cgroupsPath"), "{path}");
            assert!(!violation.hint.is_empty(), "{path}");
        }
    }
}
