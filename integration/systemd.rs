//! The systemd driver: what systemd is told, what the kernel has in the files, and that nothing is left of either. On a
//! machine without systemd all but the refusal of the driver is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::cgroups::cgroups_named;
use crate::harness::{BundleBuilder, Case, Container, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    a_machine_without_systemd_refuses_the_driver,
    the_container_is_in_a_scope_in_every_hierarchy,
    limits_are_in_the_files_and_survive_a_reload,
    an_update_is_exact_and_survives_a_reload,
    a_container_without_limits_has_none_of_systemds_either,
    the_path_names_slice_prefix_and_scope,
    a_path_of_another_form_is_refused,
    annotations_set_properties_of_the_scope,
    a_property_that_systemd_refuses_fails_the_create,
    a_unit_that_has_failed_makes_way,
    a_unit_of_somebody_else_is_left_alone,
    a_failed_create_leaves_no_scope,
    a_killed_create_leaves_no_scope,
    delete_ends_what_the_container_left_in_its_scope,
    cgroups_made_below_the_scope_go_with_it,
    a_user_namespace_gets_its_scope,
    a_joined_namespace_gets_its_scope,
    a_limit_of_processes_holds_at_once_and_exactly,
    a_run_in_the_foreground_keeps_neither_thread_nor_connection,
];

/// Run in a session of an ordinary user.
pub const OF_A_USER: &[Case] = cases![anyone:
    a_users_own_manager_makes_the_scope,
    limits_of_a_user_are_in_the_files,
    a_bus_that_is_not_there_is_named,
];

fn needs_systemd(sb: &Sandbox) {
    sb.only_corten("has its scopes named so");
    if !Path::new("/run/systemd/system").exists() {
        skip("systemd isn't running here");
    }
}

fn needs_user_session(sb: &Sandbox) {
    needs_systemd(sb);
    if nix::unistd::geteuid().is_root() || std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        skip("this isn't the session of an ordinary user");
    }
}

fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn systemctl(words: &[&str]) -> String {
    let own = if nix::unistd::geteuid().is_root() { None } else { Some("--user") };
    let output = Command::new("systemctl").args(own).args(words).output().expect("run systemctl");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--property", name, "--value", unit])
}

/// The cgroup of a process in a hierarchy of /proc/PID/cgroup; `""` is that of version 2.
fn cgroup(pid: i32, hierarchy: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the cgroups of the init");
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == hierarchy).then(|| path.to_owned())
    })
}

/// The value in a file of the container's cgroup, of whichever version has the controller.
fn limit(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let dir = match cgroup(pid, controller) {
        Some(path) => {
            let names = fs::read_dir("/sys/fs/cgroup").expect("list the hierarchies").flatten();
            let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mount = names.find(|name| name.split(',').any(|part| part == controller)).expect("find the hierarchy");
            format!("/sys/fs/cgroup/{mount}{path}/{v1}")
        }
        None => format!("/sys/fs/cgroup{}/{v2}", cgroup(pid, "").expect("version 2 has the rest")),
    };
    fs::read_to_string(&dir).unwrap_or_else(|error| panic!("{dir}: {error}")).trim_end().to_owned()
}

#[track_caller]
fn assert_gone(unit: &str) {
    assert_eq!(cgroups_named(unit), [] as [PathBuf; 0]);
    // systemd collects a unit when it next has time to.
    let deadline = Instant::now() + Duration::from_secs(10);
    while property(unit, "LoadState") != "not-found" {
        assert!(Instant::now() < deadline, "{unit} is still there: {}", property(unit, "ActiveState"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn scope_of(container: &Container) -> String {
    format!("corten-{}.scope", container.id)
}

#[track_caller]
fn create<'a>(sb: &'a Sandbox, bundle: BundleBuilder) -> Container<'a> {
    sb.create_with(&bundle.build(), |call| call.global(&["--systemd-cgroup"]))
}

fn a_machine_without_systemd_refuses_the_driver(sb: &Sandbox) {
    sb.only_corten("has these words");
    if Path::new("/run/systemd/system").exists() {
        skip("systemd is running here");
    }
    let output = sb.run_with(&sb.bundle().build(), |call| call.global(&["--cgroup-manager", "systemd"]));
    output.fails_with(&["systemd not running on this host, cannot use systemd cgroups manager", "hint: "]);
    sb.assert_nothing_left();
}

fn the_container_is_in_a_scope_in_every_hierarchy(sb: &Sandbox) {
    needs_systemd(sb);
    let container = create(sb, sb.bundle().tool(["pause"]));
    let scope = scope_of(&container);
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    for line in cgroups.lines() {
        assert!(line.ends_with(&format!(":/system.slice/{scope}")), "{cgroups}");
    }
    assert_eq!(property(&scope, "ActiveState"), "active");
    assert_eq!(property(&scope, "Slice"), "system.slice");
    assert_eq!(property(&scope, "Delegate"), "yes");
    assert_eq!(property(&scope, "DefaultDependencies"), "no");
    assert_eq!(property(&scope, "Description"), format!("corten container {}", container.id));
    container.start();
    container.stop();
    container.verb("delete").ok();
    assert_gone(&scope);
}

fn limits_are_in_the_files_and_survive_a_reload(sb: &Sandbox) {
    needs_systemd(sb);
    let resources = json!({
        "memory": {"limit": 67108864},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 42}
    });
    let container = create(sb, sb.bundle().tool(["pause"]).set("/linux/resources", resources));
    let (scope, pid) = (scope_of(&container), container.pid());
    let look = || {
        [
            limit(pid, "memory", "memory.limit_in_bytes", "memory.max"),
            limit(pid, "pids", "pids.max", "pids.max"),
            limit(pid, "cpu", "cpu.shares", "cpu.weight"),
            limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max"),
        ]
    };
    let expected = match is_unified() {
        true => ["67108864", "42", "59", "50000 100000"],
        false => ["67108864", "42", "512", "50000"],
    };
    assert_eq!(look(), expected);
    assert_eq!(property(&scope, "TasksMax"), "42");
    assert_eq!(property(&scope, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(property(&scope, if is_unified() { "MemoryMax" } else { "MemoryLimit" }), "67108864");
    systemctl(&["daemon-reload"]);
    assert_eq!(look(), expected);
    container.stop();
    container.verb("delete").ok();
    assert_gone(&scope);
}

fn an_update_is_exact_and_survives_a_reload(sb: &Sandbox) {
    needs_systemd(sb);
    let resources = json!({
        "memory": {"limit": 67108864}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 42}
    });
    let container = create(sb, sb.bundle().tool(["pause"]).set("/linux/resources", resources));
    let (scope, pid) = (scope_of(&container), container.pid());
    // systemd keeps whole hundredths of a CPU.
    let flags = ["--memory", "33554432", "--cpu-quota", "12345", "--pids-limit", "17"];
    sb.call(["update"]).args(flags).arg(&container.id).output().ok();
    let look = || {
        [
            limit(pid, "memory", "memory.limit_in_bytes", "memory.max"),
            limit(pid, "pids", "pids.max", "pids.max"),
            limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max"),
        ]
    };
    assert_eq!(look(), ["33554432", "17", if is_unified() { "12345 100000" } else { "12345" }]);
    assert_eq!(property(&scope, "TasksMax"), "17");
    assert_eq!(property(&scope, "CPUQuotaPerSecUSec"), "130ms");
    assert_eq!(property(&scope, if is_unified() { "MemoryMax" } else { "MemoryLimit" }), "33554432");
    systemctl(&["daemon-reload"]);
    assert_eq!(look()[..2], ["33554432", "17"]);
}

fn a_container_without_limits_has_none_of_systemds_either(sb: &Sandbox) {
    needs_systemd(sb);
    let container = create(sb, sb.bundle().tool(["pause"]));
    assert_eq!(limit(container.pid(), "pids", "pids.max", "pids.max"), "max");
}

fn the_path_names_slice_prefix_and_scope(sb: &Sandbox) {
    needs_systemd(sb);
    let name = sb.id();
    let path = format!("cttest-a.slice:pre:{name}");
    let container = create(sb, sb.bundle().tool(["pause"]).set("/linux/cgroupsPath", path));
    let scope = format!("pre-{name}.scope");
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    for line in cgroups.lines() {
        assert!(line.ends_with(&format!(":/cttest.slice/cttest-a.slice/{scope}")), "{cgroups}");
    }
    container.stop();
    container.verb("delete").ok();
    assert_gone(&scope);
    // The slices stay, as systemd has it, until somebody stops them.
    systemctl(&["stop", "cttest.slice"]);
    for slice in ["cttest.slice", "cttest-a.slice"] {
        assert_eq!(cgroups_named(slice), [] as [PathBuf; 0]);
    }
}

fn a_path_of_another_form_is_refused(sb: &Sandbox) {
    needs_systemd(sb);
    let refuse = |path: &str, words: &[&str]| {
        let bundle = sb.bundle().set("/linux/cgroupsPath", path).build();
        sb.run_with(&bundle, |call| call.global(&["--systemd-cgroup"])).fails_with(words);
    };
    let known = |path: &str| {
        format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{path}\" instead"
        )
    };
    refuse("/a/b", &[&known("/a/b"), "linux.cgroupsPath", "hint: "]);
    refuse("a.slice:b", &[&known("a.slice:b")]);
    refuse("a--b.slice:x:y", &["linux.cgroupsPath", "a--b.slice"]);
    refuse("a:x:y", &["must end in .slice"]);
    sb.assert_nothing_left();
}

fn annotations_set_properties_of_the_scope(sb: &Sandbox) {
    needs_systemd(sb);
    let annotations = json!({
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.Description": "'seen from outside'",
        "org.systemd.property.CollectMode": "\"inactive\"",
        "org.systemd.property.After": "['basic.target']"
    });
    let container = create(sb, sb.bundle().tool(["pause"]).set("/annotations", annotations));
    let scope = scope_of(&container);
    assert_eq!(property(&scope, "TimeoutStopUSec"), "7s");
    assert_eq!(property(&scope, "Description"), "seen from outside");
    assert_eq!(property(&scope, "CollectMode"), "inactive");
    assert!(property(&scope, "After").split_whitespace().any(|unit| unit == "basic.target"));
    for (name, value) in [("Bad-Name", "true"), ("Description", "'open"), ("Slice", "'a.slice'")] {
        let key = format!("org.systemd.property.{name}");
        let bundle = sb.bundle().set("/annotations", json!({key.as_str(): value})).build();
        let output = sb.run_with(&bundle, |call| call.global(&["--systemd-cgroup"]));
        output.fails_with(&[&format!("annotations[\"{key}\"]"), "hint: "]);
    }
}

fn a_property_that_systemd_refuses_fails_the_create(sb: &Sandbox) {
    needs_systemd(sb);
    let bundle = sb.bundle().set("/annotations", json!({"org.systemd.property.NoSuchThing": "true"})).build();
    let output = sb.run_with(&bundle, |call| call.global(&["--systemd-cgroup"]));
    output.fails_with(&["start the scope corten-", "of system.slice: systemd: ", "NoSuchThing", "hint: "]);
    sb.assert_nothing_left();
}

fn a_unit_that_has_failed_makes_way(sb: &Sandbox) {
    needs_systemd(sb);
    let name = sb.id();
    let scope = format!("pre-{name}.scope");
    // A scope that outlives its time has failed, and keeps its name until somebody resets it.
    let unit = format!("--unit={scope}");
    let flags = ["--scope", "--quiet", &unit, "--property=RuntimeMaxSec=200ms", "sleep", "60"];
    let _ = Command::new("systemd-run").args(flags).output().expect("run systemd-run");
    let deadline = Instant::now() + Duration::from_secs(10);
    while property(&scope, "ActiveState") != "failed" {
        assert!(Instant::now() < deadline, "{scope}: {}", property(&scope, "ActiveState"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let container =
        create(sb, sb.bundle().tool(["pause"]).set("/linux/cgroupsPath", format!("system.slice:pre:{name}")));
    assert_eq!(property(&scope, "ActiveState"), "active");
    container.stop();
    container.verb("delete").ok();
    assert_gone(&scope);
}

fn a_unit_of_somebody_else_is_left_alone(sb: &Sandbox) {
    needs_systemd(sb);
    let name = sb.id();
    let scope = format!("pre-{name}.scope");
    let unit = format!("--unit={scope}");
    let mut other = Command::new("systemd-run");
    let mut other = other.args(["--scope", "--quiet", &unit, "sleep", "60"]).spawn().expect("run systemd-run");
    let deadline = Instant::now() + Duration::from_secs(10);
    while property(&scope, "ActiveState") != "active" {
        assert!(Instant::now() < deadline, "{scope}: {}", property(&scope, "ActiveState"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let bundle = sb.bundle().set("/linux/cgroupsPath", format!("system.slice:pre:{name}")).build();
    let output = sb.run_with(&bundle, |call| call.global(&["--systemd-cgroup"]));
    let lives = other.try_wait().expect("ask for the other's end").is_none();
    let _ = other.kill();
    let _ = other.wait();
    output.fails_with(&[&scope, "has a unit of this name already", "hint: "]);
    assert!(lives, "the other's process was killed");
    // systemd takes its time.
    crate::killing::wait_until("the other's scope has gone", || cgroups_named(&name).is_empty());
    sb.assert_nothing_left();
}

fn a_failed_create_leaves_no_scope(sb: &Sandbox) {
    needs_systemd(sb);
    for fault in ["adopt:0:EIO", "adopt:1:EIO", "stage_one:1:EIO", "stage_two:3:EIO", "stage_two:12:kill"] {
        let id = sb.id();
        let bundle = sb.bundle().tool(["pause"]).build();
        let call = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id);
        call.global(&["--systemd-cgroup", "--fault", fault]).output().fails();
        assert_gone(&format!("corten-{id}.scope"));
        sb.assert_nothing_left();
    }
}

/// Nobody is left to take the scope down: it must end of itself with the child that hears no more from its host.
fn a_killed_create_leaves_no_scope(sb: &Sandbox) {
    needs_systemd(sb);
    let id = sb.id();
    let gate = sb.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    let wait = format!("read line < {}", gate.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", wait]});
    let bundle = sb.bundle().tool(["pause"]).hook("createRuntime", hook).build();
    let call = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id);
    let mut running = call.global(&["--systemd-cgroup"]).spawn();
    let scope = format!("corten-{id}.scope");
    let deadline = Instant::now() + Duration::from_secs(20);
    // The hook runs when the scope is there.
    while property(&scope, "ActiveState") != "active" {
        assert!(Instant::now() < deadline, "no scope comes: {}", running.stderr());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::SIGKILL);
    running.wait();
    // Lets the hook end, which nobody waits for now.
    drop(fs::OpenOptions::new().write(true).open(&gate).unwrap());
    sb.call(["delete", "--force"]).arg(&id).output().ok();
    assert_gone(&scope);
}

fn delete_ends_what_the_container_left_in_its_scope(sb: &Sandbox) {
    needs_systemd(sb);
    let shared = sb.bundle().tool(["spawn", "3", ";", "pause"]).edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let container = create(sb, shared);
    container.start();
    let begun = Instant::now();
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert!(begun.elapsed() < Duration::from_secs(20), "systemd was left to wait for the processes");
    assert_gone(&scope_of(&container));
}

fn cgroups_made_below_the_scope_go_with_it(sb: &Sandbox) {
    needs_systemd(sb);
    let container = create(sb, sb.bundle().tool(["pause"]));
    let scope = scope_of(&container);
    for dir in cgroups_named(&scope) {
        fs::create_dir_all(dir.join("inner/most")).expect("make a cgroup");
    }
    container.stop();
    container.verb("delete").ok();
    assert_gone(&scope);
}

fn a_user_namespace_gets_its_scope(sb: &Sandbox) {
    needs_systemd(sb);
    let resources = json!({"pids": {"limit": 33}});
    let container = create(sb, sb.bundle().tool(["pause"]).user_namespace().set("/linux/resources", resources));
    assert_eq!(limit(container.pid(), "pids", "pids.max", "pids.max"), "33");
    assert_eq!(property(&scope_of(&container), "ActiveState"), "active");
}

/// Joins come before a new user namespace, so the child asks to be adopted in the middle of stage one; and a joined pid
/// namespace takes a second fork, whose process must be in the scope too.
fn a_joined_namespace_gets_its_scope(sb: &Sandbox) {
    needs_systemd(sb);
    let first = create(sb, sb.bundle().tool(["pause"]));
    let join = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    for users in [false, true] {
        let bundle = sb.bundle().tool(["pause"]).edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| !["pid", "uts"].contains(&namespace["type"].as_str().unwrap()));
            config.as_object_mut().unwrap().remove("hostname");
        });
        let bundle = bundle.namespace("uts", Some(&join("uts")));
        let bundle = match users {
            false => bundle.namespace("pid", Some(&join("pid"))),
            true => bundle.namespace("pid", None).user_namespace(),
        };
        let container = create(sb, bundle.set("/linux/resources", json!({"pids": {"limit": 9}})));
        assert_eq!(limit(container.pid(), "pids", "pids.max", "pids.max"), "9");
        let scope = scope_of(&container);
        let path = cgroup(container.pid(), if is_unified() { "" } else { "name=systemd" }).unwrap();
        assert_eq!(path, format!("/system.slice/{scope}"));
        container.stop();
        container.verb("delete").ok();
        assert_gone(&scope);
    }
}

fn a_limit_of_processes_holds_at_once_and_exactly(sb: &Sandbox) {
    needs_systemd(sb);
    // 0 is a limit, and one that systemd doesn't know.
    let container = create(sb, sb.bundle().tool(["pause"]).set("/linux/resources", json!({"pids": {"limit": 0}})));
    assert_eq!(limit(container.pid(), "pids", "pids.max", "pids.max"), "0");
    let bundle = sb.bundle().tool(["pause"]).set("/linux/resources", json!({"pids": {"limit": 5}})).build();
    let id = sb.id();
    let call = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    call.global(&["--systemd-cgroup"]).output().ok();
    let pid = sb.call(["state"]).arg(&id).output().json()["pid"].as_i64().unwrap() as i32;
    assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "5");
}

fn a_run_in_the_foreground_keeps_neither_thread_nor_connection(sb: &Sandbox) {
    needs_systemd(sb);
    let bundle = sb.bundle().tool(["echo", "up", ";", "pause"]).build();
    let call = sb.call(["run", "--bundle"]).arg(&bundle.dir);
    let mut running = call.arg(sb.id()).global(&["--systemd-cgroup"]).spawn();
    running.lines.expect_line("up");
    assert_eq!(fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().count(), 1);
    let list = Command::new("busctl").args(["list", "--unique", "--no-legend", "--no-pager"]).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("busctl"), "{list}");
    let pid = running.pid().to_string();
    assert!(!list.lines().any(|line| line.split_whitespace().nth(1) == Some(&pid)), "{list}");
    running.signal(Signal::SIGKILL);
    running.wait();
}

/// A bundle that an ordinary user can run: its own id is root inside, and nothing else is mapped.
fn own_bundle(sb: &Sandbox) -> BundleBuilder<'_> {
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let bundle = sb.bundle().tool(["pause"]).namespace("user", None);
    bundle.set("/linux/uidMappings", map(uid)).set("/linux/gidMappings", map(gid)).edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount.get_mut("options").and_then(serde_json::Value::as_array_mut) {
                options.retain(|option| option != "gid=5");
            }
        }
    })
}

#[track_caller]
fn create_as_user<'a>(sb: &'a Sandbox, bundle: BundleBuilder) -> Container<'a> {
    let of_session = |name: &str| std::env::var_os(name).unwrap_or_default();
    let bundle = bundle.build();
    sb.create_with(&bundle, |call| {
        call.global(&["--systemd-cgroup"]).env("XDG_RUNTIME_DIR", of_session("XDG_RUNTIME_DIR"))
    })
}

fn a_users_own_manager_makes_the_scope(sb: &Sandbox) {
    needs_user_session(sb);
    let container = create_as_user(sb, own_bundle(sb));
    let scope = scope_of(&container);
    let uid = nix::unistd::geteuid();
    let path = cgroup(container.pid(), if is_unified() { "" } else { "name=systemd" }).unwrap();
    assert_eq!(path, format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/{scope}"));
    assert_eq!(property(&scope, "Slice"), "user.slice");
    assert_eq!(property(&scope, "Delegate"), "yes");
    container.start();
    container.stop();
    let delete = sb.call(["delete"]).arg(&container.id);
    delete.env("XDG_RUNTIME_DIR", std::env::var_os("XDG_RUNTIME_DIR").unwrap()).output().ok();
    assert_gone(&scope);
}

fn limits_of_a_user_are_in_the_files(sb: &Sandbox) {
    needs_user_session(sb);
    if !is_unified() {
        skip("a user's manager has no controllers of version 1");
    }
    let resources = json!({
        "memory": {"limit": 67108864}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 42}
    });
    let container = create_as_user(sb, own_bundle(sb).set("/linux/resources", resources));
    let pid = container.pid();
    assert_eq!(limit(pid, "memory", "", "memory.max"), "67108864");
    assert_eq!(limit(pid, "pids", "", "pids.max"), "42");
    assert_eq!(limit(pid, "cpu", "", "cpu.max"), "50000 100000");
}

fn a_bus_that_is_not_there_is_named(sb: &Sandbox) {
    needs_user_session(sb);
    let bundle = own_bundle(sb).build();
    let output = sb.run_with(&bundle, |call| {
        call.global(&["--systemd-cgroup"]).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus")
    });
    output.fails_with(&["start the scope corten-", "the user's D-Bus can't be reached", "hint: ", "XDG_RUNTIME_DIR"]);
    sb.assert_nothing_left();
}
