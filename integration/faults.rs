//! Every step of every list of the plan is made to fail, once by an error and once by the death of the process that
//! does it: the command must fail, name the field that asked for the step, and leave nothing.

use corten::field::Field;
use serde_json::{Value, json};

use crate::harness::{Bundle, BundleBuilder, Case, Sandbox, cases};

pub const CASES: &[Case] = cases![
    the_plan_says_what_is_done_and_for_which_field,
    planning_touches_nothing,
    every_failing_step_is_named_and_undone,
    every_failing_step_of_a_container_with_a_user_namespace_is_named_and_undone,
    every_failing_step_and_death_of_a_container_in_its_callers_mount_namespace_is_told_and_undone,
    every_death_at_a_step_is_noticed_and_undone,
    a_fault_on_the_way_down_stops_nothing,
    a_fault_around_the_wait_for_start_is_told,
    a_failing_start_leaves_a_container_to_delete,
    without_the_new_mount_calls_the_old_ones_do,
];

/// The lists whose steps run when a container starts; `undo` runs only when one of them fails.
const LISTS: &[&str] = &["host", "adopt", "stage_one", "stage_two", "mounted", "start"];

/// The lists that the container's own process interprets.
const IN_THE_CHILD: &[&str] = &["stage_one", "stage_two", "start"];

/// A bit of everything that makes steps.
fn rich(sb: &Sandbox) -> BundleBuilder<'_> {
    let source = sb.tree("source", &[("file", "x"), ("dir/", "")]);
    let hook = json!({"path": "/bin/true"});
    let inside = json!({"path": "/bin/probe", "args": ["probe", "probe", "--", "true"]});
    sb.bundle()
        .tool(["true"])
        .namespace("cgroup", None)
        .bind(&source.join("dir"), "/data", &["ro", "nosuid"])
        .bind(&source.join("file"), "/etc/hosts", &[])
        .mount(json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "rprivate"]}))
        .set("/domainname", "example")
        .set("/root/readonly", true)
        .set("/linux/maskedPaths", json!(["/proc/keys", "/sys/firmware"]))
        .set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/irq"]))
        .set("/linux/sysctl", json!({"kernel.msgmax": "65432"}))
        .set("/linux/rootfsPropagation", "rslave")
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 63}))
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
        .set("/process/oomScoreAdj", 200)
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 1}))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 5}))
        .set("/linux/personality", json!({"domain": "LINUX"}))
        .set("/linux/devices", json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600}]))
        .hook("createRuntime", hook.clone())
        .hook("createContainer", hook.clone())
        .hook("startContainer", inside)
        .hook("poststop", hook)
}

fn with_user_namespace(sb: &Sandbox) -> BundleBuilder<'_> {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let source = sb.tree("mapped", &[("file", "x")]);
    let mapped = json!({"destination": "/mapped", "type": "bind", "source": source, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map});
    sb.bundle()
        .tool(["true"])
        .user_namespace()
        .namespace("time", None)
        .mount(mapped)
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 100}}))
        .set("/process/user", json!({"uid": 1, "gid": 1}))
}

fn plan(sb: &Sandbox, bundle: &Bundle) -> Value {
    sb.call(["plan", "--json", "--bundle"]).arg(&bundle.dir).output().ok().json()
}

fn steps<'a>(plan: &'a Value, list: &str) -> &'a [Value] {
    plan[list].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The field as messages have it; `None` for what corten does of its own accord.
fn shown(pointer: &str) -> Option<String> {
    (!pointer.is_empty()).then(|| Field::at(Box::leak(pointer.to_owned().into_boxed_str())).to_string())
}

fn the_plan_says_what_is_done_and_for_which_field(sb: &Sandbox) {
    sb.only_corten("has a plan");
    let plan = plan(sb, &rich(sb).build());
    for list in LISTS.iter().chain(&["undo"]) {
        assert!(plan[list].is_array(), "{list} isn't in the plan");
        for step in steps(&plan, list) {
            assert!(step["step"].as_str().is_some_and(|s| !s.is_empty()), "{list}: {step}");
            let field = step["field"].as_str().unwrap();
            assert!(field.is_empty() || field.starts_with('/') || field.starts_with("--"), "{list}: {field}");
            assert!(!step["op"].is_null(), "{list}: {step}");
        }
    }
    for list in ["host", "stage_one", "stage_two", "start"] {
        assert!(!steps(&plan, list).is_empty(), "{list} is empty");
    }
    let all = plan.to_string();
    for field in [
        "/mounts/6",
        "/linux/maskedPaths/0",
        "/linux/sysctl/kernel.msgmax",
        "/process/cwd",
        "/hostname",
        "/root/readonly",
    ] {
        assert!(all.contains(field), "no step for {field}");
    }
}

fn planning_touches_nothing(sb: &Sandbox) {
    sb.only_corten("has a plan");
    let bundle = rich(sb).build();
    let before = fs_below(&bundle);
    plan(sb, &bundle);
    sb.call(["plan", "--bundle"]).arg(&bundle.dir).output().ok();
    sb.call(["check", "--bundle"]).arg(&bundle.dir).output().ok();
    assert_eq!(fs_below(&bundle), before);
    assert!(!sb.state_root().exists(), "planning made the state root");
    sb.assert_nothing_left();
}

fn fs_below(bundle: &Bundle) -> String {
    let output =
        std::process::Command::new("find").arg(&bundle.dir).args(["-printf", "%p %m %T@ %i\n"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the bundle once for every step; `suffix` is what follows `STAGE:INDEX`.
fn fail_every_step(
    sb: &Sandbox,
    bundle: &Bundle,
    lists: &[&str],
    suffix: &str,
    judge: impl Fn(&str, &Value, &crate::harness::Output) -> Option<String>,
) {
    let plan = plan(sb, bundle);
    let mut wrong = Vec::new();
    for list in lists {
        for (index, step) in steps(&plan, list).iter().enumerate() {
            // `run` doesn't stop there; `a_fault_around_the_wait_for_start_is_told` has these two.
            if ["sync.Ready", "sync.ExecFifo"].contains(&step["op"].as_str().unwrap_or_default()) {
                continue;
            }
            let point = format!("{list}:{index}{suffix}");
            let output = sb.run_with(bundle, |call| call.global(&["--fault", &point]));
            if let Some(why) = judge(list, step, &output) {
                wrong.push(format!("{point} ({}): {why}: {}", step["step"], output.stderr.trim_end()));
            }
            if let Some(left) = sb.leftovers() {
                wrong.push(format!("{point} ({}): left behind: {left}", step["step"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

fn named(_: &str, step: &Value, output: &crate::harness::Output) -> Option<String> {
    if output.code != 1 {
        return Some(format!("exit code {}", output.code));
    }
    let field = shown(step["field"].as_str().unwrap_or_default())?;
    (!output.stderr.contains(&field)).then(|| format!("{field} isn't named"))
}

fn every_failing_step_is_named_and_undone(sb: &Sandbox) {
    sb.only_corten("has faults");
    fail_every_step(sb, &rich(sb).build(), LISTS, "", named);
}

fn every_failing_step_of_a_container_with_a_user_namespace_is_named_and_undone(sb: &Sandbox) {
    sb.only_corten("has faults");
    fail_every_step(sb, &with_user_namespace(sb).build(), LISTS, "", named);
}

/// Mounts of this sandbox in the machine's own namespace would be left behind.
fn every_failing_step_and_death_of_a_container_in_its_callers_mount_namespace_is_told_and_undone(sb: &Sandbox) {
    sb.only_corten("has faults");
    let source = sb.tree("source", &[("file", "x")]);
    let bundle = sb
        .bundle()
        .tool(["true"])
        .without_namespace("mount")
        .bind(&source, "/data", &["ro"])
        .set("/root/readonly", true)
        .build();
    fail_every_step(sb, &bundle, LISTS, "", named);
    fail_every_step(sb, &bundle, IN_THE_CHILD, ":kill", died);
}

fn every_death_at_a_step_is_noticed_and_undone(sb: &Sandbox) {
    sb.only_corten("has faults");
    fail_every_step(sb, &rich(sb).build(), IN_THE_CHILD, ":kill", died);
}

fn died(list: &str, _: &Value, output: &crate::harness::Output) -> Option<String> {
    let killed = output.stderr.contains("was killed by");
    match output.code {
        1 if killed => None,
        // After `start` a death is the container's own end.
        137 | 139 if list == "start" => None,
        code => Some(format!("exit code {code}")),
    }
}

/// What fails while a half-made container is taken down doesn't keep the rest from going.
fn a_fault_on_the_way_down_stops_nothing(sb: &Sandbox) {
    sb.only_corten("has faults");
    let bundle = rich(sb).build();
    for index in 0..steps(&plan(sb, &bundle), "undo").len() {
        let undo = format!("undo:{index}");
        let output = sb.run_with(&bundle, |call| call.global(&["--fault", "stage_two:9", "--fault", &undo]));
        assert_eq!(output.code, 1, "{undo}: {output:?}");
        sb.assert_nothing_left();
    }
}

fn a_fault_around_the_wait_for_start_is_told(sb: &Sandbox) {
    sb.only_corten("has faults");
    let bundle = rich(sb).build();
    let plan = plan(sb, &bundle);
    let at = |op: &str| steps(&plan, "stage_two").iter().position(|step| step["op"] == op).expect("the step is there");
    for suffix in ["", ":kill"] {
        let ready = format!("stage_two:{}{suffix}", at("sync.Ready"));
        let id = sb.id();
        let call = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).global(&["--fault", &ready]);
        call.output().fails_with(&["tell the host that the container is created"]);
        sb.assert_nothing_left();
        // After that `create` has said that all is well; the container is one that has stopped.
        let wait = format!("stage_two:{}{suffix}", at("sync.ExecFifo"));
        let container = sb.create_with(&bundle, |call| call.global(&["--fault", &wait]));
        container.wait();
        container.verb("start").fails_with(&["cannot start a container that has stopped"]);
        container.verb("delete").ok();
        sb.assert_nothing_left();
    }
}

fn a_failing_start_leaves_a_container_to_delete(sb: &Sandbox) {
    sb.only_corten("has faults");
    let bundle = rich(sb).build();
    let steps = steps(&plan(sb, &bundle), "start").len();
    for index in 0..steps {
        let point = format!("start:{index}");
        let container = sb.create_with(&bundle, |call| call.global(&["--fault", &point]));
        let output = container.verb("start");
        assert_eq!(output.code, 1, "{point}: {output:?}");
        container.wait();
        assert_eq!(container.status(), "stopped", "{point}");
        container.verb("delete").ok();
        sb.assert_nothing_left();
    }
}

fn without_the_new_mount_calls_the_old_ones_do(sb: &Sandbox) {
    sb.only_corten("can pretend that the kernel is old");
    for lacking in
        ["new_mount_api", "mount_setattr", "clone3", "close_range", "pidfd", "new_mount_api,clone3,close_range,pidfd"]
    {
        let output = sb.run_with(&rich(sb).build(), |call| call.global(&["--pretend-kernel-lacks", lacking]));
        output.ok();
        sb.assert_nothing_left();
    }
    // There is no safe way around this one.
    let output = sb.run_with(&rich(sb).build(), |call| call.global(&["--pretend-kernel-lacks", "openat2"]));
    output.fails_with(&["openat2"]);
    sb.assert_nothing_left();
}
