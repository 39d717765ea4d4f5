//! Readiness: what a container says to its notify socket comes to the service manager of whoever started it.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![anyone:
    start_waits_until_the_container_is_ready,
    the_caller_of_start_is_told_rather_than_that_of_create,
    a_detached_run_waits_until_the_container_is_ready,
    a_container_that_ends_without_being_ready_ends_the_start,
    a_foreground_run_passes_everything_on_and_stays_the_service,
    a_mapped_user_can_send,
    a_long_state_root_is_no_obstacle,
    the_container_cannot_write_where_its_socket_is,
    it_works_on_a_read_only_root_and_below_a_tmpfs,
    an_address_that_makes_no_sense_is_a_warning,
    without_a_mount_namespace_there_is_a_warning,
];

/// The service manager: a socket with an abstract name, so that nothing of it stays.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new(sb: &Sandbox) -> Manager {
        let name = format!("corten-{}", sb.id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Manager { socket, name: format!("@{name}") }
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).expect("a message comes");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// The messages that end a wait.
    #[track_caller]
    fn expect_ready(&self, pid: i32) {
        assert_eq!(self.next(), format!("READY=1\nMAINPID={pid}"));
        assert_eq!(self.next(), "BARRIER=1");
    }

    fn is_empty(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 16]).is_err()
    }
}

fn start_waits_until_the_container_is_ready(sb: &Sandbox) {
    sb.only_corten("passes on what comes before the readiness");
    let manager = Manager::new(sb);
    let words = ["notify", "STATUS=starting", ";", "read-line", ";", "notify", "READY=1", ";", "pause"];
    let bundle = sb.bundle().tool(words).set("/process/env", json!(["NOTIFY_SOCKET=/elsewhere"])).build();
    let (input, go) = nix::unistd::pipe().unwrap();
    let container = sb.create_with(&bundle, |call| call.env("NOTIFY_SOCKET", &manager.name).stdin(input));
    let mut start = sb.call(["start", &container.id]).spawn();
    // That this arrives is the proof: `start` is there and passes it on, and the container isn't ready.
    assert_eq!(manager.next(), "STATUS=starting");
    assert_eq!(container.status(), "running");
    nix::unistd::write(&go, b"go\n").unwrap();
    manager.expect_ready(container.pid());
    assert_eq!(start.wait(), 0);
    assert!(manager.is_empty());
    container.stop();
    container.verb("delete").ok();
    sb.assert_nothing_left();
}

fn the_caller_of_start_is_told_rather_than_that_of_create(sb: &Sandbox) {
    let (creator, starter) = (Manager::new(sb), Manager::new(sb));
    let bundle = sb.bundle().tool(["notify", "READY=1", ";", "pause"]).build();
    let container = sb.create_with(&bundle, |call| call.env("NOTIFY_SOCKET", &creator.name));
    let mut start = sb.call(["start", &container.id]).env("NOTIFY_SOCKET", &starter.name).spawn();
    assert!(starter.next().starts_with("READY=1"));
    drop(starter);
    assert_eq!(start.wait(), 0, "a service manager that is gone is no reason to fail");
    assert!(creator.is_empty());
}

fn a_detached_run_waits_until_the_container_is_ready(sb: &Sandbox) {
    sb.only_corten("sends readiness and pid in one message");
    let manager = Manager::new(sb);
    let bundle = sb.bundle().tool(["notify", "X_MINE=1\nMAINPID=1\nREADY=1", ";", "pause"]).build();
    let id = sb.id();
    let call = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    let mut run = call.env("NOTIFY_SOCKET", &manager.name).spawn();
    let message = manager.next();
    assert_eq!(manager.next(), "BARRIER=1");
    assert_eq!(run.wait(), 0);
    let pid = sb.call(["state", &id]).output().json()["pid"].clone();
    assert_eq!(message, format!("X_MINE=1\nREADY=1\nMAINPID={pid}"), "a container names no process of the host");
    sb.call(["delete", "--force", &id]).output().ok();
    sb.assert_nothing_left();
}

fn a_container_that_ends_without_being_ready_ends_the_start(sb: &Sandbox) {
    let manager = Manager::new(sb);
    let bundle = sb.bundle().tool(["exit", "0"]).build();
    let container = sb.create_with(&bundle, |call| call.env("NOTIFY_SOCKET", &manager.name));
    sb.call(["start", &container.id]).env("NOTIFY_SOCKET", &manager.name).output().ok();
    assert!(manager.is_empty());
    container.verb("delete").ok();
    let id = sb.id();
    let call = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    call.env("NOTIFY_SOCKET", &manager.name).output().ok();
    sb.call(["delete", &id]).output().ok();
    sb.assert_nothing_left();
}

fn a_foreground_run_passes_everything_on_and_stays_the_service(sb: &Sandbox) {
    sb.only_corten("passes on more than the readiness");
    let manager = Manager::new(sb);
    let words = ["notify", "READY=1", ";", "notify", "STATUS=working", ";", "notify", "STOPPING=1", ";", "exit", "7"];
    let bundle = sb.bundle().tool(words).build();
    let output = sb.run_with(&bundle, |call| call.env("NOTIFY_SOCKET", &manager.name));
    assert_eq!(output.code, 7);
    for expected in ["READY=1", "STATUS=working", "STOPPING=1"] {
        assert_eq!(manager.next(), expected);
    }
    assert!(manager.is_empty());
    sb.assert_nothing_left();
}

fn a_mapped_user_can_send(sb: &Sandbox) {
    let user = json!({"uid": 1000, "gid": 1000});
    for mapped in [true, false] {
        let manager = Manager::new(sb);
        let bundle = sb.bundle().set("/process/user", user.clone()).tool(["notify", "READY=1", ";", "pause"]);
        let bundle = if mapped { bundle.user_namespace() } else { bundle }.build();
        let container = sb.create_with(&bundle, |call| call.env("NOTIFY_SOCKET", &manager.name));
        let mut start = sb.call(["start", &container.id]).env("NOTIFY_SOCKET", &manager.name).spawn();
        assert!(manager.next().starts_with("READY=1"), "mapped: {mapped}");
        drop(manager);
        assert_eq!(start.wait(), 0);
        container.stop();
    }
}

fn a_long_state_root_is_no_obstacle(sb: &Sandbox) {
    sb.only_corten("makes sockets by descriptor");
    let manager = Manager::new(sb);
    let root = sb.path(&"r".repeat(150)).join("s".repeat(150));
    let globals = ["--root", root.to_str().unwrap()];
    let bundle = sb.bundle().tool(["notify", "READY=1", ";", "pause"]).build();
    let id = sb.id();
    let call = sb.call(["run", "--detach", "--bundle"]).bare().global(&globals).arg(&bundle.dir).arg(&id);
    let mut run = call.env("NOTIFY_SOCKET", &manager.name).spawn();
    assert!(manager.next().starts_with("READY=1"));
    drop(manager);
    assert_eq!(run.wait(), 0);
    sb.call(["delete", "--force", &id]).bare().global(&globals).output().ok();
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

fn the_container_cannot_write_where_its_socket_is(sb: &Sandbox) {
    let manager = Manager::new(sb);
    let bundle = sb.bundle().tool(["env", ";", "write", "/run/notify/mine", "x"]).build();
    let output = sb.run_with(&bundle, |call| call.env("NOTIFY_SOCKET", &manager.name));
    assert!(output.lines().contains(&"NOTIFY_SOCKET=/run/notify/notify.sock"), "{}", output.stdout);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
}

fn it_works_on_a_read_only_root_and_below_a_tmpfs(sb: &Sandbox) {
    let tmpfs = json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nosuid"]});
    let read_only = sb.bundle().set("/root/readonly", true).tool(["notify", "READY=1"]).build();
    let on_tmpfs = sb.bundle().mount(tmpfs).tool(["notify", "READY=1"]).build();
    for bundle in [read_only, on_tmpfs] {
        let manager = Manager::new(sb);
        sb.run_with(&bundle, |call| call.env("NOTIFY_SOCKET", &manager.name)).ok();
        assert!(manager.next().starts_with("READY=1"));
    }
}

fn an_address_that_makes_no_sense_is_a_warning(sb: &Sandbox) {
    sb.only_corten("warns");
    let bundle = sb.bundle().tool(["env"]).build();
    let long = format!("/{}", "x".repeat(200));
    for address in ["relative", "vsock:2:1", long.as_str()] {
        let output = sb.run_with(&bundle, |call| call.env("NOTIFY_SOCKET", address));
        assert!(!output.ok().stdout.contains("NOTIFY_SOCKET"));
        assert_eq!(output.stderr.matches("NOTIFY_SOCKET").count(), 1, "{}", output.stderr);
    }
    let nobody = sb.path("nobody");
    let output = sb.run_with(&bundle, |call| call.env("NOTIFY_SOCKET", &nobody));
    assert_eq!(output.ok().stderr.matches("NOTIFY_SOCKET").count(), 1, "{}", output.stderr);
}

fn without_a_mount_namespace_there_is_a_warning(sb: &Sandbox) {
    sb.only_corten("warns");
    let bundle = sb.bundle().without_namespace("mount").set("/mounts", json!([])).tool(["env"]).build();
    let output = sb.run_with(&bundle, |call| call.env("NOTIFY_SOCKET", "@nobody"));
    assert!(!output.ok().stdout.contains("NOTIFY_SOCKET"));
    assert!(output.stderr.contains("mount namespace"), "{}", output.stderr);
}
