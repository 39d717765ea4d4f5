//! ps: the pids as JSON, and the rows of ps(1) that are the container's.

use std::fs;

use serde_json::json;

use crate::harness::{Case, Output, Running, Sandbox, cases};
use crate::killing::wait_until;

pub const CASES: &[Case] = cases![anyone:
    json_is_the_pids_of_all_processes,
    the_table_has_a_header_and_the_containers_rows,
    engines_call_forms_work,
    what_follows_the_id_goes_to_ps,
    rows_of_every_form_are_told_apart,
    a_stopped_container_has_no_processes,
    a_created_container_has_its_init,
    ps_without_a_pid_column_is_refused,
    options_that_ps_refuses_are_named,
    without_ps_the_json_form_still_works,
    a_container_without_control_groups_has_its_processes,
    an_unknown_container_does_not_exist,
];

const PS: &str = "/usr/bin/ps";

/// A shell with two children, which says when they are there.
const FAMILY: [&str; 3] = ["/bin/sh", "-c", "sleep 6001 & sleep 6002 & echo ready; wait"];

fn ps(sb: &Sandbox, id: &str, words: &[&str]) -> Output {
    sb.call(["ps"]).args(words).arg(id).output()
}

fn pids(output: &Output) -> Vec<i64> {
    let array = output.ok().json();
    array.as_array().unwrap_or(&Vec::new()).iter().map(|pid| pid.as_i64().unwrap()).collect()
}

fn comm(pid: i64) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim().to_owned()
}

fn children(pid: i64) -> Vec<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The container of [`FAMILY`], with all of it there.
fn family(sb: &Sandbox, globals: &[&str]) -> (Running, String) {
    let bundle = sb.bundle().busybox().args(FAMILY).build();
    let id = sb.id();
    let mut running = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(&id).global(globals).spawn();
    running.lines.expect_line("ready");
    // The shell says so when it has forked them, and they are shells for a moment more.
    let init = sb.call(["state", &id]).output().json()["pid"].as_i64().unwrap();
    let sleeping = || children(init).iter().filter(|pid| comm(**pid) == "sleep").count();
    wait_until("both sleep", || sleeping() == 2);
    (running, id)
}

fn end(sb: &Sandbox, mut running: Running, id: &str) {
    sb.call(["kill", id, "KILL"]).output().ok();
    assert_eq!(running.wait(), 137);
}

fn json_is_the_pids_of_all_processes(sb: &Sandbox) {
    let (running, id) = family(sb, &[]);
    let found = pids(&ps(sb, &id, &["--format", "json"]));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.is_sorted());
    let init = sb.call(["state", &id]).output().json()["pid"].as_i64().unwrap();
    assert!(found.contains(&init));
    assert_eq!(found.iter().filter(|pid| comm(**pid) == "sleep").count(), 2);
    end(sb, running, &id);
}

fn the_table_has_a_header_and_the_containers_rows(sb: &Sandbox) {
    sb.needs_program(PS, "procps");
    let (running, id) = family(sb, &[]);
    let output = ps(sb, &id, &[]);
    let lines = output.ok().lines();
    assert!(lines[0].starts_with("UID"), "{lines:?}");
    assert_eq!(lines.len(), 4, "{lines:?}");
    let known = pids(&ps(sb, &id, &["-f=json"]));
    for line in &lines[1..] {
        let pid: i64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(known.contains(&pid), "{line}");
    }
    assert_eq!(lines.iter().filter(|line| line.contains("sleep 600")).count(), 3, "the shell has them in its script");
    end(sb, running, &id);
}

fn engines_call_forms_work(sb: &Sandbox) {
    sb.needs_program(PS, "procps");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let (id, pid) = (container.id.as_str(), container.pid());
    assert_eq!(sb.call(["ps", "--format", "json", id]).output().ok().stdout, format!("[{pid}]\n"));
    for words in [vec!["ps", "--format", "table", id, "-ef"], vec!["ps", "--format", "table", id, "-o", "pid,cmd"]] {
        let output = sb.call(words.clone()).output();
        let lines = output.ok().lines();
        assert!(lines[0].contains("PID"), "{lines:?}");
        // Without -e ps itself leaves out what belongs to another terminal, and it depends on who runs this test.
        let least = if words.contains(&"-ef") { 2 } else { 1 };
        assert!((least..=2).contains(&lines.len()), "{lines:?}");
        assert!(lines[1..].iter().all(|row| row.split_whitespace().any(|word| word == pid.to_string())), "{lines:?}");
    }
}

fn what_follows_the_id_goes_to_ps(sb: &Sandbox) {
    sb.needs_program(PS, "procps");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let (id, pid) = (container.id.as_str(), container.pid().to_string());
    for options in [&["aux"][..], &["-e", "--format", "pid,args"]] {
        let output = sb.call(["ps", id]).args(options).output();
        let lines = output.ok().lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].split_whitespace().any(|word| word == pid), "{lines:?}");
    }
}

fn rows_of_every_form_are_told_apart(sb: &Sandbox) {
    sb.needs_program(PS, "procps");
    sb.only_corten("goes by the place of the column");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let (id, pid) = (container.id.as_str(), container.pid().to_string());
    let output = sb.call(["ps", id, "-e", "-o", "lstart,pid,comm"]).output();
    let lines = output.ok().lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].split_whitespace().any(|word| word == pid), "{lines:?}");
    // Rows of threads go with their process.
    let output = sb.call(["ps", id, "-em"]).output();
    assert_eq!(output.ok().lines().len(), 3, "{output:?}");
}

fn a_stopped_container_has_no_processes(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    container.stop();
    assert_eq!(ps(sb, &container.id, &["--format", "json"]).ok().stdout, "null\n");
    sb.needs_program(PS, "procps");
    let output = ps(sb, &container.id, &[]);
    assert_eq!(output.ok().lines().len(), 1, "{output:?}");
}

fn a_created_container_has_its_init(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    assert_eq!(ps(sb, &container.id, &["--format", "json"]).json(), json!([container.pid()]));
}

fn ps_without_a_pid_column_is_refused(sb: &Sandbox) {
    sb.needs_program(PS, "procps");
    sb.only_corten("has a hint");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let output = sb.call(["ps", &container.id, "-eo", "comm"]).output();
    output.fails_with(&["PID", "COMMAND", "hint: add the column, as in -o pid,args"]);
}

fn options_that_ps_refuses_are_named(sb: &Sandbox) {
    sb.needs_program(PS, "procps");
    sb.only_corten("has these words");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    sb.call(["ps", &container.id, "-o", "nonsense"]).output().fails_with(&["PS OPTIONS: ps failed", "nonsense"]);
}

fn without_ps_the_json_form_still_works(sb: &Sandbox) {
    sb.only_corten("has a hint");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let nowhere = sb.tree("empty", &[]);
    let call = |words: &[&str]| sb.call(["ps"]).args(words).arg(&container.id).env("PATH", &nowhere).output();
    call(&[]).fails_with(&["run ps", "No such file or directory", "hint:", "--format json"]);
    assert_eq!(call(&["--format", "json"]).json(), json!([container.pid()]));
}

fn a_container_without_control_groups_has_its_processes(sb: &Sandbox) {
    sb.only_corten("has the flag");
    let (running, id) = family(sb, &["--cgroup-manager", "disabled"]);
    let found = pids(&ps(sb, &id, &["--format", "json"]));
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found.iter().filter(|pid| comm(**pid) == "sleep").count(), 2);
    end(sb, running, &id);
}

fn an_unknown_container_does_not_exist(sb: &Sandbox) {
    for format in ["json", "table"] {
        ps(sb, "none", &["--format", format]).fails_with(&["does not exist"]);
    }
    let output = sb.call(["ps", "--format", "yaml", "none"]).output();
    assert_eq!((output.code, output.stdout), (1, String::new()));
}
