//! `blockIO`: the controller `blkio` of version 1 and `io` of version 2
//! (Documentation/admin-guide/cgroup-v1/blkio-controller.rst, block/bfq-iosched.rst, cgroup-v2.rst "IO").
//!
//! A weight is the scheduler's business. Kernels since 5.0 have none of version 1 but BFQ's, whose files come and go
//! with the module, so which file there is shows when it is written.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::super::group::{Place, Version};
use super::convert::io_weight;
use super::resources::{Planner, given};
use crate::field::Field;

pub(super) fn plan_block_io(block_io: &LinuxBlockIo, at: &Field, planner: &mut Planner) {
    let field = at.key("weight");
    if let Some(weight) = given(block_io.weight()) {
        if let Some(place) = find(planner, &field) {
            plan_weight(place, weight, "", &field, planner);
        }
    }
    plan_leaf_weight(block_io.leaf_weight(), "", &at.key("leafWeight"), planner);
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let at = at.key("weightDevice").index(index);
        let number = format!("{}:{} ", device.major(), device.minor());
        let field = at.key("weight");
        if let Some(weight) = given(device.weight()) {
            if let Some(place) = find(planner, &field) {
                plan_weight(place, weight, &number, &field, planner);
            }
        }
        plan_leaf_weight(device.leaf_weight(), &number, &at.key("leafWeight"), planner);
    }
    for (list, name, file, key) in [
        (block_io.throttle_read_bps_device(), "throttleReadBpsDevice", "read_bps", "rbps"),
        (block_io.throttle_write_bps_device(), "throttleWriteBpsDevice", "write_bps", "wbps"),
        (block_io.throttle_read_iops_device(), "throttleReadIOPSDevice", "read_iops", "riops"),
        (block_io.throttle_write_iops_device(), "throttleWriteIOPSDevice", "write_iops", "wiops"),
    ] {
        for (index, device) in list.iter().flatten().enumerate() {
            let field = at.key(name).index(index).key("rate");
            if let Some(place) = find(planner, &field) {
                plan_throttle(place, device, file, key, &field, planner);
            }
        }
    }
}

fn find<'a>(planner: &mut Planner<'a>, field: &Field) -> Option<&'a Place> {
    let found = planner.group.find("blkio").or_else(|| planner.group.find("io"));
    if found.is_none() {
        planner.lacks("blkio (v1) or io (v2)", field);
    }
    found
}

/// `device` is `MAJOR:MINOR ` for the weight on one device, or empty for that on all.
fn plan_weight(place: &Place, weight: u16, device: &str, field: &Field, planner: &mut Planner) {
    let plain = format!("{device}{weight}");
    match (place.version, device) {
        (Version::V1, "") => {
            planner.write_first(place, &[("blkio.weight", plain.clone()), ("blkio.bfq.weight", plain)], field)
        }
        (Version::V1, _) => {
            let files = ["blkio.weight_device", "blkio.bfq.weight_device"].map(|name| (name, plain.clone()));
            planner.write_first(place, &files, field);
        }
        (Version::V2, _) => {
            let files = [("io.bfq.weight", plain), ("io.weight", format!("{device}{}", io_weight(weight)))];
            planner.write_first(place, &files, field);
        }
    }
}

/// The weight against the cgroup's own children, which only CFQ ever knew (until Linux 5.0).
fn plan_leaf_weight(weight: Option<u16>, device: &str, field: &Field, planner: &mut Planner) {
    let Some(weight) = given(weight) else { return };
    let Some(place) = find(planner, field) else { return };
    match (place.version, device) {
        (Version::V1, "") => planner.write(place, "blkio.leaf_weight", weight, field),
        (Version::V1, _) => planner.write(place, "blkio.leaf_weight_device", format!("{device}{weight}"), field),
        (Version::V2, _) => planner.warn_version_1_only(field),
    }
}

/// A rate of 0 lifts the limit.
fn plan_throttle(
    place: &Place,
    device: &LinuxThrottleDevice,
    file: &str,
    key: &str,
    field: &Field,
    planner: &mut Planner,
) {
    let (major, minor, rate) = (device.major(), device.minor(), device.rate());
    match place.version {
        Version::V1 => {
            planner.write(place, &format!("blkio.throttle.{file}_device"), format!("{major}:{minor} {rate}"), field)
        }
        Version::V2 => {
            let rate = if rate == 0 { "max".to_owned() } else { rate.to_string() };
            planner.write(place, "io.max", format!("{major}:{minor} {key}={rate}"), field);
        }
    }
}
