//! The plans of `mounts`: mounts that come into a container that is there, and that go out of it again, as further lists of
//! steps for the same interpreter. There is no program at the end of them.

use std::ffi::CString;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{Op, Plan, Point, Step};
use crate::cgroups::Group;
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::namespaces::plan::Launch;
use crate::namespaces::plan::visit::{Visit, plan_visit};
use crate::namespaces::{Kind, Kinds};
use crate::process::Op as ProcessOp;
use crate::process::plan::Exec;
use crate::request::Request;
use crate::rootfs::plan::live::{LivePlan, plan_live};
use crate::rootfs::{Op as RootfsOp, Place};
use crate::slots::{Slot, SlotCounter};

/// The container that is entered.
#[derive(Clone, Copy, Debug)]
pub struct Visited<'a> {
    pub spec: &'a Spec,
    /// The pid of its init, in the host's pid namespace.
    pub init: i32,
    pub group: &'a Group,
}

/// A plan that adds mounts, and which of its mounts is which.
#[derive(Debug)]
pub struct Added {
    pub plan: Plan,
    /// The slot of every mount, and the number in `mounts` that asked for it.
    pub mounts: Vec<(Slot, usize)>,
}

/// A mount that is to go.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Absolute path inside the container, as its mountinfo has it.
    pub path: CString,
    /// As in its mountinfo.
    pub id: u64,
    pub unique: Option<u64>,
    /// Another that is to go is mounted over it: it goes after that, and can't be found before.
    pub covered: bool,
    /// What asked for it.
    pub field: Field,
}

/// Plans what adds the `mounts` of the container's spec, which are no longer those that it was created with.
///
/// # Errors
/// A container that shares its caller's mounts; entries that make no sense.
pub fn plan_add(container: &Visited, host: &Host, request: &Request) -> Result<Added, Vec<Violation>> {
    let spec = container.spec;
    refuse_shared_mounts(spec)?;
    let mut slots = SlotCounter::default();
    let dirs = super::cgroup_dirs(container.group, &host.cgroups, request);
    let live = plan_live(spec, host, request, &dirs, container.init, &mut slots)?;
    let visit = plan_visit(spec, host, container.init, wanted_kinds(spec), &mut slots);
    let mut mounts = Vec::new();
    let mut stage_two = Vec::new();
    let mut undo = Vec::new();
    for (slot, step) in live.attach {
        if let (Some(mount), Op::Rootfs(RootfsOp::AttachTree(attachment))) = (slot, &step.op) {
            let held = slots.take();
            let announce = ProcessOp::AnnounceMount { mount, held };
            stage_two.push(Step::new(announce, step.field.clone()));
            let destination = attachment.target.path.clone();
            let detach = RootfsOp::DetachMount { mount: held, destination, lenient: true };
            undo.push(Step::new(detach, step.field.clone()));
            mounts.extend(number(&step.field).map(|number| (held, number)));
        }
        stage_two.push(step);
    }
    // What was mounted last goes first; whoever is at work is stopped before that.
    undo.push(Step::new(ProcessOp::KillInit, Field::RUNTIME));
    undo.reverse();
    stage_two.extend(live.finish);
    let live = LivePlan { attach: Vec::new(), finish: Vec::new(), ..live };
    let plan = assemble(container, host, live, visit, stage_two, undo, &slots);
    match super::beyond_numbers(&plan) {
        Some(violation) => Err(vec![violation]),
        None => Ok(Added { plan, mounts }),
    }
}

/// Plans what takes mounts off, in this order: all are found before the first one goes, but for those that another of them
/// covers.
///
/// # Errors
/// A container that shares its caller's mounts.
pub fn plan_remove(container: &Visited, host: &Host, wanted: &[Wanted]) -> Result<Plan, Vec<Violation>> {
    refuse_shared_mounts(container.spec)?;
    let mut slots = SlotCounter::default();
    let mut visit = plan_visit(container.spec, host, container.init, Kinds::default(), &mut slots);
    // Nothing of the host's is looked for.
    visit.aside.clear();
    let (mut find, mut detach) = (Vec::new(), Vec::new());
    for Wanted { path, id, unique, covered, field } in wanted {
        let place = Place { path: path.clone(), id: *id, unique: *unique, slot: slots.take() };
        let off = RootfsOp::DetachMount { mount: place.slot, destination: path.clone(), lenient: false };
        let list = if *covered { &mut detach } else { &mut find };
        list.push(Step::new(RootfsOp::FindMount(Box::new(place)), field.clone()));
        detach.push(Step::new(off, field.clone()));
    }
    let undo = vec![Step::new(ProcessOp::KillInit, Field::RUNTIME)];
    Ok(assemble(container, host, LivePlan::default(), visit, [find, detach].concat(), undo, &slots))
}

/// Plans what takes off again what an `add` had come to attach when it failed. The mounts stand in the slots of its plan.
pub fn plan_retreat(container: &Visited, host: &Host, failed: &Plan) -> Plan {
    let mut slots = SlotCounter::default();
    while slots.len() < failed.slots {
        slots.take();
    }
    let mut visit = plan_visit(container.spec, host, container.init, Kinds::default(), &mut slots);
    visit.aside.clear();
    let detach = failed.undo.iter().filter(|step| matches!(step.op, Op::Rootfs(_))).cloned().collect();
    let undo = vec![Step::new(ProcessOp::KillInit, Field::RUNTIME)];
    assemble(container, host, LivePlan::default(), visit, detach, undo, &slots)
}

/// The order of everything. The child forbids ptrace before it is anywhere, and comes into the pid namespace, if it has
/// to, with nothing of the host left.
fn assemble(
    container: &Visited,
    host: &Host,
    live: LivePlan,
    visit: Visit,
    inside: Vec<Step>,
    undo: Vec<Step>,
    slots: &SlotCounter,
) -> Plan {
    let own = |op: ProcessOp| Step::new(op, Field::RUNTIME);
    let hide = || own(ProcessOp::Undumpable);
    let mut before = vec![own(ProcessOp::OpenHostProc)];
    // In a session of its own it outlives a caller who is interrupted at his terminal, and takes back what it has done.
    let mut first = vec![own(ProcessOp::CloseStdio), own(ProcessOp::NewSession)];
    // As in `exec`: the real root owns its files in /proc all the same, and its child is born hidden.
    if host.rootless() {
        first.push(hide())
    } else {
        before.push(hide())
    }
    let forks = !visit.fork.is_empty();
    let wait = live.locates.then(|| Step::new(Point::Located, Field::RUNTIME));
    // mount(2) by descriptor, on kernels that need it: its directory in the host's /proc must not come along into the
    // container's pid namespace.
    let by_descriptor = (!forks).then(|| Step::new(RootfsOp::OpenHostProc, Field::RUNTIME));
    // Before the fork where that shows the processes of the container no more than their own mounts.
    let (early, late) = if visit.aside.is_empty() { (visit.enter, Vec::new()) } else { (Vec::new(), visit.enter) };
    let (taken, made): (Vec<_>, Vec<_>) =
        live.outside.into_iter().partition(|step| !matches!(step.op, Op::Rootfs(RootfsOp::MakeFilesystem { .. })));
    let rest: Vec<Step> = [
        visit.aside,
        wait.into_iter().collect(),
        taken,
        early,
        by_descriptor.into_iter().collect(),
        vec![own(ProcessOp::CloseHost)],
        visit.fork,
        made,
        late,
        vec![Step::new(RootfsOp::OpenOwnRoot, Field::at("/root/path"))],
        inside,
        vec![Step::new(Point::Noted, Field::RUNTIME)],
    ]
    .concat();
    Plan {
        launch: Launch { fork: forks, ..Launch::default() },
        host: [before, live.host, visit.host].concat(),
        adopt: Vec::new(),
        // It is repeated after the change of user (prctl(2)).
        stage_one: [first, visit.join, vec![hide()]].concat(),
        stage_two: rest,
        mounted: Vec::new(),
        ready: Vec::new(),
        start: Vec::new(),
        undo,
        exec: Exec::default(),
        group: Group::default(),
        rdt: None,
        into_cgroup: None,
        slots: slots.len(),
        warnings: live.warnings.into_iter().chain(shared_with(container.spec)).collect(),
    }
}

/// Without a mount namespace of its own every mount of a container would be the host's.
///
/// # Errors
/// For such a container.
pub fn refuse_shared_mounts(spec: &Spec) -> Result<(), Vec<Violation>> {
    if namespaces(spec).any(|(kind, _)| kind == LinuxNamespaceType::Mount) {
        return Ok(());
    }
    let why = "the container shares its caller's mount namespace, so that a mount in it would be the host's";
    let hint = "only a container with a namespace of type mount in linux.namespaces can get mounts";
    Err(vec![Violation::new(Field::at("/linux/namespaces"), why).hint(hint)])
}

fn shared_with(spec: &Spec) -> Option<Warning> {
    let joined = namespaces(spec).any(|(kind, joined)| kind == LinuxNamespaceType::Mount && joined);
    let text = "the container has joined the mount namespace of others, who see the same mounts";
    joined.then(|| Warning::new(Field::at("/linux/namespaces"), text))
}

/// The container's namespaces, and whether it has joined each.
fn namespaces(spec: &Spec) -> impl Iterator<Item = (LinuxNamespaceType, bool)> + '_ {
    let all = spec.linux().iter().flat_map(|linux| linux.namespaces()).flatten();
    all.map(|namespace| (namespace.typ(), namespace.path().is_some()))
}

/// What new file systems show is that of who makes them.
fn wanted_kinds(spec: &Spec) -> Kinds {
    let of = |mount: &oci_spec::runtime::Mount| match mount.typ().as_deref() {
        Some("proc") => Some(Kind::Pid),
        Some("sysfs") => Some(Kind::Network),
        Some("mqueue") => Some(Kind::Ipc),
        Some("cgroup" | "cgroup2") => Some(Kind::Cgroup),
        _ => None,
    };
    spec.mounts().iter().flatten().filter_map(of).collect()
}

/// The number in `mounts` of the entry that a field is about.
fn number(field: &Field) -> Option<usize> {
    field.pointer().strip_prefix("/mounts/")?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::Mode;

    fn spec(kinds: &[&str]) -> Spec {
        let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        let mounts =
            json!([{"destination": "/m", "type": "bind", "source": "/srv"}, {"destination": "/p", "type": "proc"}]);
        let spec = json!({"ociVersion": "1.3.0", "mounts": mounts, "linux": {"namespaces": namespaces}});
        serde_json::from_value(spec).unwrap()
    }

    fn planned(spec: &Spec) -> Result<Added, Vec<Violation>> {
        let visited = Visited { spec, init: 42, group: &Group::default() };
        plan_add(&visited, &Host::fixture(), &Request::new("web", "/bundle", Mode::Exec { detach: true }))
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| super::super::render(&step.op)).collect()
    }

    #[test]
    fn the_pid_namespace_is_entered_with_nothing_of_the_host_left() {
        let added = planned(&spec(&["mount", "pid"])).unwrap();
        let expected = [
            "join the mount namespace",
            "close what leads to the host",
            "fork into the pid namespace",
            "open the container's root directory",
            "tell the host which mount comes next",
            "attach /srv at /m",
            "make proc for /p",
            "tell the host which mount comes next",
            "attach proc at /p",
            "wait until the host has written the mounts down",
        ];
        assert_eq!(words(&added.plan.stage_two), expected);
        assert_eq!(words(&added.plan.undo), ["kill the init", "unmount /p", "unmount /m"]);
        assert_eq!(added.mounts.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn in_a_user_namespace_the_way_leads_through_a_copy_of_the_hosts_mounts() {
        let added = planned(&spec(&["mount", "pid", "user"])).unwrap();
        let expected = [
            "make new namespaces: mount",
            "have the host find the sources of bind mounts here",
            "keep the flags of /srv locked",
            "close what leads to the host",
            "fork into the pid namespace",
            "make proc for /p",
            "join the mount namespace",
        ];
        assert_eq!(words(&added.plan.stage_two)[..7], expected);
    }

    #[test]
    fn a_container_without_mounts_of_its_own_is_refused() {
        let violations = planned(&spec(&["pid"])).unwrap_err();
        assert_eq!(violations[0].field.pointer(), "/linux/namespaces");
    }

    #[test]
    fn all_are_found_before_the_first_goes() {
        let spec = spec(&["mount", "pid", "user"]);
        let visited = Visited { spec: &spec, init: 42, group: &Group::default() };
        let wanted = |path: &std::ffi::CStr, covered| Wanted {
            path: path.into(),
            id: 7,
            unique: None,
            covered,
            field: Field::RUNTIME,
        };
        let all = [wanted(c"/a", false), wanted(c"/b", false), wanted(c"/b", true)];
        let plan = plan_remove(&visited, &Host::fixture(), &all).unwrap();
        let steps = words(&plan.stage_two);
        let from = steps.iter().position(|step| step.starts_with("find the mount")).unwrap();
        let expected = ["find the mount on /a", "find the mount on /b", "unmount /a", "unmount /b"];
        assert_eq!(steps[from..from + 4], expected);
        assert_eq!(steps[from + 4..from + 6], ["find the mount on /b", "unmount /b"]);
        assert!(!plan.launch.fork && !steps.contains(&"make new namespaces: mount".to_owned()));
    }
}
