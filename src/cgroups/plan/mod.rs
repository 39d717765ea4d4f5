//! Plans a container's cgroups: where they are, what is written there and in which order, and how the child gets in.
//! Pure.

mod blkio;
pub(super) mod convert;
mod cpu;
mod cpuset;
pub mod current;
pub mod delegate;
pub mod devices;
pub mod entry;
pub mod exceptions;
mod hugetlb;
mod memory;
mod network;
pub mod path;
mod pids;
pub mod program;
mod rdma;
pub mod rdt;
pub mod resources;
mod unified;

use oci_spec::runtime::{LinuxDeviceCgroup, Spec};

use super::group::{Group, Version};
use super::{Make, Op, systemd};
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::plan::Step;
use crate::request::{CgroupDriver, Mode, Request};
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
    /// On the child that has set itself up, by the host: a unit's files are not there yet when the child could open them.
    pub ready: Vec<Step>,
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
    if group.unit.is_some() {
        plan.adopt = systemd::plan::plan_adopt(spec, request, &group, &field)?;
        let devices = plan_rules(spec, host, &group, slots)?;
        plan.adopt.extend(devices.steps);
        plan.warnings.extend(devices.warnings);
        plan.adopt.extend(limits.steps);
        plan.ready = limits.late.into_iter().map(written_late).collect();
        plan.enter.push(Step::new(Op::ResetAffinity, Field::RUNTIME));
        plan.undo.push(Step::new(Op::Remove, Field::RUNTIME));
        plan.warnings.extend(limits.warnings);
        return Ok(plan);
    }
    let optional = request.rootless && !given && limits.steps.is_empty() && limits.late.is_empty();
    let optional = optional && given_rules(spec).is_empty();
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
    if !optional {
        let devices = plan_rules(spec, host, &group, slots)?;
        plan.host.extend(devices.steps);
        plan.warnings.extend(devices.warnings);
    }
    plan.host.extend(limits.steps);
    // Who is restored writes nothing, so the host does, when all the processes are there.
    let by_host = matches!(request.mode, Mode::Restore { .. });
    for late in limits.late {
        if by_host {
            plan.ready.push(written_late(late));
            continue;
        }
        let slot = slots.take();
        let name = late.file.to_string_lossy().into_owned();
        plan.host.push(Step::new(Op::OpenLimit { file: late.file, slot }, late.field.clone()));
        plan.last.push(Step::new(Op::WriteLate { slot, name, value: late.value }, late.field));
    }
    plan.warnings.extend(limits.warnings);
    Ok(plan)
}

/// A limit that set-up must not meet, written by the host.
fn written_late(late: resources::Late) -> Step {
    Step::new(Op::Write { file: late.file, value: late.value }, late.field)
}

/// The config's own rules for devices.
fn given_rules(spec: &Spec) -> &[LinuxDeviceCgroup] {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default()
}

fn plan_rules(
    spec: &Spec,
    host: &Host,
    group: &Group,
    slots: &mut SlotCounter,
) -> Result<devices::DevicePlan, Vec<Violation>> {
    let at = Field::at("/linux/resources");
    devices::plan_devices(given_rules(spec), &at, host, group, slots).map_err(|violation| vec![violation])
}

#[cfg(test)]
mod tests;
