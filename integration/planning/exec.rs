//! The rules that every plan of an `exec` keeps.

use super::{all, child, demand, first, is_undumpable, ordered, rights_are_given_up_in_order};
use corten::cgroups::Op as CgroupOp;
use corten::host::Host;
use corten::namespaces::{Kind, Op as NamespaceOp};
use corten::plan::{Op, Plan, Point, Step};
use corten::process::Op as ProcessOp;
use corten::rootfs::Op as RootfsOp;

/// Checks every rule. The error says which one is broken, and by which step.
pub fn check_exec(plan: &Plan, host: &Host) -> Result<(), String> {
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
    let kinds = |op: &Op| match op {
        Op::Namespace(NamespaceOp::JoinInit { kinds, .. }) => Some(*kinds),
        _ => None,
    };
    let user = steps.iter().find_map(|step| kinds(&step.op)).is_some_and(|kinds| kinds.contains(Kind::User));
    demand(!plan.launch.fork || host.rootless() || !user, || "a fork that nobody needs".into())?;
    demand(first(&before, born).is_none() || user, || "who has CAP_SYS_PTRACE in there sees the host's root".into())?;
    let closes = |op: &Op| matches!(op, Op::Process(ProcessOp::CloseHost));
    ordered(&steps, closes, fork, "the container's processes could reach the host by it")?;
    demand(first(&steps, closes).is_some(), || "what leads to the host stays open".into())?;
    let through_proc = |op: &Op| {
        use ProcessOp::{AppArmor, OomScoreAdjust, SelinuxExec, SelinuxKeyring, SelinuxKeyringEnd};
        matches!(
            op,
            Op::Process(
                OomScoreAdjust { .. }
                    | AppArmor { .. }
                    | SelinuxExec { .. }
                    | SelinuxKeyring { .. }
                    | SelinuxKeyringEnd
            )
        )
    };
    ordered(&steps, through_proc, closes, "these take the host's /proc")?;
    let enters = |op: &Op| matches!(op, Op::Cgroup(CgroupOp::Enter { .. }));
    let hidden = first(&before, is_undumpable).is_some() || first(&steps, is_undumpable) < first(&steps, joins);
    demand(first(&steps, joins).is_none() || hidden, || traced.to_owned())?;
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
