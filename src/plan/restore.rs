//! The plan of a restore: what is left of a container's own when criu makes its processes and mounts. Pure.
//!
//! It is taken out of the plan of a `create` for the same config, so that both have the same control groups, the same limits
//! and the same hooks.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Op, Plan, Step};
use crate::cgroups::{Move, Version};
use crate::error::Warning;
use crate::field::Field;
use crate::process::hooks::Kind;
use crate::rootfs::Target;
use crate::{cgroups, namespaces, process, rootfs};

/// The plan of a restore out of the whole plan, which was made for [`Mode::Restore`](crate::request::Mode::Restore).
///
/// `inherit_cgroups`: criu leaves control groups alone, so the processes are where it is itself, and it is put into those of
/// the container.
pub fn plan_restore(whole: &Plan, inherit_cgroups: bool) -> Plan {
    let of = |list: &[Step], keep: fn(&Op) -> bool| -> Vec<Step> {
        list.iter().filter(|step| keep(&step.op)).cloned().collect()
    };
    let before = |op: &Op| matches!(op, Op::Cgroup(_) | Op::Process(process::Op::ConnectConsole { .. }));
    let within = |op: &Op| match op {
        Op::Process(process::Op::Hook { kind, .. }) => matches!(kind, Kind::Prestart | Kind::CreateRuntime),
        op => matches!(op, Op::Cgroup(_)),
    };
    let mut adopt = of(&whole.adopt, |op| matches!(op, Op::Cgroup(_)));
    if inherit_cgroups {
        adopt.extend(whole.host.iter().filter_map(enter));
    }
    let mut warnings = whole.warnings.clone();
    if whole.mounted.iter().any(|step| matches!(step.op, Op::Namespace(namespaces::Op::MoveDevice { .. }))) {
        let text = "devices are not moved on a restore: criu brings the network back as it was dumped";
        warnings.push(Warning::new(Field::at("/linux/netDevices"), text));
    }
    Plan {
        launch: whole.launch.clone(),
        host: [places(whole), of(&whole.host, before)].concat(),
        adopt,
        stage_one: Vec::new(),
        stage_two: Vec::new(),
        mounted: of(&whole.mounted, within),
        ready: of(&whole.ready, |op| matches!(op, Op::Cgroup(_))),
        start: Vec::new(),
        undo: whole.undo.clone(),
        exec: process::plan::Exec::default(),
        group: whole.group.clone(),
        rdt: whole.rdt.clone(),
        into_cgroup: None,
        slots: whole.slots,
        warnings,
    }
}

/// The step by which criu is put into a cgroup that the host has made.
fn enter(step: &Step) -> Option<Step> {
    let Op::Cgroup(cgroups::Op::Make(make)) = &step.op else { return None };
    let op = cgroups::Op::Move(Box::new(Move {
        hierarchy: make.hierarchy.clone(),
        mount: make.mount.clone(),
        path: make.path.clone(),
        fill_cpuset: make.fill_cpuset && make.version == Version::V1,
        must_be_there: false,
    }));
    Some(Step::new(op, step.field.clone()))
}

/// The places of mounts in the root file system, which may be another than that of the dumped container. What lies below
/// another mount is in that one.
fn places(whole: &Plan) -> Vec<Step> {
    let root = whole.stage_two.iter().find_map(|step| match &step.op {
        Op::Rootfs(rootfs::Op::AttachRoot(root) | rootfs::Op::OpenRoot(root)) => {
            Some(Step::new(rootfs::Op::OpenRoot(root.clone()), step.field.clone()))
        }
        _ => None,
    });
    let mut steps: Vec<Step> = root.into_iter().collect();
    let mut above: Vec<&Target> = Vec::new();
    for step in &whole.stage_two {
        let (target, source): (&Target, Option<CString>) = match &step.op {
            Op::Rootfs(rootfs::Op::AttachTree(tree)) => (&tree.target, Some(tree.source.clone())),
            Op::Rootfs(rootfs::Op::MountFilesystem(filesystem)) => (&filesystem.target, None),
            _ => continue,
        };
        let path = |target: &Target| Path::new(std::ffi::OsStr::from_bytes(target.path.as_bytes())).to_owned();
        let covered = above.iter().any(|mount| path(target) != path(mount) && path(target).starts_with(path(mount)));
        if !covered {
            let op = rootfs::Op::MakePlace { target: target.clone(), source };
            steps.push(Step::new(op, step.field.clone()));
        }
        above.push(target);
    }
    steps
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Spec;
    use serde_json::json;

    use super::*;
    use crate::host::Host;
    use crate::plan::{plan, render};
    use crate::request::{Mode, Request};

    fn restored(inherit: bool) -> Plan {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
                {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind"]},
                {"destination": "/data/deeper", "type": "bind", "source": "/srv/deeper", "options": ["rbind"]},
            ],
            "hooks": {
                "prestart": [{"path": "/h/prestart"}],
                "createContainer": [{"path": "/h/container"}],
                "poststop": [{"path": "/h/poststop"}],
            },
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}],
                "resources": {"pids": {"limit": 9}, "memory": {"limit": 67108864}}},
        }))
        .unwrap();
        let request = Request::new("web", "/bundle", Mode::Restore { detach: true });
        plan_restore(&plan(&spec, &Host::fixture(), &request).unwrap(), inherit)
    }

    fn sentences(list: &[Step]) -> Vec<String> {
        list.iter().map(|step| render(&step.op)).collect()
    }

    #[test]
    fn places_are_made_but_below_another_mount() {
        let host = sentences(&restored(false).host);
        let places: Vec<_> = host.iter().filter(|step| step.starts_with("make the place")).collect();
        let expected =
            ["/proc", "/dev", "/data"].map(|at| format!("make the place {at} in the rootfs if it is missing"));
        assert_eq!(places, expected.iter().collect::<Vec<_>>());
        assert_eq!(host[0], "open the rootfs rootfs");
    }

    #[test]
    fn nothing_is_left_for_a_child_and_the_limit_of_pids_comes_last() {
        let plan = restored(false);
        assert!(plan.stage_one.is_empty() && plan.stage_two.is_empty() && plan.start.is_empty());
        assert!(sentences(&plan.host).iter().any(|step| step.contains("memory")), "{:?}", sentences(&plan.host));
        let late = sentences(&plan.ready);
        assert!(late.len() == 1 && late[0].contains("pids.max"), "{late:?}");
        assert!(!sentences(&plan.host).iter().any(|step| step.contains("pids.max")));
        assert_eq!(sentences(&plan.mounted), ["run prestart hook #0 /h/prestart"]);
        let undo = sentences(&plan.undo);
        assert!(undo.contains(&"remove the cgroups".to_owned()), "{undo:?}");
        assert_eq!(undo.last().unwrap(), "run poststop hook #0 /h/poststop");
    }

    #[test]
    fn where_criu_leaves_cgroups_alone_it_is_put_into_them() {
        assert!(restored(false).adopt.is_empty());
        let plan = restored(true);
        let made = sentences(&plan.host).iter().filter(|step| step.starts_with("make the cgroup")).count();
        assert!(made > 0 && plan.adopt.len() == made);
        assert!(sentences(&plan.adopt).iter().all(|step| step.starts_with("move the child to")));
    }
}
