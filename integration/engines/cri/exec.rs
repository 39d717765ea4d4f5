//! A second program in a running container, and who comes to the first one later.

use serde_json::json;

use super::{Pod, crictl, merge, resources, security};
use crate::call::{call, call_on_terminal, call_with, quoted};
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    exec_runs_beside_the_first_program,
    exec_brings_its_exit_code,
    exec_keeps_both_outputs_apart,
    exec_of_what_is_not_there_tells_the_runtimes_reason,
    exec_has_the_containers_user_and_environment,
    exec_has_a_terminal,
    exec_reads_stdin,
    exec_ends_with_its_time,
    exec_has_the_containers_limits_and_confinement,
    exec_in_a_container_that_ended_is_refused,
    ten_execs_run_at_once,
    attach_brings_stdin_and_output,
    attach_has_the_terminal,
];

fn exec_runs_beside_the_first_program(_: &World) {
    let pod = Pod::start("exec1");
    let container = pod.run("exec1", json!({}), "echo mine >/tmp/mark; echo ready; sleep 100");
    container.until_it_says("ready");
    let same = "cat /tmp/mark; for n in pid net ipc uts mnt; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done";
    for how in [&["--sync"][..], &[]] {
        assert_eq!(container.exec(how, same).good(), "mine");
    }
}

fn exec_brings_its_exit_code(_: &World) {
    let pod = Pod::start("exec2");
    let container = pod.run("exec2", json!({}), "sleep 100");
    container.exec(&["--sync"], "exit 7").bad().says("7");
    container.exec(&[], "exit 7").bad().says("exit code 7");
    container.exec(&[], "kill -KILL $$").bad().says("exit code 137");
}

fn exec_keeps_both_outputs_apart(_: &World) {
    let pod = Pod::start("exec3");
    let container = pod.run("exec3", json!({}), "sleep 100");
    let said = container.exec(&[], "echo out; echo err >&2");
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"));
}

fn exec_of_what_is_not_there_tells_the_runtimes_reason(_: &World) {
    let pod = Pod::start("exec4");
    let container = pod.run("exec4", json!({}), "sleep 100");
    let said = crictl(&["exec", "--sync", &container.id, "/no/such/program"]).bad();
    let text = said.stderr.to_lowercase();
    assert!(text.contains("/no/such/program") && text.contains("no such file or directory"), "{said}");
}

fn exec_has_the_containers_user_and_environment(_: &World) {
    let mut config = security(json!({"run_as_user": {"value": 1234}, "run_as_group": {"value": 4321}}));
    merge(&mut config, json!({"envs": [{"key": "X", "value": "y"}], "working_dir": "/tmp"}));
    let pod = Pod::start("exec5");
    let container = pod.run("exec5", config, "sleep 100");
    assert_eq!(container.exec(&["--sync"], "id -u; id -g; pwd; echo $X").good(), "1234\n4321\n/tmp\ny");
}

fn exec_has_a_terminal(_: &World) {
    let pod = Pod::start("exec6");
    let container = pod.run("exec6", json!({}), "sleep 100");
    let words = ["crictl", "exec", "--interactive", "--tty", &container.id, "sh", "-c", "test -t 0 && tty"];
    let output = call_on_terminal(&words, "").stdout;
    assert!(output.contains("/dev/pts/"), "{output}");
}

fn exec_reads_stdin(_: &World) {
    let pod = Pod::start("exec7");
    let container = pod.run("exec7", json!({}), "sleep 100");
    let text = "line\n".repeat(20_000);
    let said = call_with(&["crictl", "exec", "--interactive", &container.id, "wc", "-c"], &text).good();
    assert_eq!(said, text.len().to_string());
}

fn exec_ends_with_its_time(_: &World) {
    let pod = Pod::start("exec8");
    let container = pod.run("exec8", json!({}), "sleep 100");
    container.exec(&["--sync", "--timeout", "1"], "sleep 1000").bad().says("timeout");
    until("it is gone", 10, || !container.exec(&["--sync"], "ps -o args").good().contains("sleep 1000"));
}

fn exec_has_the_containers_limits_and_confinement(_: &World) {
    let mut config = security(json!({"capabilities": {"drop_capabilities": ["ALL"]}, "seccomp": {"profile_type": 0},
        "no_new_privs": true}));
    merge(&mut config, resources(json!({"memory_limit_in_bytes": 64 << 20})));
    let pod = Pod::start("exec9");
    let container = pod.run("exec9", config, "sleep 100");
    let facts =
        "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status; cmp /proc/1/cgroup /proc/self/cgroup && echo same";
    let said = container.exec(&["--sync"], facts).good();
    for fact in ["CapEff:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t1", "same"] {
        assert!(said.contains(fact), "no {fact}: {said}");
    }
}

fn exec_in_a_container_that_ended_is_refused(_: &World) {
    let pod = Pod::start("exec10");
    let container = pod.run("exec10", json!({}), "true");
    container.ended();
    container.exec(&["--sync"], "true").bad();
}

fn ten_execs_run_at_once(_: &World) {
    let pod = Pod::start("exec11");
    let container = pod.run("exec11", json!({}), "sleep 100");
    std::thread::scope(|scope| {
        let container = &container;
        let started: Vec<_> =
            (0..10).map(|n| (n, scope.spawn(move || container.exec(&["--sync"], &format!("echo {n}"))))).collect();
        for (n, thread) in started {
            assert_eq!(thread.join().expect("a call").good(), n.to_string());
        }
    });
}

fn attach_brings_stdin_and_output(_: &World) {
    let pod = Pod::start("attach1");
    let config = json!({"stdin": true, "stdin_once": true});
    let container =
        pod.run("attach1", config, "echo ready; while read line; do echo \"got $line\"; done; echo the end; exit 3");
    container.until_it_says("ready");
    call_with(&["crictl", "attach", "--stdin", &container.id], "one\ntwo\n");
    assert_eq!(container.ended(), 3);
    assert_eq!(container.logs(), "ready\ngot one\ngot two\nthe end\n");
}

fn attach_has_the_terminal(_: &World) {
    let pod = Pod::start("attach2");
    let config = json!({"stdin": true, "tty": true});
    let container = pod.run("attach2", config, "test -t 0 && tty; read line; echo \"got $line\"; exit 4");
    container.until_it_says("/dev/pts/0");
    let line = format!("echo typed | {}", ["crictl", "attach", "--stdin", &container.id].map(quoted).join(" "));
    call(&["bash", "-c", &line]);
    assert_eq!(container.ended(), 4);
    assert!(container.logs().contains("got typed"), "{}", container.logs());
}
