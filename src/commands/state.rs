//! `corten state ID`: the container's state as JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::cli::{Globals, StateArgs};
use crate::container::{ContainerId, Record, Status, Store};
use crate::error::{Error, Result};
use crate::fault::Call;
use crate::log::Log;

/// The state of runtime-spec (runtime.md, "State") with the keys that engines read besides, in runc's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State<'a> {
    oci_version: &'a str,
    pub(super) id: &'a str,
    pub(super) pid: i32,
    pub(super) status: &'static str,
    pub(super) bundle: &'a Path,
    rootfs: &'a Path,
    pub(super) created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    /// A string that may be empty; engines choke on a number.
    pub(super) owner: String,
}

impl State<'_> {
    pub(super) fn of(record: &Record, status: Status, owner: String) -> State<'_> {
        State {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: record.pid(status),
            status: status.name(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner,
        }
    }
}

pub fn run(globals: &Globals, args: StateArgs, _log: &mut Log) -> Result<i32> {
    let (dir, record) = Store::open(&globals.root)?.load(&ContainerId::parse(&args.id)?)?;
    let text = render(&record, dir.status(&record)?)?;
    print(text.as_bytes())?;
    Ok(0)
}

/// Indented by two, without an end of line.
fn render(record: &Record, status: Status) -> Result<String> {
    json(serde_json::to_string_pretty(&State::of(record, status, String::new())))
}

pub(super) fn json(text: serde_json::Result<String>) -> Result<String> {
    text.map_err(|e| Error::Usage(format!("the state can't be shown as JSON: {e}")))
}

pub(super) fn print(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(|e| Error::io("write to stdout", Call::Write, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::init::Init;

    #[test]
    fn the_state_has_the_keys_and_the_layout_that_engines_know() {
        let mut record = Record {
            creating: false,
            init: Some(Init { pid: 4711, start_time: 1 }),
            created: "2023-11-14T22:13:20.5Z".into(),
            ..Record::new("web", "1.3.0", "/b".into(), "/b/rootfs".into())
        };
        let expected = r#"{
  "ociVersion": "1.3.0",
  "id": "web",
  "pid": 4711,
  "status": "running",
  "bundle": "/b",
  "rootfs": "/b/rootfs",
  "created": "2023-11-14T22:13:20.5Z",
  "owner": ""
}"#;
        assert_eq!(render(&record, Status::Running).unwrap(), expected);
        record.annotations.insert("a/b".into(), "<x>".into());
        let stopped = render(&record, Status::Stopped).unwrap();
        assert!(stopped.contains("\"pid\": 0,\n  \"status\": \"stopped\""), "{stopped}");
        assert!(stopped.contains("  \"annotations\": {\n    \"a/b\": \"<x>\"\n  },\n  \"owner\""), "{stopped}");
    }

    #[test]
    fn an_unknown_container_does_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            super::super::typed(&["--root", &dir.path().to_string_lossy(), "state", "web"]).unwrap_err().to_string(),
            "container does not exist"
        );
        assert!(matches!(
            super::super::typed(&["--root", &dir.path().to_string_lossy(), "state", "a/b"]),
            Err(Error::BadId { .. })
        ));
    }
}
