//! The plan: what corten is going to do, as data.
//!
//! config.json, the command line and facts about the host go through pure functions and come out as ordered lists of
//! [`Step`]s. Running a container is interpreting those lists (`process/`). The order of the steps is the security
//! property of a runtime, so it stands here where a test can read it, and nowhere else.

pub mod exec;
pub mod mounts;
pub mod restore;

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::Spec;

use crate::cgroups::plan::CgroupPlan;
use crate::cgroups::plan::delegate::Delegation;
use crate::cgroups::plan::rdt::{RdtPlan, plan_rdt};
use crate::cgroups::rdt::Rdt;
use crate::cgroups::{Group, Place};
use crate::error::{Violation, Warning};
use crate::fault::Stage;
use crate::field::Field;
use crate::host::Host;
use crate::host::cgroups::Layout;
use crate::namespaces::plan::{Launch, NamespacePlan};
use crate::process::plan::{Context, Exec, ProcessPlan};
use crate::request::Request;
use crate::rootfs::plan::{CgroupDir, RootfsPlan};
use crate::slots::{Slot, SlotCounter};
use crate::{cgroups, namespaces, process, rootfs};

/// One effect that a user would understand as a sentence, and the field that asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub op: Op,
    pub field: Field,
}

impl Step {
    pub fn new(op: impl Into<Op>, field: Field) -> Step {
        Step { op: op.into(), field }
    }
}

/// An effect, by the domain that knows how to apply it.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Namespace(namespaces::Op),
    Cgroup(cgroups::Op),
    Rootfs(rootfs::Op),
    Process(process::Op),
    /// Host and child wait for each other here.
    Sync(Point),
}

/// The step as a sentence.
pub fn render(op: &Op) -> String {
    match op {
        Op::Namespace(op) => namespaces::render(op),
        Op::Cgroup(op) => cgroups::render(op),
        Op::Rootfs(op) => rootfs::render(op),
        Op::Process(op) => process::render(op),
        Op::Sync(Point::Adopted) => "wait until the host has adopted the child".to_owned(),
        Op::Sync(Point::Located) => "have the host find the sources of bind mounts here".to_owned(),
        Op::Sync(Point::Mounted) => "let the host run its hooks".to_owned(),
        Op::Sync(Point::Ready) => "tell the host that the container is created".to_owned(),
        Op::Sync(Point::ExecFifo) => "wait for start".to_owned(),
        Op::Sync(Point::Noted) => "wait until the host has written the mounts down".to_owned(),
        Op::Sync(Point::Recorded) => "wait until the container is on record".to_owned(),
    }
}

/// The step's kind for programs: its domain and the name of its operation, `rootfs.PivotRoot`.
pub fn name(op: &Op) -> String {
    // The variant's name is where the debug form has its first sign that is no letter.
    let of = |domain: &str, debug: String| {
        let end = debug.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(debug.len());
        format!("{domain}.{}", &debug[..end])
    };
    match op {
        Op::Namespace(op) => of("namespaces", format!("{op:?}")),
        Op::Cgroup(op) => of("cgroups", format!("{op:?}")),
        Op::Rootfs(op) => of("rootfs", format!("{op:?}")),
        Op::Process(op) => of("process", format!("{op:?}")),
        Op::Sync(point) => of("sync", format!("{point:?}")),
    }
}

/// Where host and child wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// The child waits until the host has written its id maps (user_namespaces(7)) and adopted it.
    Adopted,
    /// The child has its mount namespace, owned by its user namespace: the host opens the sources of bind mounts in there,
    /// where the flags of their mounts are locked, with rights that the child lacks.
    Located,
    /// The root file system is mounted and not yet entered: the host runs the hooks that belong here.
    Mounted,
    /// Everything is set up; for `create` the host records the container and leaves.
    Ready,
    /// The init waits for a byte in the exec fifo.
    ExecFifo,
    /// The init of a `run` waits until the host has written down who it is, so that no program ever runs of which,
    /// when corten is killed at a bad moment, nobody knows.
    Recorded,
    /// What `mounts` has a child do is done: it waits until the host has written down what is mounted now, and takes all
    /// back if the host is gone.
    Noted,
}

impl Point {
    pub const ALL: [Point; 7] =
        [Point::Adopted, Point::Located, Point::Mounted, Point::Ready, Point::ExecFifo, Point::Recorded, Point::Noted];
}

impl From<namespaces::Op> for Op {
    fn from(op: namespaces::Op) -> Op {
        Op::Namespace(op)
    }
}
impl From<cgroups::Op> for Op {
    fn from(op: cgroups::Op) -> Op {
        Op::Cgroup(op)
    }
}
impl From<rootfs::Op> for Op {
    fn from(op: rootfs::Op) -> Op {
        Op::Rootfs(op)
    }
}
impl From<process::Op> for Op {
    fn from(op: process::Op) -> Op {
        Op::Process(op)
    }
}
impl From<Point> for Op {
    fn from(point: Point) -> Op {
        Op::Sync(point)
    }
}

/// All that starting a container takes. After planning nothing reads JSON.
#[derive(Debug)]
pub struct Plan {
    pub launch: Launch,
    /// Before clone, in the host process.
    pub host: Vec<Step>,
    /// In the host process, on the fresh child.
    pub adopt: Vec<Step>,
    /// The child: namespaces and identity.
    pub stage_one: Vec<Step>,
    /// The child: root file system and process, down to the exec fifo.
    pub stage_two: Vec<Step>,
    /// In the host process, while the child waits with its root mounted: network devices are moved in, a class of
    /// service is entered, hooks run.
    pub mounted: Vec<Step>,
    /// In the host process, when the child has set itself up and waits.
    pub ready: Vec<Step>,
    /// The child: after `start`, up to execve.
    pub start: Vec<Step>,
    /// In the host process, when something went wrong.
    pub undo: Vec<Step>,
    pub exec: Exec,
    /// Where the container's cgroups are.
    pub group: Group,
    /// Its class of service, and its group for monitoring.
    pub rdt: Option<Rdt>,
    /// The cgroup of version 2 that clone puts the child into.
    pub into_cgroup: Option<Slot>,
    /// How many slots the steps use.
    pub slots: usize,
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// The list of a stage.
    pub fn steps(&self, stage: Stage) -> &[Step] {
        match stage {
            Stage::Host => &self.host,
            Stage::Adopt => &self.adopt,
            Stage::StageOne => &self.stage_one,
            Stage::StageTwo => &self.stage_two,
            Stage::Mounted => &self.mounted,
            Stage::Ready => &self.ready,
            Stage::Start => &self.start,
            Stage::Undo => &self.undo,
        }
    }

    /// The number of a child's step among all that the child takes, for its time stamp.
    pub fn ordinal(&self, stage: Stage, step: usize) -> usize {
        match stage {
            Stage::StageTwo => self.stage_one.len() + step,
            Stage::Start => self.stage_one.len() + self.stage_two.len() + step,
            _ => step,
        }
    }

    /// Whether the host acts on the child as soon as it is there; else the child says when it can be adopted.
    pub fn adopts_at_once(&self) -> bool {
        !self.adopt.is_empty() && !self.launch.unshare_user
    }

    /// How many steps the child takes.
    pub fn child_steps(&self) -> usize {
        self.ordinal(Stage::Start, self.start.len())
    }
}

/// Turns a validated spec into a plan. This function is the order of everything.
///
/// Errors are combinations that only planning sees: mount options that don't fit their mount, for example.
pub fn plan(spec: &Spec, host: &Host, request: &Request) -> Result<Plan, Vec<Violation>> {
    let mut slots = SlotCounter::default();
    let NamespacePlan { launch, wants, host: open, adopt, identity, rest, mounted: devices, fork } =
        namespaces::plan::plan_namespaces(spec, host, &mut slots);
    let CgroupPlan {
        group,
        host: limit,
        adopt: place,
        enter: mut join,
        last: late,
        ready: settle,
        undo: leave,
        into,
        warnings: of_limits,
    } = cgroups::plan::plan_cgroups(spec, host, request, &mut slots)?;
    let dirs = cgroup_dirs(&group, &host.cgroups, request);
    let RootfsPlan { host: sources, mount, enter, finish, writable_cgroup, warnings: of_mounts } =
        rootfs::plan::plan_rootfs(spec, host, request, &dirs, &mut slots)?;
    let Delegation { steps: delegate, warnings: of_owner } =
        cgroups::plan::delegate::plan_delegation(spec, host, request, &group, writable_cgroup);
    let RdtPlan { rdt, mounted: classes, undo: leave_class } = plan_rdt(spec, request)?;
    // A unit's cgroup comes into being with the child in it.
    let (own_now, own_later) = if group.unit.is_none() { (delegate, Vec::new()) } else { (Vec::new(), delegate) };
    let context = Context { host, request, wants: &wants };
    let ProcessPlan {
        host: connect,
        adopt: raise,
        first,
        hide,
        session,
        hand_over,
        mounted: hooks,
        inside,
        last,
        ready,
        start,
        exec,
        mut warnings,
        ..
    } = process::plan::plan_process(spec, &context);

    // A child that gets id maps waits for the host anyway, and before it could move itself.
    if let Some(first) = place.first().filter(|_| !launch.maps) {
        join.insert(0, Step::new(Point::Adopted, first.field.clone()));
    }
    let mut stage_two = [session, mount, hand_over].concat();
    let mounted = [devices, classes, hooks].concat();
    if let Some(first) = mounted.first() {
        let field = match first.op {
            Op::Namespace(_) => "/linux/netDevices",
            Op::Cgroup(_) => "/linux/intelRdt",
            _ => "/hooks",
        };
        stage_two.push(Step::new(Point::Mounted, Field::at(field)));
    }
    stage_two.extend([enter, inside, finish, last, late, ready].concat());

    warnings.extend(of_mounts);
    warnings.extend(of_limits);
    warnings.extend(of_owner);
    let plan = Plan {
        launch,
        host: [connect, open, sources, limit, own_now].concat(),
        adopt: [adopt, raise, place, own_later].concat(),
        stage_one: [first, identity, join, rest, hide, fork].concat(),
        stage_two,
        mounted,
        ready: settle,
        start,
        undo: plan_undo(spec, [leave_class, leave].concat()),
        exec,
        group,
        rdt,
        into_cgroup: into,
        slots: slots.len(),
        warnings,
    };
    match beyond_numbers(&plan) {
        Some(violation) => Err(vec![violation]),
        None => Ok(plan),
    }
}

/// A step is known to the step page and in a fault by 16 bits, and so is a slot. A config that asks for more, which takes
/// a list of 30,000 mounts, devices or paths, is refused: a number that comes round again would be another step's.
fn beyond_numbers(plan: &Plan) -> Option<Violation> {
    const MOST: usize = u16::MAX as usize;
    let hint = "leave entries out of the longest lists of config.json";
    for stage in Stage::ALL {
        let steps = plan.steps(stage);
        if steps.len() <= MOST {
            continue;
        }
        let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
        steps.iter().for_each(|step| *asked.entry(property(step.field.pointer())).or_default() += 1);
        let most = asked.into_iter().filter(|(property, _)| property.starts_with('/')).max_by_key(|(_, count)| *count);
        let (property, count) = most.unwrap_or(("/linux", 0));
        let (all, list) = (steps.len(), stage.name());
        let why = format!("asks for {count} of {all} steps ({list}), and only {MOST} can be numbered");
        return Some(Violation::new(Field::recorded(property.to_owned()), why).hint(hint));
    }
    (plan.slots >= MOST).then(|| {
        let why = format!("asks, with linux.devices, for more than {MOST} descriptors at a time");
        Violation::new(Field::at("/mounts"), why).hint(hint)
    })
}

/// The property that a pointer leads into: `/mounts` of `/mounts/3/source`, `/linux/sysctl` of `/linux/sysctl/net.x`.
fn property(pointer: &str) -> &str {
    let mut ends = pointer.match_indices('/').map(|(at, _)| at).skip(1).chain([pointer.len()]);
    let (first, second) = (ends.next(), ends.next());
    let name = |end: usize| pointer.get(..end).unwrap_or_default();
    match (first.map(name), second.map(name)) {
        (Some(list), Some(item)) if item[list.len()..].bytes().skip(1).all(|b| b.is_ascii_digit()) => list,
        (_, Some(two)) => two,
        (one, None) => one.unwrap_or_default(),
    }
}

/// Where the container is in each hierarchy that the host has mounted, as its root file system shows it: in cgroups of its
/// own, or without them in the caller's.
fn cgroup_dirs(group: &Group, layout: &Layout, request: &Request) -> Vec<CgroupDir> {
    let dir = |mount: &Path, own: &Path, name: String, unified: bool, options: Vec<String>| {
        let own = mount.join(own);
        let place = group.places.iter().find(|place| place.mount == mount).map(Place::dir);
        let otherwise = place.is_some() && request.rootless;
        CgroupDir {
            name,
            unified,
            options,
            mount: mount.to_owned(),
            otherwise: otherwise.then(|| own.clone()),
            dir: place.unwrap_or(own),
        }
    };
    let v1 = layout.v1.iter().map(|hierarchy| {
        let options = hierarchy.controllers.iter().chain(&hierarchy.options).cloned().collect();
        dir(&hierarchy.mount, &hierarchy.own, hierarchy.name(), false, options)
    });
    let unified = layout
        .unified
        .iter()
        .map(|unified| dir(&unified.mount, &unified.own, "unified".to_owned(), true, unified.options.clone()));
    v1.chain(unified).collect()
}

/// What takes a half-made container down, last effect first; poststop hooks come after everything (runtime-spec,
/// "Lifecycle").
fn plan_undo(spec: &Spec, leave: Vec<Step>) -> Vec<Step> {
    let mut undo = vec![Step::new(process::Op::KillInit, Field::RUNTIME)];
    undo.extend(leave);
    undo.push(Step::new(process::Op::RemoveRecord, Field::RUNTIME));
    undo.extend(process::plan::plan_poststop(spec));
    undo
}
