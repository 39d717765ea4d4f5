//! `state.json`: what `create` leaves for the verbs that come later, in a form of corten's own. Pure: bytes to record
//! and back. Reading is strict, because the pid in it is going to be signalled.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::init::Init;
use super::status::Status;
use crate::cgroups::Group;
use crate::cgroups::rdt::Rdt;
use crate::error::{Error, Result};
use crate::process::hooks::{Hook, StateJson};

/// Changes when a field changes its meaning. A state root lives in a tmpfs, so old records end with the next boot.
const VERSION: u32 = 1;

/// One container, as `create` knew it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub id: String,
    pub oci_version: String,
    /// `create` is at work or has died; false from the moment it leaves the container to `start`.
    pub creating: bool,
    /// `None` until the init exists.
    pub init: Option<Init>,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    pub annotations: BTreeMap<String, String>,
    /// User id of who called `create`.
    pub owner: u32,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
    /// The container has a pid namespace of its own, so its processes end with its init.
    pub private_pid_namespace: bool,
    /// Where the container's cgroups are.
    #[serde(default)]
    pub group: Group,
    /// Its class of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Rdt>,
    /// config.json has a `process`; without one the container can be made but not started.
    pub has_process: bool,
    pub terminal: bool,
    /// It keeps its caller's session keyring.
    #[serde(default)]
    pub no_new_keyring: bool,
    /// The NOTIFY_SOCKET of who called `create`. The container then has a socket of its own, which `start` serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_socket: Option<String>,
}

impl Record {
    /// A container that is being created now; the rest is filled in by who knows it.
    pub fn new(id: &str, oci_version: &str, bundle: PathBuf, rootfs: PathBuf) -> Record {
        Record {
            id: id.to_owned(),
            oci_version: oci_version.to_owned(),
            creating: true,
            init: None,
            bundle,
            rootfs,
            created: timestamp(OffsetDateTime::now_utc()),
            annotations: BTreeMap::new(),
            owner: nix::unistd::geteuid().as_raw(),
            poststart: Vec::new(),
            poststop: Vec::new(),
            private_pid_namespace: true,
            group: Group::default(),
            rdt: None,
            has_process: true,
            terminal: false,
            no_new_keyring: false,
            notify_socket: None,
        }
    }

    /// Bytes of state.json as a record; [`Error::DamagedState`] for anything that corten can't have written.
    pub fn parse(id: &str, bytes: &[u8]) -> Result<Record> {
        let damaged = |why: String| Error::DamagedState { id: id.to_owned(), why };
        /// Read first, because a record of another version may miss everything else.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(|e| damaged(format!("state.json: {e}")))?;
        if version != VERSION {
            return Err(damaged(format!("state.json has version {version}, and this corten reads {VERSION}")));
        }
        let record: Record = serde_json::from_slice(bytes).map_err(|e| damaged(format!("state.json: {e}")))?;
        if record.id != id {
            return Err(damaged(format!("state.json is that of container {:?}", record.id)));
        }
        // kill(2) gives 0 and negative numbers a meaning, and 1 is never ours.
        match record.init {
            Some(init) if init.pid <= 1 => Err(damaged(format!("state.json has the impossible pid {}", init.pid))),
            _ => Ok(record),
        }
    }

    /// The bytes of state.json. Fails only for a path that is no UTF-8, which JSON can't hold.
    pub fn render(&self) -> Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Versioned<'a> {
            version: u32,
            #[serde(flatten)]
            record: &'a Record,
        }
        serde_json::to_vec(&Versioned { version: VERSION, record: self })
            .map_err(|e| Error::Usage(format!("the paths of container {:?} can't be recorded: {e}", self.id)))
    }

    /// The init's pid as `state` shows it: 0 when there is none.
    pub fn pid(&self, status: Status) -> i32 {
        match (status, self.init) {
            (Status::Stopped, _) | (_, None) => 0,
            (_, Some(init)) => init.pid,
        }
    }

    /// What hooks read on stdin.
    pub fn state_json(&self, status: Status) -> StateJson {
        StateJson {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status: status.name(),
            pid: self.pid(status),
            root: self.rootfs.to_string_lossy().into_owned(),
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.annotations.clone(),
        }
    }
}

/// RFC 3339 in UTC, with as many digits of the second as there are. Years beyond 9999 have no such form.
fn timestamp(now: OffsetDateTime) -> String {
    now.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn full() -> Record {
        let hook = Hook { path: "/h".into(), args: vec!["h".into()], env: Some(vec![]), timeout: Some(3) };
        Record {
            creating: false,
            init: Some(Init { pid: 4711, start_time: 99 }),
            annotations: BTreeMap::from([("org.example/\"x\"".into(), "ü\n".into())]),
            poststart: vec![hook.clone()],
            poststop: vec![hook],
            private_pid_namespace: false,
            terminal: true,
            notify_socket: Some("@service".into()),
            ..Record::new("web", "1.3.0", "/b".into(), "/b/rootfs".into())
        }
    }

    #[test]
    fn a_record_survives_the_disk() {
        for record in [full(), Record::new("web", "1.0.2-dev", "/".into(), "/r".into())] {
            assert_eq!(Record::parse("web", &record.render().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_damaged_and_never_a_panic() {
        let bytes = full().render().unwrap();
        for end in 0..bytes.len() {
            let error = Record::parse("web", &bytes[..end]).unwrap_err();
            assert!(matches!(error, Error::DamagedState { .. }), "{end}: {error}");
        }
    }

    #[test]
    fn a_flipped_byte_is_read_right_or_refused_and_never_a_panic() {
        let bytes = full().render().unwrap();
        for at in 0..bytes.len() {
            for change in [1, 0x20, 0x80] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                if let Ok(record) = Record::parse("web", &bytes) {
                    assert!(record.init.is_none_or(|init| init.pid > 1));
                }
            }
        }
    }

    #[test]
    fn a_record_of_another_version_or_container_is_refused() {
        let text = String::from_utf8(full().render().unwrap()).unwrap();
        let parse = |text: &str| Record::parse("web", text.as_bytes()).unwrap_err().to_string();
        assert!(parse(&text.replace("\"version\":1", "\"version\":2")).contains("version 2"));
        assert!(parse(r#"{"version":7}"#).contains("version 7"));
        assert!(parse(&text.replace("\"id\":\"web\"", "\"id\":\"db\"")).contains("\"db\""));
        for pid in ["0", "-1", "1"] {
            assert!(parse(&text.replace("4711", pid)).contains("impossible pid"));
        }
    }

    #[test]
    fn a_path_that_json_cannot_hold_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let path = PathBuf::from(std::ffi::OsString::from_vec(vec![b'/', 0xff]));
        assert!(Record::new("web", "1.3.0", path, "/r".into()).render().is_err());
    }

    #[test]
    fn the_time_of_creation_is_utc_with_a_z() {
        let created = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_789).unwrap();
        assert_eq!(timestamp(created), "2023-11-14T22:13:20.123456789Z");
    }

    #[test]
    fn a_stopped_container_has_no_pid() {
        assert_eq!((full().pid(Status::Stopped), full().pid(Status::Running)), (0, 4711));
        assert_eq!(full().state_json(Status::Stopped).pid, 0);
    }
}
