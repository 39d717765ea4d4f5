//! The plan of `exec`: one more process for a container that is there, as another list of steps for the same interpreter.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{Plan, Step};
use crate::cgroups::plan::entry::plan_entry;
use crate::cgroups::rdt::Rdt;
use crate::cgroups::{self, Group};
use crate::error::Violation;
use crate::field::Field;
use crate::host::Host;
use crate::namespaces::plan::NamespacePlan;
use crate::namespaces::plan::entry::plan_joins;
use crate::process::plan::exec::plan_exec_process;
use crate::process::plan::{Context, ProcessPlan};
use crate::request::Request;
use crate::slots::SlotCounter;
use crate::{process, rootfs};

/// The container that is entered.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// The pid of its init, in the host's pid namespace.
    pub init: i32,
    pub group: &'a Group,
    pub rdt: Option<&'a Rdt>,
    /// The cgroups below the container's own that were asked for.
    pub below: &'a [String],
}

/// Turns the container's spec, with the new process for its own, into a plan. The order is that of [`plan`](super::plan).
///
/// # Errors
/// Cgroups that make no sense.
pub fn plan_exec(spec: &Spec, host: &Host, request: &Request, container: &Entered) -> Result<Plan, Vec<Violation>> {
    let mut slots = SlotCounter::default();
    let entry = plan_entry(container.group, container.init, container.below, request.rootless, &mut slots)?;
    let NamespacePlan { launch, wants, host: born, identity, fork, .. } = plan_joins(spec, host, container.init);
    let root = rootfs::plan::entry::plan_root(container.init, shares_mounts(spec));
    let context = Context { host, request, wants: &wants };
    let ProcessPlan {
        host: prepare, first, hide, session, inside, last, ready, handover, start, exec, warnings, ..
    } = plan_exec_process(spec, &context);

    let mut enter = entry.enter;
    let affinity = spec.process().as_ref().and_then(|process| process.exec_cpu_affinity().as_ref());
    if !container.group.is_empty() && affinity.is_none_or(|affinity| affinity.cpu_affinity_final().is_none()) {
        enter.push(Step::new(cgroups::Op::ResetAffinity, Field::RUNTIME));
    }
    let class = |rdt: &Rdt| Step::new(cgroups::Op::EnterClass { rdt: rdt.clone() }, Field::at("/linux/intelRdt"));
    let classes: Vec<Step> = container.rdt.map(class).into_iter().collect();
    let mut undo = vec![Step::new(process::Op::KillInit, Field::RUNTIME)];
    undo.extend(
        request
            .pid_file
            .iter()
            .map(|path| Step::new(process::Op::RemovePidFile { path: path.clone() }, Field::at("--pid-file"))),
    );
    Ok(Plan {
        launch,
        host: [prepare, entry.host, root.host, born].concat(),
        adopt: Vec::new(),
        stage_one: [first, enter, identity, hide, fork].concat(),
        stage_two: [session, root.enter, inside, last, ready].concat(),
        mounted: Vec::new(),
        ready: [classes, handover].concat(),
        start,
        undo,
        exec,
        group: container.group.clone(),
        rdt: container.rdt.cloned(),
        into_cgroup: entry.into,
        slots: slots.len(),
        warnings,
    })
}

fn shares_mounts(spec: &Spec) -> bool {
    let mut namespaces = spec.linux().iter().flat_map(|linux| linux.namespaces()).flatten();
    !namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Mount)
}
