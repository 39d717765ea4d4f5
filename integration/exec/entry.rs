//! Where the process of an `exec` is: the container's namespaces, root and control groups, in every state of a container.

use std::fs;
use std::path::Path;

use super::{exec, fails_with, said, seen, waiting};
use crate::harness::cgroups::cgroups_of;
use crate::harness::{Case, Sandbox, cases, skip, words};

pub const CASES: &[Case] = cases![anyone:
    it_is_in_all_namespaces_of_the_container,
    it_is_in_the_container_s_cgroups,
    it_is_in_a_cgroup_below_that_is_named,
    a_cgroup_that_is_not_there_is_an_error,
    where_the_cgroup_hands_controllers_down_it_goes_where_the_init_is,
    it_is_the_next_process_of_the_container,
    who_is_on_its_way_is_not_entered,
    it_enters_a_user_namespace,
    it_enters_a_time_namespace,
    it_enters_joined_namespaces,
    without_a_mount_namespace_it_gets_the_container_s_root,
    with_no_pivot_it_gets_the_container_s_root,
    without_namespaces_it_is_a_process_of_the_host_s,
    by_files_it_enters_the_same_namespaces,
    a_created_container_can_be_entered,
    a_paused_container_is_not_entered_unless_asked,
    a_stopped_container_is_not_entered,
    an_unknown_container_does_not_exist,
    it_ends_with_the_container,
];

/// The namespaces of a process, by kind, as the host sees them; `time_for_children` and the like are left out.
fn namespaces(pid: i32) -> Vec<String> {
    let read = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned();
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map(read).to_vec()
}

fn of_report(report: &serde_json::Value) -> Vec<String> {
    let of = |kind: &str| report["namespaces"][kind].as_str().unwrap_or_default().to_owned();
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map(of).to_vec()
}

fn it_is_in_all_namespaces_of_the_container(sb: &Sandbox) {
    let bundle = sb.bundle().namespace("cgroup", None).tool(["json", ";", "pause"]).build();
    let container = sb.started(&bundle);
    let report = seen(sb, &container.id, &[]);
    assert_eq!(report["hostname"], "corten-test");
    let inits = said(&container);
    assert_eq!(of_report(&report), of_report(&inits));
    assert_eq!(report["mounts"], inits["mounts"]);
    assert_eq!(report["procs"].as_array().unwrap().len(), 2, "the init and itself: {}", report["procs"]);
}

fn it_is_in_the_container_s_cgroups(sb: &Sandbox) {
    let container = waiting(sb);
    let mut running =
        sb.call(["exec", &container.id, "/bin/probe", "probe", "--", "echo", "there", ";", "pause"]).spawn();
    running.lines.expect_line("there");
    let pids = sb.call(["ps", "--format", "json", &container.id]).output().json();
    let other =
        pids.as_array().unwrap().iter().filter_map(|pid| pid.as_i64()).find(|pid| *pid != i64::from(container.pid()));
    let other = other.expect("ps finds the process") as i32;
    assert_eq!(cgroups_of(other), cgroups_of(container.pid()));
    // The same tasks are its own: the signal is for it alone.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(other), nix::sys::signal::Signal::SIGTERM).unwrap();
    running.wait();
    assert_eq!(container.status(), "running");
}

fn it_is_in_a_cgroup_below_that_is_named(sb: &Sandbox) {
    sb.needs_root();
    let container = waiting(sb);
    let own = cgroups_of(container.pid());
    let below = |name: &str| own.values().for_each(|dir| fs::create_dir_all(dir.join(name)).unwrap());
    below("sub/deeper");
    let fill = |dir: &Path| {
        for file in ["cpuset.cpus", "cpuset.mems"].map(|file| dir.join(file)).iter().filter(|file| file.exists()) {
            let above = fs::read(dir.parent().unwrap().join(file.file_name().unwrap())).unwrap();
            // Version 2 needs no value, and takes none that is empty.
            let _ = fs::write(file, above);
        }
    };
    own.values().for_each(|dir| fill(&dir.join("sub")));
    own.values().for_each(|dir| fill(&dir.join("sub/deeper")));
    let report = seen(sb, &container.id, &["--cgroup", "/sub/deeper"]);
    let lines = words(&report["cgroups"]);
    assert!(lines.iter().any(|line| line.ends_with("/sub/deeper")), "{lines:?}");
    let elsewhere = words(&seen(sb, &container.id, &[])["cgroups"]);
    assert!(!elsewhere.iter().any(|line| line.ends_with("/sub/deeper")), "{elsewhere:?}");
    // A hierarchy of version 1 by its name, the others as they are.
    if lines.iter().any(|line| line.contains(":pids:")) {
        let some = words(&seen(sb, &container.id, &["--cgroup", "pids:sub"])["cgroups"]);
        assert!(some.iter().any(|line| line.contains(":pids:") && line.ends_with("/sub")), "{some:?}");
        assert!(!some.iter().any(|line| line.contains(":freezer:") && line.ends_with("/sub")), "{some:?}");
    }
}

fn a_cgroup_that_is_not_there_is_an_error(sb: &Sandbox) {
    sb.only_corten("has these words");
    sb.needs_root();
    let container = waiting(sb);
    let call = |cgroup: &str| exec(sb, &container.id, &["--cgroup", cgroup], &["true"]);
    fails_with(&call("none"), &["--cgroup", "o such file or directory", "hint: --cgroup names a cgroup that exists"]);
    fails_with(&call("../.."), &["--cgroup", "bad sub cgroup path"]);
    fails_with(&call("gpu:x"), &["--cgroup", "unknown controller"]);
    let both = exec(sb, &container.id, &["--cgroup", "a", "--cgroup", "b"], &["true"]);
    fails_with(&both, &["--cgroup", "missing <controller>: prefix"]);
}

/// As an init system in the container does: it moves to a cgroup below its own, and gives that controllers.
fn where_the_cgroup_hands_controllers_down_it_goes_where_the_init_is(sb: &Sandbox) {
    sb.needs_root();
    let container = waiting(sb);
    let Some(own) = cgroups_of(container.pid()).remove("") else { skip("this host doesn't mount version 2") };
    let Some(controller) = fs::read_to_string(own.join("cgroup.controllers"))
        .ok()
        .and_then(|list| list.split_whitespace().next().map(str::to_owned))
    else {
        skip("the container's cgroup of version 2 has no controller to hand down")
    };
    let init = own.join("init.scope");
    fs::create_dir(&init).unwrap();
    fs::write(init.join("cgroup.procs"), container.pid().to_string()).unwrap();
    fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    let lines = words(&seen(sb, &container.id, &[])["cgroups"]);
    assert!(lines.iter().any(|line| line.ends_with("/init.scope")), "{lines:?}");
    fs::create_dir(own.join("other")).unwrap();
    // In hierarchies of version 1 there is no such cgroup.
    let other = format!("{controller}:other");
    let lines = words(&seen(sb, &container.id, &["--cgroup", &other])["cgroups"]);
    assert!(lines.iter().any(|line| line.ends_with("/other")), "{lines:?}");
}

/// No process in between is ever seen in there, and none is left.
fn it_is_the_next_process_of_the_container(sb: &Sandbox) {
    sb.needs_root();
    for user_namespace in [false, true] {
        let bundle = sb.bundle().tool(["pause"]);
        let bundle = if user_namespace { bundle.user_namespace() } else { bundle };
        let report = seen(sb, &sb.started(&bundle.build()).id, &[]);
        assert_eq!((&report["pid"], &report["ppid"]), (&2.into(), &0.into()));
    }
}

/// An init that hasn't come to its own root yet has the host's.
fn who_is_on_its_way_is_not_entered(sb: &Sandbox) {
    let note = sb.path("note");
    let id = sb.id();
    let runtime = crate::harness::runtime_path();
    let script = format!(
        "{} --root {} exec {id} /bin/sh -c 'echo entered' >{} 2>&1; true",
        runtime.display(),
        sb.state_root().display(),
        note.display()
    );
    let hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = sb.bundle().tool(["true"]).hook("createRuntime", hook).build();
    sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(&id).output().ok();
    let said = fs::read_to_string(note).unwrap();
    assert!(!said.contains("entered") && said.contains("cannot exec in a creating container"), "{said}");
}

fn it_enters_a_user_namespace(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb.bundle().user_namespace().namespace("cgroup", None).tool(["json", ";", "pause"]).build();
    let container = sb.started(&bundle);
    let inits = said(&container);
    for flags in [&[][..], &["--user", "1000:1000"]] {
        let report = seen(sb, &container.id, flags);
        assert_eq!(of_report(&report), of_report(&inits));
        assert_eq!(report["uidMappings"], inits["uidMappings"]);
        assert_eq!(report["user"]["uid"], if flags.is_empty() { 0 } else { 1000 });
    }
}

fn it_enters_a_time_namespace(sb: &Sandbox) {
    let bundle = sb.bundle().namespace("time", None).tool(["pause"]);
    let bundle = bundle.set("/linux/timeOffsets", serde_json::json!({"boottime": {"secs": 1_000_000}})).build();
    let container = sb.started(&bundle);
    let boottime = seen(sb, &container.id, &[])["boottime"].as_f64().unwrap();
    assert!(boottime > 1_000_000.0, "{boottime}");
}

fn it_enters_joined_namespaces(sb: &Sandbox) {
    sb.needs_root();
    let first = waiting(sb);
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let bundle = sb.bundle().namespace("network", Some(&path("net"))).namespace("ipc", Some(&path("ipc")));
    let bundle = bundle.namespace("pid", Some(&path("pid"))).tool(["pause"]).build();
    let second = sb.started(&bundle);
    let report = seen(sb, &second.id, &[]);
    let expected = namespaces(second.pid());
    assert_eq!(of_report(&report)[1..], expected[1..]);
    assert_eq!(of_report(&report)[4], namespaces(first.pid())[4], "the pid namespace is the first's");
}

fn without_a_mount_namespace_it_gets_the_container_s_root(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb.bundle().without_namespace("mount").set("/mounts", serde_json::json!([])).tool(["pause"]);
    let container = sb.started(&bundle.file("/etc/mark", "inside").build());
    let output = exec(sb, &container.id, &[], &["cat", "/etc/mark"]);
    assert_eq!(output.ok().stdout.trim_end(), "inside");
}

fn with_no_pivot_it_gets_the_container_s_root(sb: &Sandbox) {
    let bundle = sb.bundle().file("/etc/mark", "inside").tool(["pause"]).build();
    let container = sb.create_with(&bundle, |call| call.arg("--no-pivot"));
    container.start();
    let output = exec(sb, &container.id, &[], &["cat", "/etc/mark", ";", "ls", "/"]);
    assert!(output.ok().stdout.starts_with("inside"), "{output:?}");
}

fn without_namespaces_it_is_a_process_of_the_host_s(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb.bundle().set("/linux/namespaces", serde_json::json!([{"type": "mount"}])).set("/hostname", "");
    let container = sb.started(&bundle.tool(["pause"]).without_mount("/sys").build());
    let report = seen(sb, &container.id, &[]);
    let own = namespaces(std::process::id() as i32);
    let seen = of_report(&report);
    for (kind, (own, seen)) in own.iter().zip(&seen).enumerate().filter(|(kind, _)| ![0, 2].contains(kind)) {
        assert_eq!(own, seen, "{kind}");
    }
    assert_ne!(own[2], seen[2], "the mount namespace is the container's");
}

/// Before Linux 5.8 no namespace could be joined by a pidfd.
fn by_files_it_enters_the_same_namespaces(sb: &Sandbox) {
    sb.only_corten("pretends that calls are missing");
    let container = waiting(sb);
    let usual = seen(sb, &container.id, &[]);
    let call = sb.call(["exec", &container.id, "/bin/probe", "probe", "--", "json"]);
    let report = call.global(&["--pretend-kernel-lacks", "pidfd"]).output().ok().json();
    assert_eq!(of_report(&report), of_report(&usual));
}

fn a_created_container_can_be_entered(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["echo", "started"]).build());
    if !nix::unistd::geteuid().is_root() {
        // A waiting init can't be looked into, and an ordinary user joins namespaces by looking.
        fails_with(&exec(sb, &container.id, &[], &["true"]), &["setns: Operation not permitted", "not before `start`"]);
        return;
    }
    assert_eq!(seen(sb, &container.id, &[])["hostname"], "corten-test");
    assert_eq!(container.status(), "created");
    container.start();
    container.wait();
    assert_eq!(container.output(), "started\n");
}

fn a_paused_container_is_not_entered_unless_asked(sb: &Sandbox) {
    sb.needs_root();
    let container = waiting(sb);
    container.verb("pause").ok();
    let refused = exec(sb, &container.id, &[], &["true"]);
    fails_with(&refused, &["cannot exec in a paused container (use --ignore-paused to override)"]);
    let call = sb.call(["exec", "--ignore-paused", &container.id, "/bin/probe", "probe", "--", "echo", "woken"]);
    let mut running = call.spawn();
    // It is in there, and stands still.
    let inside = || sb.call(["ps", "--format", "json", &container.id]).output().json().as_array().map_or(0, Vec::len);
    crate::killing::wait_until("the process is in the container", || inside() == 2);
    container.verb("resume").ok();
    running.lines.expect_line("woken");
    assert_eq!(running.wait(), 0);
}

fn a_stopped_container_is_not_entered(sb: &Sandbox) {
    let container = waiting(sb);
    container.stop();
    fails_with(&exec(sb, &container.id, &[], &["true"]), &["cannot exec in a stopped container"]);
}

fn an_unknown_container_does_not_exist(sb: &Sandbox) {
    fails_with(&exec(sb, "none", &[], &["true"]), &["container does not exist"]);
}

fn it_ends_with_the_container(sb: &Sandbox) {
    let container = waiting(sb);
    let mut running =
        sb.call(["exec", &container.id, "/bin/probe", "probe", "--", "echo", "there", ";", "pause"]).spawn();
    running.lines.expect_line("there");
    container.stop();
    assert_eq!(running.wait(), 137);
    sb.call(["delete", &container.id]).output().ok();
}
