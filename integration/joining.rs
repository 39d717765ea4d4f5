//! A container is in cgroups of its own, in every hierarchy of the machine, whichever way in the kernel offers.

use std::fs;

use crate::harness::cgroups::cgroups_named;
use crate::harness::{Case, Sandbox, by_systemd, cases};

pub const CASES: &[Case] = cases![
    it_is_in_its_own_cgroup_of_every_hierarchy,
    a_caller_bound_to_one_cpu_does_not_bind_the_container,
    without_control_groups_it_stays_where_its_caller_is,
];

/// The lines of /proc/PID/cgroup: hierarchy and path.
fn places(pid: i32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let place = |line: &str| line.splitn(3, ':').skip(1).map(str::to_owned).collect::<Vec<_>>();
    text.lines().map(place).map(|mut parts| (parts.remove(0), parts.remove(0))).collect()
}

/// Whether a hierarchy of /proc/PID/cgroup is mounted where it can be written to.
fn is_mounted(hierarchy: &str) -> bool {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mountinfo.lines().filter_map(|line| line.split_once(" - ")).any(|(_, kind)| match hierarchy {
        "" => kind.starts_with("cgroup2 "),
        names => {
            let options: Vec<&str> = kind.rsplit(' ').next().unwrap_or_default().split(',').collect();
            kind.starts_with("cgroup ") && names.split(',').all(|name| options.contains(&name))
        }
    })
}

fn it_is_in_its_own_cgroup_of_every_hierarchy(sb: &Sandbox) {
    sb.only_corten("pretends that calls are missing");
    let bundle = sb.bundle().tool(["pause"]).build();
    // Without clone3, or with one that is too old, the child enters version 2 by itself.
    for lacking in [None, Some("into_cgroup"), Some("clone3")] {
        let container = sb.create_with(&bundle, |call| match lacking {
            Some(lacking) => call.global(&["--pretend-kernel-lacks", lacking]),
            None => call,
        });
        let places = places(container.pid());
        assert!(!places.is_empty());
        for (hierarchy, path) in places.iter().filter(|(hierarchy, _)| is_mounted(hierarchy)) {
            assert!(path.contains(&container.id), "{hierarchy:?}: {path}, without {lacking:?}");
        }
        container.stop();
        container.verb("delete").ok();
        assert!(cgroups_named(&container.id).is_empty());
    }
}

fn a_caller_bound_to_one_cpu_does_not_bind_the_container(sb: &Sandbox) {
    sb.needs_program("/usr/bin/taskset", "util-linux");
    let allowed = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.create_with(&bundle, |call| call.under(&["taskset", "-c", "0"]));
    assert_eq!(allowed(container.pid()), allowed(std::process::id() as i32));
    container.stop();
}

fn without_control_groups_it_stays_where_its_caller_is(sb: &Sandbox) {
    sb.only_corten("can do without");
    if by_systemd() {
        crate::harness::skip("the driver of this run is systemd's");
    }
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.create_with(&bundle, |call| call.global(&["--cgroup-manager", "disabled"]));
    assert_eq!(places(container.pid()), places(std::process::id() as i32));
    container.stop();
    container.verb("delete").ok();
}
