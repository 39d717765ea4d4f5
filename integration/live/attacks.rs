//! A container that runs while something is mounted in it: names that lead elsewhere, and change while they are looked at.
//! Whatever it does, the mount is inside, or there is none.

use std::fs;

use serde_json::Value;

use super::{add, added, at, places, remove};
use crate::attacks::executable::strong;
use crate::attacks::races::race_with;
use crate::attacks::{UNTOUCHED, Victim};
use crate::exec::exec;
use crate::harness::{Case, Sandbox, cases, scaled, words};

pub const CASES: &[Case] = cases![anyone:
    a_target_that_is_a_link_leads_nowhere_but_inside,
    a_target_behind_a_magic_link_is_no_place,
    a_target_that_changes_meanwhile_can_t_lead_out,
    a_missing_target_under_a_changing_parent_is_made_inside,
    a_procfs_that_is_covered_or_missing_can_t_be_a_trap,
    a_container_that_covers_and_uncovers_keeps_its_own_mounts,
    who_watches_from_inside_sees_nothing_of_the_host,
    who_may_trace_all_finds_no_way_to_the_host,
];

fn source_of(sb: &Sandbox) -> String {
    sb.tree("source", &[("file", "mounted")]).display().to_string()
}

/// CVE-2019-18837.
fn a_target_that_is_a_link_leads_nowhere_but_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let source = source_of(sb);
    let bundle = sb.bundle().symlink("/out", victim.path("dir")).symlink("/up", "../../../../../../../../tmp/up");
    let bundle = bundle.symlink("/file", victim.path("file")).tool(["pause"]).build();
    let container = sb.started(&bundle);
    for target in ["/out", "/out/sub", "/up", "/up/../../../x"] {
        add(sb, &container.id, &[&format!("source={source},target={target}")]).ok();
        remove(sb, &container.id, &[target]).ok();
    }
    add(sb, &container.id, &[&format!("source={source}/file,target=/file")]).ok();
    let shown = exec(sb, &container.id, &[], &["cat", victim.path("file").to_str().unwrap()]);
    assert_eq!(shown.ok().stdout, "mounted", "a directory of the same name is inside");
    victim.assert_untouched();
}

/// CVE-2019-18837: /proc/1/root of a container without a pid namespace would be the host's.
fn a_target_behind_a_magic_link_is_no_place(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let source = source_of(sb);
    let links =
        ["root", "cwd", "fd/0", "exe"].map(|name| (format!("/{}", name.replace('/', "-")), format!("/proc/1/{name}")));
    let bundle = links.iter().fold(sb.bundle(), |bundle, (link, to)| bundle.symlink(link, to));
    let bundle = bundle.without_namespace("pid").without_mount("/proc");
    let bundle = bundle
        .mount(serde_json::json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}));
    let container = sb.started(&bundle.tool(["pause"]).build());
    let before = places(&container);
    for (link, _) in &links {
        for below in ["", &format!("{}/dir", victim.path("").display())] {
            add(sb, &container.id, &[&format!("source={source},target={link}{below}")]).fails();
        }
    }
    for target in ["/proc/1", "/proc/self", "/proc/1/root/tmp", "/tmp/../proc/self/cwd"] {
        add(sb, &container.id, &[&format!("source={source},target={target}")]).fails_with(&["inside /proc"]);
    }
    assert_eq!(places(&container), before);
    victim.assert_untouched();
}

/// CVE-2021-30465.
fn a_target_that_changes_meanwhile_can_t_lead_out(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let source = source_of(sb);
    let bundle = sb.bundle().dir("/a/dir/sub").tool(["pause"]).build();
    let container = sb.started(&bundle);
    race_with(&bundle, &victim, "/a/dir", "full", || {
        let made = add(sb, &container.id, &[&format!("source={source},target=/a/dir/sub"), "type=tmpfs,target=/a/dir"]);
        assert!(made.code <= 1, "{made:?}");
        for target in added(sb, &container.id) {
            remove(sb, &container.id, &[&target]);
        }
        made.code == 0
    });
    let seen = exec(sb, &container.id, &[], &["try", "cat", victim.path("full/secret").to_str().unwrap()]);
    assert!(!seen.stdout.contains(UNTOUCHED), "{}", seen.stdout);
}

/// CVE-2024-45310.
fn a_missing_target_under_a_changing_parent_is_made_inside(sb: &Sandbox) {
    let victim = Victim::new(sb);
    let source = source_of(sb);
    let bundle = sb.bundle().dir("/a/dir").tool(["pause"]).build();
    let container = sb.started(&bundle);
    let mut round = 0;
    race_with(&bundle, &victim, "/a/dir", "dir", || {
        round += 1;
        let target = format!("/a/dir/new-{round}/deep");
        let made = add(sb, &container.id, &[&format!("source={source}/file,target={target}/file")]);
        added(sb, &container.id).iter().for_each(|target| drop(remove(sb, &container.id, &[target])));
        made.code == 0
    });
}

/// CVE-2019-16884: corten reads the container's mounts in the host's /proc: what the container has there is nothing to it.
fn a_procfs_that_is_covered_or_missing_can_t_be_a_trap(sb: &Sandbox) {
    let source = source_of(sb);
    let bundle = sb
        .bundle()
        .without_mount("/proc")
        .file("/proc/self/fd/0", "a trap")
        .file("/proc/1/mountinfo", "1 1 0:1 / /etc rw - x x rw\n");
    let container = sb.started(&bundle.tool(["pause"]).build());
    add(sb, &container.id, &[&format!("source={source}/file,target=/etc/file"), "type=tmpfs,target=/t,ro"]).ok();
    assert_eq!(added(sb, &container.id).len(), 2);
    remove(sb, &container.id, &["/etc/file", "/t"]).ok();
    let fake = add(sb, &container.id, &["type=bind,source=/etc,target=/proc"]);
    fake.fails_with(&["--mount", "only a procfs may be mounted on /proc"]);
}

/// The container mounts on the same place without a pause. Nothing of its own goes, and corten's goes when it can.
fn a_container_that_covers_and_uncovers_keeps_its_own_mounts(sb: &Sandbox) {
    let script = "echo ready; n=0; while [ ! -e /tmp/stop ]; do busybox mount -t tmpfs own /m && busybox umount /m && n=$((n+1)); done; echo $n";
    let bundle = sb.bundle().busybox().dir("/m").dir("/keep").capabilities(&["CAP_SYS_ADMIN"]);
    let bundle = bundle.args(["/bin/sh", "-c", &format!("busybox mount -t tmpfs keep /keep; {script}")]).build();
    let container = sb.started(&bundle);
    crate::killing::wait_until("it mounts", || container.output().contains("ready"));
    let mut removed = 0;
    for _ in 0..scaled(60) {
        let made = add(sb, &container.id, &["type=tmpfs,target=/m,mode=0711"]);
        if made.code == 0 {
            // Its program may have unmounted it by now; then it is gone and said to be.
            removed += u32::from(remove(sb, &container.id, &["/m"]).code == 0);
        }
        assert!(at(sb, &container.id, "/keep").is_some(), "another mount was taken off");
    }
    fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
    container.wait();
    let count: u64 = container.output().lines().last().unwrap().parse().unwrap_or(0);
    assert!(count > 0, "the container never mounted: {}", container.output());
    assert!(removed > 0, "nothing was ever removed");
}

/// What mounts a procfs has to be in the container's pid namespace. In a user namespace nobody may look at it
/// (CVE-2016-9962).
fn who_watches_from_inside_sees_nothing_of_the_host(sb: &Sandbox) {
    sb.needs_root();
    let bundle = strong(sb.bundle().user_namespace()).dir("/p").tool(["prowl", "/tmp/stop", "/bin/probe"]).build();
    let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
    prowler.lines.expect_line("ready");
    for _ in 0..scaled(40) {
        add(sb, &id, &["type=proc,target=/p"]).ok();
        remove(sb, &id, &["/p"]).ok();
    }
    fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
    let loot: Value = serde_json::from_str(&prowler.lines.next_line().unwrap()).unwrap();
    assert_eq!(prowler.wait(), 0);
    for kind in ["programs", "changed", "descriptors", "directories"] {
        assert!(words(&loot[kind]).is_empty(), "{kind}: {loot}");
    }
    assert_eq!(loot["traced"], 0, "{loot}");
}

/// Who scans says of whom he has: of a process, all of it, that was there until the end. So that there is somebody to be
/// scanned whoever mounts is stopped once at each of its steps.
///
/// CVE-2016-9962: with CAP_SYS_PTRACE and without a user namespace one may look at any process in there: what comes in to mount a procfs
/// has no root, working directory or descriptor of the host by then, beside the sources that the container gets.
fn who_may_trace_all_finds_no_way_to_the_host(sb: &Sandbox) {
    sb.needs_root();
    let source = source_of(sb);
    let rights = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"];
    let bundle = sb.bundle().busybox().capabilities(&rights).dir("/tmp");
    let host = sb.dir().display();
    let script = format!(
        "echo ready; while [ ! -e /tmp/stop ]; do for p in /proc/[2-9]* /proc/1?*; do for d in $p/root $p/cwd $p/fd/*; do \
         for up in . .. ../.. ../../..; do [ -e $d/$up{host} ] && echo found $d/$up; done; done; [ -e $p/root/. ] && : > /tmp/seen; done; done; echo done"
    );
    let bundle = bundle.args(["sh", "-c", &script]).build();
    let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
    prowler.lines.expect_line("ready");
    for _ in 0..scaled(40) {
        add(
            sb,
            &id,
            &["type=proc,target=/p", &format!("source={source},target=/m"), &format!("source={source}/file,target=/f")],
        )
        .ok();
        remove(sb, &id, &["/p", "/m", "/f"]).ok();
    }
    let seen = bundle.in_rootfs("/tmp/seen");
    let mounts = [format!("source={source},target=/m"), format!("source={source}/file,target=/f")];
    let mut held = Vec::new();
    for step in 0..100 {
        let flags = mounts.iter().map(String::as_str).chain(["type=proc,target=/p"]);
        let flags = flags.flat_map(|mount| ["--mount", mount]);
        let _ = fs::remove_file(&seen);
        let call = sb.call(["mounts", "add", &id]).args(flags).global(&["--patience", "500"]);
        if call.global(&["--fault", &format!("stage_two:{step}:stop")]).output().code == 0 {
            break;
        }
        held.push(seen.exists());
    }
    let first = held.iter().position(|seen| *seen).expect("nobody was ever seen");
    assert!(held[first..].iter().all(|seen| *seen), "from the first on who is in there is seen: {held:?}");
    assert!(held.len() - first > 3, "{held:?}");
    fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
    assert_eq!(prowler.lines.next_line().as_deref(), Some("done"));
    assert_eq!(prowler.wait(), 0);
}
