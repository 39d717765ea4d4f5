//! Devices: the default ones, the configured ones, the links beside them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![
    the_default_devices_are_there,
    the_links_beside_them_point_where_programs_look,
    there_is_no_console_without_a_terminal,
    a_configured_device_has_its_numbers_mode_and_owner,
    every_type_of_device_can_be_made,
    a_fifo_needs_no_numbers,
    a_device_may_stand_outside_of_dev,
    a_configured_default_device_is_no_conflict,
    a_device_over_another_file_is_refused,
    an_unknown_type_of_device_is_refused,
    in_a_user_namespace_devices_are_the_host_s,
    a_host_dev_bound_over_dev_stays_untouched,
];

const DEFAULTS: &[(&str, u64, u64)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

fn the_default_devices_are_there(sb: &Sandbox) {
    let devices = sb.probe(&sb.bundle().build())["devices"].clone();
    for (name, major, minor) in DEFAULTS {
        let device = &devices[name];
        assert_eq!(device["kind"], "char", "{name}");
        assert_eq!((&device["major"], &device["minor"]), (&json!(major), &json!(minor)), "{name}");
        assert_eq!((&device["mode"], &device["uid"], &device["gid"]), (&json!(0o666), &json!(0), &json!(0)), "{name}");
    }
}

fn the_links_beside_them_point_where_programs_look(sb: &Sandbox) {
    let devices = sb.probe(&sb.bundle().build())["devices"].clone();
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, target) in links {
        assert_eq!(devices[name]["target"], target, "{name}");
    }
    assert_eq!(devices["ptmx"]["target"].as_str().unwrap().trim_start_matches("/dev/"), "pts/ptmx");
}

fn there_is_no_console_without_a_terminal(sb: &Sandbox) {
    let devices = sb.probe(&sb.bundle().build())["devices"].clone();
    assert_eq!(devices["console"], Value::Null);
}

fn a_configured_device_has_its_numbers_mode_and_owner(sb: &Sandbox) {
    let device = json!({"path": "/dev/deep/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8});
    let bundle = sb.bundle().set("/linux/devices", json!([device])).tool(["stat", "/dev/deep/fuse"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "char 0640 7 8 10:229 0\n");
}

fn every_type_of_device_can_be_made(sb: &Sandbox) {
    let devices = json!([
        {"path": "/dev/a", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
        {"path": "/dev/b", "type": "b", "major": 7, "minor": 77, "fileMode": 0o600},
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600},
        {"path": "/dev/p", "type": "p", "fileMode": 0o600}
    ]);
    let bundle =
        sb.bundle().set("/linux/devices", devices).tool(["stat", "/dev/a", "/dev/b", "/dev/u", "/dev/p"]).build();
    let output = sb.run(&bundle);
    let lines = output.ok().lines();
    assert_eq!(lines[..3], ["char 0600 0 0 1:3 0", "block 0600 0 0 7:77 0", "char 0600 0 0 1:5 0"]);
    assert!(lines[3].starts_with("fifo 0600 0 0"), "{lines:?}");
}

fn a_fifo_needs_no_numbers(sb: &Sandbox) {
    sb.only_corten("ignores the numbers of a fifo, as the spec has it");
    let fifo = json!([{"path": "/dev/p", "type": "p", "major": 8, "minor": 666, "fileMode": 0o600}]);
    let bundle = sb.bundle().set("/linux/devices", fifo).tool(["stat", "/dev/p"]).build();
    assert!(sb.run(&bundle).ok().stdout.starts_with("fifo 0600"));
}

fn a_device_may_stand_outside_of_dev(sb: &Sandbox) {
    let device = json!([{"path": "/srv/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    let bundle = sb.bundle().set("/linux/devices", device).tool(["stat", "/srv/null"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "char 0666 0 0 1:3 0\n");
}

fn a_configured_default_device_is_no_conflict(sb: &Sandbox) {
    sb.only_corten("keeps the default device rules beside a configured one");
    let device =
        json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}]);
    let report = sb.probe(&sb.bundle().set("/linux/devices", device).build());
    assert_eq!(report["devices"]["null"]["minor"], 3);
}

fn a_device_over_another_file_is_refused(sb: &Sandbox) {
    sb.only_corten("refuses it, as the spec has it");
    let device = json!([{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]);
    let bundle = sb.bundle().set("/linux/devices", device).build();
    sb.run(&bundle).fails_with(&["linux.devices[0]"]);
    assert!(fs::metadata(bundle.in_rootfs("/etc/passwd")).unwrap().is_file());
    sb.assert_nothing_left();
}

fn an_unknown_type_of_device_is_refused(sb: &Sandbox) {
    let device = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]);
    sb.run(&sb.bundle().set("/linux/devices", device).build()).fails();
    sb.assert_nothing_left();
}

/// Golden value 6: no mknod there, so /dev/null is the host's, bound, and belongs to nobody.
fn in_a_user_namespace_devices_are_the_host_s(sb: &Sandbox) {
    let bundle = sb.bundle().user_namespace().tool(["json", ";", "write", "/dev/null", "x"]).build();
    let output = sb.run(&bundle);
    let report: Value = serde_json::from_str(output.ok().lines()[0]).unwrap();
    for (name, major, minor) in DEFAULTS {
        let device = &report["devices"][name];
        assert_eq!((&device["major"], &device["minor"]), (&json!(major), &json!(minor)), "{name}");
        assert_eq!((&device["uid"], &device["gid"]), (&json!(65_534), &json!(65_534)), "{name}");
    }
    crate::harness::mount_at(&report, "/dev/null");
}

fn a_host_dev_bound_over_dev_stays_untouched(sb: &Sandbox) {
    let dev = sb.tree("dev", &[("pts/", ""), ("shm/", ""), ("mqueue/", ""), ("mine", "")]);
    nix::sys::stat::mknod(
        &dev.join("null"),
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::from_bits_truncate(0o600),
        nix::sys::stat::makedev(1, 3),
    )
    .unwrap();
    let before = fs::metadata(dev.join("null")).unwrap();
    let bundle = sb.bundle().without_mount("/dev").without_mount("/dev/pts").without_mount("/dev/shm");
    let bundle = bundle.without_mount("/dev/mqueue").bind(&dev, "/dev", &["rw"]).tool(["ls", "/dev"]).build();
    assert_eq!(sb.run(&bundle).ok().lines(), ["mine", "mqueue", "null", "pts", "shm"]);
    let after = fs::metadata(dev.join("null")).unwrap();
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
}
