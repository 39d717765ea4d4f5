//! Docker: dockerd with the containerd that it starts itself, the driver cgroupfs, networks on a bridge of the machine's own.

mod alike;
mod builds;
mod daemon;
mod life;
mod remap;
mod restarts;
mod runtimes;
mod surroundings;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::cli::{self, IMAGE};
use crate::scenario::{Engine, World};
use daemon::Daemon;

pub const ENGINE: Engine = Engine {
    name: "docker",
    program: "docker",
    start,
    scenarios: &[
        cli::SUBJECTS,
        &[
            runtimes::SCENARIOS,
            alike::SCENARIOS,
            life::SCENARIOS,
            surroundings::SCENARIOS,
            builds::SCENARIOS,
            restarts::SCENARIOS,
            remap::SCENARIOS,
        ],
    ],
    known: &[],
};

/// The lines of docs/engines.md.
const CONFIG: &str = include_str!("daemon.json");

const ARCHIVE: &str = "/usr/share/engines/image.tar";

/// A runtime that runs another one, and notes what it was asked and what it answered.
const TRACED: &str = "/usr/local/bin/traced";

/// Where a daemon keeps the state of its runtimes, whatever they are called.
const STATE: &str = "/run/docker/runtime-runc/moby";

fn start(world: &World) {
    fs::create_dir_all("/etc/docker").expect("a directory");
    fs::write("/etc/docker/daemon.json", config(world, &json!({"live-restore": true})).to_string())
        .expect("daemon.json");
    let World { path, .. } = world;
    let words = "/var/tmp/words";
    program(
        TRACED,
        &format!(
            "echo \"$*\" >>/var/log/engines/traced.log\n{path} \"$@\" && exit\ncode=$?\n[ \"$3\" != --log ] || cp \"$4\" {words}\nexit $code\n"
        ),
    );
    program(builds::RUNTIME, &format!("echo \"$*\" >>{}\nexec {path} \"$@\"\n", builds::LOG));
    let daemon = Daemon::start("dockerd", daemon::SOCKET, &[]);
    daemon.cli(&["import", ARCHIVE, IMAGE]).good();
    assert_eq!(daemon.cli(&["info", "--format", "{{.DefaultRuntime}}"]).good(), world.runtime);
    daemon.keep();
}

/// daemon.json as it is documented, and what this machine asks for beside it: no systemd, and hard limits that its root may not
/// raise.
fn config(world: &World, more: &Value) -> Value {
    let ours = CONFIG.replace("/usr/local/bin/corten", &world.path).replace("corten", &world.runtime);
    let mut config: Value = serde_json::from_str(&ours).expect("daemon.json");
    // The name `runc` is Docker's own. crun works in no hybrid of both versions of control groups.
    config["runtimes"].as_object_mut().expect("runtimes").remove("runc");
    config["runtimes"]["other"] = json!({"path": "/usr/sbin/runc"});
    config["runtimes"]["traced"] = json!({"path": TRACED});
    config["exec-opts"] = json!(["native.cgroupdriver=cgroupfs"]);
    config["storage-driver"] = json!("overlay2");
    config["default-ulimits"] = json!({"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 1024}});
    config["experimental"] = json!(true);
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

fn program(path: &str, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}")).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// A request that the command line has no words for.
#[track_caller]
fn post(path: &str) {
    let mut stream = UnixStream::connect(daemon::SOCKET).expect("the daemon's socket");
    write!(stream, "POST {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).unwrap_or_default();
    assert!(status.starts_with('2'), "{path}: {answer}");
}

/// Seconds since 1970, as `docker events` takes them.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}
