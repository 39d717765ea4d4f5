//! `exec`: one more process in a container.

pub mod entry;
pub mod faults;
pub mod process;

use serde_json::Value;

use crate::harness::{Container, Output, Sandbox};
use crate::killing::wait_until;

/// A call of `exec`, with its flags in front of the id and the toolbox's tools behind it.
#[track_caller]
pub fn exec(sb: &Sandbox, id: &str, flags: &[&str], tools: &[&str]) -> Output {
    sb.call(["exec"]).args(flags).arg(id).args(["/bin/probe", "probe", "--"]).args(tools).output()
}

/// What a process sees that was brought into the container with these flags.
#[track_caller]
pub fn seen(sb: &Sandbox, id: &str, flags: &[&str]) -> Value {
    exec(sb, id, flags, &["json"]).ok().json()
}

/// The first line that a container has written, a report, once it is there.
pub fn said(container: &Container) -> Value {
    wait_until("the container has said what it sees", || container.output().contains('\n'));
    serde_json::from_str(container.output().lines().next().unwrap_or_default()).expect("a report")
}

/// A container that waits.
pub fn waiting(sb: &Sandbox) -> Container<'_> {
    sb.started(&sb.bundle().tool(["pause"]).build())
}

/// Asserts exit code 255 and that each of these is said.
#[track_caller]
pub fn fails_with(output: &Output, fragments: &[&str]) {
    assert_eq!(output.code, 255, "{}\nstdout: {}\nstderr: {}", output.line, output.stdout, output.stderr);
    for fragment in fragments {
        assert!(output.stderr.replace("\\\"", "\"").contains(fragment), "{fragment:?} isn't in: {}", output.stderr);
    }
}
