//! A filter with SCMP_ACT_NOTIFY: the agent gets the filter's listener and learns whose it is (runtime-spec, "The
//! Container Process State"). Runs in the host process.

use std::os::fd::RawFd;

use serde::Serialize;

use super::Listener;
use crate::fault::Effect;
use crate::process::hooks::StateJson;
use crate::sys::socket;

/// The name of the one descriptor.
const FD_NAME: &str = "seccompFd";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    /// In the host's pid namespace.
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a StateJson,
}

/// Sends the listener and the state to the agent, in one message. `pid` is the process with the filter: the container's init,
/// or one that came later.
pub fn hand_over(agent: RawFd, fd: RawFd, listener: &Listener, pid: i32, state: &StateJson) -> Effect {
    let message = render(listener, pid, state);
    socket::send_descriptor(agent, &message, fd)
}

fn render(listener: &Listener, pid: i32, state: &StateJson) -> Vec<u8> {
    let process = ProcessState {
        oci_version: &state.oci_version,
        fds: [FD_NAME],
        pid,
        metadata: listener.metadata.as_deref().filter(|text| !text.is_empty()),
        state,
    };
    // A struct of strings, integers and string keys always serialises.
    serde_json::to_vec(&process).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_the_one_that_agents_read() {
        let state = StateJson {
            oci_version: "1.3.0".into(),
            id: "web".into(),
            status: "creating",
            pid: 42,
            root: "/b/rootfs".into(),
            bundle: "/b".into(),
            annotations: Default::default(),
        };
        let listener = Listener { path: "/run/agent".into(), metadata: Some("opaque".into()) };
        let value: serde_json::Value = serde_json::from_slice(&render(&listener, 42, &state)).unwrap();
        assert_eq!(value["fds"], serde_json::json!(["seccompFd"]));
        assert_eq!((&value["pid"], &value["metadata"]), (&42.into(), &"opaque".into()));
        assert_eq!((&value["state"]["status"], &value["state"]["id"]), (&"creating".into(), &"web".into()));
        let silent = Listener { metadata: Some(String::new()), ..listener };
        let value: serde_json::Value = serde_json::from_slice(&render(&silent, 42, &state)).unwrap();
        assert!(value.get("metadata").is_none());
    }
}
