//! The way from a container's id and `linux.cgroupsPath` to its cgroups, with either driver. The first line of an input is
//! the numbers of host and request, the second the id, the third where the caller is; the rest is the path. Whatever is
//! planned lies below the hierarchies' mounts.

#![no_main]

use std::path::PathBuf;

use corten::cgroups::plan::plan_cgroups;
use corten::container::ContainerId;
use corten::request::{CgroupDriver, Request};
use corten::slots::SlotCounter;
use corten_fuzz::{choice, complaints_lead_somewhere, group_stays_inside, host, request};
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::{LinuxBuilder, SpecBuilder};

/// Where a caller may be, as the kernel names it.
const PLACES: [&str; 6] = [
    "",
    "init.scope",
    "user.slice/user-1000.slice/session-3.scope",
    "user.slice/user-1000.slice/user@1000.service/app.slice/a.scope",
    "a/b/c",
    "system.slice",
];

fuzz_target!(|input: &[u8]| {
    let ((host_number, request_number), text) = choice(input);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut lines = text.splitn(3, '\n');
    let (Some(id), Some(place), Some(path)) = (lines.next(), lines.next(), lines.next()) else { return };
    // A NUL is refused by validation, in every string of the file.
    if ContainerId::parse(id).is_err() || path.contains('\0') {
        return;
    }
    let own = PLACES[place.len() % PLACES.len()];
    let mut host = host(host_number);
    host.cgroups.v1.iter_mut().for_each(|hierarchy| hierarchy.own = PathBuf::from(own));
    host.cgroups.unified.iter_mut().for_each(|unified| unified.own = PathBuf::from(own));
    let linux = LinuxBuilder::default().cgroups_path(path).build().expect("a path alone");
    let spec = SpecBuilder::default().linux(linux).build().expect("a section alone");
    for cgroup_driver in [CgroupDriver::Cgroupfs, CgroupDriver::Systemd] {
        let request = Request { cgroup_driver, id: id.to_owned(), ..request(request_number, false) };
        match plan_cgroups(&spec, &host, &request, &mut SlotCounter::default()) {
            Ok(plan) => {
                group_stays_inside(&plan.group);
                for step in plan.host.iter().chain(&plan.adopt).chain(&plan.enter) {
                    assert!(!corten::plan::render(&step.op).is_empty());
                }
            }
            Err(mut violations) => {
                violations.iter_mut().for_each(|violation| violation.line = Some(1));
                complaints_lead_somewhere(&violations);
            }
        }
    }
});
