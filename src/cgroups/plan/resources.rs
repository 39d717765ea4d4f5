//! `linux.resources` becomes values in files. Pure. Each controller has a file of its own beside this one; the version
//! of the hierarchy that has the controller decides which files are written, so a host with both versions needs no
//! rules of its own.
//!
//! 0 is how engines write "not set", but where the spec makes it a value (`pids.limit`, `cpu.burst`, `cpu.idle`). What a
//! version of control groups has nothing for is a warning that names the property; a controller that this host lacks
//! is a violation.

use std::ffi::CString;
use std::fmt::Display;

use oci_spec::runtime::LinuxResources;

use super::super::Op;
use super::super::group::{Group, Place, Version};
pub use super::current::Current;
use super::{blkio, cpu, cpuset, hugetlb, memory, network, pids, rdma, unified};
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::plan::Step;

/// What the resources of a config come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// On the host, before anyone enters, in this order.
    pub steps: Vec<Step>,
    /// By the child itself, when it has set itself up.
    pub late: Vec<Late>,
    /// What this host's version of control groups has nothing for, and what counts as another value.
    pub warnings: Vec<Warning>,
    /// The properties among them that have no effect.
    pub ignored: Vec<Field>,
}

/// A limit that the container's own set-up must not meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    pub file: CString,
    pub value: CString,
    pub field: Field,
}

impl Limits {
    /// All of them as steps on the host, for a container that has set itself up long ago.
    pub fn into_steps(self) -> Vec<Step> {
        let late = self.late.into_iter();
        let late = late.map(|late| Step::new(Op::Write { file: late.file, value: late.value }, late.field));
        self.steps.into_iter().chain(late).collect()
    }
}

/// The values that a container's cgroups get.
///
/// `at` is where the resources stand: `/linux/resources`, or nothing for the file of an `update`. `current` is what the
/// cgroups hold: [`Current::fresh`] for new ones.
///
/// # Errors
/// Every property that this host's control groups can't hold, and values that contradict each other or `current`.
pub fn plan_resources(
    resources: &LinuxResources,
    at: &Field,
    group: &Group,
    current: &Current,
) -> Result<Limits, Vec<Violation>> {
    let mut planner = Planner { group, current, limits: Limits::default(), violations: Vec::new() };
    if let Some(memory) = resources.memory() {
        memory::plan_memory(memory, &at.key("memory"), &mut planner);
    }
    if let Some(cpu) = resources.cpu() {
        cpu::plan_cpu(cpu, &at.key("cpu"), &mut planner);
        cpuset::plan_cpuset(cpu, &at.key("cpu"), &mut planner);
    }
    if let Some(pids) = resources.pids() {
        pids::plan_pids(pids, &at.key("pids"), &mut planner);
    }
    if let Some(block_io) = resources.block_io() {
        blkio::plan_block_io(block_io, &at.key("blockIO"), &mut planner);
    }
    if let Some(limits) = resources.hugepage_limits() {
        hugetlb::plan_hugepages(limits, &at.key("hugepageLimits"), &mut planner);
    }
    if let Some(network) = resources.network() {
        network::plan_network(network, &at.key("network"), &mut planner);
    }
    if let Some(rdma) = resources.rdma() {
        rdma::plan_rdma(rdma, &at.key("rdma"), &mut planner);
    }
    // Last, so that what is written there by hand has the last word.
    if let Some(files) = resources.unified() {
        unified::plan_unified(files, &at.key("unified"), &mut planner);
    }
    match planner.violations.is_empty() {
        true => Ok(planner.limits),
        false => Err(planner.violations),
    }
}

/// What the files beside this one add to.
pub(super) struct Planner<'a> {
    pub group: &'a Group,
    pub current: &'a Current,
    pub limits: Limits,
    pub violations: Vec<Violation>,
}

impl<'a> Planner<'a> {
    /// The container's cgroup that has a controller; its absence is a violation of the field that needs it.
    pub fn place(&mut self, controller: &str, field: &Field) -> Option<&'a Place> {
        let found = self.group.find(controller);
        if found.is_none() {
            self.lacks(controller, field);
        }
        found
    }

    /// Says that this host lacks a controller.
    pub fn lacks(&mut self, controller: &str, field: &Field) {
        let why = format!("this host's control groups have no {controller} controller");
        let hint = match self.group.places.iter().any(|place| place.version == Version::V2) {
            true => {
                "cgroup.controllers in the root of the cgroup2 mount lists those of version 2, /proc/self/cgroup those of version 1 that are mounted"
            }
            false => {
                "/proc/cgroups lists the kernel's controllers, /proc/self/mountinfo the hierarchies that are mounted"
            }
        };
        self.refuse(field, why, hint);
    }

    /// Whether every controller of this host is one of version 2.
    pub fn is_unified(&self) -> bool {
        !self.group.places.is_empty() && self.group.places.iter().all(|place| place.version == Version::V2)
    }

    pub fn write(&mut self, place: &Place, name: &str, value: impl Display, field: &Field) {
        let op = Op::Write { file: file(place, name), value: c_string(&value.to_string()) };
        self.limits.steps.push(Step::new(op, field.clone()));
    }

    /// For a value that a missing file stands for as well.
    pub fn write_if_present(&mut self, place: &Place, name: &str, value: impl Display, field: &Field) {
        let op = Op::WriteIfPresent { file: file(place, name), value: c_string(&value.to_string()) };
        self.limits.steps.push(Step::new(op, field.clone()));
    }

    /// For files of which kernels have one or another.
    pub fn write_first(&mut self, place: &Place, choices: &[(&str, String)], field: &Field) {
        let choices = choices.iter().map(|(name, value)| (file(place, name), c_string(value))).collect();
        self.limits.steps.push(Step::new(Op::WriteFirst { choices }, field.clone()));
    }

    pub fn write_late(&mut self, place: &Place, name: &str, value: impl Display, field: &Field) {
        let late = Late { file: file(place, name), value: c_string(&value.to_string()), field: field.clone() };
        self.limits.late.push(late);
    }

    pub fn warn(&mut self, field: &Field, text: impl Into<String>) {
        self.limits.warnings.push(Warning::new(field.clone(), text));
    }

    /// Warns that version 2 has nothing for a property.
    pub fn warn_version_1_only(&mut self, field: &Field) {
        self.ignore(field, "cgroup v2 has nothing for it");
    }

    /// Warns that a property has no effect.
    pub fn ignore(&mut self, field: &Field, why: &str) {
        self.warn(field, format!("ignored: {why}"));
        self.limits.ignored.push(field.clone());
    }

    pub fn refuse(&mut self, field: &Field, why: impl Into<String>, hint: &str) {
        self.violations.push(Violation::new(field.clone(), why).hint(hint));
    }
}

/// A value that is given; engines write 0 for one that isn't.
pub(super) fn given<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// A file of the container's cgroup.
fn file(place: &Place, name: &str) -> CString {
    c_string(&place.dir().join(name).to_string_lossy())
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
