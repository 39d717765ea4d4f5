//! Mounts for a container that is there: the steps of `create` for the same entries, in another order. Pure.
//!
//! Sources are taken, and what needs to see the host's mounts is made, before the container's mount namespace is joined;
//! every mount is there, detached and known, before it is attached.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::super::options::Attributes;
use super::super::{Attachment, Filesystem, Finish, Op};
use super::{CgroupDir, Planner, RootfsPlan};
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::plan::{self, Step};
use crate::request::Request;
use crate::slots::{Slot, SlotCounter};

/// The steps, by where they run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LivePlan {
    /// On the host, before clone.
    pub host: Vec<Step>,
    /// In a mount namespace that shows the host's files and belongs to the container's user namespace.
    pub outside: Vec<Step>,
    /// The host is asked for sources there.
    pub locates: bool,
    /// In the container's mount namespace, each with the slot that its mount stands in when it isn't attached yet.
    pub attach: Vec<(Option<Slot>, Step)>,
    /// What becomes read-only when all is there.
    pub finish: Vec<Step>,
    pub warnings: Vec<Warning>,
}

/// Plans the `mounts` of this spec, which is the container's but for them. `init`: the container's, in the host's pid
/// namespace.
///
/// # Errors
/// As [`plan_rootfs`](super::plan_rootfs), and mounts that only change others.
pub fn plan_live(
    spec: &Spec,
    host: &Host,
    request: &Request,
    cgroups: &[CgroupDir],
    init: i32,
    slots: &mut SlotCounter,
) -> Result<LivePlan, Vec<Violation>> {
    let plan = RootfsPlan::default();
    let mut planner = Planner { spec, host, request, cgroups, live: Some(init), slots, plan, violations: Vec::new() };
    planner.plan_mounts();
    if !planner.violations.is_empty() {
        return Err(planner.violations);
    }
    let in_user_namespace = planner.in_user_namespace();
    let RootfsPlan { host, mount, finish, warnings, .. } = planner.plan;
    let mut live = LivePlan { host, finish, warnings, ..LivePlan::default() };
    for Step { op, field } in mount {
        match op {
            plan::Op::Rootfs(Op::MountFilesystem(fs)) => live.add_filesystem(*fs, field, in_user_namespace, slots),
            plan::Op::Rootfs(Op::TakeTree(_)) => live.outside.push(Step { op, field }),
            plan::Op::Rootfs(Op::LockTree(_)) => {
                live.locates = true;
                live.outside.push(Step { op, field });
            }
            plan::Op::Rootfs(Op::AttachTree(ref attachment)) => {
                live.attach.push((Some(attachment.tree), Step { op, field }));
            }
            op => live.attach.push((None, Step { op, field })),
        }
    }
    Ok(live)
}

impl LivePlan {
    fn add_filesystem(&mut self, fs: Filesystem, field: Field, in_user_namespace: bool, slots: &mut SlotCounter) {
        let slot = slots.take();
        // The flags are the mount's from birth.
        let finish = Finish { attributes: Attributes::default(), ..fs.finish.clone() };
        let attachment = Attachment {
            tree: slot,
            source: fs.fstype.clone(),
            recursive: false,
            slave: false,
            target: fs.target.clone(),
            finish,
            copy_symlink: false,
            live: true,
        };
        // A user namespace gets these only where another one can be seen whole (mount_too_revealing in the kernel): the
        // container's own has masked paths.
        let outside = in_user_namespace && matches!(fs.fstype.to_bytes(), b"proc" | b"sysfs");
        let make = Step::new(Op::MakeFilesystem { filesystem: Box::new(fs), slot }, field.clone());
        if outside {
            self.outside.push(make)
        } else {
            self.attach.push((None, make))
        }
        self.attach.push((Some(slot), Step::new(Op::AttachTree(Box::new(attachment)), field)));
    }
}

impl Planner<'_> {
    /// Whether mounts of a container that is there reach the host, as its config has it for those that it was made with.
    pub(super) fn shares_with_host(&self) -> bool {
        let propagation = self.spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
        self.live.is_some()
            && self.namespace(LinuxNamespaceType::User).is_none()
            && matches!(propagation, Some("shared" | "rshared"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::Mode;

    fn planned(kinds: &[&str], mounts: Value) -> Result<LivePlan, Vec<Violation>> {
        let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        let spec = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": mounts,
            "linux": {"namespaces": namespaces}});
        let spec = serde_json::from_value(spec).unwrap();
        let request = Request::new("web", "/bundle", Mode::Exec { detach: true });
        plan_live(&spec, &Host::fixture(), &request, &[], 42, &mut SlotCounter::default())
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| plan::render(&step.op)).collect()
    }

    fn attached(plan: &LivePlan) -> Vec<String> {
        plan.attach.iter().map(|(_, step)| plan::render(&step.op)).collect()
    }

    fn bind(options: &[&str]) -> Value {
        json!([{"destination": "/m", "type": "bind", "source": "data", "options": options}])
    }

    #[test]
    fn a_source_is_taken_on_the_host_and_known_before_it_is_attached() {
        let plan = planned(&["mount"], bind(&["ro"])).unwrap();
        assert_eq!(words(&plan.host), ["bind /bundle/data on /m"]);
        assert_eq!(attached(&plan), ["attach /bundle/data at /m (ro)"]);
        assert!(plan.attach[0].0.is_some() && plan.outside.is_empty() && !plan.locates);
    }

    #[test]
    fn in_a_user_namespace_it_is_locked_outside_of_the_container() {
        let plan = planned(&["mount", "user"], bind(&[])).unwrap();
        assert_eq!(words(&plan.outside), ["keep the flags of /bundle/data locked"]);
        assert!(plan.locates);
    }

    #[test]
    fn a_file_system_is_made_before_it_is_attached_and_a_procfs_where_the_hosts_is() {
        let mounts = json!([{"destination": "/t", "type": "tmpfs", "options": ["ro", "nosuid", "size=1m"]},
            {"destination": "/p", "type": "proc"}]);
        let plan = planned(&["mount"], mounts.clone()).unwrap();
        let expected =
            ["make tmpfs for /t (nosuid,size=1m)", "attach tmpfs at /t", "make proc for /p", "attach proc at /p"];
        assert_eq!(attached(&plan), expected);
        assert_eq!(words(&plan.finish), ["make the mount on /t read-only"]);
        let plan = planned(&["mount", "user"], mounts).unwrap();
        assert_eq!(words(&plan.outside), ["make proc for /p"]);
    }

    #[test]
    fn a_remount_is_refused() {
        let violations = planned(&["mount"], bind(&["remount", "bind", "ro"])).unwrap_err();
        assert_eq!(violations[0].field.pointer(), "/mounts/0/options");
    }
}
