//! `mounts`: what is mounted in a container that is there, and taken off again.

pub mod attacks;
pub mod faults;
pub mod forms;
pub mod removal;

use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Container, Output, Sandbox};

/// `mounts add` with each of these as `--mount`.
#[track_caller]
pub fn add(sb: &Sandbox, id: &str, mounts: &[&str]) -> Output {
    let flags = mounts.iter().flat_map(|mount| ["--mount", mount]);
    sb.call(["mounts", "add", id]).args(flags).output()
}

/// `mounts add` with a list on stdin.
#[track_caller]
pub fn add_list(sb: &Sandbox, id: &str, mounts: Value) -> Output {
    sb.call(["mounts", "add", id, "-"]).input(&format!("{mounts:#}")).output()
}

#[track_caller]
pub fn remove(sb: &Sandbox, id: &str, targets: &[&str]) -> Output {
    sb.call(["mounts", "remove", id]).args(targets).output()
}

/// What `mounts list` has at this place: the last there.
#[track_caller]
pub fn at(sb: &Sandbox, id: &str, target: &str) -> Option<Value> {
    let list = sb.call(["mounts", "list", "--format", "json", id]).output().ok().json();
    list.as_array().unwrap().iter().rev().find(|mount| mount["destination"] == target).cloned()
}

/// Where something is mounted that was added.
#[track_caller]
pub fn added(sb: &Sandbox, id: &str) -> Vec<String> {
    let list = sb.call(["mounts", "list", "--format", "json", id]).output().ok().json();
    let added = list.as_array().unwrap().iter().filter(|mount| mount["added"] == true);
    added.map(|mount| mount["destination"].as_str().unwrap().to_owned()).collect()
}

/// The places of a container at which something is mounted, as the kernel tells the host, sorted.
pub fn places(container: &Container) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap();
    let mut places: Vec<_> = text.lines().map(|line| line.split(' ').nth(4).unwrap().to_owned()).collect();
    places.sort();
    places
}

/// A container that waits for what a test has it do by `exec`, and may mount.
pub fn strong(bundle: BundleBuilder<'_>) -> BundleBuilder<'_> {
    bundle.capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]).tool(["pause"])
}

pub fn tmpfs(target: &str) -> Value {
    json!({"destination": target, "type": "tmpfs", "source": "tmpfs"})
}
