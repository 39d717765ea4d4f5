//! What the tests of planning share: one request to start from, and the rules that every plan keeps, whatever the config.
//! The order of the steps is the security of a container; each rule here says what would go wrong without it.

#[path = "planning/exec.rs"]
mod exec;
#[path = "planning/mounts.rs"]
mod mounts;

use corten::cgroups::Op as CgroupOp;
use corten::config::{Config, locate, validate};
use corten::error::Violation;
use corten::fault::Stage;
use corten::host::Host;
use corten::namespaces::{Kind, Op as NamespaceOp};
use corten::plan::{self, Op, Plan, Point, Step};
use corten::process::Op as ProcessOp;
use corten::request::{Mode, Request};
use corten::rootfs::Op as RootfsOp;
use corten::slots::Slot;

pub use exec::check_exec;
pub use mounts::check_mounts;

/// A `create` in `/bundle`, with a console socket where the config wants a terminal.
pub fn request(terminal: bool) -> Request {
    Request {
        console_socket: terminal.then(|| "/run/console.sock".into()),
        ..Request::new("web", "/bundle", Mode::Create)
    }
}

/// Validates and plans, as every verb does.
pub fn plan_of(config: &Config, request: &Request, host: &Host) -> Result<Plan, Vec<Violation>> {
    let violations = validate::validate(config, request, host);
    if violations.is_empty() { plan::plan(&config.spec, host, request) } else { Err(violations) }
}

/// Checks every rule. The error says which one is broken, and by which step.
pub fn check(plan: &Plan, config: &Config, request: &Request) -> Result<(), String> {
    fields_lead_somewhere(plan, config)?;
    steps_stand_where_they_can_be_taken(plan)?;
    no_step_is_taken_twice(plan)?;
    slots_are_filled_before_they_are_used(plan)?;
    namespaces_come_in_order(plan)?;
    the_root_is_entered_between_mounts_and_masks(plan, request)?;
    rights_are_given_up_in_order(plan)?;
    the_program_comes_last(plan, config, request)
}

fn demand(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn all(plan: &Plan) -> impl Iterator<Item = (Stage, &Step)> {
    Stage::ALL.into_iter().flat_map(|stage| plan.steps(stage).iter().map(move |step| (stage, step)))
}

/// The child's steps in the order in which it takes them.
fn child(plan: &Plan) -> Vec<&Step> {
    plan.stage_one.iter().chain(&plan.stage_two).chain(&plan.start).collect()
}

fn first(steps: &[&Step], wanted: impl Fn(&Op) -> bool) -> Option<usize> {
    steps.iter().position(|step| wanted(&step.op))
}

fn last(steps: &[&Step], wanted: impl Fn(&Op) -> bool) -> Option<usize> {
    steps.iter().rposition(|step| wanted(&step.op))
}

/// Every one of `early` stands before every one of `late`; either may be absent.
fn ordered(steps: &[&Step], early: impl Fn(&Op) -> bool, late: impl Fn(&Op) -> bool, why: &str) -> Result<(), String> {
    match (last(steps, early), first(steps, late)) {
        (Some(a), Some(b)) if a > b => {
            let [b, a] = [b, a].map(|at| plan::render(&steps[at].op));
            Err(format!("{why}: {b:?} stands before {a:?}"))
        }
        _ => Ok(()),
    }
}

/// Properties whose absence means something too, so that a step may name them nonetheless.
const MEANINGFUL_WHEN_ABSENT: [&str; 5] = [
    "/process/capabilities",
    "/process/capabilities/bounding",
    "/process/user",
    "/process/user/additionalGids",
    "/process/user/umask",
];

/// An error message names the step's field: a field that isn't there would send its reader nowhere.
fn fields_lead_somewhere(plan: &Plan, config: &Config) -> Result<(), String> {
    for (stage, step) in all(plan) {
        let field = &step.field;
        let known = match field.pointer() {
            "" => true,
            flag if !field.is_config() => flag.starts_with("--") || flag == "NOTIFY_SOCKET",
            pointer => {
                locate::is_set(&config.bytes, field)
                    || MEANINGFUL_WHEN_ABSENT.contains(&pointer)
                    // uid and gid read as 0 where they are left out.
                    || matches!(pointer, "/process/user/uid" | "/process/user/gid")
            }
        };
        demand(known, || format!("{}: {:?} names {field}, which isn't there", stage.name(), plan::render(&step.op)))?;
    }
    Ok(())
}

/// The interpreter of each list knows some operations only; any other would fail as a bug.
fn steps_stand_where_they_can_be_taken(plan: &Plan) -> Result<(), String> {
    for (stage, step) in all(plan) {
        let inside = matches!(stage, Stage::StageOne | Stage::StageTwo | Stage::Start);
        let allowed = match &step.op {
            Op::Namespace(NamespaceOp::Open { .. }) => stage == Stage::Host,
            Op::Namespace(NamespaceOp::DenySetgroups | NamespaceOp::Map { .. }) => stage == Stage::Adopt,
            Op::Namespace(NamespaceOp::MoveDevice { .. }) => stage == Stage::Mounted,
            Op::Namespace(_) => stage == Stage::StageOne,
            Op::Rootfs(RootfsOp::MakeIdNamespace(_)) => stage == Stage::Host,
            Op::Rootfs(RootfsOp::TakeTree(_) | RootfsOp::OpenIdNamespace { .. } | RootfsOp::MapIds { .. }) => {
                matches!(stage, Stage::Host | Stage::StageTwo)
            }
            Op::Rootfs(_) => stage == Stage::StageTwo,
            Op::Process(op) => match op {
                ProcessOp::OpenHostProc
                | ProcessOp::CheckInherited { .. }
                | ProcessOp::ConnectConsole { .. }
                | ProcessOp::PrepareFilter { .. }
                | ProcessOp::ConnectAgent { .. } => stage == Stage::Host,
                ProcessOp::Hook { .. } => matches!(stage, Stage::Mounted | Stage::Undo),
                ProcessOp::KillInit | ProcessOp::RemoveRecord => stage == Stage::Undo,
                ProcessOp::OomScoreAdjust { .. } | ProcessOp::RaiseLimit { .. } => {
                    matches!(stage, Stage::Adopt | Stage::StageOne)
                }
                ProcessOp::StartHook { .. } | ProcessOp::ResetSignals | ProcessOp::Exec { .. } => stage == Stage::Start,
                _ => inside,
            },
            Op::Sync(Point::Adopted) => stage == Stage::StageOne,
            Op::Sync(_) => stage == Stage::StageTwo,
            // Nobody may be in the cgroup yet; a unit of systemd comes into being with the child in it, who waits.
            Op::Cgroup(CgroupOp::RuleDevice { .. } | CgroupOp::AttachDevices(_)) => {
                stage == if plan.group.unit.is_some() { Stage::Adopt } else { Stage::Host }
            }
            Op::Cgroup(CgroupOp::MakeClass { .. } | CgroupOp::EnterClass { .. }) => stage == Stage::Mounted,
            Op::Cgroup(CgroupOp::Remove | CgroupOp::RemoveClass { .. }) => stage == Stage::Undo,
            Op::Cgroup(_) => true,
        };
        demand(allowed, || format!("{:?} can't be taken in {}", plan::render(&step.op), stage.name()))?;
    }
    Ok(())
}

fn no_step_is_taken_twice(plan: &Plan) -> Result<(), String> {
    for stage in Stage::ALL {
        let steps = plan.steps(stage);
        for (at, step) in steps.iter().enumerate() {
            demand(!steps[..at].contains(step), || {
                format!("{}: {:?} is taken twice", stage.name(), plan::render(&step.op))
            })?;
        }
    }
    Ok(())
}

fn slots_are_filled_before_they_are_used(plan: &Plan) -> Result<(), String> {
    let mut filled: Vec<Slot> = Vec::new();
    for step in plan.host.iter().chain(child(plan)) {
        let (fills, uses): (Option<Slot>, Vec<Slot>) = match &step.op {
            Op::Namespace(NamespaceOp::Open { slot, .. }) => (Some(*slot), vec![]),
            Op::Namespace(NamespaceOp::Join { slot, .. }) => (None, vec![*slot]),
            Op::Cgroup(CgroupOp::OpenLimit { slot, .. }) => (Some(*slot), vec![]),
            Op::Cgroup(CgroupOp::RuleDevice { slot, .. }) => (None, vec![*slot]),
            Op::Rootfs(RootfsOp::TakeTree(tree)) => (Some(tree.slot), vec![]),
            Op::Rootfs(RootfsOp::MakeIdNamespace(ids)) => (Some(ids.slot), vec![]),
            Op::Rootfs(RootfsOp::OpenIdNamespace { slot, .. }) => (Some(*slot), vec![]),
            Op::Rootfs(RootfsOp::MapIds { tree, namespace, .. }) => (None, vec![*tree, *namespace]),
            Op::Rootfs(RootfsOp::AttachTree(attachment)) => (attachment.finish.keep, vec![attachment.tree]),
            Op::Rootfs(RootfsOp::MountFilesystem(fs)) => (fs.finish.keep, fs.idmap.into_iter().collect()),
            Op::Rootfs(RootfsOp::BindDevice { tree, .. }) => (None, vec![*tree]),
            Op::Rootfs(RootfsOp::ReadOnlyMount { mount, .. }) => (None, vec![*mount]),
            Op::Rootfs(RootfsOp::LeaveNamespace { caller }) => (Some(*caller), vec![]),
            Op::Rootfs(RootfsOp::ReturnNamespace { caller }) => (None, vec![*caller]),
            Op::Rootfs(RootfsOp::MaskPath { null, .. }) => {
                demand(usize::from(null.0) < plan.slots, || format!("{null:?} has no room"))?;
                (None, vec![])
            }
            _ => (None, vec![]),
        };
        for slot in uses {
            demand(filled.contains(&slot), || format!("{:?} finds {slot:?} empty", plan::render(&step.op)))?;
        }
        if let Some(slot) = fills {
            demand(!filled.contains(&slot), || format!("{:?} fills {slot:?} again", plan::render(&step.op)))?;
            demand(usize::from(slot.0) < plan.slots, || format!("{slot:?} has no room"))?;
            demand(slot.0 >= Slot::FIRST_FREE, || format!("{slot:?} is somebody else's"))?;
            filled.push(slot);
        }
    }
    Ok(())
}

fn is_undumpable(op: &Op) -> bool {
    matches!(op, Op::Process(ProcessOp::Undumpable))
}

fn namespaces_come_in_order(plan: &Plan) -> Result<(), String> {
    let launch = &plan.launch;
    let steps = child(plan);
    let is_join = |op: &Op| matches!(op, Op::Namespace(NamespaceOp::Join { .. }));
    let is_fork = |op: &Op| matches!(op, Op::Namespace(NamespaceOp::Fork));
    let hidden = first(&steps, is_undumpable).ok_or("the init can be traced")?;
    // The maps and the clocks are written through /proc/PID, which a process that can't be dumped doesn't own.
    let time = launch.unshare.contains(Kind::Time);
    if !launch.maps && !time {
        demand(first(&steps, is_join).is_none_or(|join| hidden < join), || {
            "a joined namespace's processes could trace the init (CVE-2016-9962)".into()
        })?;
    }
    let scores = |op: &Op| matches!(op, Op::Process(ProcessOp::OomScoreAdjust { .. }));
    ordered(&steps, scores, is_undumpable, "only the real root may write its own /proc files then")?;
    demand(first(&steps, is_fork).is_none_or(|fork| hidden < fork), || {
        "the processes of a pid namespace could trace the init (CVE-2016-9962)".into()
    })?;
    demand(hidden < plan.stage_one.len(), || "stage two begins with an init that can be traced".into())?;

    demand(first(&steps, is_fork).is_some() == launch.fork, || "the launch and its steps disagree on a fork".into())?;
    if launch.fork {
        let last = plan.stage_one.last().map(|step| &step.op);
        demand(last.is_some_and(is_fork), || "a step after the fork is taken by the child alone".into())?;
    }
    let adopted = first(&steps, |op| *op == Op::Sync(Point::Adopted));
    let becomes = first(&steps, |op| matches!(op, Op::Namespace(NamespaceOp::Become { .. })));
    // systemd makes the unit around a child that waits.
    let waits = launch.maps || !plan.group.places.is_empty() && plan.group.unit.is_some();
    demand(adopted.is_some() == waits, || {
        "id maps or a unit without a word from the host, or the other way round".into()
    })?;
    demand(!launch.maps || adopted.is_none_or(|adopted| becomes.is_some_and(|becomes| adopted < becomes)), || {
        "an id is taken on before it is mapped".into()
    })?;
    let maps = plan.adopt.iter().filter(|step| matches!(step.op, Op::Namespace(NamespaceOp::Map { .. }))).count();
    demand(maps == if launch.maps { 2 } else { 0 }, || format!("{maps} id maps"))?;
    ordered(
        &steps,
        |op| matches!(op, Op::Namespace(NamespaceOp::TimeOffsets { .. })),
        |op| matches!(op, Op::Namespace(NamespaceOp::EnterTime)),
        "clocks stand still once somebody is in the namespace (time_namespaces(7))",
    )
}

fn makes_mounts(op: &Op) -> bool {
    use RootfsOp::*;
    let Op::Rootfs(op) = op else { return false };
    matches!(
        op,
        Propagate(_)
            | PrivateParent(_)
            | AttachRoot(_)
            | OpenRoot(_)
            | TakeTree(_)
            | AttachTree(_)
            | MountFilesystem(_)
            | Remount(_)
            | MakeDevice(_)
            | BindDevice { .. }
            | Symlink(_)
            | OpenProc
    )
}

fn enters(op: &Op) -> bool {
    matches!(op, Op::Rootfs(RootfsOp::PivotRoot | RootfsOp::MoveRoot | RootfsOp::Chroot))
}

fn restricts(op: &Op) -> bool {
    use RootfsOp::{MaskPath, ReadOnlyMount, ReadOnlyPath, ReadOnlyRoot};
    let Op::Rootfs(op) = op else { return false };
    matches!(op, MaskPath { .. } | ReadOnlyMount { .. } | ReadOnlyPath { .. } | ReadOnlyRoot)
}

/// What writes into the new root, or through its /proc.
fn writes_inside(op: &Op) -> bool {
    use ProcessOp::{Domainname, Hostname, MakeCwd, Sysctl, Terminal};
    match op {
        Op::Process(op) => {
            matches!(op, MakeCwd { .. } | Sysctl { .. } | Terminal { .. } | Hostname { .. } | Domainname { .. })
        }
        Op::Rootfs(op) => matches!(op, RootfsOp::BindConsole),
        _ => false,
    }
}

fn the_root_is_entered_between_mounts_and_masks(plan: &Plan, request: &Request) -> Result<(), String> {
    let steps: Vec<&Step> = plan.stage_two.iter().collect();
    let entered = steps.iter().filter(|step| enters(&step.op)).count();
    demand(entered == 1, || format!("the root is entered {entered} times"))?;
    ordered(&steps, makes_mounts, enters, "the host's files are out of reach then")?;
    ordered(&steps, enters, restricts, "a mask before the change of root would be left behind or be the host's")?;
    ordered(&steps, enters, writes_inside, "these writes are the container's")?;
    ordered(&steps, writes_inside, restricts, "what is read-only or masked can't be written")?;
    let mounted = first(&steps, |op| *op == Op::Sync(Point::Mounted));
    demand(mounted.is_some() != plan.mounted.is_empty(), || {
        "hooks that nobody waits for, or the other way round".into()
    })?;
    ordered(&steps, makes_mounts, |op| *op == Op::Sync(Point::Mounted), "hooks see the mounts")?;
    ordered(&steps, |op| *op == Op::Sync(Point::Mounted), enters, "hooks run before the host's root is gone")?;
    let root_made = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::AttachRoot(_) | RootfsOp::OpenRoot(_)));
    let into_root = |op: &Op| makes_mounts(op) && !matches!(op, Op::Rootfs(RootfsOp::TakeTree(_)));
    let propagates = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::Propagate(_) | RootfsOp::PrivateParent(_)));
    ordered(&steps, propagates, |op| into_root(op) && !propagates(op), "mounts must not reach the host")?;
    ordered(&steps, root_made, |op| into_root(op) && !propagates(op) && !root_made(op), "there is no root yet")?;
    the_work_namespace_is_left_when_all_is_mounted(&steps)?;
    let hides = first(&steps, |op| matches!(op, Op::Rootfs(RootfsOp::HideHostFilesystems)));
    let moves = first(&steps, |op| matches!(op, Op::Rootfs(RootfsOp::MoveRoot)));
    demand(moves.is_none() || request.no_pivot, || "MS_MOVE where pivot_root was asked for".into())?;
    demand(moves.is_none_or(|moves| hides.is_some_and(|hides| hides + 1 == moves)), || {
        "without pivot_root the host's procfs and sysfs stay within reach".into()
    })?;
    let console = first(&steps, |op| matches!(op, Op::Rootfs(RootfsOp::BindConsole)));
    let terminal = first(&steps, |op| matches!(op, Op::Process(ProcessOp::Terminal { .. })));
    demand(console.is_none_or(|console| terminal.is_some_and(|terminal| terminal < console)), || {
        "/dev/console has no terminal yet".into()
    })
}

/// Mounts of a container that inherits its mount namespace must never be made in that.
fn the_work_namespace_is_left_when_all_is_mounted(steps: &[&Step]) -> Result<(), String> {
    let leaves = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::LeaveNamespace { .. }));
    let detaches = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::DetachRoot));
    let returns = |op: &Op| matches!(op, Op::Rootfs(RootfsOp::ReturnNamespace { .. }));
    let count = |wanted: fn(&Op) -> bool| steps.iter().filter(|step| wanted(&step.op)).count();
    let counts = [count(leaves), count(detaches), count(returns)];
    demand(counts == [0; 3] || counts == [1; 3], || format!("left, detached, returned: {counts:?} times"))?;
    let verifies = |op: &Op| matches!(op, Op::Process(ProcessOp::EnterCwd { .. } | ProcessOp::VerifyCwd { .. }));
    let works = |op: &Op| makes_mounts(op) || writes_inside(op) || restricts(op) || enters(op);
    ordered(steps, leaves, works, "mounts would be the caller's")?;
    ordered(steps, works, detaches, "what comes later isn't in the copy")?;
    ordered(steps, detaches, returns, "there is nothing to enter yet")?;
    ordered(steps, returns, verifies, "the way back changes the working directory")
}

/// Each call needs a right that a later one takes away (capabilities(7)).
fn rights_are_given_up_in_order(plan: &Plan) -> Result<(), String> {
    use ProcessOp::*;
    let steps: Vec<&Step> = plan.stage_two.iter().collect();
    let process = |wanted: fn(&ProcessOp) -> bool| move |op: &Op| matches!(op, Op::Process(op) if wanted(op));
    let ladder: [fn(&ProcessOp) -> bool; 9] = [
        |op| matches!(op, Limit { .. }),
        |op| matches!(op, BoundingSet { .. }),
        |op| matches!(op, KeepCapabilities { keep: true }),
        |op| matches!(op, Groups { .. }),
        |op| matches!(op, Gid { .. }),
        |op| matches!(op, Uid { .. }),
        |op| matches!(op, KeepCapabilities { keep: false }),
        |op| matches!(op, Capabilities { .. }),
        |op| matches!(op, Ambient { .. } | NoNewPrivileges),
    ];
    for pair in ladder.windows(2) {
        ordered(&steps, process(pair[0]), process(pair[1]), "rights are given up in order")?;
    }
    let user = process(|op| matches!(op, Uid { .. }));
    let Some(uid) = first(&steps, user) else { return Ok(()) };
    for (needed, what) in ladder[1..8].iter().zip(["bounding", "keep", "groups", "gid", "uid", "stop keeping", "sets"])
    {
        demand(first(&steps, process(*needed)).is_some(), || format!("no step for {what}"))?;
    }
    ordered(&steps, |op| matches!(op, Op::Rootfs(_)), user, "the file system is root's work")?;
    let properties = process(|op| {
        matches!(op, Scheduler { .. } | IoPriority { .. } | Personality { .. } | MemoryPolicy { .. } | OwnStdio { .. })
    });
    ordered(&steps, properties, user, "a user may not set these any more")?;
    let label = process(|op| matches!(op, AppArmor { .. } | SelinuxExec { .. }));
    ordered(&steps, label, user, "an ordinary user may not get the label, or not that label alone")?;
    let keyring = process(|op| matches!(op, SessionKeyring { .. }));
    ordered(&steps, process(|op| matches!(op, SelinuxKeyring { .. })), keyring, "a keyring has its label from birth")?;
    let verified = process(|op| matches!(op, VerifyCwd { .. }));
    let entered = last(&steps, process(|op| matches!(op, EnterCwd { .. })));
    demand(entered.is_some() && last(&steps, verified) > entered, || {
        "the working directory is never verified (CVE-2024-21626)".into()
    })?;
    filters_are_loaded_in_time(&steps)?;
    let found = process(|op| matches!(op, FindExecutable { .. }));
    ordered(&steps, user, found, "the program is looked for with the user's rights")?;
    // A change of ids may make the process traceable again; a loss of capabilities doesn't (prctl(2),
    // PR_SET_DUMPABLE; commit_creds in the kernel).
    demand(last(&steps, is_undumpable).is_some_and(|hidden| hidden > uid), || {
        "the user's other processes could trace the init (CVE-2016-9962)".into()
    })
}

/// A filter takes CAP_SYS_ADMIN or no_new_privs. With the latter nothing but the way to the program comes after; without,
/// the working directory is verified before the filter can forbid getcwd(2).
fn filters_are_loaded_in_time(steps: &[&Step]) -> Result<(), String> {
    use ProcessOp::*;
    let process = |wanted: fn(&ProcessOp) -> bool| move |op: &Op| matches!(op, Op::Process(op) if wanted(op));
    let load = process(|op| matches!(op, LoadFilter { .. }));
    let Some(at) = first(steps, load) else { return Ok(()) };
    if first(steps, process(|op| matches!(op, NoNewPrivileges))).is_none() {
        ordered(steps, load, process(|op| matches!(op, Uid { .. })), "the user may not load a filter")?;
        let verified = first(steps, process(|op| matches!(op, VerifyCwd { .. })));
        return demand(verified.is_some_and(|verified| verified < at), || "a filter could forbid getcwd".into());
    }
    let any = process(|op| !matches!(op, LoadFilter { .. }));
    ordered(steps, any, load, "with no_new_privs the filter comes last")
}

fn the_program_comes_last(plan: &Plan, config: &Config, request: &Request) -> Result<(), String> {
    let steps = child(plan);
    let is_exec = |op: &Op| matches!(op, Op::Process(ProcessOp::Exec { .. }));
    let is_start_hook = |op: &Op| matches!(op, Op::Process(ProcessOp::StartHook { .. }));
    match config.spec.process() {
        Some(process) => {
            demand(first(&steps, is_exec) == Some(steps.len() - 1), || "execve is not the last step".into())?;
            let before = plan.start.len().checked_sub(2).map(|at| &plan.start[at].op);
            demand(before == Some(&Op::Process(ProcessOp::ResetSignals)), || "signals reach the program".into())?;
            // A program without a name is nowhere, and that is an error when it is looked for.
            let named = process.args().iter().flatten().next().is_some_and(|name| !name.is_empty());
            demand(named != plan.exec.candidates.is_empty(), || "there is no program to look for".into())?;
        }
        None => demand(first(&steps, is_exec).is_none(), || "a program out of nowhere".into())?,
    }
    let hooks = steps.iter().filter(|step| is_start_hook(&step.op)).count();
    demand(hooks == plan.exec.hooks.len(), || "a startContainer hook without its step".into())?;
    let tail: Vec<&Op> = plan.stage_two.iter().rev().take(2).map(|step| &step.op).collect();
    let waits = tail == [&Op::Sync(Point::ExecFifo), &Op::Sync(Point::Ready)];
    demand(waits == (request.mode == Mode::Create), || "only the init of `create` waits, and at its very end".into())?;
    let recorded = tail.first() == Some(&&Op::Sync(Point::Recorded));
    demand(recorded == (request.mode != Mode::Create), || "a program could run that nobody knows of".into())?;
    let stage_two: Vec<&Step> = plan.stage_two.iter().collect();
    let closes = |op: &Op| matches!(op, Op::Process(ProcessOp::CloseDescriptors { .. }));
    let opens = |op: &Op| matches!(op, Op::Rootfs(_));
    demand(first(&stage_two, closes).is_some(), || "descriptors would reach the program (CVE-2024-21626)".into())?;
    ordered(&stage_two, opens, closes, "what is opened after that is not covered")
}
