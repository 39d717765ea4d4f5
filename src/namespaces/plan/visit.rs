//! How a process that only mounts something comes into a container, and no further than it has to. Pure.
//!
//! Its way may lead through a mount namespace of its own: a copy of the host's that belongs to the container's user namespace,
//! in which the flags of the host's mounts are locked (mount_namespaces(7)). So the container's namespaces are opened
//! before, with the caller's rights, and joined one by one.

use std::ffi::CString;

use oci_spec::runtime::Spec;

use crate::field::Field;
use crate::host::Host;
use crate::namespaces::{Kind, Kinds, Op};
use crate::plan::Step;
use crate::slots::SlotCounter;

/// The way, by where its steps are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visit {
    /// Before clone.
    pub host: Vec<Step>,
    /// Up to the rights that mounting takes.
    pub join: Vec<Step>,
    /// Into a mount namespace in which the host's files can be found with these rights.
    pub aside: Vec<Step>,
    /// Into the container's mount namespace.
    pub enter: Vec<Step>,
    /// Into its pid namespace, if that is wanted: when nothing of the host is held any more.
    pub fork: Vec<Step>,
}

/// Plans the way. `init`: the container's, in the host's pid namespace; `wanted`: the namespaces that what is mounted
/// asks for, beside the mount and the user namespace. Only those of the container's own are joined.
pub fn plan_visit(spec: &Spec, host: &Host, init: i32, wanted: Kinds, slots: &mut SlotCounter) -> Visit {
    let given = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own: Kinds = given.into_iter().flatten().map(|namespace| Kind::from(namespace.typ())).collect();
    let field = Field::at("/linux/namespaces");
    let mut visit = Visit::default();
    let mut open = |visit: &mut Visit, kind: Kind| {
        let slot = slots.take();
        let file = CString::new(format!("{init}/ns/{}", kind.proc_name())).unwrap_or_default();
        let op = Op::OpenInit { kind, file, slot, apart: kind == Kind::Mount };
        visit.host.push(Step::new(op, field.clone()));
        Step::new(Op::Join { kind, slot }, field.clone())
    };
    let mut joins: Vec<Step> = [Kind::Cgroup, Kind::Ipc, Kind::Network, Kind::Pid]
        .into_iter()
        .filter(|kind| wanted.contains(*kind) && own.contains(*kind))
        .map(|kind| open(&mut visit, kind))
        .collect();
    let enter = open(&mut visit, Kind::Mount);
    visit.enter.push(enter);
    if own.contains(Kind::User) {
        // Who has no rights outside gets them by this one; who has them would lose them by it.
        let at = if host.rootless() { 0 } else { joins.len() };
        joins.insert(at, open(&mut visit, Kind::User));
        joins.push(Step::new(Op::BecomeItsRoot, field.clone()));
        let mut kinds = Kinds::default();
        kinds.insert(Kind::Mount);
        visit.aside.push(Step::new(Op::Unshare { kinds }, field.clone()));
    }
    visit.join = joins;
    if wanted.contains(Kind::Pid) && own.contains(Kind::Pid) {
        visit.fork.push(Step::new(Op::Fork, field));
    }
    visit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::render;

    fn planned(kinds: &[&str], wanted: &[Kind], host: &Host) -> [Vec<String>; 4] {
        let namespaces: Vec<_> = kinds.iter().map(|kind| serde_json::json!({"type": kind})).collect();
        let spec = serde_json::json!({"ociVersion": "1.3.0", "linux": {"namespaces": namespaces}});
        let wanted = wanted.iter().copied().collect();
        let spec = serde_json::from_value(spec).unwrap();
        let visit = plan_visit(&spec, host, 42, wanted, &mut SlotCounter::default());
        let words = |steps: Vec<Step>| steps.iter().map(|step| render(&step.op)).collect();
        [visit.join, visit.aside, visit.enter, visit.fork].map(words)
    }

    #[test]
    fn a_container_without_a_user_namespace_is_entered_at_once() {
        let [join, aside, enter, fork] = planned(&["pid", "mount", "ipc"], &[], &Host::fixture());
        assert_eq!(enter, ["join the mount namespace"]);
        assert!(join.is_empty() && aside.is_empty() && fork.is_empty());
    }

    #[test]
    fn a_user_namespace_is_joined_last_by_who_has_rights_outside_and_first_by_who_has_none() {
        let all = [Kind::Pid, Kind::Ipc];
        let [join, aside, _, fork] = planned(&["pid", "mount", "user"], &all, &Host::fixture());
        let user = ["join the user namespace", "become root of the user namespace"];
        assert_eq!(join, [&["join the pid namespace"], &user[..]].concat());
        assert_eq!((aside.len(), fork.len()), (1, 1));
        let host = Host { euid: 1000, egid: 1000, ..Host::fixture() };
        let [join, ..] = planned(&["pid", "mount", "user"], &all, &host);
        assert_eq!(join, [user[0], "join the pid namespace", user[1]]);
    }
}
