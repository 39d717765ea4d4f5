//! `cpu.cpus` and `cpu.mems`: the cpuset controller, whose files have the same names in both versions (cpuset(7)).

use oci_spec::runtime::LinuxCpu;

use super::resources::Planner;
use crate::field::Field;

pub(super) fn plan_cpuset(cpu: &LinuxCpu, at: &Field, planner: &mut Planner) {
    let lists = [("cpus", "cpuset.cpus", cpu.cpus()), ("mems", "cpuset.mems", cpu.mems())];
    for (name, file, list) in lists {
        let Some(list) = list.as_deref().map(str::trim).filter(|list| !list.is_empty()) else { continue };
        let field = at.key(name);
        if let Some(place) = planner.place("cpuset", &field) {
            planner.write(place, file, list, &field);
        }
    }
}
