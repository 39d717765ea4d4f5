//! Links where directories, devices and files should be.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::{Victim, devpts, on_a_console, own_dev, relative};
use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![anyone:
    a_dev_that_is_a_link_gets_no_devices_outside,
    a_proc_that_is_a_link_to_another_container_s_is_refused,
    a_null_device_that_is_a_link_masks_nothing_else,
    a_console_that_is_a_link_stays_inside,
    a_devpts_that_is_a_link_stays_inside,
    a_mount_target_can_t_lead_out,
    a_masked_link_masks_nothing_outside,
    a_working_directory_that_is_a_link_stays_inside,
    accounts_are_read_inside_only,
    an_account_file_that_blocks_does_not_hang,
    a_program_that_is_a_link_is_the_container_s,
    a_device_path_that_leads_out_is_made_inside,
];

/// CVE-2026-41579, CVE-2026-47766.
fn a_dev_that_is_a_link_gets_no_devices_outside(sb: &Sandbox) {
    sb.only_corten("must not fall for CVE-2026-41579; Debian's runc 1.1.5 does");
    let victim = Victim::new(sb);
    let targets = [victim.path("dir"), relative(12, &victim.path("dir")), PathBuf::from("../../../victim-1/dir")];
    for target in targets {
        let bundle = own_dev(sb).symlink("/dev", &target).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

/// CVE-2019-19921, CVE-2023-27561.
fn a_proc_that_is_a_link_to_another_container_s_is_refused(sb: &Sandbox) {
    let victim = Victim::new(sb);
    for target in [victim.path("dir"), relative(12, &victim.path("dir")), PathBuf::from("/tmp"), PathBuf::from("proc2")]
    {
        for link in ["/proc", "/sys"] {
            let bundle = sb.bundle().dir("/proc2").symlink(link, &target).build();
            sb.run(&bundle).fails();
            victim.assert_untouched();
            sb.assert_nothing_left();
        }
    }
}

/// CVE-2025-31133: a mask is a bind of /dev/null, so /dev/null must be the real one.
fn a_null_device_that_is_a_link_masks_nothing_else(sb: &Sandbox) {
    sb.only_corten("must not fall for CVE-2025-31133; Debian's runc 1.1.5 does");
    let victim = Victim::new(sb);
    for target in [victim.path("file"), PathBuf::from("/proc/sys/kernel/msgmax"), PathBuf::from("/etc/other")] {
        let bundle =
            own_dev(sb).symlink("/dev/null", &target).file("/etc/secret", "secret").file("/etc/other", "other");
        let bundle = bundle.set("/linux/maskedPaths", json!(["/etc/secret"]));
        let tools = ["try", "cat", "/etc/secret", ";", "try", "write", "/etc/secret", "x", ";", "stat", "/etc/secret"];
        let output = sb.run(&bundle.tool(tools).build());
        if output.code == 0 {
            assert!(output.stdout.contains("char ") && output.stdout.contains(" 1:3 "), "{output:?}");
            assert!(!output.stdout.contains("secret\n") && !output.stdout.contains("untouched"), "{output:?}");
        }
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

/// CVE-2025-52565.
fn a_console_that_is_a_link_stays_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    for target in [victim.path("file"), victim.path("new"), PathBuf::from("/proc/sys/kernel/msgmax")] {
        let bundle = own_dev(sb).mount(devpts()).symlink("/dev/console", &target);
        on_a_console(sb, bundle);
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

fn a_devpts_that_is_a_link_stays_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let bundle = own_dev(sb).mount(devpts()).symlink("/dev/pts", victim.path("dir"));
    on_a_console(sb, bundle);
    victim.assert_untouched();
    sb.assert_nothing_left();
}

/// CVE-2019-18837.
fn a_mount_target_can_t_lead_out(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let source = sb.tree("source", &[("file", "mounted")]);
    let ways = [
        ("/link", victim.path("dir"), "/link"),
        ("/link", victim.path("dir"), "/link/sub/deep"),
        ("/a/link", relative(12, &victim.path("dir")), "/a/link/sub"),
        ("/a/b/link", PathBuf::from("../../.."), "/a/b/link/../../../../victim-1/dir"),
        ("/link", PathBuf::from("/proc/1/root").join(victim.path("dir").strip_prefix("/").unwrap()), "/link/x"),
    ];
    for (link, target, destination) in ways {
        let bundle = sb.bundle().symlink(link, &target).bind(&source, destination, &[]).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

/// CVE-2023-28642 and the like.
fn a_masked_link_masks_nothing_outside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let bundle = sb.bundle().symlink("/secret", victim.path("file")).symlink("/ro", victim.path("dir"));
    let bundle = bundle.set("/linux/maskedPaths", json!(["/secret"])).set("/linux/readonlyPaths", json!(["/ro"]));
    let output = sb.run(&bundle.tool(["true"]).build());
    assert!(output.code <= 1, "{output:?}");
    victim.assert_untouched();
    sb.assert_nothing_left();
}

fn a_working_directory_that_is_a_link_stays_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    for target in [victim.path("new"), relative(12, &victim.path("new")), PathBuf::from("/proc/self/cwd")] {
        let bundle = sb.bundle().symlink("/here", &target).set("/process/cwd", "/here").tool(["pwd"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}

fn accounts_are_read_inside_only(sb: &Sandbox) {
    let host = sb.tree("host", &[("passwd", "root:x:0:0:root:/from/the/host:/bin/sh\n")]);
    for target in [host.join("passwd"), relative(12, &host.join("passwd"))] {
        let report = sb.probe(&sb.bundle().symlink("/etc/passwd", target).build());
        assert!(!report["env"].to_string().contains("/from/the/host"), "{}", report["env"]);
    }
}

fn an_account_file_that_blocks_does_not_hang(sb: &Sandbox) {
    sb.only_corten("opens no fifo of the image");
    let bundle = sb.bundle().tool(["true"]).build();
    let passwd = bundle.in_rootfs("/etc/passwd");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let output = sb.run(&bundle);
    assert!(output.code <= 1, "{output:?}");
    sb.assert_nothing_left();
}

fn a_program_that_is_a_link_is_the_container_s(sb: &Sandbox) {
    let bundle = sb.bundle().symlink("/bin/tool", "/usr/bin/id").args(["/bin/tool"]).build();
    sb.run(&bundle).fails();
    sb.assert_nothing_left();
}

fn a_device_path_that_leads_out_is_made_inside(sb: &Sandbox) {
    sb.only_corten("must not fall for it");
    let victim = Victim::new(sb);
    for path in ["/link/null", "/dev/../../../victim-1/dir/null", "/link"] {
        let device = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
        let bundle =
            sb.bundle().symlink("/link", victim.path("dir")).set("/linux/devices", device).tool(["true"]).build();
        let output = sb.run(&bundle);
        assert!(output.code <= 1, "{output:?}");
        victim.assert_untouched();
        sb.assert_nothing_left();
    }
}
