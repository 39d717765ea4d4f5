//! pause, resume and the status between them; frozen containers under every other verb.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Bundle, Case, Sandbox, cases};
use crate::killing::{counting, wait_until};

pub const CASES: &[Case] = cases![
    a_paused_container_stands_still_until_it_is_resumed,
    a_created_container_is_paused_and_resumed,
    a_second_pause_and_a_second_resume_say_what_engines_match,
    a_stopped_container_is_neither_paused_nor_resumed,
    a_paused_container_is_not_started_and_not_deleted,
    a_paused_container_dies_of_kill,
    other_signals_wait_for_resume,
    a_paused_container_goes_by_forced_delete,
    a_container_that_keeps_forking_can_be_paused,
    without_a_cgroup_pause_says_what_is_missing,
    a_frozen_cgroup_is_refused_by_create,
];

fn a_paused_container_stands_still_until_it_is_resumed(sb: &Sandbox) {
    let (bundle, counter) = counting(sb);
    let container = sb.started(&bundle);
    wait_until("the counter moves", || size(&counter) > 0);
    container.verb("pause").ok();
    let stood = size(&counter);
    assert_eq!(container.status(), "paused");
    let list = sb.call(["list", "--format", "json"]).output().json();
    let listed = list.as_array().unwrap().iter().find(|state| state["id"] == container.id.as_str()).unwrap();
    assert_eq!(listed["status"], "paused");
    assert_ne!(container.pid(), 0);
    // There is no event for what doesn't happen.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(size(&counter), stood);
    container.verb("resume").ok();
    assert_eq!(container.status(), "running");
    wait_until("the counter moves again", || size(&counter) > stood);
    container.stop();
}

fn size(file: &std::path::Path) -> u64 {
    fs::metadata(file).map_or(0, |meta| meta.len())
}

fn waiting(sb: &Sandbox) -> Bundle {
    sb.bundle().tool(["pause"]).build()
}

fn a_created_container_is_paused_and_resumed(sb: &Sandbox) {
    let container = sb.create(&waiting(sb));
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    container.verb("start").fails_with(&["cannot start a container in the paused state"]);
    container.verb("resume").ok();
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
}

fn a_second_pause_and_a_second_resume_say_what_engines_match(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    container.verb("resume").fails_with(&["container not paused"]);
    container.verb("pause").ok();
    container.verb("pause").fails_with(&["container not running"]);
    container.verb("resume").ok();
    container.verb("resume").fails_with(&["container not paused"]);
    for verb in ["pause", "resume"] {
        sb.call([verb, "ct-nobody"]).output().fails_with(&["container does not exist"]);
    }
}

fn a_stopped_container_is_neither_paused_nor_resumed(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    container.stop();
    container.verb("pause").fails_with(&["container not running"]);
    container.verb("resume").fails_with(&["container not paused"]);
}

fn a_paused_container_is_not_started_and_not_deleted(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    container.verb("pause").ok();
    container.verb("start").fails_with(&["cannot start a container in the paused state"]);
    container.verb("delete").fails_with(&["cannot delete container", "that is not stopped: paused"]);
    assert_eq!(container.status(), "paused");
}

fn a_paused_container_dies_of_kill(sb: &Sandbox) {
    for all in [false, true] {
        let container = sb.started(&waiting(sb));
        container.verb("pause").ok();
        match all {
            false => container.kill("KILL").ok(),
            true => sb.call(["kill", "--all"]).arg(&container.id).arg("KILL").output().ok(),
        };
        container.wait();
        assert_eq!(container.status(), "stopped");
        container.verb("delete").ok();
    }
    sb.assert_nothing_left();
}

fn other_signals_wait_for_resume(sb: &Sandbox) {
    let container = sb.started(&waiting(sb));
    wait_until("the program is ready", || container.output().contains("ready"));
    container.verb("pause").ok();
    container.kill("TERM").ok();
    assert_eq!(container.status(), "paused");
    container.verb("resume").ok();
    container.wait();
}

fn a_paused_container_goes_by_forced_delete(sb: &Sandbox) {
    for shared in [false, true] {
        let bundle = sb.bundle().tool(["spawn", "3", ";", "pause"]);
        let bundle = if shared { bundle.without_namespace("pid") } else { bundle };
        let container = sb.started(&bundle.build());
        wait_until("the program is ready", || container.output().contains("ready"));
        container.verb("pause").ok();
        let begun = Instant::now();
        sb.call(["delete", "--force"]).arg(&container.id).output().ok();
        assert!(begun.elapsed() < Duration::from_secs(5), "a delete of {:?}", begun.elapsed());
        sb.assert_nothing_left();
    }
}

fn a_container_that_keeps_forking_can_be_paused(sb: &Sandbox) {
    let script =
        "(while true; do /bin/true & done) & (while true; do /bin/true; done) & while true; do /bin/true; done";
    let bundle = sb.bundle().busybox().args(["/bin/sh", "-c", script]).build();
    let container = sb.started(&bundle);
    for _ in 0..5 {
        container.verb("pause").ok();
        assert_eq!(container.status(), "paused");
        container.verb("resume").ok();
    }
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
}

fn without_a_cgroup_pause_says_what_is_missing(sb: &Sandbox) {
    let bundle = waiting(sb);
    let id = sb.id();
    let create = sb.call(["create", "--bundle"]).global(&["--cgroup-manager", "disabled"]).arg(&bundle.dir).arg(&id);
    create.output().ok();
    sb.call(["pause"]).arg(&id).output().fails_with(&["cgroup not exist", "freezer", "no control group"]);
    let state: Value = sb.call(["state"]).arg(&id).output().json();
    assert_eq!(state["status"], "created");
}

fn a_frozen_cgroup_is_refused_by_create(sb: &Sandbox) {
    sb.needs_cgroupfs();
    let id = sb.id();
    let frozen = crate::killing::own_cgroup(&id);
    let (file, freeze, thaw) = match frozen.join("freezer.state").exists() {
        true => ("freezer.state", "FROZEN", "THAWED"),
        false => ("cgroup.freeze", "1", "0"),
    };
    fs::write(frozen.join(file), freeze).unwrap();
    let bundle = sb.bundle().tool(["pause"]).set("/linux/cgroupsPath", format!("/{id}")).build();
    let begun = Instant::now();
    let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).output();
    let _ = fs::write(frozen.join(file), thaw);
    output.fails_with(&["container's cgroup unexpectedly frozen"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let _ = fs::remove_dir(&frozen);
    sb.assert_nothing_left();
}
