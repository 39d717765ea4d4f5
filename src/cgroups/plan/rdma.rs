//! `rdma`: handles and objects of RDMA devices; one file in both versions (Documentation/admin-guide/cgroup-v1/rdma.rst).

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::LinuxRdma;

use super::resources::Planner;
use crate::field::Field;

pub(super) fn plan_rdma(devices: &HashMap<String, LinuxRdma>, at: &Field, planner: &mut Planner) {
    for (device, limits) in devices.iter().collect::<BTreeMap<_, _>>() {
        let field = at.key(device);
        let mut value = device.clone();
        for (name, limit) in [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {name}={limit}"));
            }
        }
        if value.len() == device.len() {
            planner.warn(&field, "limits nothing: hcaHandles and hcaObjects are missing");
        } else if let Some(place) = planner.place("rdma", &field) {
            planner.write(place, "rdma.max", value, &field);
        }
    }
}
