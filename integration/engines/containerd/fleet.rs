//! Many containers, and what the engine tells of them.

use super::{IMAGE, Task, ctr, making};
use crate::call::{Background, call};
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![fifty_containers_run_at_once, events_tell_a_containers_life];

const CROWD: usize = 50;

fn fifty_containers_run_at_once(world: &World) {
    let names: Vec<String> = (0..CROWD).map(|i| format!("crowd{i}")).collect();
    let all = |call: &(dyn Fn(&str) + Sync)| {
        std::thread::scope(|scope| names.iter().for_each(|name| drop(scope.spawn(move || call(name)))));
    };
    all(&|name| {
        let words = ["--detach", "--null-io", IMAGE, name, "sleep", "1000"];
        call(&[&making(world, &["run"])[..], &words].concat()).good();
    });
    let list = ctr(&["task", "ls"]).good();
    let pids: Vec<&str> = list
        .lines()
        .filter(|line| line.contains("RUNNING"))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(pids.len(), CROWD, "{list}");
    all(&|name| drop(Task { name }));
    assert!(!ctr(&["task", "ls", "-q"]).good().contains("crowd"));
    let gone = pids.iter().filter(|pid| std::path::Path::new("/proc").join(pid).exists()).count();
    assert_eq!(gone, 0, "processes are left");
}

fn events_tell_a_containers_life(world: &World) {
    let events = Background::start(&["ctr", "events"]);
    until("events are told", 10, || {
        ctr(&["images", "label", IMAGE, "listening=yes"]).good();
        events.said().contains("/images/update")
    });
    let task = Task::start(world, "storied", &[], "sleep 100");
    task.exec(&[], "true").good();
    task.call(&["pause"]).good();
    task.call(&["resume"]).good();
    task.call(&["kill", "-s", "SIGKILL"]).good();
    assert_eq!(task.ended(), "137");
    let wanted = ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"]
        .map(|name| format!("/tasks/{name} "));
    until("all of its life is told", 10, || {
        let said = events.said();
        let mut told = said.lines().filter(|line| line.contains("storied") && line.contains("/tasks/"));
        wanted.iter().all(|name| told.any(|line| line.contains(name.as_str())))
    });
}
