//! Limits: inside the container they read as asked for, and the engine changes and reports them.

use crate::scenario::{Scenario, World, scenarios, skip};

pub const SCENARIOS: &[Scenario] = scenarios![
    a_memory_limit_is_seen_inside,
    a_processor_limit_is_seen_inside,
    processor_shares_are_seen_inside,
    processors_can_be_chosen,
    a_limit_of_processes_holds,
    a_program_that_eats_its_memory_is_reported_as_such,
    update_changes_the_limits_of_a_running_container,
    stats_tells_what_is_used,
    a_limit_of_open_files_is_the_programs,
    shared_memory_has_the_size_asked_for,
    an_oom_score_is_the_programs,
];

/// The value of a limit as the container reads it, whichever version of control groups the machine has.
fn value(v1: &str, v2: &str) -> String {
    format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}")
}

fn memory() -> String {
    value("memory/memory.limit_in_bytes", "memory.max")
}

fn a_memory_limit_is_seen_inside(world: &World) {
    assert_eq!(world.run(&["-m", "64m"], &memory()).good(), (64 << 20).to_string());
}

fn a_processor_limit_is_seen_inside(world: &World) {
    let both = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || \
        echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us) $(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)";
    assert_eq!(world.run(&["--cpus", "0.5"], both).good(), "50000 100000");
}

fn processor_shares_are_seen_inside(world: &World) {
    let said = world.run(&["--cpu-shares", "2048"], &value("cpu/cpu.shares", "cpu.weight")).good();
    // Version 2 has weights: runc's first conversion of shares, and the one since 1.3.
    assert!(["2048", "79", "174"].contains(&said.as_str()), "{said}");
}

fn processors_can_be_chosen(world: &World) {
    let offered = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_else(|_| "cpuset".to_owned());
    if !offered.contains("cpuset") {
        skip("this machine's kernel has no cpuset");
    }
    let said = world.run(&["--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status").good();
    assert_eq!(said, "Cpus_allowed_list:\t0");
}

fn a_limit_of_processes_holds(world: &World) {
    let said = world.run(&["--pids-limit", "20"], &value("pids/pids.max", "pids.max")).good();
    assert_eq!(said, "20");
    let crowd = "for i in $(seq 40); do sleep 2 & done; echo all";
    let output = world.run(&["--pids-limit", "20"], crowd);
    assert!(output.stderr.contains("fork"), "{output}");
}

fn a_program_that_eats_its_memory_is_reported_as_such(world: &World) {
    // The shell stays, and its cgroup with it, until whoever watches has been told.
    let container = world.start("eater", &["-m", "32m"], "tail /dev/zero; code=$?; sleep 1; exit $code");
    assert_eq!(container.call(&["wait"]).good(), "137");
    assert_eq!(container.inspect(".State.OOMKilled"), "true");
}

fn update_changes_the_limits_of_a_running_container(world: &World) {
    let container = world.start("updated", &["-m", "64m", "--cpus", "1"], "sleep 100");
    container.call(&["update", "-m", "96m", "--memory-swap", "192m", "--cpu-shares", "512"]).good();
    assert_eq!(container.exec(&[], &memory()).good(), (96 << 20).to_string());
    let shares = container.exec(&[], &value("cpu/cpu.shares", "cpu.weight")).good();
    assert!(["512", "20", "59"].contains(&shares.as_str()), "{shares}");
}

fn stats_tells_what_is_used(world: &World) {
    let _container = world.start("measured", &["-m", "64m"], "head -c 8m /dev/zero >/dev/null; sleep 100");
    let said = world.cli(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "measured"]).good();
    assert!(said.contains("64MiB") || said.contains("67.11MB"), "{said}");
    let pids = said.split_whitespace().last().and_then(|n| n.parse::<u32>().ok());
    assert!(pids.is_some_and(|n| n >= 1), "{said}");
}

fn a_limit_of_open_files_is_the_programs(world: &World) {
    assert_eq!(world.run(&["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn").good(), "100\n200");
}

fn shared_memory_has_the_size_asked_for(world: &World) {
    assert_eq!(world.run(&["--shm-size", "8m"], "df -k /dev/shm | tail -n 1 | awk '{ print $2 }'").good(), "8192");
}

fn an_oom_score_is_the_programs(world: &World) {
    let container = world.start("scored", &["--oom-score-adj", "500"], "sleep 100");
    assert_eq!(container.exec(&[], "cat /proc/1/oom_score_adj").good(), "500");
}
