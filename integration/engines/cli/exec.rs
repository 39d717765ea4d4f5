//! A second program in a running container.

use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    exec_runs_beside_the_first_program,
    exec_brings_its_exit_code,
    exec_of_what_is_not_there_is_told_by_its_code,
    exec_takes_user_directory_and_environment,
    exec_has_a_terminal,
    exec_reads_stdin,
    exec_in_the_background_goes_on,
    exec_has_the_containers_limits_and_confinement,
    exec_in_a_container_that_ended_is_refused,
];

fn exec_runs_beside_the_first_program(world: &World) {
    let container = world.start("exec1", &[], "echo mine >/tmp/mark; sleep 100");
    let same = "cat /tmp/mark; for n in pid net ipc uts mnt; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done";
    assert_eq!(container.exec(&[], same).good(), "mine");
}

fn exec_brings_its_exit_code(world: &World) {
    let container = world.start("exec2", &[], "sleep 100");
    container.exec(&[], "exit 7").ends_with(7);
    container.exec(&[], "kill -KILL $$").ends_with(137);
}

fn exec_of_what_is_not_there_is_told_by_its_code(world: &World) {
    let _container = world.start("exec3", &[], "sleep 100");
    // Docker 26 says 126 of an exec, and 127 of a container.
    let code = if world.is_docker() { 126 } else { 127 };
    world.cli(&["exec", "exec3", "/no/such/program"]).ends_with(code);
}

fn exec_takes_user_directory_and_environment(world: &World) {
    let container = world.start("exec4", &[], "sleep 100");
    let output = container.exec(&["-u", "1234:4321", "-w", "/tmp", "-e", "X=y"], "id -u; id -g; pwd; echo $X");
    assert_eq!(output.good(), "1234\n4321\n/tmp\ny");
}

fn exec_has_a_terminal(world: &World) {
    let _container = world.start("exec5", &[], "sleep 100");
    let output = world.cli_on_terminal(&["exec", "-it", "exec5", "sh", "-c", "test -t 0 && tty; exit 9"], "");
    let output = output.ends_with(9);
    assert!(output.stdout.contains("/dev/pts/"), "{output}");
}

fn exec_reads_stdin(world: &World) {
    let _container = world.start("exec6", &[], "sleep 100");
    assert_eq!(world.cli_with(&["exec", "-i", "exec6", "cat"], "through the pipe").good(), "through the pipe");
}

fn exec_in_the_background_goes_on(world: &World) {
    let container = world.start("exec7", &[], "sleep 100");
    container.exec(&["-d"], "echo done >/tmp/done; sleep 100").good();
    until("the background program has written", 10, || container.exec(&[], "cat /tmp/done").stdout == "done\n");
}

fn exec_has_the_containers_limits_and_confinement(world: &World) {
    let container = world.start("exec8", &["--cap-drop", "ALL", "-m", "64m"], "sleep 100");
    let facts = "grep -E '^(CapEff|Seccomp):' /proc/self/status; cmp /proc/1/cgroup /proc/self/cgroup && echo same";
    let said = container.exec(&[], facts).good();
    assert!(
        said.contains("CapEff:\t0000000000000000") && said.contains("Seccomp:\t2") && said.contains("same"),
        "{said}"
    );
}

fn exec_in_a_container_that_ended_is_refused(world: &World) {
    let container = world.start("exec9", &[], "true");
    container.call(&["wait"]).good();
    container.exec(&[], "true").bad();
}
