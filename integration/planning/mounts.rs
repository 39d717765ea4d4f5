//! The rules that every plan of `mounts` keeps.

use super::{child, demand, first, is_undumpable, last, ordered};
use corten::namespaces::Op as NamespaceOp;
use corten::plan::{Op, Plan, Point, Step};
use corten::process::Op as ProcessOp;
use corten::rootfs::Op as RootfsOp;
use corten::slots::Slot;

/// Checks every rule. The error says which one is broken, and by which step.
pub fn check_mounts(plan: &Plan) -> Result<(), String> {
    let steps = child(plan);
    nothing_is_mounted_that_the_host_does_not_know(&steps)?;
    what_is_attached_can_be_taken_off(plan, &steps)?;
    the_container_sees_nothing_of_the_way(plan, &steps)?;
    let noted = steps.last().is_some_and(|step| step.op == Op::Sync(Point::Noted));
    demand(noted, || "it ends before the mounts are on record".into())?;
    demand(plan.start.is_empty() && plan.ready.is_empty() && plan.adopt.is_empty(), || "there is a program".into())
}

fn joins(op: &Op) -> bool {
    matches!(op, Op::Namespace(NamespaceOp::Join { .. }))
}

fn finds_the_root(op: &Op) -> bool {
    matches!(op, Op::Rootfs(RootfsOp::OpenOwnRoot))
}

fn nothing_is_mounted_that_the_host_does_not_know(steps: &[&Step]) -> Result<(), String> {
    for (at, step) in steps.iter().enumerate() {
        let Op::Rootfs(op) = &step.op else { continue };
        match op {
            RootfsOp::AttachTree(attachment) => {
                let before = at.checked_sub(1).map(|before| &steps[before].op);
                let announced = match before {
                    Some(Op::Process(ProcessOp::AnnounceMount { mount, .. })) => Some(*mount),
                    _ => None,
                };
                demand(announced == Some(attachment.tree), || format!("{:?} is attached unknown", attachment.target))?;
            }
            RootfsOp::MountFilesystem(_)
            | RootfsOp::Remount(_)
            | RootfsOp::MakeDevice(_)
            | RootfsOp::BindDevice { .. } => {
                return Err(format!("{op:?} can't be taken back"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// By descriptor, the last first.
fn what_is_attached_can_be_taken_off(plan: &Plan, steps: &[&Step]) -> Result<(), String> {
    let held: Vec<Slot> = steps
        .iter()
        .filter_map(|step| match &step.op {
            Op::Process(ProcessOp::AnnounceMount { held, .. }) => Some(*held),
            _ => None,
        })
        .collect();
    let off: Vec<Slot> = plan
        .undo
        .iter()
        .filter_map(|step| match &step.op {
            Op::Rootfs(RootfsOp::DetachMount { mount, lenient: true, .. }) => Some(*mount),
            _ => None,
        })
        .collect();
    demand(off.iter().rev().eq(&held), || format!("{held:?} are attached, and {off:?} taken off"))?;
    demand(held.iter().all(|slot| usize::from(slot.0) < plan.slots), || "a slot has no room".into())
}

fn the_container_sees_nothing_of_the_way(plan: &Plan, steps: &[&Step]) -> Result<(), String> {
    let before: Vec<&Step> = plan.host.iter().collect();
    let fork = |op: &Op| matches!(op, Op::Namespace(NamespaceOp::Fork));
    let closes = |op: &Op| matches!(op, Op::Process(ProcessOp::CloseHost));
    let hidden = first(&before, is_undumpable).is_some() || first(steps, is_undumpable) < first(steps, joins);
    demand(hidden, || "the container's processes could trace it (CVE-2016-9962)".into())?;
    demand(first(steps, closes).is_some(), || "what leads to the host stays open".into())?;
    ordered(steps, closes, fork, "the container's processes could reach the host by it")?;
    demand(plan.launch.fork == first(steps, fork).is_some(), || "the launch and its steps disagree on a fork".into())?;
    let by_descriptor = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::OpenHostProc));
    demand(!plan.launch.fork || first(steps, by_descriptor).is_none(), || "the host's /proc comes along".into())?;
    let takes = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::TakeTree(_) | RootfsOp::LockTree(_)));
    let works = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::AttachTree(_) | RootfsOp::FindMount(_)));
    ordered(steps, takes, finds_the_root, "sources are the host's")?;
    ordered(steps, finds_the_root, works, "there is no root yet")?;
    demand(last(steps, joins) < last(steps, finds_the_root), || "the root is the host's".into())
}
