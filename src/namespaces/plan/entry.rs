//! How a process that comes later gets the namespaces of a container: all at once, from its init. Pure.

use std::ffi::CString;

use oci_spec::runtime::Spec;

use super::{NamespacePlan, Want};
use crate::field::Field;
use crate::host::Host;
use crate::namespaces::{Kind, Kinds, Op};
use crate::plan::Step;
use crate::slots::Slot;

/// Plans the joins. `init` is the container's, in the host's pid namespace.
///
/// A privileged caller has its child born in the pid namespace of a container that has a user namespace of its own, which
/// saves a fork: nobody in there has rights over a process of outside. In any other container CAP_SYS_PTRACE is enough to
/// look at it, so it comes in by a second fork only when it has nothing of the host any more. So does an ordinary user's,
/// who has the right to join a pid namespace in the container's user namespace alone.
pub fn plan_joins(spec: &Spec, host: &Host, init: i32) -> NamespacePlan {
    let mut plan = NamespacePlan::default();
    let given = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut kinds: Kinds = given.into_iter().flatten().map(|namespace| Kind::from(namespace.typ())).collect();
    kinds.iter().for_each(|kind| plan.wants.set(kind, Want::Join(Slot::INIT)));
    let field = Field::at("/linux/namespaces");
    let file = |kind: Kind| CString::new(format!("{init}/ns/{}", kind.proc_name())).unwrap_or_default();
    if kinds.contains(Kind::Pid) {
        if host.rootless() || !kinds.contains(Kind::User) {
            plan.launch.fork = true;
            plan.fork.push(Step::new(Op::Fork, field.clone()));
        } else {
            plan.host.push(Step::new(Op::BearInPid { files: [(Kind::Pid, file(Kind::Pid))] }, field.clone()));
            kinds.remove(Kind::Pid);
        }
    }
    if !kinds.is_empty() {
        let mut order: Vec<Kind> = kinds.iter().filter(|kind| *kind != Kind::User).collect();
        if kinds.contains(Kind::User) {
            // As in `plan_launch`: who has no rights outside gets them by this one.
            order.insert(if host.rootless() { 0 } else { order.len() }, Kind::User);
        }
        let files = order.into_iter().map(|kind| (kind, file(kind))).collect();
        plan.identity.push(Step::new(Op::JoinInit { kinds, files }, field.clone()));
    }
    if kinds.contains(Kind::User) {
        plan.identity.push(Step::new(Op::BecomeItsRoot, field));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Op as PlanOp, render};

    fn planned(kinds: &[&str], host: &Host) -> NamespacePlan {
        let namespaces: Vec<_> = kinds.iter().map(|kind| serde_json::json!({"type": kind})).collect();
        let spec = serde_json::json!({"ociVersion": "1.3.0", "linux": {"namespaces": namespaces}});
        plan_joins(&serde_json::from_value(spec).unwrap(), host, 42)
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| render(&step.op)).collect()
    }

    fn files(plan: &NamespacePlan) -> Vec<&str> {
        match &plan.identity[0].op {
            PlanOp::Namespace(Op::JoinInit { files, .. }) => files.iter().map(|(_, f)| f.to_str().unwrap()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_privileged_caller_s_child_is_born_in_the_pid_namespace() {
        let plan = planned(&["pid", "user", "mount", "network"], &Host::fixture());
        assert_eq!(words(&plan.host), ["have the child born in the container's pid namespace"]);
        assert!(plan.fork.is_empty() && !plan.launch.fork);
        assert_eq!(
            words(&plan.identity),
            ["join the container's namespaces: mount, network, user", "become root of the user namespace"]
        );
        assert_eq!(files(&plan), ["42/ns/mnt", "42/ns/net", "42/ns/user"]);
    }

    #[test]
    fn without_a_user_namespace_it_comes_in_when_it_has_joined_all() {
        let plan = planned(&["pid", "mount"], &Host::fixture());
        assert!(plan.host.is_empty() && plan.launch.fork && plan.fork.len() == 1);
        assert_eq!(files(&plan), ["42/ns/mnt", "42/ns/pid"]);
    }

    #[test]
    fn anyone_else_joins_the_user_namespace_first_and_forks() {
        let host = Host { euid: 1000, egid: 1000, ..Host::fixture() };
        let plan = planned(&["mount", "user", "pid"], &host);
        assert!(plan.host.is_empty() && plan.launch.fork && plan.fork.len() == 1);
        assert_eq!(files(&plan), ["42/ns/user", "42/ns/mnt", "42/ns/pid"]);
    }

    #[test]
    fn without_namespaces_nothing_is_joined() {
        let plan = planned(&[], &Host::fixture());
        assert!(plan.host.is_empty() && plan.identity.is_empty() && plan.fork.is_empty());
    }
}
