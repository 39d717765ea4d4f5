//! `network`: marks and priorities of packets, the controllers `net_cls` and `net_prio` of version 1. Version 2 has
//! none of it: packet filters match by the cgroup's path there.

use oci_spec::runtime::LinuxNetwork;

use super::resources::{Planner, given};
use crate::field::Field;

pub(super) fn plan_network(network: &LinuxNetwork, at: &Field, planner: &mut Planner) {
    if let Some(class) = given(network.class_id()) {
        plan_write("net_cls", "net_cls.classid", &class.to_string(), &at.key("classID"), planner);
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let field = at.key("priorities").index(index);
        let value = format!("{} {}", priority.name(), priority.priority());
        plan_write("net_prio", "net_prio.ifpriomap", &value, &field, planner);
    }
}

fn plan_write(controller: &str, file: &str, value: &str, field: &Field, planner: &mut Planner) {
    if planner.is_unified() {
        planner.warn_version_1_only(field);
    } else if let Some(place) = planner.place(controller, field) {
        planner.write(place, file, value, field);
    }
}
