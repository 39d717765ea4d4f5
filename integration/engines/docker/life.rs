//! What a daemon adds to a container's life: attaching, events, statistics, restarts, changes.

use super::{now, post};
use crate::call::{call, call_on_terminal};
use crate::cli::IMAGE;
use crate::scenario::{Scenario, World, scenarios, skip, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    attach_types_into_the_program,
    a_created_container_is_attached_from_its_start,
    a_terminal_is_resized,
    a_terminal_of_exec_is_typed_into,
    running_out_of_memory_is_an_event,
    an_exec_is_an_event,
    stats_count_what_the_processor_did,
    top_takes_columns,
    a_signal_by_number_reaches_the_program,
    the_images_stop_signal_is_sent,
    a_container_that_always_runs_is_started_again,
    update_changes_processes_and_processors,
    a_paused_container_is_removed_by_force,
    an_exec_outlives_its_caller_and_not_its_container,
    a_container_is_renamed_and_exported,
    a_checkpoint_is_restored,
];

fn attach_types_into_the_program(world: &World) {
    let container = world.start("attached", &["-it"], "stty -echo; echo ready; read line; echo got $line; exit 6");
    container.until_it_says("ready");
    let said = world.cli_on_terminal(&["attach", "attached"], "typed words\n").ends_with(6);
    assert!(said.stdout.contains("got typed words"), "{said}");
}

fn a_created_container_is_attached_from_its_start(world: &World) {
    world.cli(&["create", "-i", "--name", "reader", IMAGE, "sh", "-c", "cat; exit 3"]).good();
    let output = world.cli_with(&["start", "-ai", "reader"], "through");
    world.cli(&["rm", "-f", "reader"]).good();
    assert_eq!((output.stdout.as_str(), output.code), ("through", 3), "{output}");
}

fn a_terminal_is_resized(world: &World) {
    let container =
        world.start("sized", &["-t"], "trap 'stty size' WINCH; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    post("/containers/sized/resize?h=41&w=123");
    container.until_it_says("41 123");
}

fn a_terminal_of_exec_is_typed_into(world: &World) {
    let _container = world.start("typed", &[], "sleep 100");
    let inner = ["docker", "exec", "-it", "typed", "sh", "-c", "read line; stty size; echo got $line; exit 4"];
    let line = format!("stty rows 21 cols 87; exec {}", inner.map(crate::call::quoted).join(" "));
    let said = call_on_terminal(&["sh", "-c", &line], "typed words\n").ends_with(4);
    assert!(said.stdout.contains("got typed words") && said.stdout.contains("21 87"), "{said}");
}

#[track_caller]
fn events(world: &World, since: u64, name: &str) -> String {
    let (since, until) = (since.to_string(), (now() + 1).to_string());
    world.cli(&["events", "--since", &since, "--until", &until, "--filter", &format!("container={name}")]).good()
}

fn running_out_of_memory_is_an_event(world: &World) {
    let since = now();
    let container = world.start("greedy", &["-m", "16m"], "tail /dev/zero");
    container.call(&["wait"]).good();
    let told = events(world, since, "greedy");
    assert!(told.contains(" oom "), "{told}");
    assert!(told.contains("exitCode=137"), "{told}");
}

fn an_exec_is_an_event(world: &World) {
    let since = now();
    let container = world.start("watched", &[], "sleep 100");
    container.exec(&[], "exit 12").ends_with(12);
    until("its end is told", 10, || {
        let told = events(world, since, "watched");
        told.contains(" exec_start: ") && told.contains(" exec_die ") && told.contains("exitCode=12")
    });
}

fn stats_count_what_the_processor_did(world: &World) {
    let container = world.start("busy", &["--cpus", "0.5", "-m", "64m"], "while true; do :; done");
    assert_eq!(container.status(), "running");
    until("the processor is busy", 20, || {
        let said = world.cli(&["stats", "--no-stream", "--format", "{{.CPUPerc}} {{.MemUsage}}", "busy"]).good();
        let share = said.split('%').next().and_then(|share| share.parse::<f64>().ok());
        share.is_some_and(|share| share > 5.0) && said.contains("64MiB")
    });
}

fn top_takes_columns(world: &World) {
    let container = world.start("listed", &["-u", "1000"], "sleep 100");
    let said = world.cli(&["top", "listed", "-o", "pid,uid,args"]).good();
    let pid = container.inspect(".State.Pid");
    let found = said.lines().any(|line| line.split_whitespace().take(2).eq([pid.as_str(), "1000"]));
    assert!(found, "{said}");
}

fn a_signal_by_number_reaches_the_program(world: &World) {
    let container = world.start("numbered", &[], "trap 'exit 44' 12; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    container.call(&["kill", "-s", "12"]).good();
    assert_eq!(container.call(&["wait"]).good(), "44");
}

fn the_images_stop_signal_is_sent(world: &World) {
    let flags = ["--stop-signal", "SIGUSR2", "--stop-timeout", "30"];
    let container = world.start("polite", &flags, "trap 'exit 45' USR2; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    container.call(&["stop"]).good();
    assert_eq!(container.inspect(".State.ExitCode"), "45");
}

fn a_container_that_always_runs_is_started_again(world: &World) {
    let container = world.start("ever", &["--restart", "always"], "echo again; sleep 100");
    container.until_it_says("again");
    let before = container.inspect(".State.Pid");
    call(&["kill", "-KILL", &before]).good();
    until("it runs again", 10, || {
        let pid = container.inspect(".State.Pid");
        container.status() == "running" && pid != before && pid != "0"
    });
    container.call(&["stop", "-t", "0"]).good();
    assert_eq!(container.status(), "exited", "who stops it means it");
}

fn update_changes_processes_and_processors(world: &World) {
    if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        skip("this machine has one processor");
    }
    let container = world.start("changed", &["--pids-limit", "50", "--cpuset-cpus", "0-1"], "sleep 100");
    let flags = ["update", "--pids-limit", "33", "--cpuset-cpus", "1", "--cpus", "0.25", "--restart", "unless-stopped"];
    container.call(&flags).good();
    let script = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max; \
        cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max; \
        grep Cpus_allowed_list /proc/1/status";
    let said = container.exec(&[], script).good();
    assert!(said.starts_with("33\n25000") && said.ends_with("\t1"), "{said}");
}

fn a_paused_container_is_removed_by_force(world: &World) {
    let container = world.start("stiff", &[], "sleep 100");
    let pid = container.inspect(".State.Pid");
    container.call(&["pause"]).good();
    container.call(&["rm", "-f"]).good();
    assert!(!std::path::Path::new("/proc").join(pid).exists(), "its process is left");
}

fn an_exec_outlives_its_caller_and_not_its_container(world: &World) {
    let container = world.start("left", &[], "sleep 100");
    container.exec(&["-d"], "echo $$ >/tmp/pid; exec sleep 4321").good();
    let there = || call(&["pgrep", "-f", "^sleep 4321"]).code == 0;
    until("it runs", 10, there);
    container.call(&["kill"]).good();
    until("it is gone", 10, || !there());
}

fn a_container_is_renamed_and_exported(world: &World) {
    let container = world.start("before", &[], "echo mine >/mine; sleep 100");
    until("the file is there", 10, || container.exec(&[], "cat /mine").stdout == "mine\n");
    world.cli(&["rename", "before", "after"]).good();
    let changed = world.cli(&["diff", "after"]).good();
    world.cli(&["export", "-o", "/var/tmp/after.tar", "after"]).good();
    world.cli(&["rename", "after", "before"]).good();
    assert!(changed.lines().any(|line| line == "A /mine"), "{changed}");
    assert_eq!(call(&["tar", "-xOf", "/var/tmp/after.tar", "mine"]).good(), "mine");
}

fn a_checkpoint_is_restored(world: &World) {
    if call(&["criu", "check"]).code != 0 {
        skip("criu can't work here: `criu check` fails on this kernel");
    }
    let flags = ["--network", "none", "--security-opt", "seccomp=unconfined"];
    let container = world.start("frozen", &flags, "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done");
    container.until_it_says("3");
    world.cli(&["checkpoint", "create", "frozen", "ice"]).good();
    until("it has stopped", 10, || container.status() == "exited");
    // Docker gives the images to containerd once more, which refuses what it has, until it has swept: so they become others.
    let images = format!("/var/lib/docker/containers/{}/checkpoints/ice", container.inspect(".Id"));
    std::fs::write(format!("{images}/another"), "").expect("a file");
    let before = container.logs().lines().count();
    world.cli(&["start", "--checkpoint", "ice", "frozen"]).good();
    until("it counts on", 10, || container.logs().lines().count() > before + 2);
    let lines: Vec<u32> = container.logs().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(lines.windows(2).all(|two| two[1] == two[0] + 1), "{lines:?}");
}
