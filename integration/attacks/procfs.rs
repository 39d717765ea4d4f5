//! A procfs that isn't one, and files of /proc that something else stands on; and what else comes out of a config or lies
//! in a state directory to lead a write somewhere else.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::{UNTOUCHED, Victim};
use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![anyone:
    a_sysctl_reaches_no_file_that_is_mounted_over_it,
    a_sysctl_reaches_no_other_file_system_in_place_of_proc,
    what_is_no_procfs_is_no_proc,
    the_files_by_which_a_process_sets_its_labels_can_t_be_covered,
    a_huge_page_size_that_leads_out_is_refused,
    a_file_of_another_cgroup_is_refused,
    a_cgroup_that_leads_out_is_refused,
    a_link_in_a_state_directory_is_not_followed_when_it_is_deleted,
    inheritable_capabilities_are_none,
    a_huge_id_map_is_a_clear_error,
];

/// CVE-2025-52881: the order of the mounts puts a file of the container's choice where a sysctl is written.
fn a_sysctl_reaches_no_file_that_is_mounted_over_it(sb: &Sandbox) {
    sb.only_corten("writes through the host's procfs");
    let dummy =
        sb.tree("dummy", &[("file", UNTOUCHED), ("net/core/somaxconn", UNTOUCHED), ("kernel/msgmax", UNTOUCHED)]);
    let ways = [
        ("/proc/sys/kernel/msgmax", "file"),
        ("/proc/sys/kernel", "kernel"),
        ("/proc/sys/net", "net"),
        ("/proc/sys", ""),
        ("/proc/self/../sys/kernel/msgmax", "file"),
        ("/link/kernel/msgmax", "file"),
    ];
    for (destination, source) in ways {
        let sysctl = json!({"kernel.msgmax": "65432", "net.core.somaxconn": "1234"});
        let bundle = sb.bundle().symlink("/link", "/proc/sys").set("/linux/sysctl", sysctl);
        let bundle = bundle.bind(&dummy.join(source), destination, &[]).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        for file in ["file", "net/core/somaxconn", "kernel/msgmax"] {
            assert_eq!(fs::read_to_string(dummy.join(file)).unwrap(), UNTOUCHED, "{destination}: {output:?}");
        }
        sb.assert_nothing_left();
    }
}

/// CVE-2025-52881, CVE-2019-16884: there is no procfs of the container's at all, or another file system is in its place.
fn a_sysctl_reaches_no_other_file_system_in_place_of_proc(sb: &Sandbox) {
    sb.only_corten("writes through the host's procfs");
    let bundle = sb.bundle().file("/proc/sys/kernel/msgmax", UNTOUCHED).without_mount("/proc");
    let bundle = bundle.set("/linux/sysctl", json!({"kernel.msgmax": "65432"})).tool(["true"]).build();
    let output = sb.run(&bundle);
    assert!(output.code <= 1, "{output:?}");
    assert_eq!(fs::read_to_string(bundle.in_rootfs("/proc/sys/kernel/msgmax")).unwrap(), UNTOUCHED);
    sb.assert_nothing_left();
}

/// CVE-2019-16884: an image's volume on /proc.
fn what_is_no_procfs_is_no_proc(sb: &Sandbox) {
    let volume = sb.tree("volume", &[("self/attr/exec", ""), ("self/fd/", "")]);
    let bind = json!({"destination": "/proc", "type": "bind", "source": volume, "options": ["rbind", "rw"]});
    let tmpfs = json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"});
    for mount in [bind, tmpfs] {
        for first in [true, false] {
            let bundle = match first {
                // In place of the procfs, and over it.
                true => sb.bundle().without_mount("/proc"),
                false => sb.bundle(),
            };
            sb.run(&bundle.mount(mount.clone()).tool(["true"]).build()).fails();
            sb.assert_nothing_left();
        }
    }
    assert_eq!(fs::read_to_string(volume.join("self/attr/exec")).unwrap(), "");
}

/// CVE-2019-16884, CVE-2025-52881.
fn the_files_by_which_a_process_sets_its_labels_can_t_be_covered(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", ""), ("dir/exec", "")]);
    let ways = [
        ("/proc/self/attr/exec", "file"),
        ("/proc/self/attr", "dir"),
        ("/proc/self/attr/apparmor/exec", "file"),
        ("/proc/thread-self/attr/exec", "file"),
        ("/proc/1/attr/exec", "file"),
        ("/proc/self", "dir"),
    ];
    for (destination, name) in ways {
        sb.run(&sb.bundle().bind(&source.join(name), destination, &[]).tool(["true"]).build()).fails();
        sb.assert_nothing_left();
    }
}

#[track_caller]
fn is_refused(sb: &Sandbox, pointer: &str, value: Value, field: &str) {
    let output = sb.run(&sb.bundle().set(pointer, value).tool(["true"]).build());
    output.fails();
    if sb.flavour() == crate::harness::Flavour::Corten {
        output.fails_with(&[field]);
    }
    sb.assert_nothing_left();
}

fn a_huge_page_size_that_leads_out_is_refused(sb: &Sandbox) {
    for size in ["../../x", "2MB/../../x", "/2MB", "2MB.limit_in_bytes/../x"] {
        let limits = json!({"hugepageLimits": [{"pageSize": size, "limit": 0}]});
        is_refused(sb, "/linux/resources", limits, "linux.resources.hugepageLimits[0].pageSize");
    }
}

fn a_file_of_another_cgroup_is_refused(sb: &Sandbox) {
    sb.only_corten("refuses it on hosts of every layout");
    for key in ["../memory.max", "a/memory.max", "/memory.max", "..", "", "./memory.max"] {
        is_refused(sb, "/linux/resources", json!({"unified": {key: "1"}}), "linux.resources.unified");
    }
}

fn a_cgroup_that_leads_out_is_refused(sb: &Sandbox) {
    sb.only_corten("refuses it");
    if crate::harness::by_systemd() {
        return is_refused(sb, "/linux/cgroupsPath", json!("../..:x:y"), "linux.cgroupsPath");
    }
    for path in ["../..", "/../x", "/a/../../x", "a/.."] {
        is_refused(sb, "/linux/cgroupsPath", json!(path), "linux.cgroupsPath");
    }
}

/// CVE-2022-21658: the removal of a directory follows no link in it.
fn a_link_in_a_state_directory_is_not_followed_when_it_is_deleted(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let container = sb.create(&sb.bundle().tool(["true"]).build());
    let dir = sb.state_root().join(&container.id);
    assert!(dir.is_dir());
    symlink(victim.path("full"), dir.join("link")).unwrap();
    symlink(victim.path("file"), dir.join("file-link")).unwrap();
    fs::create_dir(dir.join("below")).unwrap();
    symlink(victim.path("dir"), dir.join("below/link")).unwrap();
    let output = sb.call(["delete", "--force", &container.id]).output();
    assert!(output.code <= 1, "{output:?}");
    victim.assert_untouched();
    // Whatever a runtime makes of files that it doesn't know, the test leaves none.
    let _ = fs::remove_dir_all(&dir);
}

/// CVE-2022-27650, CVE-2022-29162.
fn inheritable_capabilities_are_none(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().capabilities(&["CAP_CHOWN", "CAP_KILL"]).build());
    assert_eq!(report["capabilities"]["inheritable"], json!([]));
    assert_eq!(report["capabilities"]["ambient"], json!([]));
    let output = sb.run(&sb.bundle().tool(["cat", "/proc/self/status"]).build());
    let line = output.ok().lines().into_iter().find(|line| line.starts_with("CapInh:")).unwrap().to_owned();
    assert_eq!(line.split_whitespace().nth(1), Some("0000000000000000"));
}

/// CVE-2021-43784.
fn a_huge_id_map_is_a_clear_error(sb: &Sandbox) {
    let map: Vec<Value> =
        (0..5000u32).map(|n| json!({"containerID": n * 10, "hostID": 100_000 + n * 10, "size": 10})).collect();
    let bundle =
        sb.bundle().namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let output = sb.run(&bundle.build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == crate::harness::Flavour::Corten {
        output.fails_with(&["linux.uidMappings"]);
    }
}
