//! Whether the container's cgroup of version 2 goes to its user. Pure.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::super::Op;
use super::super::group::Group;
use crate::error::Warning;
use crate::field::Field;
use crate::host::Host;
use crate::plan::Step;
use crate::request::Request;

/// What delegation contributes to a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delegation {
    /// After the cgroup is made.
    pub steps: Vec<Step>,
    pub warnings: Vec<Warning>,
}

/// A container that has a cgroup namespace of its own and the control groups mounted writable shall be able to make
/// cgroups, whatever its user id (config-linux.md, "Cgroup ownership"). That takes version 2: a cgroup of version 1
/// can't be given away safely.
///
/// `writable` is the mount by which the container can write, if there is one.
pub fn plan_delegation(
    spec: &Spec,
    host: &Host,
    request: &Request,
    group: &Group,
    writable: Option<Field>,
) -> Delegation {
    let mut delegation = Delegation::default();
    let (Some(field), Some(place), Some(uid)) = (writable, group.unified(), host_uid(spec)) else {
        return delegation;
    };
    if is_joined(spec, LinuxNamespaceType::Cgroup) != Some(false) {
        return delegation;
    }
    if uid == host.euid {
        // Who makes a directory owns it.
        return delegation;
    }
    if host.euid != 0 {
        let text = format!("user {uid} can't make control groups here: only root can give the container's cgroup away");
        delegation.warnings.push(Warning::new(field, text));
        return delegation;
    }
    if let Ok(dir) = CString::new(place.dir().as_os_str().as_bytes()) {
        delegation.steps.push(Step::new(Op::Delegate { dir, uid, optional: request.rootless }, field));
    }
    delegation
}

/// Whether the namespace of this type is joined by a path; `None` without one.
fn is_joined(spec: &Spec, wanted: LinuxNamespaceType) -> Option<bool> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    let namespace = namespaces.iter().find(|namespace| namespace.typ() == wanted)?;
    Some(namespace.path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()))
}

/// The id that the container's process has for the host; `None` where that isn't known: in a joined user namespace, or
/// for an id that isn't mapped.
fn host_uid(spec: &Spec) -> Option<u32> {
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    match is_joined(spec, LinuxNamespaceType::User) {
        None => Some(uid),
        Some(true) => None,
        Some(false) => spec.linux().as_ref()?.uid_mappings().iter().flatten().find_map(|mapping| {
            let offset = uid.checked_sub(mapping.container_id()).filter(|offset| *offset < mapping.size())?;
            mapping.host_id().checked_add(offset)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::plan::path::plan_group;
    use crate::cgroups::render;
    use crate::host::cgroups::Layout;
    use crate::plan::Op;
    use crate::request::Mode;
    use serde_json::{Value, json};

    fn delegation(namespaces: Value, uid: u32, host: &Host, writable: bool) -> (Vec<String>, Vec<String>) {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        let spec = json!({
            "ociVersion": "1.3.0",
            "process": {"user": {"uid": uid, "gid": 0}, "args": ["x"], "cwd": "/"},
            "linux": {"namespaces": namespaces, "uidMappings": map, "gidMappings": map, "cgroupsPath": "/corten/web"}
        });
        let spec = serde_json::from_value(spec).unwrap();
        let request = Request::new("web", "/b", Mode::Create);
        let group = plan_group(&spec, host, &request).unwrap();
        let field = writable.then(|| Field::item("/mounts", 3, ""));
        let delegation = plan_delegation(&spec, host, &request, &group, field);
        let sentence = |step: &Step| {
            assert_eq!(step.field.pointer(), "/mounts/3");
            let Op::Cgroup(op) = &step.op else { unreachable!() };
            render(op)
        };
        let warnings = delegation.warnings.iter().map(Warning::to_string).collect();
        (delegation.steps.iter().map(sentence).collect(), warnings)
    }

    fn steps(namespaces: Value, uid: u32, host: &Host) -> Vec<String> {
        delegation(namespaces, uid, host, true).0
    }

    #[test]
    fn the_cgroup_goes_to_the_host_s_id_of_the_container_s_user() {
        let host = Host::fixture();
        let give = |uid: u32| [format!("give the cgroup /sys/fs/cgroup/corten/web to user {uid}")];
        let mapped = json!([{"type": "cgroup"}, {"type": "user"}]);
        assert_eq!(steps(mapped.clone(), 0, &host), give(100_000));
        assert_eq!(steps(mapped.clone(), 999, &host), give(100_999));
        assert_eq!(steps(json!([{"type": "cgroup"}]), 7, &host), give(7));
        assert_eq!(steps(mapped, 1000, &host), [""; 0], "an id that isn't mapped");
    }

    #[test]
    fn nothing_is_given_away_that_is_the_user_s_already_or_that_others_see() {
        let host = Host::fixture();
        let none: [&str; 0] = [];
        assert_eq!(steps(json!([{"type": "cgroup"}]), 0, &host), none);
        assert_eq!(steps(json!([]), 7, &host), none, "no cgroup namespace");
        assert_eq!(steps(json!([{"type": "cgroup", "path": "/proc/7/ns/cgroup"}]), 7, &host), none);
        assert_eq!(steps(json!([{"type": "cgroup"}, {"type": "user", "path": "/p"}]), 0, &host), none);
        assert_eq!(delegation(json!([{"type": "cgroup"}]), 7, &host, false).0, none, "mounted read-only");
        let v1 = Host { cgroups: Layout::fixture_v1(), ..Host::fixture() };
        assert_eq!(steps(json!([{"type": "cgroup"}]), 7, &v1), none, "version 1 has no safe delegation");
    }

    #[test]
    fn who_may_not_give_it_away_is_told() {
        let host = Host { euid: 1000, egid: 1000, ..Host::fixture() };
        let (steps, warnings) = delegation(json!([{"type": "cgroup"}, {"type": "user"}]), 0, &host, true);
        assert!(steps.is_empty() && warnings[0].contains("only root"), "{warnings:?}");
        assert!(warnings[0].starts_with("mounts[3]: user 100000 "), "{warnings:?}");
    }
}
