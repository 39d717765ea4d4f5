//! `linux.resources` becomes values in files. Pure.

use std::ffi::CString;

use oci_spec::runtime::LinuxResources;

use super::super::Op;
use super::super::group::{Group, Place};
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
    /// What this host's version of control groups has nothing for.
    pub warnings: Vec<Warning>,
}

/// A limit that the container's own set-up must not meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    pub file: CString,
    pub value: CString,
    pub field: Field,
}

/// The values that a new container's cgroups get.
///
/// `at` is where the resources stand: `/linux/resources`, or nothing for the file of an `update`.
pub fn plan_resources(resources: &LinuxResources, at: &Field, group: &Group) -> Result<Limits, Vec<Violation>> {
    let mut planner = Planner { group, at, limits: Limits::default(), violations: Vec::new() };
    planner.plan_pids(resources);
    match planner.violations.is_empty() {
        true => Ok(planner.limits),
        false => Err(planner.violations),
    }
}

struct Planner<'a> {
    group: &'a Group,
    at: &'a Field,
    limits: Limits,
    violations: Vec<Violation>,
}

impl Planner<'_> {
    /// The container's cgroup that has a controller; its absence is a violation of the field that needs it.
    fn place(&mut self, controller: &str, field: &Field) -> Option<&Place> {
        let found = self.group.find(controller);
        if found.is_none() {
            let why = format!("this host's control groups have no {controller} controller");
            let hint =
                "/proc/cgroups lists the kernel's controllers, /proc/self/mountinfo the hierarchies that are mounted";
            self.violations.push(Violation::new(field.clone(), why).hint(hint));
        }
        found
    }

    /// pids.max of both versions: -1 is no limit, 0 is a limit (runtime-spec 1.3, "PIDs").
    fn plan_pids(&mut self, resources: &LinuxResources) {
        let Some(pids) = resources.pids() else { return };
        let field = self.at.key("pids").key("limit");
        let Some(place) = self.place("pids", &field) else { return };
        let value = if pids.limit() < 0 { "max".to_owned() } else { pids.limit().to_string() };
        let file = file(place, "pids.max");
        self.limits.late.push(Late { file, value: c_string(&value), field });
    }
}

/// A file of the container's cgroup.
fn file(place: &Place, name: &str) -> CString {
    c_string(&place.dir().join(name).to_string_lossy())
}

/// A step that writes a value.
#[allow(dead_code)]
fn write(place: &Place, name: &str, value: &str, field: Field) -> Step {
    Step::new(Op::Write { file: file(place, name), value: c_string(value) }, field)
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
