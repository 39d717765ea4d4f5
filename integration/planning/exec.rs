//! The rules that every plan of an `exec` keeps.

use super::{all, child, demand, first, is_undumpable, no_step_is_taken_twice, ordered, rights_are_given_up_in_order};
use corten::cgroups::Op as CgroupOp;
use corten::host::Host;
use corten::namespaces::Op as NamespaceOp;
use corten::plan::{Op, Plan, Point, Step};
use corten::process::Op as ProcessOp;
use corten::rootfs::Op as RootfsOp;

/// Checks every rule. The error says which one is broken, and by which step.
pub fn check_exec(plan: &Plan, host: &Host) -> Result<(), String> {
    no_step_is_taken_twice(plan)?;
    rights_are_given_up_in_order(plan)?;
    nobody_in_the_container_sees_it_too_early(plan, host)?;
    the_container_stays_as_it_is(plan)?;
    let last = |steps: &[Step], wanted: fn(&Op) -> bool| steps.last().is_some_and(|step| wanted(&step.op));
    demand(last(&plan.stage_two, |op| *op == Op::Sync(Point::Recorded)), || "a program that nobody knows of".into())?;
    demand(last(&plan.start, |op| matches!(op, Op::Process(ProcessOp::Exec { .. }))), || {
        "the program isn't last".into()
    })
}

fn nobody_in_the_container_sees_it_too_early(plan: &Plan, host: &Host) -> Result<(), String> {
    let before: Vec<&Step> = plan.host.iter().collect();
    let born = |op: &Op| matches!(op, Op::Namespace(NamespaceOp::BearInPid { .. }));
    let joins = |op: &Op| matches!(op, Op::Namespace(NamespaceOp::JoinInit { .. }));
    let fork = |op: &Op| matches!(op, Op::Namespace(NamespaceOp::Fork));
    let steps = child(plan);
    let traced = "the container's processes could trace it (CVE-2016-9962)";
    ordered(&before, is_undumpable, born, traced)?;
    demand(first(&before, born).is_none() || first(&before, is_undumpable).is_some(), || traced.to_owned())?;
    ordered(&steps, is_undumpable, fork, traced).or_else(|why| {
        // It is repeated after the change of user.
        demand(first(&steps, is_undumpable) < first(&steps, fork), || why)
    })?;
    demand(first(&steps, is_undumpable).is_some_and(|hidden| hidden < plan.stage_one.len()), || traced.to_owned())?;
    demand(plan.launch.fork == first(&steps, fork).is_some(), || "the launch and its steps disagree on a fork".into())?;
    demand(!plan.launch.fork || host.rootless(), || "a fork that a privileged caller doesn't need".into())?;
    let enters = |op: &Op| matches!(op, Op::Cgroup(CgroupOp::Enter { .. }));
    ordered(&steps, enters, joins, "its limits hold before it is anywhere")?;
    let scores = |op: &Op| matches!(op, Op::Process(ProcessOp::OomScoreAdjust { .. } | ProcessOp::RaiseLimit { .. }));
    ordered(&steps, scores, joins, "these take rights of outside")
}

/// Nothing is mounted, named or limited anew.
fn the_container_stays_as_it_is(plan: &Plan) -> Result<(), String> {
    for (stage, step) in all(plan) {
        let harmless = match &step.op {
            Op::Rootfs(op) => {
                matches!(op, RootfsOp::OpenInitRoot { .. } | RootfsOp::OpenOwnRoot | RootfsOp::Chroot)
            }
            Op::Cgroup(op) => matches!(
                op,
                CgroupOp::Open(_) | CgroupOp::Enter { .. } | CgroupOp::ResetAffinity | CgroupOp::EnterClass { .. }
            ),
            Op::Namespace(op) => matches!(
                op,
                NamespaceOp::BearInPid { .. }
                    | NamespaceOp::JoinInit { .. }
                    | NamespaceOp::BecomeItsRoot
                    | NamespaceOp::Fork
            ),
            Op::Process(op) => !matches!(
                op,
                ProcessOp::Hostname { .. }
                    | ProcessOp::Domainname { .. }
                    | ProcessOp::Sysctl { .. }
                    | ProcessOp::Hook { .. }
                    | ProcessOp::StartHook { .. }
                    | ProcessOp::MakeCwd { .. }
                    | ProcessOp::RemoveRecord
            ),
            Op::Sync(point) => *point == Point::Recorded,
        };
        demand(harmless, || format!("{}: {:?} changes the container", stage.name(), corten::plan::render(&step.op)))?;
    }
    Ok(())
}
