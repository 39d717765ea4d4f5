//! Signals, stopping, pausing, and what is left.

use std::fs;

use super::{Task, ctr, run};
use crate::call::call;
use crate::scenario::{Scenario, World, scenarios, skip, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_signal_reaches_the_program,
    a_program_ends_by_itself_when_asked,
    a_stubborn_program_is_killed,
    a_signal_reaches_every_process,
    a_signal_to_what_has_ended_is_an_error,
    a_paused_container_stands_still,
    a_paused_container_is_killed,
    a_running_task_is_removed_by_force,
    a_running_task_is_not_removed_without,
    ps_shows_the_processes,
    metrics_tell_what_is_used,
    a_daemon_that_is_killed_loses_nothing,
    a_container_that_ends_meanwhile_is_cleaned_up,
    a_checkpoint_is_restored,
    nothing_of_a_removed_container_is_left,
];

const COUNT: &str = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done";

fn a_signal_reaches_the_program(world: &World) {
    let task = Task::start(world, "life1", &[], "trap 'echo got it' USR1; echo ready; while true; do sleep 0.05; done");
    task.until_it_says("ready");
    task.call(&["kill", "-s", "SIGUSR1"]).good();
    task.until_it_says("got it");
}

fn a_program_ends_by_itself_when_asked(world: &World) {
    let task = Task::start(world, "life2", &[], "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done");
    task.until_it_says("ready");
    task.call(&["kill"]).good();
    assert_eq!(task.ended(), "3");
}

fn a_stubborn_program_is_killed(world: &World) {
    let task = Task::start(world, "life3", &[], "trap '' TERM; echo ready; while true; do sleep 0.05; done");
    task.until_it_says("ready");
    task.call(&["kill"]).good();
    assert_eq!(task.exec(&[], "echo still here").good(), "still here");
    task.call(&["kill", "-s", "SIGKILL"]).good();
    assert_eq!(task.ended(), "137");
}

/// `kill --all` in the host's pid namespace: there the end of the first process isn't the end of the others.
fn a_signal_reaches_every_process(world: &World) {
    let script = "sh -c 'trap \"echo the child too; exit\" USR1; echo child; while true; do sleep 0.05; done' &
        trap 'echo the parent; exit 4' USR1; echo ready; while true; do sleep 0.05; done";
    let task = Task::start(world, "life4", &["--with-ns", "pid:/proc/1/ns/pid"], script);
    task.until_it_says("ready");
    task.until_it_says("child");
    task.call(&["kill", "--all", "-s", "SIGUSR1"]).good();
    task.until_it_says("the parent");
    task.until_it_says("the child too");
    assert_eq!(task.ended(), "4");
}

fn a_signal_to_what_has_ended_is_an_error(world: &World) {
    let task = Task::start(world, "life5", &[], "true");
    until("it has ended", 10, || task.status() == "STOPPED");
    task.call(&["kill", "-s", "SIGUSR1"]).bad().says("not found");
}

fn a_paused_container_stands_still(world: &World) {
    let task = Task::start(world, "life6", &[], COUNT);
    task.until_it_says("3\n");
    task.call(&["pause"]).good();
    assert_eq!(task.status(), "PAUSED");
    let frozen = ["freezer/default/life6/freezer.state", "default/life6/cgroup.freeze"];
    let state = frozen.iter().find_map(|file| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok());
    assert!(["FROZEN\n", "1\n"].contains(&state.as_deref().unwrap_or_default()), "{state:?}");
    task.exec(&[], "true").bad();
    let before = task.logs();
    task.call(&["resume"]).good();
    assert_eq!(task.status(), "RUNNING");
    until("it counts again", 10, || task.logs() != before);
}

fn a_paused_container_is_killed(world: &World) {
    let task = Task::start(world, "life7", &[], COUNT);
    task.call(&["pause"]).good();
    task.call(&["kill", "-s", "SIGKILL"]).good();
    // Version 1 of the freezer keeps what it has frozen from dying.
    task.call(&["resume"]);
    assert_eq!(task.ended(), "137");
}

fn a_running_task_is_removed_by_force(world: &World) {
    let task = Task::start(world, "life8", &[], "trap '' TERM; sleep 100");
    let pid = task.pid();
    task.call(&["rm", "--force"]).good();
    assert_eq!(task.status(), "");
    assert!(!fs::exists(format!("/proc/{pid}")).expect("proc"), "its process is there");
}

fn a_running_task_is_not_removed_without(world: &World) {
    let task = Task::start(world, "life9", &[], "sleep 100");
    task.call(&["rm"]).bad();
    assert_eq!(task.status(), "RUNNING");
}

fn ps_shows_the_processes(world: &World) {
    let task = Task::start(world, "life10", &[], "sleep 123 & sleep 321 & wait");
    let pid = task.pid();
    let lines = |said: &str| said.lines().skip(1).count();
    until("all three are there", 10, || lines(&task.call(&["ps"]).stdout) == 3);
    let said = task.call(&["ps"]).good();
    assert!(said.lines().any(|line| line.split_whitespace().next() == Some(&pid)), "no {pid}: {said}");
}

fn metrics_tell_what_is_used(world: &World) {
    let flags = ["--memory-limit", "67108864"];
    let task =
        Task::start(world, "life11", &flags, "i=0; while [ $((i+=1)) -lt 20000 ]; do :; done; echo done; sleep 100");
    task.until_it_says("done");
    let said = task.call(&["metrics"]).good();
    let value = |names: [&str; 2]| {
        let words: Vec<&str> = said.split_whitespace().collect();
        let at = words.iter().position(|word| names.contains(word)).unwrap_or_else(|| panic!("no {names:?}: {said}"));
        words[at + 1].parse::<u64>().expect("a number")
    };
    assert!((1..64 << 20).contains(&value(["memory.usage_in_bytes", "memory.usage"])), "{said}");
    assert_eq!(value(["memory.limit_in_bytes", "memory.usage_limit"]), 64 << 20, "{said}");
    assert!(value(["cpuacct.usage", "cpu.usage_usec"]) > 0, "{said}");
    assert!(value(["pids.current", "pids.count"]) >= 1, "{said}");
}

/// The shim keeps the container; the new daemon finds it, and the runtime's state is what it was.
fn a_daemon_that_is_killed_loses_nothing(world: &World) {
    let task = Task::start(world, "life12", &[], COUNT);
    task.until_it_says("3\n");
    let before = (task.pid(), task.status());
    super::daemon::restart();
    assert_eq!((task.pid(), task.status()), before);
    let seen = task.logs();
    until("it goes on", 10, || task.logs() != seen);
    assert_eq!(task.exec(&[], "echo inside; exit 5").ends_with(5).stdout, "inside\n");
    task.call(&["pause"]).good();
    task.call(&["resume"]).good();
    task.call(&["kill", "-s", "SIGKILL"]).good();
    assert_eq!(task.ended(), "137");
    ctr(&["containers", "rm", task.name]).good();
}

/// A new daemon takes a shim without processes for a leak and removes it, by the runtime's `delete --force`.
fn a_container_that_ends_meanwhile_is_cleaned_up(world: &World) {
    let task = Task::start(world, "life13", &[], "echo ready; while ! test -e /tmp/go; do sleep 0.05; done");
    task.until_it_says("ready");
    let pid = task.pid();
    super::daemon::kill();
    fs::write(format!("/proc/{pid}/root/tmp/go"), "").expect("a file in the container");
    until("it has ended", 10, || !fs::exists(format!("/proc/{pid}/root/tmp")).expect("proc"));
    super::daemon::spawn();
    until("it is no longer shown as running", 20, || ["", "STOPPED"].contains(&task.status().as_str()));
    task.call(&["rm", "--force"]);
    let list = call(&[&world.path, "--root", "/run/containerd/runc/default", "list", "-q"]).good();
    assert!(!list.contains(task.name), "the runtime still has it: {list}");
}

fn a_checkpoint_is_restored(world: &World) {
    if call(&["criu", "check"]).code != 0 {
        skip("criu can't work here: `criu check` fails on this kernel");
    }
    let task = Task::start(world, "frozen", &[], COUNT);
    task.until_it_says("3\n");
    let reference = "127.0.0.1:5000/frozen:latest";
    ctr(&["containers", "checkpoint", "--rw", "--image", "--task", task.name, reference]).good();
    drop(task);
    let task = Task { name: "frozen" };
    ctr(&["containers", "restore", "--rw", "--live", task.name, reference]).good();
    assert_eq!(task.status(), "RUNNING");
    assert_eq!(task.exec(&[], "cat /proc/1/comm").good(), "sh");
}

/// Mounts, control groups and processes of a hundred containers would be a full machine by the evening.
fn nothing_of_a_removed_container_is_left(world: &World) {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().count();
    let groups = || call(&["find", "/sys/fs/cgroup", "-type", "d"]).good();
    let states =
        || call(&["find", "/run/containerd/runc", "-mindepth", "2", "-maxdepth", "2", "-not", "-name", "~*"]).good();
    // The first container brings what all share.
    run(world, &["--memory-limit", "67108864"], "true").good();
    let all = || (mounts(), groups(), states());
    let before = all();
    let flags = ["--memory-limit", "67108864", "--mount", "type=bind,src=/tmp,dst=/there,options=rbind"];
    run(world, &flags, "true").good();
    run(world, &flags, "exit 1").bad();
    until("mounts, control groups and states are as before", 10, || all() == before);
}
