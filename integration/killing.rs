//! kill and delete of more than one process: all of a container, whatever it does against it, and nobody else.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::harness::cgroups::members_of;
use crate::harness::{Bundle, Case, Sandbox, cases};

pub const CASES: &[Case] = cases![
    a_signal_to_all_reaches_every_process,
    a_fork_bomb_ends_with_one_kill,
    without_a_pid_namespace_kill_ends_everybody,
    without_a_pid_namespace_term_is_for_the_init_alone,
    what_outlived_its_init_is_killed_by_kill_all,
    what_outlived_its_init_is_killed_by_delete,
    a_plain_delete_spares_who_came_from_elsewhere,
    a_failed_create_leaves_an_inhabited_cgroup_and_its_processes_alone,
    an_init_out_of_memory_is_told_with_its_limit,
];

/// Waits for what has no event to wait for.
#[track_caller]
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program that writes a byte to the file again and again, by several processes.
pub fn counting(sb: &Sandbox) -> (Bundle, PathBuf) {
    let script = "(while true; do echo -n a >>/tmp/count; done) & while true; do echo -n b >>/tmp/count; done";
    let bundle = sb.bundle().busybox().args(["/bin/sh", "-c", script]).build();
    let counter = bundle.in_rootfs("/tmp/count");
    (bundle, counter)
}

/// The hierarchy whose list of processes is a container's: the freezer of version 1, else version 2.
pub fn hierarchy() -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    [root.join("freezer"), root.to_owned(), root.join("unified")]
        .into_iter()
        .find(|dir| dir.join("cgroup.procs").exists())
        .expect("the machine has control groups")
}

/// A new cgroup of the test's own in that hierarchy.
pub fn own_cgroup(name: &str) -> PathBuf {
    let dir = hierarchy().join(name);
    fs::create_dir(&dir).expect("make a cgroup");
    dir
}

/// A process of the test's, in a cgroup; killed and reaped at the end.
pub struct Stranger(Child);

impl Stranger {
    pub fn in_cgroup(cgroup: &Path) -> Stranger {
        let child = Command::new("sleep").arg("600").process_group(0).spawn().expect("start a stranger");
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).expect("move the stranger");
        Stranger(child)
    }

    pub fn lives(&mut self) -> bool {
        self.0.try_wait().expect("look after the stranger").is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In a pid namespace of the host's.
fn shared<'a>(sb: &'a Sandbox, words: &[&'a str]) -> Bundle {
    sb.bundle().without_namespace("pid").tool(words.iter().copied()).build()
}

fn a_signal_to_all_reaches_every_process(sb: &Sandbox) {
    let script = "for i in 1 2 3; do sh -c 'trap \"echo $i >>/tmp/got\" USR1; echo up >>/tmp/up; \
                  while true; do sleep 1 & wait; done' & done; trap 'echo init >>/tmp/got' USR1; echo up >>/tmp/up; \
                  while true; do sleep 1 & wait; done";
    // A shell's own `sleep` would die of the signal, which is no harm.
    let bundle = sb.bundle().busybox().args(["/bin/sh", "-c", script]).build();
    let lines = |name: &str| fs::read_to_string(bundle.in_rootfs(name)).unwrap_or_default().lines().count();
    let container = sb.started(&bundle);
    wait_until("four are up", || lines("/tmp/up") == 4);
    sb.call(["kill", "--all"]).arg(&container.id).arg("USR1").output().ok();
    wait_until("four got it", || lines("/tmp/got") == 4);
    assert_eq!(container.status(), "running");
}

fn a_fork_bomb_ends_with_one_kill(sb: &Sandbox) {
    for namespace in [true, false] {
        // A shell ends when it can't fork, so the bomb keeps below the limit.
        let script =
            "i=0; while [ $i -lt 30 ]; do (while true; do sh -c 'true & true & wait'; done) & i=$((i+1)); done; wait";
        let bundle = sb.bundle().busybox().args(["/bin/sh", "-c", script]);
        // Enough to race, not enough to take the machine along.
        let bundle = bundle.set("/linux/resources/pids/limit", 200);
        let bundle = if namespace { bundle } else { bundle.without_namespace("pid") };
        let container = sb.started(&bundle.build());
        let members = members_of(container.pid()).join("cgroup.procs");
        let count = || fs::read_to_string(&members).unwrap_or_default().lines().count();
        wait_until("it has grown", || count() > 20);
        sb.call(["kill", "--all"]).arg(&container.id).arg("KILL").output().ok();
        wait_until("all are gone", || count() == 0);
        container.verb("delete").ok();
        sb.assert_nothing_left();
    }
}

fn without_a_pid_namespace_kill_ends_everybody(sb: &Sandbox) {
    let container = sb.started(&shared(sb, &["spawn", "3", ";", "pause"]));
    wait_until("the program is ready", || container.output().contains("ready"));
    assert_eq!(sb.processes().len(), 4);
    container.stop();
    wait_until("all are gone", || sb.processes().is_empty());
    container.verb("delete").ok();
    sb.assert_nothing_left();
}

fn without_a_pid_namespace_term_is_for_the_init_alone(sb: &Sandbox) {
    let container = sb.started(&shared(sb, &["spawn", "2", ";", "pause"]));
    wait_until("the program is ready", || container.output().contains("ready"));
    container.kill("TERM").ok();
    container.wait();
    assert_eq!(sb.processes().len(), 2);
    assert_eq!(container.status(), "stopped");
    container.kill("TERM").fails_with(&["container not running"]);
    assert_eq!(sb.processes().len(), 2);
    // KILL reaches what is left; then there is nobody any more.
    container.kill("KILL").ok();
    wait_until("all are gone", || sb.processes().is_empty());
}

fn what_outlived_its_init_is_killed_by_kill_all(sb: &Sandbox) {
    let container = sb.started(&shared(sb, &["spawn", "3", ";", "true"]));
    container.wait();
    assert_eq!(sb.processes().len(), 3);
    sb.call(["kill", "--all"]).arg(&container.id).arg("9").output().ok();
    wait_until("all are gone", || sb.processes().is_empty());
    // As often as an engine likes.
    sb.call(["kill", "--all"]).arg(&container.id).arg("9").output().ok();
    container.kill("KILL").fails_with(&["container not running"]);
    container.verb("delete").ok();
    sb.assert_nothing_left();
}

fn what_outlived_its_init_is_killed_by_delete(sb: &Sandbox) {
    for force in [false, true] {
        let container = sb.started(&shared(sb, &["spawn", "3", ";", "true"]));
        container.wait();
        assert_eq!(sb.processes().len(), 3);
        let words: &[&str] = if force { &["delete", "--force"] } else { &["delete"] };
        sb.call(words.iter().copied()).arg(&container.id).output().ok();
        sb.assert_nothing_left();
    }
}

fn a_plain_delete_spares_who_came_from_elsewhere(sb: &Sandbox) {
    sb.only_corten("tells who keeps a cgroup");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let mut stranger = Stranger::in_cgroup(&members_of(container.pid()));
    container.stop();
    let output = container.verb("delete");
    output.fails_with(&["remove the cgroup", &container.id, &format!("kept by process {} \"sleep\"", stranger.0.id())]);
    assert!(stranger.lives());
    // What is there is the container's by force.
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    wait_until("the stranger is gone", || !Path::new(&format!("/proc/{}/exe", stranger.0.id())).exists());
    sb.assert_nothing_left();
}

fn a_failed_create_leaves_an_inhabited_cgroup_and_its_processes_alone(sb: &Sandbox) {
    sb.needs_cgroupfs();
    let id = sb.id();
    let cgroup = own_cgroup(&id);
    let mut stranger = Stranger::in_cgroup(&cgroup);
    let bundle = sb.bundle().tool(["pause"]).set("/linux/cgroupsPath", format!("/{id}")).build();
    let begun = Instant::now();
    let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).output();
    output.fails_with(&["container's cgroup is not empty: 1 process(es) found"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for a stranger: {:?}", begun.elapsed());
    assert!(stranger.lives() && cgroup.exists());
    drop(stranger);
    wait_until("the cgroup is empty", || fs::remove_dir(&cgroup).is_ok());
    sb.assert_nothing_left();
}

fn an_init_out_of_memory_is_told_with_its_limit(sb: &Sandbox) {
    sb.needs_cgroupfs();
    let root = Path::new("/sys/fs/cgroup");
    let id = sb.id();
    let (dir, limit) = match root.join("memory/memory.limit_in_bytes").exists() {
        true => (root.join("memory").join(&id), "memory.limit_in_bytes"),
        false => (root.join(&id), "memory.max"),
    };
    // Made beforehand: the subject is the init's end, whoever set the limit.
    fs::create_dir(&dir).unwrap();
    if fs::write(dir.join(limit), "65536").is_err() {
        fs::remove_dir(&dir).unwrap();
        crate::harness::skip("the memory controller isn't enabled here");
    }
    let bundle = sb.bundle().tool(["pause"]).set("/linux/cgroupsPath", format!("/{id}")).build();
    let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).log("json").output();
    output.fails_with(&[
        "container init was OOM-killed (memory limit too low?)",
        "linux.resources.memory.limit is 65536 bytes",
    ]);
    sb.assert_nothing_left();
}
