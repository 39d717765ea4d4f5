//! linux.intelRdt, on a tree of ordinary directories that stands for the file system resctrl: no test machine has a CPU for
//! it. What the kernel itself would say of a mask can't be tested so.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Bundle, Case, Container, Output, Sandbox, cases};

pub const CASES: &[Case] = cases![
    a_container_gets_a_class_of_its_own_for_its_life,
    a_class_that_is_there_is_joined_and_stays,
    a_class_must_be_there_or_be_described,
    a_class_with_other_schemata_is_refused,
    a_group_for_monitoring_is_the_containers_own,
    hooks_find_the_container_in_its_class,
    a_container_that_fails_leaves_no_class,
    what_exec_brings_in_is_in_the_class,
    update_changes_the_class,
    spec_from_shows_the_class_as_it_is_and_a_container_of_it_joins_it,
    events_tell_of_the_class,
    a_host_without_resctrl_refuses,
];

/// An empty resctrl.
fn resctrl(sb: &Sandbox) -> PathBuf {
    sb.only_corten("can pretend");
    let dir = sb.tree("resctrl", &[("schemata", "L3:0=fffff\nMB:0=100\n"), ("tasks", "")]);
    fs::create_dir(dir.join("mon_groups")).unwrap();
    dir
}

fn with(sb: &Sandbox, rdt: Value) -> Bundle {
    sb.bundle().set("/linux/intelRdt", rdt).tool(["pause"]).build()
}

fn started<'a>(sb: &'a Sandbox, bundle: &Bundle, dir: &Path) -> Container<'a> {
    let container = sb.create_with(bundle, |call| call.global(&["--pretend-resctrl", dir.to_str().unwrap()]));
    container.start();
    container
}

fn run(sb: &Sandbox, bundle: &Bundle, dir: &Path) -> Output {
    sb.run_with(bundle, |call| call.global(&["--pretend-resctrl", dir.to_str().unwrap()]))
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn a_container_gets_a_class_of_its_own_for_its_life(sb: &Sandbox) {
    let dir = resctrl(sb);
    let rdt = json!({"l3CacheSchema": "L3:0=f;1=f0\nMB:0=7", "memBwSchema": "MB:0=20", "schemata": ["L2:0=3"]});
    let container = started(sb, &with(sb, rdt), &dir);
    let class = dir.join(&container.id);
    assert_eq!(text(class.join("schemata")), "L3:0=f;1=f0\nMB:0=20\nL2:0=3\n");
    assert_eq!(text(class.join("tasks")), container.pid().to_string());
    container.stop();
    container.verb("delete").ok();
    assert!(!class.exists());
}

fn a_class_that_is_there_is_joined_and_stays(sb: &Sandbox) {
    let dir = resctrl(sb);
    let first = started(sb, &with(sb, json!({"closID": "gold", "l3CacheSchema": "L3:0=0f"})), &dir);
    for rdt in [json!({"closID": "gold"}), json!({"closID": "gold", "schemata": ["L3:0=F"]})] {
        let second = started(sb, &with(sb, rdt), &dir);
        assert_eq!(text(dir.join("gold/tasks")), second.pid().to_string());
        sb.call(["delete", "--force", &second.id]).output().ok();
    }
    sb.call(["delete", "--force", &first.id]).output().ok();
    assert!(dir.join("gold").exists(), "others may be in it");
    let root = started(sb, &with(sb, json!({"closID": "/"})), &dir);
    assert_eq!(text(dir.join("tasks")), root.pid().to_string());
}

fn a_class_must_be_there_or_be_described(sb: &Sandbox) {
    let dir = resctrl(sb);
    let output = run(sb, &with(sb, json!({"closID": "gold"})), &dir);
    output.fails_with(&[
        "linux.intelRdt: find the class of service",
        "No such file",
        "hint: closID alone names a class",
    ]);
    sb.assert_nothing_left();
}

fn a_class_with_other_schemata_is_refused(sb: &Sandbox) {
    let dir = resctrl(sb);
    started(sb, &with(sb, json!({"closID": "gold", "schemata": ["L3:0=f"]})), &dir);
    let output = run(sb, &with(sb, json!({"closID": "gold", "schemata": ["L3:0=ff"]})), &dir);
    output.fails_with(&["the class is there, and its schemata are others"]);
}

fn a_group_for_monitoring_is_the_containers_own(sb: &Sandbox) {
    let dir = resctrl(sb);
    // What runtime-spec 1.2 had two words for is one in 1.3.
    for property in ["enableMonitoring", "enableCMT", "enableMBM"] {
        let rdt = json!({"closID": "gold", "schemata": ["L3:0=f"], property: true});
        let container = started(sb, &with(sb, rdt), &dir);
        let group = dir.join("gold/mon_groups").join(&container.id);
        assert_eq!(text(group.join("tasks")), container.pid().to_string(), "{property}");
        sb.call(["delete", "--force", &container.id]).output().ok();
        assert!(!group.exists() && dir.join("gold").exists());
    }
}

fn hooks_find_the_container_in_its_class(sb: &Sandbox) {
    let dir = resctrl(sb);
    let note = sb.path("note");
    let script = format!("cat {}/*/tasks > {}", dir.display(), note.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = sb.bundle().set("/linux/intelRdt", json!({})).hook("createRuntime", hook).tool(["pause"]).build();
    let container = started(sb, &bundle, &dir);
    assert_eq!(text(note), container.pid().to_string());
}

fn a_container_that_fails_leaves_no_class(sb: &Sandbox) {
    let dir = resctrl(sb);
    let rdt = json!({"schemata": ["L3:0=f"], "enableMonitoring": true});
    let bundle = sb.bundle().set("/linux/intelRdt", rdt).args(["/nonexist"]).build();
    run(sb, &bundle, &dir).fails();
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    sb.assert_nothing_left();
}

fn what_exec_brings_in_is_in_the_class(sb: &Sandbox) {
    let dir = resctrl(sb);
    let container = started(sb, &with(sb, json!({"enableMonitoring": true})), &dir);
    let file = sb.path("more.pid");
    let call = sb.call(["exec", "--detach", "--pid-file"]).arg(&file);
    call.args([&container.id, "/bin/probe", "probe", "--", "pause"]).output().ok();
    let pid = text(file);
    assert_eq!(text(dir.join(&container.id).join("tasks")), pid);
    assert_eq!(text(dir.join(format!("{0}/mon_groups/{0}/tasks", container.id))), pid);
}

fn update_changes_the_class(sb: &Sandbox) {
    let dir = resctrl(sb);
    let container = started(sb, &with(sb, json!({"l3CacheSchema": "L3:0=f"})), &dir);
    let flags = ["--l3-cache-schema", "L3:0=ff", "--mem-bw-schema", "MB:0=30"];
    sb.call(["update"]).args(flags).arg(&container.id).output().ok();
    assert_eq!(
        text(dir.join(&container.id).join("schemata")).lines().take(2).collect::<Vec<_>>(),
        ["L3:0=ff", "MB:0=30"]
    );
    // All or nothing.
    let refused = sb.call(["update", "--l3-cache-schema", "L3:0=1", "--cpuset-cpus", "4000", &container.id]).output();
    refused.fails_with(&["--cpuset-cpus"]);
    assert!(text(dir.join(&container.id).join("schemata")).starts_with("L3:0=ff\n"));
    let other = sb.started(&sb.bundle().tool(["pause"]).build());
    let output = sb.call(["update", "--l3-cache-schema", "L3:0=1", &other.id]).output();
    output.fails_with(&["--l3-cache-schema: the container is in no class of service", "hint: linux.intelRdt"]);
}

fn spec_from_shows_the_class_as_it_is_and_a_container_of_it_joins_it(sb: &Sandbox) {
    let dir = resctrl(sb);
    let rdt = json!({"closID": "gold", "l3CacheSchema": "L3:0=f;1=f", "schemata": ["L2:0=3"]});
    let container = started(sb, &with(sb, rdt), &dir);
    sb.call(["update", "--l3-cache-schema", "L3:1=ff", "--mem-bw-schema", "MB:0=30", &container.id]).output().ok();
    // What the update after it does to the limits is refused, and its lines are set back.
    sb.call(["update", "--l3-cache-schema", "L3:0=1", "--cpuset-cpus", "4000", &container.id]).output().fails();
    let again = sb.path("again");
    fs::create_dir(&again).unwrap();
    sb.call(["spec", "--from", &container.id, "--bundle"]).arg(&again).output().ok();
    let config: Value = serde_json::from_str(&text(again.join("config.json"))).unwrap();
    let expected =
        json!({"closID": "gold", "l3CacheSchema": "L3:0=f;1=ff", "memBwSchema": "MB:0=30", "schemata": ["L2:0=3"]});
    assert_eq!(config["linux"]["intelRdt"], expected);
    sb.call(["delete", "--force", &container.id]).output().ok();
    // The kernel would show the lines merged, which a plain file doesn't.
    fs::write(dir.join("gold/schemata"), "L2:0=3\nL3:0=f;1=ff\nMB:0=30\n").unwrap();
    let second = started(sb, &Bundle { dir: again }, &dir);
    assert_eq!(text(dir.join("gold/tasks")), second.pid().to_string());
}

fn events_tell_of_the_class(sb: &Sandbox) {
    let dir = resctrl(sb);
    let container = started(sb, &with(sb, json!({"schemata": ["L3:0=f", "MB:0=20"]})), &dir);
    let told = sb.call(["events", "--stats", &container.id]).output().ok().json();
    let rdt = &told["data"]["intel_rdt"];
    assert_eq!((&rdt["l3_cache_schema"], &rdt["mem_bw_schema_root"]), (&json!("L3:0=f"), &json!("MB:0=100")));
    assert_eq!(rdt["schemata"], json!(["L3:0=f", "MB:0=20"]));
}

fn a_host_without_resctrl_refuses(sb: &Sandbox) {
    sb.only_corten("says what is missing");
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        crate::harness::skip("this machine has the file system resctrl");
    }
    let output = sb.run(&with(sb, json!({"closID": "gold"})));
    output.fails_with(&["linux.intelRdt: intelRdt is set, but this host has no file system resctrl", "hint: mount it"]);
}
