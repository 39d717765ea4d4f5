//! What is hidden and what can't be written: masked paths, read-only paths, a read-only root.

use serde_json::json;

use crate::harness::{Case, Flavour, Sandbox, cases, mount_at, words};

pub const CASES: &[Case] = cases![anyone:
    a_masked_file_is_empty,
    a_masked_directory_is_empty_and_stays_so,
    many_masked_directories_work,
    what_is_not_there_needs_no_mask,
    a_masked_file_s_own_content_can_t_be_reached,
    a_read_only_path_can_be_read,
    a_read_only_path_covers_what_is_below,
    a_read_only_path_keeps_the_flags_of_its_mount,
    the_root_can_be_a_read_only_path,
    the_root_is_no_masked_path,
    a_read_only_root_leaves_other_mounts_writable,
    a_read_only_root_keeps_dev_usable,
    masks_without_a_mount_namespace_are_refused,
    proc_paths_of_the_default_config_are_masked,
];

fn the_root_can_be_a_read_only_path(sb: &Sandbox) {
    sb.only_corten("makes the root itself read-only");
    for (path, flags) in [("/", &[][..]), ("/self", &[]), ("/tmp/..", &[]), ("/", &["--no-pivot"])] {
        let bundle = sb.bundle().symlink("/self", "/").set("/linux/readonlyPaths", json!([path]));
        let bundle = bundle.tool(["try", "write", "/new", "x", ";", "try", "write", "/dev/shm/new", "x"]).build();
        let output = sb.run_with(&bundle, |call| call.args(flags));
        assert_eq!(output.ok().lines(), ["EROFS", "ok"], "{path} {flags:?}");
    }
}

fn the_root_is_no_masked_path(sb: &Sandbox) {
    sb.only_corten("refuses a mask without effect");
    let output = sb.run(&sb.bundle().set("/linux/maskedPaths", json!(["/proc/acpi", "/"])).build());
    output.fails_with(&["linux.maskedPaths[1]", "must not be \"/\""]);
    sb.assert_nothing_left();
}

fn a_masked_file_is_empty(sb: &Sandbox) {
    let bundle = sb.bundle().file("/etc/secret", "keys").set("/linux/maskedPaths", json!(["/etc/secret"]));
    let bundle = bundle.tool(["cat", "/etc/secret", ";", "stat", "/etc/secret"]).build();
    let output = sb.run(&bundle);
    assert!(output.ok().stdout.starts_with("char ") && output.stdout.contains(" 1:3 "), "{}", output.stdout);
}

fn a_masked_directory_is_empty_and_stays_so(sb: &Sandbox) {
    let bundle = sb.bundle().file("/secrets/key", "k").set("/linux/maskedPaths", json!(["/secrets"]));
    let bundle =
        bundle.tool(["ls", "/secrets", ";", "try", "write", "/secrets/new", "x", ";", "statfs", "/secrets"]).build();
    let output = sb.run(&bundle);
    assert_eq!(output.ok().lines(), ["EROFS", "0x1021994 ro"]);
}

fn many_masked_directories_work(sb: &Sandbox) {
    let paths: Vec<String> = (0..20).map(|n| format!("/m/{n}")).collect();
    let bundle = paths.iter().fold(sb.bundle(), |b, path| b.file(&format!("{path}/x"), ""));
    let output = sb.run(&bundle.set("/linux/maskedPaths", json!(paths)).tool(["find", "/m"]).build());
    assert_eq!(output.ok().lines().len(), 21);
}

fn what_is_not_there_needs_no_mask(sb: &Sandbox) {
    let bundle = sb.bundle().set("/linux/maskedPaths", json!(["/no/such/file"]));
    sb.run(&bundle.set("/linux/readonlyPaths", json!(["/nor/this"])).tool(["true"]).build()).ok();
}

fn a_masked_file_s_own_content_can_t_be_reached(sb: &Sandbox) {
    let bundle = sb.bundle().file("/etc/secret", "keys").set("/linux/maskedPaths", json!(["/etc/secret"]));
    let bundle = bundle.tool(["try", "umount", "/etc/secret", ";", "try", "rm", "/etc/secret"]).build();
    let output = sb.run(&bundle);
    assert_eq!(output.ok().lines(), ["EPERM", "EBUSY"]);
}

fn a_read_only_path_can_be_read(sb: &Sandbox) {
    let bundle = sb.bundle().file("/data/file", "text").set("/linux/readonlyPaths", json!(["/data/file"]));
    let bundle =
        bundle.tool(["try", "append", "/data/file", "x", ";", "cat", "/data/file", ";", "write", "/data/new", "ok"]);
    assert_eq!(sb.run(&bundle.build()).ok().stdout, "EROFS\ntext");
}

fn a_read_only_path_covers_what_is_below(sb: &Sandbox) {
    let bundle = sb.bundle().file("/data/deep/file", "text").set("/linux/readonlyPaths", json!(["/data"]));
    let bundle = bundle.tool(["try", "write", "/data/deep/file", "x", ";", "try", "mkdir", "/data/new"]);
    assert_eq!(sb.run(&bundle.build()).ok().lines(), ["EROFS", "EROFS"]);
}

fn a_read_only_path_keeps_the_flags_of_its_mount(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().set("/linux/readonlyPaths", json!(["/dev/shm"])).build());
    let options = words(&mount_at(&report, "/dev/shm")["options"]);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.iter().any(|o| o == option), "{option} isn't in {options:?}");
    }
}

fn a_read_only_root_leaves_other_mounts_writable(sb: &Sandbox) {
    let tools = ["try", "write", "/file", "x", ";", "try", "write", "/dev/shm/file", "x", ";", "statfs", "/"];
    let bundle = sb.bundle().set("/root/readonly", true).tool(tools).build();
    let output = sb.run(&bundle);
    let lines = output.ok().lines();
    assert_eq!(lines[..2], ["EROFS", "ok"]);
    assert!(lines[2].ends_with(" ro"), "{lines:?}");
}

fn a_read_only_root_keeps_dev_usable(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().set("/root/readonly", true).build());
    assert_eq!(report["devices"]["null"]["minor"], 3);
    assert!(words(&mount_at(&report, "/")["options"]).contains(&"ro".to_owned()));
}

/// Golden value 18: masking without a mount namespace would mask the host.
fn masks_without_a_mount_namespace_are_refused(sb: &Sandbox) {
    let bundle = sb.bundle().without_namespace("mount").set("/mounts", json!([]));
    let output = sb.run(&bundle.set("/linux/maskedPaths", json!(["/proc/kcore"])).build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == Flavour::Corten {
        output.fails_with(&["linux.maskedPaths"]);
    }
}

fn proc_paths_of_the_default_config_are_masked(sb: &Sandbox) {
    let masked = ["/proc/asound", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"];
    let readonly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    let bundle = sb.bundle().set("/linux/maskedPaths", json!(masked)).set("/linux/readonlyPaths", json!(readonly));
    let tools = ["cat", "/proc/keys", ";", "try", "append", "/proc/sys/kernel/msgmax", "1", ";", "ls", "/sys/firmware"];
    let output = sb.run(&bundle.tool(tools).build());
    assert_eq!(output.ok().lines(), ["EROFS"]);
}
