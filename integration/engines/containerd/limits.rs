//! Limits: inside the container they read as asked for, and what breaks them is reported.

use super::{Task, ctr, run};
use crate::call::Background;
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_memory_limit_is_seen_inside,
    a_processor_limit_is_seen_inside,
    a_quota_and_a_period_are_seen_inside,
    processor_shares_are_seen_inside,
    a_control_group_can_be_chosen,
    a_program_that_eats_its_memory_is_reported,
];

/// `ctr` mounts no control groups by itself.
const GROUPS: [&str; 2] = ["--mount", "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid:noexec:nodev"];

/// The value of a limit as the container reads it, whichever version of control groups the machine has.
fn value(world: &World, flags: &[&str], v1: &str, v2: &str) -> String {
    let script = format!("cd /sys/fs/cgroup; if [ -e {v2} ]; then cat {v2}; else cat {v1}; fi");
    run(world, &[&GROUPS, flags].concat(), &script).good()
}

fn a_memory_limit_is_seen_inside(world: &World) {
    let said = value(world, &["--memory-limit", "67108864"], "memory/memory.limit_in_bytes", "memory.max");
    assert_eq!(said, "67108864");
}

fn a_processor_limit_is_seen_inside(world: &World) {
    let said = value(world, &["--cpus", "0.5"], "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us", "cpu.max");
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["50000", "100000"]);
}

fn a_quota_and_a_period_are_seen_inside(world: &World) {
    let flags = ["--cpu-quota", "30000", "--cpu-period", "60000"];
    let said = value(world, &flags, "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us", "cpu.max");
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["30000", "60000"]);
}

fn processor_shares_are_seen_inside(world: &World) {
    let said = value(world, &["--cpu-shares", "2048"], "cpu/cpu.shares", "cpu.weight");
    assert!(["2048", "79", "174"].contains(&said.as_str()), "{said}");
}

fn a_control_group_can_be_chosen(world: &World) {
    let task = Task::start(world, "placed", &["--cgroup", "/of/my/own"], "sleep 100");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", task.pid())).expect("its groups");
    assert!(groups.lines().all(|line| line.ends_with(":/of/my/own")), "{groups}");
}

fn a_program_that_eats_its_memory_is_reported(world: &World) {
    let events = Background::start(&["ctr", "events"]);
    // Until one is seen nobody knows whether it listens.
    until("events are told", 10, || {
        ctr(&["images", "label", super::IMAGE, "listening=yes"]).good();
        events.said().contains("/images/update")
    });
    let task = Task::start(world, "eater", &["--memory-limit", "33554432"], "tail /dev/zero");
    assert_eq!(task.ended(), "137");
    until("it is told", 10, || {
        events.said().lines().any(|line| line.contains("/tasks/oom") && line.contains("\"eater\""))
    });
}
