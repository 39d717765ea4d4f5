//! Plans a container's cgroups: where they are, what is written there and in which order, and how the child gets in.
//! Pure.

mod blkio;
mod convert;
mod cpu;
mod cpuset;
pub mod current;
mod hugetlb;
mod memory;
mod network;
pub mod path;
mod pids;
mod rdma;
pub mod resources;
mod unified;

use oci_spec::runtime::Spec;

use super::group::{Group, Version};
use super::{Make, Op};
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::plan::Step;
use crate::request::{CgroupDriver, Request};
use crate::slots::{Slot, SlotCounter};

/// Everything control groups contribute to a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupPlan {
    pub group: Group,
    /// Before clone.
    pub host: Vec<Step>,
    /// On the fresh child, which waits meanwhile: only a systemd unit needs it.
    pub adopt: Vec<Step>,
    /// In the child, before a cgroup namespace is made.
    pub enter: Vec<Step>,
    /// In the child, when it has set itself up.
    pub last: Vec<Step>,
    pub undo: Vec<Step>,
    /// The cgroup of version 2 that clone puts the child into (CLONE_INTO_CGROUP).
    pub into: Option<Slot>,
    pub warnings: Vec<Warning>,
}

/// Plans the control groups of a spec.
///
/// # Errors
/// A path that leads out of its hierarchy, and limits that no hierarchy of this host can hold.
pub fn plan_cgroups(
    spec: &Spec,
    host: &Host,
    request: &Request,
    slots: &mut SlotCounter,
) -> Result<CgroupPlan, Vec<Violation>> {
    let mut plan = CgroupPlan::default();
    if request.cgroup_driver == CgroupDriver::Disabled {
        return Ok(plan);
    }
    plan.group = path::plan_group(spec, host, request).map_err(|violation| vec![violation])?;
    let group = plan.group.clone();
    let linux = spec.linux().as_ref();
    let given = linux.and_then(|linux| linux.cgroups_path().as_ref()).is_some();
    let field = if given { Field::at("/linux/cgroupsPath") } else { Field::RUNTIME };
    let limits = match linux.and_then(|linux| linux.resources().as_ref()) {
        Some(resources) => {
            let at = Field::at("/linux/resources");
            resources::plan_resources(resources, &at, &group, &resources::Current::fresh())?
        }
        None => resources::Limits::default(),
    };
    let optional = request.rootless && !given && limits.steps.is_empty() && limits.late.is_empty();
    for place in &group.places {
        let slot = slots.take();
        let make = Make {
            version: place.version,
            hierarchy: place.hierarchy(),
            mount: place.mount.clone(),
            path: place.path.clone(),
            slot,
            enable: if place.version == Version::V2 { place.controllers.clone() } else { Vec::new() },
            fill_cpuset: place.version == Version::V1 && place.has("cpuset"),
            optional,
        };
        plan.host.push(Step::new(Op::Make(Box::new(make)), field.clone()));
        if place.version == Version::V2 {
            plan.into = Some(slot);
        }
        let enter = Op::Enter { slot, version: place.version, hierarchy: place.hierarchy() };
        plan.enter.push(Step::new(enter, field.clone()));
    }
    if !group.is_empty() {
        plan.enter.push(Step::new(Op::ResetAffinity, Field::RUNTIME));
        plan.undo.push(Step::new(Op::Remove, Field::RUNTIME));
    }
    plan.host.extend(limits.steps);
    for late in limits.late {
        let slot = slots.take();
        let name = late.file.to_string_lossy().into_owned();
        plan.host.push(Step::new(Op::OpenLimit { file: late.file, slot }, late.field.clone()));
        plan.last.push(Step::new(Op::WriteLate { slot, name, value: late.value }, late.field));
    }
    plan.warnings = limits.warnings;
    Ok(plan)
}

#[cfg(test)]
mod tests;
