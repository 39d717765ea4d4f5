//! Checkpoints and restores that fail: what is said, what goes on, and that nothing is left.

use std::fs;

use serde_json::json;

use super::{Counting, checkpoint, counting_bundle, criu, restoring};
use crate::harness::{Case, Sandbox, cases};
use crate::killing::wait_until;

pub const CASES: &[Case] = cases![
    without_criu_the_flag_and_the_package_are_named,
    images_that_are_none_say_what_is_wrong_and_leave_nothing,
    a_mount_that_the_bundle_lacks_is_named,
    a_process_that_came_by_exec_is_told,
    every_failing_step_of_a_restore_is_named_and_undone,
    a_failing_hook_ends_the_restore,
    a_restore_that_is_killed_leaves_what_delete_removes,
    a_criu_that_dies_halfway_ends_the_restore,
    namespaces_that_a_restore_can_t_join_are_refused,
    a_failed_dump_leaves_the_container_running,
];

fn without_criu_the_flag_and_the_package_are_named(sb: &Sandbox) {
    sb.only_corten("has this flag");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let call = sb.call(["checkpoint", "--image-path"]).arg(sb.path("images")).arg(&container.id);
    let output = call.global(&["--criu", "/nowhere/criu"]).log("json").output();
    let log: serde_json::Value = serde_json::from_str(&output.log).unwrap();
    assert_eq!((log["field"].as_str(), log["errno"].as_i64()), (Some("--criu"), Some(2)), "{log}");
    assert!(log["msg"].as_str().unwrap().contains("find /nowhere/criu"), "{log}");
    assert!(log["hint"].as_str().unwrap().contains("install it"), "{log}");
    assert_eq!(container.status(), "running");
}

fn images_that_are_none_say_what_is_wrong_and_leave_nothing(sb: &Sandbox) {
    criu(sb);
    let bundle = counting_bundle(sb).build();
    let images = sb.tree("images", &[]);
    let output = restoring(sb, &bundle, &images, &["--detach"]).arg(sb.id()).output();
    output.fails_with(&["restore the container: criu: ", "the whole log: ", "restore.log"]);
    sb.assert_nothing_left();
    let output = restoring(sb, &bundle, &sb.path("nowhere"), &["--detach"]).arg(sb.id()).output();
    output.fails_with(&["open the directory", "hint: --image-path names the directory that `checkpoint` has filled"]);
    fs::write(images.join("descriptors.json"), "{").unwrap();
    let output = restoring(sb, &bundle, &images, &["--detach"]).arg(sb.id()).output();
    output.fails_with(&["descriptors.json"]);
    sb.assert_nothing_left();
}

fn a_mount_that_the_bundle_lacks_is_named(sb: &Sandbox) {
    let dir = sb.tree("data", &[("a", "x")]);
    let bundle = counting_bundle(sb).bind(&dir, "/data", &["rbind"]).build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let other = counting_bundle(sb).dir("/data").build();
    let output = restoring(sb, &other, &sb.path("images"), &["--detach"]).arg(&container.id).output();
    output.fails_with(&["mounts: the dumped container had something of the host's on /data", "hint: add a bind mount"]);
    sb.assert_nothing_left();
}

fn a_process_that_came_by_exec_is_told(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    sb.call(["exec", "--detach", &container.id, "/bin/probe", "probe", "--", "pause"]).output().ok();
    container.say("one", 1);
    let output = checkpoint(sb, &container.id, &sb.path("images"), &[]);
    assert!(output.ok().stderr.contains("is no child of the container's init"), "{}", output.stderr);
}

fn every_failing_step_of_a_restore_is_named_and_undone(sb: &Sandbox) {
    let bundle = counting_bundle(sb)
        .hook("createRuntime", json!({"path": "/bin/true"}))
        .hook("poststop", json!({"path": "/bin/true"}))
        .set("/linux/resources", json!({"pids": {"limit": 50}}))
        .build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut failed = 0;
    for list in ["host", "adopt", "mounted", "ready"] {
        for step in 0..100 {
            let call = restoring(sb, &bundle, &sb.path("images"), &["--detach"]);
            let fault = format!("{list}:{step}:EBUSY");
            // systemd takes a moment to forget a scope.
            let id = sb.id();
            let output = call.global(&["--fault", &fault]).arg(&id).output();
            if output.code == 0 {
                sb.call(["delete", "--force", &id]).output().ok();
                break;
            }
            output.fails_with(&["(injected fault)"]);
            sb.assert_nothing_left();
            failed += 1;
        }
    }
    assert!(failed > 5, "{failed}");
    for (fault, list) in [("mounted:0:EBUSY", "createRuntime"), ("ready:0:EBUSY", "pids")] {
        // A step on the way down that fails as well stops none of the others.
        let call = restoring(sb, &bundle, &sb.path("images"), &["--detach"]).global(&["--fault", fault]);
        let output = call.global(&["--fault", "undo:0:EIO"]).arg(sb.id()).output();
        output.fails_with(&["(injected fault)", list]);
        sb.assert_nothing_left();
    }
}

fn a_failing_hook_ends_the_restore(sb: &Sandbox) {
    let flag = sb.path("fail");
    let script = format!("test ! -e {}", flag.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = counting_bundle(sb).hook("createRuntime", hook).build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    fs::write(&flag, "").unwrap();
    let output = restoring(sb, &bundle, &sb.path("images"), &["--detach"]).arg(&container.id).output();
    output.fails_with(&["error running createRuntime hook #0: exit status 1"]);
    sb.assert_nothing_left();
}

fn a_restore_that_is_killed_leaves_what_delete_removes(sb: &Sandbox) {
    let flag = sb.path("kill");
    let script = format!("test ! -e {} || kill -KILL $PPID", flag.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = counting_bundle(sb).hook("createRuntime", hook).build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    fs::write(&flag, "").unwrap();
    let output = restoring(sb, &bundle, &sb.path("images"), &["--detach"]).arg(&container.id).output();
    assert_eq!(output.code, 137, "{output:?}");
    sb.call(["delete", "--force", &container.id]).output().ok();
    wait_until("nothing is left", || sb.leftovers().is_none());
}

fn a_criu_that_dies_halfway_ends_the_restore(sb: &Sandbox) {
    let flag = sb.path("kill");
    let each = "for pid in $(cat /proc/$PPID/task/$PPID/children); do case $(cat /proc/$pid/comm) in criu*) kill -KILL $pid; esac; done";
    let script = format!("test ! -e {} || {{ {each}; }}", flag.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = counting_bundle(sb).hook("createRuntime", hook).build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    fs::write(&flag, "").unwrap();
    let output = restoring(sb, &bundle, &sb.path("images"), &["--detach"]).arg(sb.id()).output();
    output.fails_with(&["restore the container: criu: "]);
    sb.assert_nothing_left();
    fs::remove_file(&flag).unwrap();
    Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &[]).say("one", 1);
}

fn namespaces_that_a_restore_can_t_join_are_refused(sb: &Sandbox) {
    criu(sb);
    let path = format!("/proc/{}/ns/cgroup", std::process::id());
    let container = sb.started(&sb.bundle().tool(["pause"]).namespace("cgroup", Some(&path)).build());
    let output = checkpoint(sb, &container.id, &sb.path("images"), &[]);
    output
        .fails_with(&["linux.namespaces[5].path: a cgroup namespace of somebody else's can't be joined by a restore"]);
    assert!(!sb.path("images").exists());
    assert_eq!(container.status(), "running");
}

fn a_failed_dump_leaves_the_container_running(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    fs::write(sb.path("file"), "").unwrap();
    checkpoint(sb, &container.id, &sb.path("file"), &[]).fails_with(&["make the directory"]);
    let flags = ["--page-server", "127.0.0.1:1"];
    checkpoint(sb, &container.id, &sb.path("images"), &flags).fails_with(&["dump the container: criu: "]);
    container.say("two", 2);
    checkpoint(sb, &container.id, &sb.path("again"), &[]).ok();
    Counting::restore(sb, &bundle, container.id.clone(), &sb.path("again"), &[]).say("three", 3);
}
