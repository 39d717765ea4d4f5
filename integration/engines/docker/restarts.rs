//! The daemon ends and comes back, as with an upgrade or a crash: the containers live on below their shims.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use super::config;
use super::daemon::restart;
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    containers_outlive_a_daemon_that_stops,
    containers_outlive_a_daemon_that_is_killed,
    an_end_without_a_daemon_is_found,
    without_live_restore_containers_stop_and_come_back,
];

/// All that can be done with a container can be done with one of a daemon before.
#[track_caller]
fn outlives(world: &World, signal: Signal) {
    let script = "trap 'exit 3' TERM; i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done";
    let counter = world.start("counter", &["-m", "64m"], script);
    let other = world.start("other", &[], "sleep 100");
    other.call(&["pause"]).good();
    counter.until_it_says("3");
    let pid = counter.inspect(".State.Pid");
    restart(signal, || assert!(Path::new("/proc").join(&pid).exists(), "it died with the daemon"));
    assert_eq!((counter.status().as_str(), counter.inspect(".State.Pid")), ("running", pid));
    let seen = counter.logs().lines().count();
    until("it goes on", 10, || counter.logs().lines().count() > seen);
    let lines: Vec<u32> = counter.logs().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(lines.windows(2).all(|two| two[1] == two[0] + 1), "lines are lost: {lines:?}");
    assert_eq!(counter.exec(&[], "echo in").good(), "in");
    counter.call(&["update", "-m", "80m", "--memory-swap", "160m"]).good();
    counter.call(&["pause"]).good();
    counter.call(&["unpause"]).good();
    counter.call(&["stop", "-t", "20"]).good();
    assert_eq!((counter.status().as_str(), counter.inspect(".State.ExitCode").as_str()), ("exited", "3"));
    assert_eq!(other.status(), "paused");
    other.call(&["unpause"]).good();
    assert_eq!(other.exec(&[], "echo awake").good(), "awake");
}

fn containers_outlive_a_daemon_that_stops(world: &World) {
    outlives(world, Signal::SIGTERM);
}

fn containers_outlive_a_daemon_that_is_killed(world: &World) {
    outlives(world, Signal::SIGKILL);
}

/// containerd removes a shim without processes when it starts, and the exit code with it: Docker says 255 then.
fn an_end_without_a_daemon_is_found(world: &World) {
    fs::create_dir_all("/var/tmp/sign").expect("a directory");
    let script = "while [ ! -e /sign/end ]; do sleep 0.05; done; echo bye; exit 6";
    let container = world.start("lonely", &["-v", "/var/tmp/sign:/sign"], script);
    let pid = container.inspect(".State.Pid");
    restart(Signal::SIGKILL, || {
        fs::write("/var/tmp/sign/end", "").expect("a file");
        until("it ends", 10, || !Path::new("/proc").join(&pid).join("exe").exists());
    });
    until("its end is known", 10, || container.status() == "exited");
    assert_eq!(container.inspect(".State.ExitCode"), "255");
    container.call(&["start"]).good();
    assert_eq!(container.call(&["wait"]).good(), "6");
    assert!(container.logs().ends_with("bye\n"), "{}", container.logs());
}

fn without_live_restore_containers_stop_and_come_back(world: &World) {
    let write = |live: bool| {
        fs::write("/etc/docker/daemon.json", config(world, &json!({"live-restore": live})).to_string())
            .expect("daemon.json");
    };
    write(false);
    restart(Signal::SIGTERM, || {});
    let script = "trap 'echo asked; exit 3' TERM; echo ready; while true; do sleep 0.05; done";
    let back = world.start("back", &["--restart", "always"], script);
    let gone = world.start("gone", &[], script);
    back.until_it_says("ready");
    gone.until_it_says("ready");
    restart(Signal::SIGTERM, || write(true));
    until("it is back", 20, || back.logs() == "ready\nasked\nready\n");
    assert_eq!(back.status(), "running");
    assert_eq!((gone.status().as_str(), gone.inspect(".State.ExitCode").as_str()), ("exited", "3"));
}
