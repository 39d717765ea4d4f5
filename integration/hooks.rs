//! Hooks: six kinds, each in its namespace, its order, its directory, with its environment and the state on stdin;
//! what a failing one does. The hooks here are the toolbox itself, which writes down what it sees.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Case, Flavour, Sandbox, cases, words};

pub const CASES: &[Case] = cases![anyone:
    all_hooks_run_once_and_in_order,
    hooks_run_in_their_namespaces,
    the_state_comes_as_one_line_on_stdin,
    the_state_says_where_the_container_stands,
    hooks_of_a_kind_run_in_the_order_of_the_config,
    a_hook_gets_the_arguments_and_environment_of_the_config,
    hooks_stand_in_the_directory_that_belongs_to_them,
    a_start_container_hook_without_an_environment_gets_the_process_s,
    hooks_before_start_see_no_program_running,
    poststart_sees_the_running_container,
    poststop_runs_when_the_state_is_gone,
    a_failing_hook_ends_the_create,
    many_create_container_hooks_that_fail_at_once_hold_nothing_up,
    the_error_says_which_hook_and_what_it_wrote,
    a_failing_start_container_hook_fails_the_start,
    a_failing_poststart_hook_stops_the_container,
    a_failing_poststop_hook_is_a_warning,
    a_hook_over_its_time_is_ended,
    a_hook_within_its_time_is_fine,
    a_hook_that_can_t_be_run_is_an_error,
    a_relative_hook_path_is_refused,
    hooks_inherit_no_descriptors,
    a_hook_that_ignores_its_stdin_is_fine,
    a_forced_delete_ends_a_create_whose_hook_hangs,
];

const HOST_KINDS: &[&str] = &["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
/// The order in which the lines appear.
const ORDER: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn record(sb: &Sandbox, file: &Path, kind: &str) -> Value {
    let file = file.to_str().unwrap();
    json!({"path": sb.probe_binary(), "args": [format!("hook-{kind}"), "probe", "--", "record", file], "env": [format!("KIND={kind}")]})
}

/// Every kind records into one file; startContainer, which runs inside, into /hooks/log of the root, where the host's
/// file is bound.
fn recording<'a>(sb: &'a Sandbox, log: &Path) -> BundleBuilder<'a> {
    fs::write(log, "").unwrap();
    let mut bundle = sb.bundle().bind(log, "/hooks/log", &["rw"]);
    for kind in HOST_KINDS {
        bundle = bundle.hook(kind, record(sb, log, kind));
    }
    let inside = json!({"path": "/bin/probe", "args": ["hook-startContainer", "probe", "--", "record", "/hooks/log"], "env": ["KIND=startContainer"]});
    bundle.hook("startContainer", inside)
}

/// The recorded reports in their order.
fn recorded(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kind_of(report: &Value) -> String {
    report["args"][0].as_str().unwrap().trim_start_matches("hook-").to_owned()
}

fn of_kind<'a>(reports: &'a [Value], kind: &str) -> &'a Value {
    reports.iter().find(|r| kind_of(r) == kind).unwrap_or_else(|| panic!("the {kind} hook didn't run"))
}

/// Runs a container with all hooks through create, start and delete.
fn whole_life(sb: &Sandbox, change: impl FnOnce(BundleBuilder<'_>) -> BundleBuilder<'_>) -> Vec<Value> {
    let log = sb.path("hooks.log");
    let container = sb.create(&change(recording(sb, &log).tool(["pause"])).build());
    container.start();
    container.stop();
    container.verb("delete").ok();
    recorded(&log)
}

fn all_hooks_run_once_and_in_order(sb: &Sandbox) {
    let reports = whole_life(sb, |b| b);
    let mut kinds: Vec<_> = reports.iter().map(kind_of).collect();
    if sb.flavour() != Flavour::Corten {
        // Older runtimes run poststart before the process.
        kinds.retain(|kind| kind != "poststart");
        let order: Vec<_> = ORDER.iter().filter(|kind| **kind != "poststart").collect();
        assert_eq!(kinds.iter().collect::<Vec<_>>(), order);
        return;
    }
    assert_eq!(kinds, ORDER);
}

fn hooks_run_in_their_namespaces(sb: &Sandbox) {
    let reports = whole_life(sb, |b| b);
    let host = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned();
    for kind in HOST_KINDS.iter().filter(|kind| **kind != "createContainer") {
        for ns in ["mnt", "pid", "uts", "net"] {
            assert_eq!(of_kind(&reports, kind)["namespaces"][ns], host(ns), "{kind} {ns}");
        }
    }
    let (create, start) = (of_kind(&reports, "createContainer"), of_kind(&reports, "startContainer"));
    for ns in ["mnt", "uts", "net"] {
        assert_ne!(create["namespaces"][ns], host(ns), "createContainer {ns}");
        assert_eq!(create["namespaces"][ns], start["namespaces"][ns], "{ns}");
    }
    assert_eq!(start["hostname"], "corten-test");
}

fn the_state_comes_as_one_line_on_stdin(sb: &Sandbox) {
    let reports = whole_life(sb, |b| b.set("/annotations", json!({"org.example/key": "a/b"})));
    for report in &reports {
        let (kind, text) = (kind_of(report), report["stdin"].as_str().unwrap());
        assert_eq!(text.trim_end().lines().count(), 1, "{kind}: {text}");
        assert!(!text.contains("\\/"), "{kind}: slashes aren't escaped: {text}");
        let state: Value = serde_json::from_str(text).unwrap();
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{kind}");
        assert!(state["id"].as_str().unwrap().starts_with("ct-"), "{kind}");
        assert!(state["bundle"].as_str().unwrap().contains("/bundle-"), "{kind}: {text}");
        assert_eq!(state["annotations"], json!({"org.example/key": "a/b"}), "{kind}");
    }
}

fn the_state_says_where_the_container_stands(sb: &Sandbox) {
    sb.only_corten("has the statuses of spec 1.3");
    let reports = whole_life(sb, |b| b);
    let state =
        |kind: &str| -> Value { serde_json::from_str(of_kind(&reports, kind)["stdin"].as_str().unwrap()).unwrap() };
    assert_eq!(state("prestart")["status"], "created");
    for kind in ["createRuntime", "createContainer"] {
        assert_eq!(state(kind)["status"], "creating", "{kind}");
    }
    assert_eq!(state("startContainer")["status"], "created");
    assert_eq!(state("poststart")["status"], "running");
    assert_eq!(state("poststop")["status"], "stopped");
    let pid = state("createRuntime")["pid"].as_i64().unwrap();
    assert!(pid > 1, "the pid on the host");
    assert_eq!(state("poststart")["pid"], pid);
    // Inside, the container's own view.
    assert_eq!((&state("createContainer")["pid"], &state("startContainer")["pid"]), (&json!(1), &json!(1)));
}

fn hooks_of_a_kind_run_in_the_order_of_the_config(sb: &Sandbox) {
    let log = sb.path("hooks.log");
    fs::write(&log, "").unwrap();
    let bundle = (0..5).fold(sb.bundle(), |b, n| b.hook("createRuntime", record(sb, &log, &n.to_string())));
    sb.run(&bundle.tool(["true"]).build()).ok();
    assert_eq!(recorded(&log).iter().map(kind_of).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
}

fn a_hook_gets_the_arguments_and_environment_of_the_config(sb: &Sandbox) {
    let reports = whole_life(sb, |b| b);
    for kind in ORDER {
        let env = words(&of_kind(&reports, kind)["env"]);
        let others: Vec<_> = env.iter().filter(|e| !e.starts_with("KIND=") && !e.starts_with("PWD=")).collect();
        assert!(env.contains(&format!("KIND={kind}")) && others.is_empty(), "{kind}: {env:?}");
    }
}

fn hooks_stand_in_the_directory_that_belongs_to_them(sb: &Sandbox) {
    sb.only_corten("follows the newer rules");
    let reports = whole_life(sb, |b| b);
    let cwd = |kind: &str| of_kind(&reports, kind)["cwd"].as_str().unwrap().to_owned();
    for kind in ["prestart", "createRuntime", "poststart"] {
        assert!(cwd(kind).ends_with("/bundle-1"), "{kind}: {}", cwd(kind));
    }
    assert!(cwd("createContainer").ends_with("/bundle-1/rootfs"), "{}", cwd("createContainer"));
    assert_eq!(cwd("startContainer"), "/");
}

fn a_start_container_hook_without_an_environment_gets_the_process_s(sb: &Sandbox) {
    sb.only_corten("follows the newer rule");
    let log = sb.path("hooks.log");
    fs::write(&log, "").unwrap();
    let hook = json!({"path": "/bin/probe", "args": ["hook-x", "probe", "--", "record", "/hooks/log"]});
    let bundle = sb.bundle().bind(&log, "/hooks/log", &["rw"]).hook("startContainer", hook);
    sb.run(&bundle.set("/process/env", json!(["PATH=/bin", "MARK=of the process"])).tool(["true"]).build()).ok();
    assert!(words(&recorded(&log)[0]["env"]).contains(&"MARK=of the process".to_owned()));
}

fn hooks_before_start_see_no_program_running(sb: &Sandbox) {
    let log = sb.path("hooks.log");
    let container = sb.create(&recording(sb, &log).tool(["write", "/tmp/ran", "x"]).build());
    let mut kinds: Vec<_> = recorded(&log).iter().map(kind_of).collect();
    if sb.flavour() != Flavour::Corten {
        // Older runtimes run poststart as soon as the container is created.
        kinds.retain(|kind| kind != "poststart");
    }
    assert_eq!(kinds, ["prestart", "createRuntime", "createContainer"]);
    container.start();
    container.wait();
    assert!(recorded(&log).len() >= 4);
}

fn poststart_sees_the_running_container(sb: &Sandbox) {
    let log = sb.path("hooks.log");
    let container = sb.create(&recording(sb, &log).tool(["pause"]).build());
    container.start();
    let report = of_kind(&recorded(&log), "poststart").clone();
    let state: Value = serde_json::from_str(report["stdin"].as_str().unwrap()).unwrap();
    assert_eq!(state["pid"], container.pid());
    sb.only_corten("runs it after the program has started");
    assert_eq!(state["status"], "running");
}

fn poststop_runs_when_the_state_is_gone(sb: &Sandbox) {
    let log = sb.path("seen");
    let script = format!("ls {} > {} 2>&1; true", sb.state_root().display(), log.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]});
    let container = sb.create(&sb.bundle().tool(["true"]).hook("poststop", hook).build());
    container.start();
    container.wait();
    assert!(!log.exists());
    container.verb("delete").ok();
    assert!(log.exists());
    sb.only_corten("removes the state first");
    assert!(!fs::read_to_string(&log).unwrap().contains(&container.id));
}

fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

/// Two processes report on a createContainer hook; whichever is first, none may be left unreaped in the container's pid
/// namespace, whose init would then never end.
fn many_create_container_hooks_that_fail_at_once_hold_nothing_up(sb: &Sandbox) {
    sb.only_corten("is asked for this");
    let bundle = sb.bundle().hook("createContainer", json!({"path": "/etc/passwd"})).build();
    let run = |_| sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(sb.id()).spawn();
    let runs: Vec<_> = (0..32).map(run).collect();
    for mut run in runs {
        assert_eq!(run.wait(), 1);
    }
    sb.assert_nothing_left();
}

fn a_failing_hook_ends_the_create(sb: &Sandbox) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let ran = sb.path(&format!("ran-{kind}"));
        let bundle = sb.bundle().hook(kind, shell("exit 3")).hook(kind, shell(&format!("touch {}", ran.display())));
        let bundle = bundle.tool(["true"]).build();
        sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(sb.id()).output().fails();
        sb.assert_nothing_left();
        assert!(!ran.exists(), "{kind}: the hook behind the failed one ran");
    }
}

fn the_error_says_which_hook_and_what_it_wrote(sb: &Sandbox) {
    let bundle = sb
        .bundle()
        .hook("createRuntime", shell("true"))
        .hook("createRuntime", shell("echo out; echo hookerr >&2; exit 3"));
    let output = sb.run(&bundle.build());
    output.fails_with(&["exit status 3", "hookerr"]);
    sb.only_corten("says it in these words");
    output.fails_with(&["error running createRuntime hook #1: exit status 3, stdout: out", "stderr: hookerr"]);
    let bundle = sb.bundle().hook("createContainer", shell("echo inside >&2; exit 4"));
    sb.run(&bundle.build()).fails_with(&["error running createContainer hook #0: exit status 4", "stderr: inside"]);
    let bundle = sb.bundle().hook("prestart", shell("kill -9 $$"));
    sb.run(&bundle.build()).fails_with(&["error running prestart hook #0: ", "signal 9"]);
}

fn a_failing_start_container_hook_fails_the_start(sb: &Sandbox) {
    let hook = json!({"path": "/bin/probe", "args": ["h", "probe", "--", "stderr", "no luck", ";", "exit", "5"]});
    let bundle = sb.bundle().hook("startContainer", hook).tool(["write", "/tmp/ran", "x"]).build();
    let container = sb.create(&bundle);
    let start = container.verb("start");
    container.wait();
    assert!(!bundle.in_rootfs("/tmp/ran").exists());
    if sb.flavour() == Flavour::Corten {
        start.fails_with(&["error running startContainer hook #0: exit status 5", "no luck"]);
        assert_eq!(container.status(), "stopped");
    }
    let output = sb.run(&bundle);
    assert_ne!(output.code, 0);
}

fn a_failing_poststart_hook_stops_the_container(sb: &Sandbox) {
    sb.only_corten("follows spec 1.3");
    let container = sb.create(&sb.bundle().tool(["pause"]).hook("poststart", shell("exit 6")).build());
    container.verb("start").fails_with(&["error running poststart hook #0: exit status 6"]);
    container.wait();
    let state = container.verb("state");
    assert!(state.code == 1 || state.json()["status"] == "stopped", "{state:?}");
}

fn a_failing_poststop_hook_is_a_warning(sb: &Sandbox) {
    sb.only_corten("follows the spec");
    let ran = sb.path("ran");
    let bundle = sb.bundle().tool(["true"]).hook("poststop", shell("exit 6"));
    let container = sb.started(&bundle.hook("poststop", shell(&format!(": > {}", ran.display()))).build());
    container.wait();
    let output = container.verb("delete");
    output.ok();
    assert!(output.stderr.contains("poststop"), "{}", output.stderr);
    assert!(ran.exists(), "the hook behind the failed one ran too");
    sb.assert_nothing_left();
}

fn a_hook_over_its_time_is_ended(sb: &Sandbox) {
    for kind in ["createRuntime", "createContainer"] {
        let mut hook = shell("exec sleep 50");
        hook["timeout"] = json!(1);
        let began = Instant::now();
        sb.run(&sb.bundle().hook(kind, hook).build()).fails();
        assert!(began.elapsed() < Duration::from_secs(20), "{kind}");
        sb.assert_nothing_left();
    }
}

fn a_hook_within_its_time_is_fine(sb: &Sandbox) {
    let mut hook = shell("exit 0");
    hook["timeout"] = json!(30);
    sb.run(&sb.bundle().hook("createRuntime", hook).tool(["true"]).build()).ok();
    sb.only_corten("refuses a time of 0");
    let mut hook = shell("exit 0");
    hook["timeout"] = json!(0);
    sb.run(&sb.bundle().hook("createRuntime", hook).tool(["true"]).build())
        .fails_with(&["hooks.createRuntime[0].timeout"]);
}

fn a_hook_that_can_t_be_run_is_an_error(sb: &Sandbox) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let hook = json!({"path": "/no/such/hook"});
        sb.run(&sb.bundle().hook(kind, hook).build()).fails_with(&["/no/such/hook"]);
        sb.assert_nothing_left();
    }
}

fn a_relative_hook_path_is_refused(sb: &Sandbox) {
    sb.only_corten("validates hooks");
    let hook = json!({"path": "bin/true"});
    sb.run(&sb.bundle().hook("poststop", hook).build()).fails_with(&["hooks.poststop[0].path", "absolute"]);
    sb.assert_nothing_left();
}

fn hooks_inherit_no_descriptors(sb: &Sandbox) {
    let reports = whole_life(sb, |b| b);
    for report in &reports {
        if kind_of(report) == "createContainer" && sb.flavour() != Flavour::Corten {
            continue;
        }
        let fds = report["fds"].as_object().unwrap();
        // The directory that the report itself reads; its pid may be another namespace's.
        let own = |target: &Value| target.as_str().is_some_and(|t| t.starts_with("/proc/") && t.ends_with("/fd"));
        let extra: Vec<_> = fds.iter().filter(|(fd, to)| !["0", "1", "2"].contains(&fd.as_str()) && !own(to)).collect();
        assert!(extra.is_empty(), "{}: {extra:?}", kind_of(report));
    }
}

fn a_hook_that_ignores_its_stdin_is_fine(sb: &Sandbox) {
    let bundle = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
        .iter()
        .fold(sb.bundle(), |b, kind| b.hook(kind, json!({"path": "/bin/true"})));
    sb.run(&bundle.tool(["true"]).build()).ok();
}

fn a_forced_delete_ends_a_create_whose_hook_hangs(sb: &Sandbox) {
    sb.only_corten("locks a container while its hooks run");
    for kind in ["createRuntime", "createContainer"] {
        let script = json!({"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 600"]});
        let bundle = sb.bundle().hook(kind, script).build();
        let id = sb.id();
        let mut creating = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
        // The container is on record with its init once its hook may run.
        let has_init = || {
            let state = sb.call(["state", &id]).output();
            state.code == 0 && state.json()["pid"].as_i64().is_some_and(|pid| pid > 0)
        };
        while !has_init() {
            std::thread::yield_now();
        }
        sb.call(["delete", "--force", &id]).output().ok();
        assert_eq!(creating.wait(), 1, "{}", creating.stderr());
        sb.assert_nothing_left();
    }
}
