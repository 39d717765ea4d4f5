//! `events`: what a container uses, in the form that engines decode, and OOM kills as they happen. cgroups-rs is the
//! independent reader.

use std::fs;
use std::path::PathBuf;

use cgroups_rs::fs::cpuacct::CpuAcctController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use serde_json::{Value, json};

use crate::harness::{Bundle, Case, Container, Flavour, Lines, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    stats_are_one_line_with_the_keys_that_engines_decode,
    stats_are_what_the_cgroups_say,
    a_created_container_has_stats_already,
    lines_come_at_the_interval,
    an_oom_kill_is_told,
    an_oom_kill_of_the_init_is_told,
    events_end_with_the_container,
    events_end_when_nobody_reads_them,
    a_stopped_container_has_no_events,
    an_interval_must_be_a_time,
];

/// Where a process is in the hierarchy that has a controller.
pub struct Place {
    pub mount: PathBuf,
    pub dir: PathBuf,
    pub v2: bool,
}

/// Found by /proc/PID/cgroup and mountinfo; `None` where no hierarchy has the controller. The machine may have both
/// versions at once.
pub fn place(pid: i32, controller: &str) -> Option<Place> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let mount = |kind: &str, option: &str| {
        mountinfo.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let (front, back): (Vec<&str>, Vec<&str>) = (front.split(' ').collect(), back.split(' ').collect());
            let is_it = back[0] == kind && (option.is_empty() || back[2].split(',').any(|word| word == option));
            is_it.then(|| PathBuf::from(front[4]))
        })
    };
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the container's cgroups");
    let at = |mount: PathBuf, path: &str, v2| {
        let dir = mount.join(path.trim_start_matches('/'));
        Place { mount, dir, v2 }
    };
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if controllers.split(',').any(|name| name == controller) {
            return Some(at(mount("cgroup", controller)?, path, false));
        }
    }
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let place = at(mount("cgroup2", "")?, unified, true);
    let has = fs::read_to_string(place.dir.join("cgroup.controllers")).unwrap_or_default();
    has.split_whitespace().any(|name| name == controller).then_some(place)
}

pub fn place_of(container: &Container, controller: &str) -> Place {
    let found = place(container.pid(), controller);
    found.unwrap_or_else(|| skip(format!("no hierarchy has the controller {controller} for a container")))
}

fn stats(sb: &Sandbox, container: &Container) -> Value {
    let output = sb.call(["events", "--stats", &container.id]).output();
    assert_eq!(output.ok().stdout.matches('\n').count(), 1, "{output:?}");
    output.json()["data"].clone()
}

fn stats_are_one_line_with_the_keys_that_engines_decode(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let output = sb.call(["events", "--stats", &container.id]).output();
    assert_eq!(output.ok().lines().len(), 1);
    let line = output.json();
    assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(container.id)));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let data = &line["data"];
    let parts = ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
    assert_eq!(keys(data), parts);
    for part in ["usage", "throttling"] {
        assert!(data["cpu"][part].is_object(), "{data}");
    }
    for part in ["usage", "swap", "kernel", "kernelTCP"] {
        assert!(data["memory"][part]["limit"].is_u64() && data["memory"][part]["failcnt"].is_u64(), "{data}");
    }
    assert!(data["cpuset"]["sched_relax_domain_level"].is_i64());
    assert_eq!((&data["intel_rdt"], &data["network_interfaces"]), (&json!({}), &Value::Null));
}

fn stats_are_what_the_cgroups_say(sb: &Sandbox) {
    let tools = ["burn", "120", ";", "eat", "24", ";", "spawn", "2", ";", "pause"];
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let container = sb.create_with(&sb.bundle().tool(tools).build(), |call| call.stdout(writer));
    let memory = place_of(&container, "memory");
    limit(&memory, 64 << 20);
    container.start();
    Lines::new(reader).expect_line("ready");
    let data = stats(sb, &container);
    let total = data["cpu"]["usage"]["total"].as_u64().unwrap();
    assert!((120_000_000..30_000_000_000).contains(&total), "{total} ns");
    if let Some(cpuacct) = place(container.pid(), "cpuacct") {
        // The container sleeps, so the counter stands still.
        let reader = CpuAcctController::new(cpuacct.dir, cpuacct.mount).cpuacct();
        assert_eq!(total, reader.usage);
        let percpu: u64 = data["cpu"]["usage"]["percpu"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
        assert_eq!(percpu, total);
    }
    let reader = MemController::new(memory.dir.clone(), memory.mount, memory.v2).memory_stat();
    let usage = data["memory"]["usage"]["usage"].as_u64().unwrap();
    // The kernel returns what it has in reserve now and then.
    assert!(usage.abs_diff(reader.usage_in_bytes) < 4 << 20, "{usage} and {}", reader.usage_in_bytes);
    assert!((24 << 20..64 << 20).contains(&usage), "{usage} bytes");
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!(reader.limit_in_bytes, 64 << 20);
    let pids = place_of(&container, "pids");
    let reader = PidController::new(pids.dir, pids.mount, pids.v2);
    assert_eq!(data["pids"]["current"], 3);
    assert_eq!(reader.get_pid_current().unwrap(), 3);
}

/// A limit of memory without a way into the swap.
fn limit(memory: &Place, bytes: u64) {
    let (names, swap) = match memory.v2 {
        true => ("memory.max", ("memory.swap.max", 0)),
        false => ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", bytes)),
    };
    fs::write(memory.dir.join(names), bytes.to_string()).expect("limit the memory");
    if memory.dir.join(swap.0).exists() {
        fs::write(memory.dir.join(swap.0), swap.1.to_string()).expect("limit the swap");
    }
}

fn a_created_container_has_stats_already(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    place_of(&container, "pids");
    // One of corten's; an init that is written in Go has threads.
    assert!(stats(sb, &container)["pids"]["current"].as_u64() >= Some(1));
}

fn lines_come_at_the_interval(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let began = std::time::Instant::now();
    let mut events = sb.call(["events", "--interval", "50ms", &container.id]).spawn();
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&events.lines.next_line().expect("a line")).unwrap();
        assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(container.id)));
    }
    assert!(began.elapsed().as_millis() >= 150);
    sb.call(["delete", "--force", &container.id]).output().ok();
    while events.lines.next_line().is_some() {}
    assert_eq!(events.wait(), 0, "{}", events.stderr());
}

/// The types of all events of a container that gets 16 MiB and wants more, from before its start to its end.
fn events_of_a_hungry_container(sb: &Sandbox, bundle: &Bundle) -> Vec<String> {
    let container = sb.create(bundle);
    limit(&place_of(&container, "memory"), 16 << 20);
    let mut events = sb.call(["events", "--interval", "20ms", &container.id]).spawn();
    // Whoever tells what is used has begun to watch.
    events.lines.next_line().expect("a first line");
    container.start();
    let mut types = Vec::new();
    while let Some(line) = events.lines.next_line() {
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["type"] == "oom" {
            assert_eq!(line, json!({"type": "oom", "id": container.id}));
        }
        types.push(line["type"].as_str().unwrap().to_owned());
        // Other runtimes of version 1 end with the cgroup and not with the container.
        if types.last().is_some_and(|last| last == "oom") && sb.flavour() != Flavour::Corten {
            return types;
        }
    }
    assert_eq!(events.wait(), 0, "{}", events.stderr());
    types
}

fn an_oom_kill_is_told(sb: &Sandbox) {
    sb.needs_counters_of_the_dead();
    let types = events_of_a_hungry_container(sb, &sb.bundle().tool(["child", "eat", "64"]).build());
    assert!(types.iter().any(|kind| kind == "oom"), "{types:?}");
}

fn an_oom_kill_of_the_init_is_told(sb: &Sandbox) {
    sb.needs_counters_of_the_dead();
    let types = events_of_a_hungry_container(sb, &sb.bundle().tool(["eat", "64"]).build());
    assert!(types.iter().any(|kind| kind == "oom"), "{types:?}");
}

fn events_end_with_the_container(sb: &Sandbox) {
    sb.only_corten("ends with the container; others of version 1 end with its cgroup");
    let bundle = sb.bundle().tool(["pause"]).build();
    // A cgroup of version 1 that is removed looks like one without memory.
    for end in [&["kill", "ID", "KILL"][..], &["delete", "--force", "ID"]] {
        let container = sb.started(&bundle);
        let mut events = sb.call(["events", "--interval", "20ms", &container.id]).spawn();
        events.lines.next_line().expect("a first line");
        sb.call(end.iter().map(|word| if *word == "ID" { container.id.as_str() } else { word })).output().ok();
        while let Some(line) = events.lines.next_line() {
            assert!(line.starts_with("{\"type\":\"stats\""), "{line}");
        }
        assert_eq!(events.wait(), 0, "{}", events.stderr());
    }
}

fn events_end_when_nobody_reads_them(sb: &Sandbox) {
    sb.only_corten("looks whether somebody reads");
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut events = sb.call(["events", "--interval", "1h", &container.id]).stdout(writer).spawn();
    drop(reader);
    assert_eq!(events.wait(), 0, "{}", events.stderr());
}

fn a_stopped_container_has_no_events(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    container.stop();
    for flags in [&["events"][..], &["events", "--stats"]] {
        let output = sb.call(flags.iter().copied()).arg(&container.id).output();
        output.fails_with(&[&format!("container with id {} is not running", container.id)]);
    }
    sb.call(["events", "ct-nobody"]).output().fails_with(&["container does not exist"]);
}

fn an_interval_must_be_a_time(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    for interval in ["0", "0s", "-1s"] {
        let output = sb.call(["events", "--interval", interval, &container.id]).output();
        output.fails_with(&["duration interval must be greater than 0"]);
    }
    for interval in ["soon", "5", "5sec"] {
        let output = sb.call(["events", "--interval", interval, &container.id]).output();
        output.fails_with(&[&format!("invalid value \"{interval}\" for flag -interval: parse error")]);
    }
}
