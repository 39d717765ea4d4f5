//! A second program in a running container.

use super::{Task, ctr, fresh};
use crate::call::{call_on_terminal, call_with};
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    exec_runs_beside_the_first_program,
    exec_brings_its_exit_code,
    exec_of_what_is_not_there_tells_the_runtimes_reason,
    exec_takes_a_directory_and_a_user,
    exec_has_a_terminal,
    exec_reads_stdin,
    exec_in_the_background_goes_on,
    exec_in_the_background_takes_a_signal,
    exec_has_the_containers_limits_and_confinement,
    exec_in_a_container_that_ended_is_refused,
    twenty_execs_run_at_once,
];

fn exec_runs_beside_the_first_program(world: &World) {
    let task = Task::start(world, "exec1", &[], "echo mine >/tmp/mark; echo ready; sleep 100");
    task.until_it_says("ready");
    let same = "cat /tmp/mark; for n in pid net ipc uts mnt; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done";
    assert_eq!(task.exec(&[], same).good(), "mine");
}

fn exec_brings_its_exit_code(world: &World) {
    let task = Task::start(world, "exec2", &[], "sleep 100");
    task.exec(&[], "exit 7").ends_with(7);
    task.exec(&[], "kill -KILL $$").ends_with(137);
}

fn exec_of_what_is_not_there_tells_the_runtimes_reason(world: &World) {
    let task = Task::start(world, "exec3", &[], "sleep 100");
    let id = fresh();
    let said = ctr(&["task", "exec", "--exec-id", &id, task.name, "/no/such/program"]).bad();
    let text = said.stderr.to_lowercase();
    assert!(text.contains("/no/such/program") && text.contains("no such file or directory"), "{said}");
}

fn exec_takes_a_directory_and_a_user(world: &World) {
    let task = Task::start(world, "exec4", &[], "sleep 100");
    assert_eq!(task.exec(&["--cwd", "/tmp"], "id -u; pwd").good(), "0\n/tmp");
    assert_eq!(task.exec(&["--user", "1234:4321"], "id -u; id -g").good(), "1234\n4321");
    assert_eq!(task.exec(&["--user", "alice"], "id -u; id -g").good(), "1000\n1000");
}

fn exec_has_a_terminal(world: &World) {
    let task = Task::start(world, "exec5", &[], "sleep 100");
    let id = fresh();
    let words = ["ctr", "task", "exec", "--tty", "--exec-id", &id, task.name, "sh", "-c", "test -t 0 && tty; exit 9"];
    let output = call_on_terminal(&words, "").ends_with(9);
    assert!(output.stdout.contains("/dev/pts/"), "{output}");
}

fn exec_reads_stdin(world: &World) {
    let task = Task::start(world, "exec6", &[], "sleep 100");
    let id = fresh();
    let words = ["ctr", "task", "exec", "--exec-id", &id, task.name, "cat"];
    assert_eq!(call_with(&words, "through the pipe").good(), "through the pipe");
}

fn exec_in_the_background_goes_on(world: &World) {
    let task = Task::start(world, "exec7", &[], "sleep 100");
    task.exec(&["--detach"], "echo done >/tmp/done; sleep 100").good();
    until("the background program has written", 10, || task.exec(&[], "cat /tmp/done").stdout == "done\n");
}

fn exec_in_the_background_takes_a_signal(world: &World) {
    let task = Task::start(world, "exec8", &[], "sleep 100");
    let script = "trap 'echo got it >/tmp/got; exit' USR1; echo ready >/tmp/ready; while true; do sleep 0.05; done";
    ctr(&["task", "exec", "--detach", "--exec-id", "second", task.name, "sh", "-c", script]).good();
    until("it is ready", 10, || task.exec(&[], "cat /tmp/ready").stdout == "ready\n");
    task.call(&["kill", "--exec-id", "second", "-s", "SIGUSR1"]).good();
    until("the signal has come", 10, || task.exec(&[], "cat /tmp/got").stdout == "got it\n");
    assert_eq!(task.status(), "RUNNING", "the signal was the second program's alone");
}

fn exec_has_the_containers_limits_and_confinement(world: &World) {
    let flags = ["--cap-drop", "CAP_CHOWN", "--seccomp", "--memory-limit", "67108864"];
    let task = Task::start(world, "exec9", &flags, "sleep 100");
    let facts = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status >/tmp/mine
        grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/1/status | cmp - /tmp/mine && cmp /proc/1/cgroup /proc/self/cgroup && cat /tmp/mine";
    let said = task.exec(&[], facts).good();
    assert!(said.contains("Seccomp:\t2") && said.contains("NoNewPrivs:\t1"), "{said}");
    let bits = said.split("CapEff:\t").nth(1).and_then(|rest| u64::from_str_radix(rest.get(..16)?, 16).ok());
    assert_eq!(bits.map(|bits| bits & 1), Some(0), "no CAP_CHOWN: {said}");
}

fn exec_in_a_container_that_ended_is_refused(world: &World) {
    let task = Task::start(world, "exec10", &[], "true");
    until("it has ended", 10, || task.status() == "STOPPED");
    task.exec(&[], "true").bad();
}

/// They write into files: with twenty at once `ctr` has been seen to lose the output of a program that ends at once (one of 600, with
/// its exit code right), as its own end of the fifo may not be open yet when it gives up waiting for it.
fn twenty_execs_run_at_once(world: &World) {
    let task = Task::start(world, "exec11", &[], "sleep 100");
    std::thread::scope(|scope| {
        let exec = |n: i32| task.exec(&[], &format!("echo {n} >/tmp/{n}; exit {n}"));
        let started: Vec<_> = (0..20).map(|n| (n, scope.spawn(move || exec(n)))).collect();
        for (n, thread) in started {
            thread.join().expect("a call").ends_with(n);
        }
    });
    let numbers: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(task.exec(&[], "cat $(ls /tmp/* | sort -t/ -k3 -n)").good(), numbers.join("\n"));
}
