//! The daemon, for both of its engines: `ctr` speaks with it, and so does CRI.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::call::call;
use crate::scenario::{World, until};

/// What docs/engines.md tells to write. runc is in it because the daemon forgets its own entry for it when there is another one.
const LINES: &str = include_str!("config.toml");
const LOG: &str = "/var/log/engines/containerd.log";

static RUNNING: Mutex<Option<Child>> = Mutex::new(None);

/// Writes the configuration, `machine` added to it, and starts the daemon.
pub fn start(world: &World, machine: &str) {
    let lines = format!("{LINES}{machine}").replace("/usr/local/bin/corten", &world.path);
    fs::create_dir_all("/etc/containerd").expect("a directory");
    fs::write("/etc/containerd/config.toml", lines).expect("config.toml");
    spawn();
}

/// Kills the daemon, without a word of warning, and starts another one.
pub fn restart() {
    kill();
    spawn();
}

pub fn kill() {
    let mut child = RUNNING.lock().expect("one thread").take().expect("it was started");
    child.kill().and_then(|()| child.wait()).expect("kill the daemon");
}

pub fn spawn() {
    let log = File::options().create(true).append(true).open(LOG).expect("a log");
    let mut command = Command::new("containerd");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    *RUNNING.lock().expect("one thread") = Some(command.spawn().expect("containerd"));
    until("containerd answers", 30, || call(&["ctr", "--connect-timeout", "1s", "version"]).code == 0);
}
