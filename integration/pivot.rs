//! How the root file system becomes the root: pivot_root, or a move and chroot, and that nothing of the host stays.

use serde_json::json;

use crate::harness::{Case, Sandbox, cases, mount_at};

pub const CASES: &[Case] = cases![anyone:
    the_root_is_the_bundle_s,
    nothing_of_the_host_stays_mounted,
    without_pivot_the_root_is_the_bundle_s_too,
    without_pivot_no_procfs_or_sysfs_of_the_host_can_be_reached,
    without_pivot_the_root_can_t_be_left,
    without_pivot_a_shared_root_does_not_cover_the_host_s,
    an_absolute_root_path_is_taken,
    a_root_in_a_directory_above_is_taken,
    a_missing_root_is_refused,
    a_root_that_is_a_file_is_refused,
    the_root_s_propagation_is_as_asked,
    a_private_host_stays_private,
];

fn the_root_is_the_bundle_s(sb: &Sandbox) {
    let bundle = sb.bundle().build();
    let report = sb.probe(&bundle);
    let root = mount_at(&report, "/")["root"].as_str().unwrap().to_owned();
    assert!(bundle.in_rootfs("").starts_with(root.trim_end_matches('/')) || root.ends_with("/rootfs"), "{root}");
    assert_eq!(report["cwd"], "/");
}

/// Mounts are the root and what the config asks for, with what belongs to each.
fn expected_mounts(report: &serde_json::Value) {
    const EXPECTED: &[&str] = &["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
    let seen: Vec<_> =
        report["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
    for destination in &seen {
        assert!(EXPECTED.contains(destination), "{destination} is mounted too: {seen:?}");
    }
    assert_eq!(seen.len(), EXPECTED.len(), "{seen:?}");
}

fn nothing_of_the_host_stays_mounted(sb: &Sandbox) {
    sb.needs_root();
    expected_mounts(&sb.probe(&sb.bundle().build()));
}

fn without_pivot_the_root_is_the_bundle_s_too(sb: &Sandbox) {
    let output = sb.run_with(&sb.bundle().build(), |call| call.arg("--no-pivot"));
    let report = output.ok().json();
    assert_eq!(report["cwd"], "/");
    mount_at(&report, "/proc");
    let output = sb.run_with(&sb.bundle().tool(["ls", "/"]).build(), |call| call.arg("--no-pivot"));
    assert_eq!(output.ok().lines(), ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"]);
}

/// A fully visible procfs of the host would let a user namespace mount one of its own without the masks.
fn without_pivot_no_procfs_or_sysfs_of_the_host_can_be_reached(sb: &Sandbox) {
    sb.needs_user_namespaces();
    let attempt = ["unshare", "user", "mnt", "pid", ";", "child", "try", "mount", "proc", "/proc", "proc"];
    for flag in ["--no-pivot", "--no-new-keyring"] {
        let bundle = sb.bundle().set("/linux/maskedPaths", json!(["/proc/keys"])).capabilities(&[
            "CAP_SYS_ADMIN",
            "CAP_SETUID",
            "CAP_SETGID",
        ]);
        let bundle = bundle.tool(attempt).build();
        let output = sb.run_with(&bundle, |call| call.arg(flag));
        assert_eq!(output.ok().stdout, "EPERM\n", "with {flag}");
    }
}

fn without_pivot_the_root_can_t_be_left(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["chdir", "/../../..", ";", "pwd", ";", "ls", "/../../../.."]).build();
    let output = sb.run_with(&bundle, |call| call.arg("--no-pivot"));
    assert_eq!(output.ok().lines(), ["/", "bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"]);
}

/// The host's "/" is shared, as on most, and the rootfs is on another mount: the move must stay in the container.
fn without_pivot_a_shared_root_does_not_cover_the_host_s(sb: &Sandbox) {
    sb.only_corten("makes / private before it moves the root there");
    let root = sb.tmpfs("elsewhere");
    for name in ["bin", "dev", "proc", "sys"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    std::fs::copy(sb.probe_binary(), root.join("bin/probe")).unwrap();
    for propagation in ["shared", "rshared"] {
        let bundle = sb.bundle().set("/root/path", root.to_str().unwrap());
        let bundle = bundle.set("/linux/rootfsPropagation", propagation).tool(["echo", "inside"]).build();
        // The host of this test is a mount namespace of its own: should the move come out, it covers nothing else.
        let script = "mount --make-rshared / && \"$@\" && wc -l </proc/self/mountinfo && wc -l </proc/1/mountinfo";
        let output = sb.run_with(&bundle, |call| {
            let host = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
            call.args(["--no-pivot"]).under(&host)
        });
        assert_eq!(output.ok().lines()[0], "inside");
        assert_eq!(output.lines().len(), 3, "the host's own /proc is out of sight: {output:?}");
    }
}

fn an_absolute_root_path_is_taken(sb: &Sandbox) {
    let other = sb.bundle().file("/etc/mark", "other").build();
    let bundle =
        sb.bundle().set("/root/path", other.in_rootfs("").to_str().unwrap()).tool(["cat", "/etc/mark"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "other");
}

fn a_root_in_a_directory_above_is_taken(sb: &Sandbox) {
    let other = sb.bundle().file("/etc/mark", "other").build();
    let name = other.dir.file_name().unwrap().to_str().unwrap();
    let bundle = sb.bundle().set("/root/path", format!("../{name}/rootfs")).tool(["cat", "/etc/mark"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "other");
}

fn a_missing_root_is_refused(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().set("/root/path", "no-such-root").build());
    output.fails_with(&["no-such-root"]);
    sb.assert_nothing_left();
}

fn a_root_that_is_a_file_is_refused(sb: &Sandbox) {
    sb.run(&sb.bundle().set("/root/path", "config.json").build()).fails();
    sb.assert_nothing_left();
}

fn the_root_s_propagation_is_as_asked(sb: &Sandbox) {
    // What mountinfo says of each: a peer group, a master (only if the host's mount has peers), unbindable, nothing.
    sb.only_corten("sets the propagation after pivot_root");
    for (asked, tag) in [("shared", "shared:"), ("unbindable", "unbindable")] {
        let report = sb.probe(&sb.bundle().set("/linux/rootfsPropagation", asked).build());
        let tags = mount_at(&report, "/")["propagation"].to_string();
        assert!(tags.contains(tag), "{asked}: {tags}");
    }
    for asked in ["private", "rprivate"] {
        let report = sb.probe(&sb.bundle().set("/linux/rootfsPropagation", asked).build());
        assert_eq!(mount_at(&report, "/")["propagation"], json!([]), "{asked}");
    }
    for asked in ["slave", "rslave", "rshared", "runbindable"] {
        sb.run(&sb.bundle().set("/linux/rootfsPropagation", asked).tool(["true"]).build()).ok();
    }
    sb.run(&sb.bundle().set("/linux/rootfsPropagation", "sideways").build()).fails();
    sb.assert_nothing_left();
}

/// Mounts made inside never come out, whatever the host's mounts are.
fn a_private_host_stays_private(sb: &Sandbox) {
    let shared = sb.tmpfs("shared");
    nix::mount::mount(None::<&str>, &shared, None::<&str>, nix::mount::MsFlags::MS_SHARED, None::<&str>).unwrap();
    let inner = sb.bundle().build();
    std::fs::rename(&inner.dir, shared.join("b")).ok();
    let bundle = sb.bundle().bind(&shared, "/mnt", &["rbind"]).capabilities(&["CAP_SYS_ADMIN"]);
    let bundle = bundle.tool(["mkdir", "/mnt/sub", ";", "mount", "tmpfs", "/mnt/sub", "tmpfs"]).build();
    sb.run(&bundle).ok();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let inside = table.lines().filter(|line| line.contains("/shared/sub")).count();
    assert_eq!(inside, 0, "a mount came out of the container");
}
