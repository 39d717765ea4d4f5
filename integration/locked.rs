//! What is locked on the host stays locked: a container in a user namespace can't take a flag off a bind mount whose source
//! has it on the host, or uncover what a mount covers there, whatever capabilities it has in its namespace.

use std::path::PathBuf;

use nix::mount::MsFlags;
use serde_json::json;

use crate::harness::{BundleBuilder, Case, Flavour, Sandbox, cases, mount_at, skip, words};

pub const CASES: &[Case] = cases![
    no_flag_of_the_host_s_mount_can_be_taken_off,
    the_flags_stay_in_a_joined_user_namespace_too,
    flags_of_mounts_below_stay_too,
    what_a_mount_below_covers_stays_covered,
    a_source_behind_a_link_is_locked_too,
    a_directory_with_mounts_below_can_be_bound_without_them,
    an_explicit_rw_of_a_read_only_source_is_refused,
    other_access_times_can_be_asked_for,
];

const LOCKED: [(&str, &str, MsFlags); 4] = [
    ("ro", "rw", MsFlags::MS_RDONLY),
    ("nosuid", "suid", MsFlags::MS_NOSUID),
    ("nodev", "dev", MsFlags::MS_NODEV),
    ("noexec", "exec", MsFlags::MS_NOEXEC),
];

fn only_where_locked(sb: &Sandbox) {
    if sb.flavour() == Flavour::Crun {
        skip("crun takes sources outside of the container's mount namespace");
    }
}

/// A directory of the host that is a mount with this flag.
fn bound_with(sb: &Sandbox, name: &str, flag: MsFlags) -> PathBuf {
    let source = sb.tree(name, &[("file", "host")]);
    sb.mount(source.to_str().unwrap(), &source, None, MsFlags::MS_BIND, "");
    change(&source, flag);
    source
}

fn change(mount: &std::path::Path, flag: MsFlags) {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flag;
    nix::mount::mount(None::<&str>, mount, None::<&str>, flags, None::<&str>).unwrap();
}

/// One bind for each flag, and a program that tries to take each off, with every right over its mounts. It adds a flag
/// first, which must work: else it would prove nothing.
fn attack<'a>(sb: &'a Sandbox, bundle: BundleBuilder<'a>) -> BundleBuilder<'a> {
    let bundle = LOCKED
        .iter()
        .fold(bundle, |bundle, (name, _, flag)| bundle.bind(&bound_with(sb, name, *flag), &format!("/m/{name}"), &[]));
    let remount = |(flag, without, _)| {
        format!(
            "busybox mount -o remount,bind,ro,nosuid,nodev,noexec /m/{flag} || echo no rights\n\
             for o in {without} ro,nosuid,nodev,noexec,{without}; do \
             busybox mount -o remount,bind,$o /m/{flag} 2>/dev/null && echo {flag} is off; done"
        )
    };
    let script = LOCKED.map(remount).join("\n") + "\necho done";
    bundle.busybox().capabilities(&["CAP_SYS_ADMIN"]).args(["sh", "-c", &script])
}

fn no_flag_of_the_host_s_mount_can_be_taken_off(sb: &Sandbox) {
    only_where_locked(sb);
    assert_eq!(sb.run(&attack(sb, sb.bundle().user_namespace()).build()).ok().stdout, "done\n");
}

fn the_flags_stay_in_a_joined_user_namespace_too(sb: &Sandbox) {
    only_where_locked(sb);
    let donor = sb.started(&sb.bundle().user_namespace().tool(["pause"]).build());
    let path = format!("/proc/{}/ns/user", donor.pid());
    let bundle = sb.bundle().user_namespace().namespace("user", Some(&path));
    assert_eq!(sb.run(&attack(sb, bundle).build()).ok().stdout, "done\n");
}

/// A directory with a read-only directory mounted on its `sub`, where a file is covered.
fn nested(sb: &Sandbox) -> PathBuf {
    let (top, other) = (sb.tree("top", &[("sub/covered", "secret")]), sb.tree("other", &[("file", "host")]));
    sb.mount(other.to_str().unwrap(), &top.join("sub"), None, MsFlags::MS_BIND, "");
    change(&top.join("sub"), MsFlags::MS_RDONLY);
    top
}

fn run_on_nested(sb: &Sandbox, script: &str) -> String {
    let rbind = json!({"destination": "/m", "type": "none", "source": nested(sb), "options": ["rbind"]});
    let bundle = sb.bundle().user_namespace().busybox().mount(rbind).capabilities(&["CAP_SYS_ADMIN"]);
    sb.run(&bundle.args(["sh", "-c", script]).build()).ok().stdout.clone()
}

fn flags_of_mounts_below_stay_too(sb: &Sandbox) {
    only_where_locked(sb);
    let script = "busybox mount -o remount,bind,rw /m/sub 2>/dev/null && echo off; cat /m/sub/file";
    assert_eq!(run_on_nested(sb, script), "host");
}

fn what_a_mount_below_covers_stays_covered(sb: &Sandbox) {
    only_where_locked(sb);
    let script = "for f in '' -l; do busybox umount $f /m/sub 2>/dev/null; done; cat /m/sub/covered 2>/dev/null; cat /m/sub/file";
    assert_eq!(run_on_nested(sb, script), "host");
}

fn a_source_behind_a_link_is_locked_too(sb: &Sandbox) {
    only_where_locked(sb);
    let source = bound_with(sb, "ro", MsFlags::MS_RDONLY);
    let link = sb.path("link");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    let script = "busybox mount -o remount,bind,rw /m 2>/dev/null && echo off; cat /m/file";
    let bundle = sb.bundle().user_namespace().busybox().bind(&link, "/m", &[]).capabilities(&["CAP_SYS_ADMIN"]);
    assert_eq!(sb.run(&bundle.args(["sh", "-c", script]).build()).ok().stdout, "host");
}

fn a_directory_with_mounts_below_can_be_bound_without_them(sb: &Sandbox) {
    sb.only_corten("takes it on the host then");
    let bundle = sb.bundle().user_namespace().bind(&nested(sb), "/m", &[]).tool(["cat", "/m/sub/covered"]);
    assert_eq!(sb.run(&bundle.build()).ok().stdout, "secret");
}

fn an_explicit_rw_of_a_read_only_source_is_refused(sb: &Sandbox) {
    sb.only_corten("names the property");
    let source = bound_with(sb, "ro", MsFlags::MS_RDONLY);
    let output = sb.run(&sb.bundle().user_namespace().bind(&source, "/m", &["rw"]).build());
    output.fails_with(&["mounts[6]", "may not clear"]);
    assert!(sb.states().is_empty());
    let report = sb.probe(&sb.bundle().user_namespace().bind(&source, "/m", &[]).build());
    assert!(words(&mount_at(&report, "/m")["options"]).contains(&"ro".to_owned()));
}

fn other_access_times_can_be_asked_for(sb: &Sandbox) {
    sb.only_corten("does without the locks then");
    let source = sb.tree("source", &[("file", "")]);
    for option in ["noatime", "strictatime", "nodiratime", "relatime", "atime"] {
        sb.run(&sb.bundle().user_namespace().bind(&source, "/m", &[option]).tool(["ls", "/m"]).build()).ok();
    }
}
