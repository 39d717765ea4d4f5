//! Limits: inside the container they read as asked for, the engine changes them, and what breaks them is reported.

use serde_json::json;

use super::{Container, Pod, crictl, resources};
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_memory_limit_is_seen_inside,
    a_processor_limit_is_seen_inside,
    processor_shares_are_seen_inside,
    processors_can_be_chosen,
    an_oom_score_is_the_programs,
    update_changes_the_limits_of_a_running_container,
    an_update_below_what_is_used_is_refused_or_kills,
    a_program_that_eats_its_memory_is_reported_as_such,
    a_containers_group_is_below_its_pods,
];

/// Reads limits as the container does, whichever version of control groups the machine has.
fn read(v1: &str, v2: &str) -> String {
    format!("cd /sys/fs/cgroup; if [ -e {v2} ]; then cat {v2}; else cat {v1}; fi")
}

fn memory() -> String {
    read("memory/memory.limit_in_bytes", "memory.max")
}

fn quota() -> String {
    read("cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us", "cpu.max")
}

fn shares() -> String {
    read("cpu/cpu.shares", "cpu.weight")
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn a_memory_limit_is_seen_inside(_: &World) {
    let limits = resources(json!({"memory_limit_in_bytes": 64 << 20}));
    assert_eq!(Pod::start("memory").output("memory", limits, &memory()), "67108864");
}

fn a_processor_limit_is_seen_inside(_: &World) {
    let limits = resources(json!({"cpu_quota": 50000, "cpu_period": 100000}));
    assert_eq!(words(&Pod::start("quota").output("quota", limits, &quota())), ["50000", "100000"]);
}

fn processor_shares_are_seen_inside(_: &World) {
    let said = Pod::start("shares").output("shares", resources(json!({"cpu_shares": 2048})), &shares());
    assert!(["2048", "79", "174"].contains(&said.as_str()), "{said}");
}

fn processors_can_be_chosen(_: &World) {
    let limits = resources(json!({"cpuset_cpus": "0", "cpuset_mems": "0"}));
    let said = Pod::start("cpuset").output("cpuset", limits, "grep Cpus_allowed_list /proc/self/status");
    assert_eq!(said, "Cpus_allowed_list:\t0");
}

fn an_oom_score_is_the_programs(_: &World) {
    let limits = resources(json!({"oom_score_adj": 500}));
    assert_eq!(Pod::start("score").output("score", limits, "cat /proc/self/oom_score_adj"), "500");
}

fn running(pod: &Pod, name: &str) -> Container {
    let limits =
        json!({"memory_limit_in_bytes": 64 << 20, "cpu_quota": 100_000, "cpu_period": 100_000, "cpu_shares": 1024});
    let container = pod.run(name, resources(limits), "echo ready; sleep 100");
    container.until_it_says("ready");
    container
}

fn update_changes_the_limits_of_a_running_container(_: &World) {
    let pod = Pod::start("updated");
    let container = running(&pod, "updated");
    let limits = [
        "--memory",
        "100663296",
        "--cpu-quota",
        "25000",
        "--cpu-period",
        "50000",
        "--cpu-share",
        "512",
        "--cpuset-cpus",
        "0",
    ];
    crictl(&[&["update"], &limits[..], &[&container.id]].concat()).good();
    let inside = |script: &str| container.exec(&["--sync"], script).good();
    assert_eq!(inside(&memory()), "100663296");
    assert_eq!(words(&inside(&quota())), ["25000", "50000"]);
    assert!(["512", "20", "59"].contains(&inside(&shares()).as_str()), "{}", inside(&shares()));
    assert_eq!(inside("grep Cpus_allowed_list /proc/1/status"), "Cpus_allowed_list:\t0");
}

/// Version 1 refuses such a limit and version 2 kills by it; the daemon has to know which.
fn an_update_below_what_is_used_is_refused_or_kills(_: &World) {
    let pod = Pod::start("squeezed");
    let container = pod.run(
        "squeezed",
        resources(json!({"memory_limit_in_bytes": 64 << 20})),
        "head -c 32m /dev/zero | tail -c 32m | { sleep 0.5; echo ready; sleep 100; }",
    );
    container.until_it_says("ready");
    let said = crictl(&["update", "--memory", "16384", &container.id]);
    if said.code == 0 {
        assert_eq!(container.ended(), 137);
    } else {
        assert_eq!(container.exec(&["--sync"], &memory()).good(), "67108864", "nothing is changed: {said}");
    }
}

fn a_program_that_eats_its_memory_is_reported_as_such(_: &World) {
    let pod = Pod::start("eater");
    let container = pod.run("eater", resources(json!({"memory_limit_in_bytes": 32 << 20})), "exec tail /dev/zero");
    assert_eq!((container.ended(), container.status("reason").as_str()), (137, "OOMKilled"));
}

fn a_containers_group_is_below_its_pods(_: &World) {
    let pod = Pod::start("placed");
    let container = pod.run("placed", json!({}), "sleep 100");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).expect("its groups");
    let wanted = format!(":/pods/placed/{}", container.id);
    assert!(groups.lines().all(|line| line.ends_with(&wanted)), "{groups}");
}
