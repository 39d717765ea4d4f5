//! Signals, stopping, pausing, starting again.

use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_signal_reaches_the_program,
    stop_lets_the_program_end_by_itself,
    stop_kills_after_its_time,
    a_paused_container_stands_still,
    a_container_can_be_started_again,
    restart_is_a_new_process,
    a_failing_container_is_restarted_as_often_as_asked,
    wait_returns_the_exit_code,
    a_running_container_is_removed_by_force,
    top_shows_the_processes,
    nothing_of_a_removed_container_is_left,
];

const COUNT: &str = "i=0; while true; do i=$((i+1)); echo $i >/tmp/count; sleep 0.02; done";

fn a_signal_reaches_the_program(world: &World) {
    let container = world.start("life1", &[], "trap 'echo got it' USR1; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    container.call(&["kill", "-s", "USR1"]).good();
    container.until_it_says("got it");
}

fn stop_lets_the_program_end_by_itself(world: &World) {
    let container = world.start("life2", &[], "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    container.call(&["stop", "-t", "20"]).good();
    assert_eq!((container.status().as_str(), container.inspect(".State.ExitCode").as_str()), ("exited", "3"));
}

fn stop_kills_after_its_time(world: &World) {
    let container = world.start("life3", &[], "trap '' TERM; echo ready; while true; do sleep 0.05; done");
    container.until_it_says("ready");
    container.call(&["stop", "-t", "1"]).good();
    assert_eq!(container.inspect(".State.ExitCode"), "137");
}

fn a_paused_container_stands_still(world: &World) {
    let container = world.start("life4", &[], COUNT);
    until("it counts", 10, || container.exec(&[], "cat /tmp/count").stdout.trim().parse::<u32>().is_ok_and(|n| n > 2));
    container.call(&["pause"]).good();
    assert_eq!(container.status(), "paused");
    container.exec(&[], "true").bad();
    // Seen from outside; a call of the engine takes several times as long as a step of the count.
    let file = format!("/proc/{}/root/tmp/count", container.inspect(".State.Pid"));
    let count = || std::fs::read_to_string(&file).expect("its file, from outside");
    let seen = count();
    (0..3).for_each(|_| assert_eq!((container.status().as_str(), count()), ("paused", seen.clone()), "it counts on"));
    container.call(&["unpause"]).good();
    assert_eq!(container.status(), "running");
    let before = container.exec(&[], "cat /tmp/count").good();
    until("it counts again", 10, || container.exec(&[], "cat /tmp/count").stdout.trim() != before);
}

fn a_container_can_be_started_again(world: &World) {
    let container = world.start("life5", &[], "echo run >>/tmp/runs; cat /tmp/runs");
    container.call(&["wait"]).good();
    container.call(&["start"]).good();
    container.call(&["wait"]).good();
    assert_eq!(container.call(&["logs"]).stdout, "run\nrun\nrun\n");
}

fn restart_is_a_new_process(world: &World) {
    let container = world.start("life6", &[], "sleep 100");
    let before = container.inspect(".State.Pid");
    container.call(&["restart", "-t", "0"]).good();
    assert_eq!(container.status(), "running");
    assert_ne!(container.inspect(".State.Pid"), before);
}

fn a_failing_container_is_restarted_as_often_as_asked(world: &World) {
    let container = world.start("life7", &["--restart", "on-failure:2"], "echo again; exit 1");
    until("it ran three times", 20, || container.call(&["logs"]).stdout == "again\nagain\nagain\n");
    until("it has given up", 10, || container.status() == "exited");
    assert_eq!(container.inspect(".RestartCount"), "2");
}

fn wait_returns_the_exit_code(world: &World) {
    let container = world.start("life8", &[], "sleep 0.3; exit 5");
    assert_eq!(container.call(&["wait"]).good(), "5");
}

fn a_running_container_is_removed_by_force(world: &World) {
    let container = world.start("life9", &[], "trap '' TERM; sleep 100");
    container.call(&["rm"]).bad();
    container.call(&["kill"]).good();
    container.call(&["wait"]).good();
    container.call(&["rm"]).good();
    container.call(&["inspect"]).bad();
}

fn top_shows_the_processes(world: &World) {
    let container = world.start("life10", &[], "sleep 123 & sleep 321");
    until("both are there", 10, || {
        let said = container.call(&["top"]).stdout;
        said.contains("sleep 123") && said.contains("sleep 321")
    });
}

/// Mounts, control groups and processes of a hundred containers would be a full machine by the evening.
fn nothing_of_a_removed_container_is_left(world: &World) {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().count();
    let groups = || {
        crate::call::call(&["find", "/sys/fs/cgroup", "-type", "d", "-not", "-path", "*/libpod*/supervisor*"]).good()
    };
    // The first container brings what all share.
    world.run(&["-m", "64m"], "true").good();
    let before = (mounts(), groups());
    world.run(&["-m", "64m", "-v", "/tmp:/there", "--tmpfs", "/here"], "true").good();
    until("mounts and control groups are as before", 10, || (mounts(), groups()) == before);
}
