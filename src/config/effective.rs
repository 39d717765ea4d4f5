//! The config of a container that is there, with what it left to corten written out: what `spec --from` prints. Pure.
//!
//! Made from the bytes that the container was created with and from what `update` has kept since, so that what corten
//! doesn't know is in it as well. What can be had by the same config only in the same moment (ids of namespaces, HOME out
//! of the image's accounts) isn't.

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};

/// What the container's record says beside its config.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Absolute.
    pub rootfs: String,
    /// In the form of the driver that made the cgroups; `None` without control groups.
    pub cgroups_path: Option<String>,
}

/// The devices that every container has (config-linux.md, "Default Devices"), but for /dev/console and /dev/ptmx, which
/// come with the terminal and the mount on /dev/pts.
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Writes out what the config left open.
pub fn effective(mut config: Value, facts: &Facts) -> Value {
    let Some(top) = config.as_object_mut() else { return config };
    let root = object(top, "root");
    root.insert("path".to_owned(), json!(facts.rootfs));
    default(root, "readonly", json!(false));
    if let Some(process) = top.get_mut("process").and_then(Value::as_object_mut) {
        for (key, value) in [("terminal", json!(false)), ("noNewPrivileges", json!(false)), ("env", json!([]))] {
            default(process, key, value);
        }
        let user = object(process, "user");
        for (key, value) in [("uid", 0), ("gid", 0), ("umask", 0o022)] {
            default(user, key, json!(value));
        }
        let capabilities = object(process, "capabilities");
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            default(capabilities, set, json!([]));
        }
    }
    default(top, "mounts", json!([]));
    let linux = object(top, "linux");
    for list in ["namespaces", "devices", "maskedPaths", "readonlyPaths"] {
        default(linux, list, json!([]));
    }
    default(linux, "rootfsPropagation", json!("private"));
    if let Some(path) = &facts.cgroups_path {
        default(linux, "cgroupsPath", json!(path));
    }
    add_devices(linux);
    config
}

/// An object, made where there is none or null.
fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let place = map.entry(key).or_insert(Value::Null);
    if !place.is_object() {
        *place = json!({});
    }
    match place {
        Value::Object(map) => map,
        _ => unreachable!("it was made one"),
    }
}

/// Go writes null for what isn't set.
fn default(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

fn add_devices(linux: &mut Map<String, Value>) {
    let Some(devices) = linux.get_mut("devices").and_then(Value::as_array_mut) else { return };
    for (path, major, minor) in DEVICES {
        if !devices.iter().any(|device| device["path"] == path) {
            devices.push(json!({"path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666}));
        }
    }
}

/// The order in which people read a config; what isn't here comes behind, in that of the alphabet.
const ORDER: [&str; 32] = [
    "ociVersion",
    "process",
    "root",
    "hostname",
    "domainname",
    "mounts",
    "hooks",
    "annotations",
    "linux",
    "terminal",
    "consoleSize",
    "user",
    "uid",
    "gid",
    "umask",
    "args",
    "env",
    "cwd",
    "capabilities",
    "rlimits",
    "destination",
    "path",
    "type",
    "source",
    "options",
    "major",
    "minor",
    "namespaces",
    "uidMappings",
    "gidMappings",
    "resources",
    "cgroupsPath",
];

/// A document whose keys stand in that order.
pub struct Ordered<'a>(pub &'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let rank = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by(|(a, _), (b, _)| (rank(a), a).cmp(&(rank(b), b)));
                let mut into = serializer.serialize_map(Some(entries.len()))?;
                entries.into_iter().try_for_each(|(key, value)| into.serialize_entry(key, &Ordered(value)))?;
                into.end()
            }
            Value::Array(items) => {
                let mut into = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| into.serialize_element(&Ordered(item)))?;
                into.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::config::validate::validate;
    use crate::host::Host;
    use crate::request::{Mode, Request};

    fn facts() -> Facts {
        Facts { rootfs: "/b/rootfs".into(), cgroups_path: Some("/web".into()) }
    }

    fn small() -> Value {
        json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"args": ["sh"], "cwd": "/", "user": null},
            "org.example.unknown": 7})
    }

    #[test]
    fn what_was_left_open_is_written_out_and_the_rest_stays() {
        let config = effective(small(), &facts());
        assert_eq!((&config["root"]["path"], &config["root"]["readonly"]), (&json!("/b/rootfs"), &json!(false)));
        assert_eq!(config["process"]["user"], json!({"uid": 0, "gid": 0, "umask": 18}));
        assert_eq!(config["process"]["capabilities"]["bounding"], json!([]));
        assert_eq!((&config["process"]["args"], &config["org.example.unknown"]), (&json!(["sh"]), &json!(7)));
        assert_eq!(config["linux"]["cgroupsPath"], "/web");
        assert_eq!(config["linux"]["devices"].as_array().unwrap().len(), 6);
        assert_eq!(effective(config.clone(), &facts()), config, "nothing is left to be written out");
    }

    #[test]
    fn what_was_given_is_not_touched() {
        let mut given = small();
        given["process"]["user"] = json!({"uid": 5, "gid": 6, "umask": 63});
        given["linux"] = json!({"cgroupsPath": "/mine", "rootfsPropagation": "slave",
            "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}]});
        let config = effective(given, &facts());
        assert_eq!(config["process"]["user"], json!({"uid": 5, "gid": 6, "umask": 63}));
        assert_eq!(
            (&config["linux"]["cgroupsPath"], &config["linux"]["rootfsPropagation"]),
            (&json!("/mine"), &json!("slave"))
        );
        assert_eq!(config["linux"]["devices"][0]["fileMode"], 0o600);
        assert_eq!(config["linux"]["devices"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn every_recorded_config_is_as_valid_as_before() {
        for (name, bytes) in parse::tests::recorded() {
            let config = effective(serde_json::from_slice(bytes).unwrap(), &facts());
            let bytes = serde_json::to_vec_pretty(&Ordered(&config)).unwrap();
            let config = parse::config(name.into(), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let terminal = config.spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
            let request = Request {
                console_socket: terminal.then(|| "/s".into()),
                ..Request::new("web", "/bundle", Mode::Create)
            };
            let found = validate(&config, &request, &Host::fixture());
            assert!(found.is_empty(), "{name}: {found:?}");
        }
    }

    #[test]
    fn keys_stand_in_reading_order() {
        let text = serde_json::to_string(&Ordered(&effective(small(), &facts()))).unwrap();
        let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap();
        let keys =
            ["ociVersion", "process", "user", "uid", "args", "cwd", "root", "mounts", "linux", "org.example.unknown"];
        assert!(keys.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{text}");
    }
}
