//! From bytes to the typed model. The hot path is one pass of the parser and a few look-ups; only when that pass fails
//! does [`lenient`](super::lenient) look at the document again.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lenient::{self, Document};
use super::{Config, Warning, locate, warn};
use crate::error::Result;
use crate::field::Field;

/// Parses config.json. `path` only serves messages.
///
/// # Errors
/// [`Error::Syntax`](crate::error::Error::Syntax) when it is no JSON,
/// [`Error::Violations`](crate::error::Error::Violations) with everything that doesn't fit the schema.
pub fn config(path: PathBuf, bytes: Vec<u8>) -> Result<Config> {
    let (spec, warnings) = document::<Spec>(&path, &bytes, &lenient::CONFIG)?;
    Ok(assemble(path, bytes, spec, warnings))
}

/// Puts a config together from a model and the bytes it was read from.
pub(super) fn assemble(path: PathBuf, bytes: Vec<u8>, mut spec: Spec, mut warnings: Vec<Warning>) -> Config {
    forget_empty_strings(&mut spec);
    take_receiver(&mut spec);
    take_old_monitoring(&mut spec, &bytes);
    if let Some(resources) = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        forget_absent_pids_limit(resources, &bytes, &Field::at("/linux/resources"));
    }
    warnings.extend(warn::of_spec(&spec));
    Config { path, bytes, spec, warnings }
}

/// Parses the file of `exec --process`. Fields of its violations point into that file: `/cwd`.
///
/// # Errors
/// As [`config`].
pub fn process(path: &Path, bytes: &[u8]) -> Result<(Process, Vec<Warning>)> {
    let (mut process, mut warnings) = document::<Process>(path, bytes, &lenient::PROCESS)?;
    forget_empty_labels(&mut process);
    warnings.extend(warn::of_process(&process, &Field::RUNTIME));
    Ok((process, warnings))
}

/// Parses the file of `update --resources`.
///
/// # Errors
/// As [`config`].
pub fn resources(path: &Path, bytes: &[u8]) -> Result<LinuxResources> {
    let (mut resources, _) = document::<LinuxResources>(path, bytes, &lenient::RESOURCES)?;
    forget_absent_pids_limit(&mut resources, bytes, &Field::RUNTIME);
    Ok(resources)
}

/// Parses the file of `mounts add` and `mounts remove`. Fields of its violations point into that file: `/0/source`.
///
/// # Errors
/// As [`config`].
pub fn mounts(path: &Path, bytes: &[u8]) -> Result<Vec<Mount>> {
    serde_json::from_slice(bytes).or_else(|error| lenient::read_mounts(path, bytes, &error))
}

fn document<T: DeserializeOwned>(path: &Path, bytes: &[u8], document: &Document) -> Result<(T, Vec<Warning>)> {
    match serde_json::from_slice(bytes) {
        Ok(model) => Ok((model, Vec::new())),
        Err(error) => lenient::read(path, bytes, document, &error),
    }
}

/// The model shows the real limit 0 where `pids` has no `limit`, and then nothing is to be set.
fn forget_absent_pids_limit(resources: &mut LinuxResources, bytes: &[u8], at: &Field) {
    let is_zero = resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0);
    if is_zero && !locate::is_set(bytes, &at.key("pids").key("limit")) {
        resources.set_pids(None);
    }
}

/// Engines are written in Go, where an unset string is the empty one and is often written out. What has no meaning as
/// an empty string is therefore unset, so that no planner has to ask twice.
fn forget_empty_strings(spec: &mut Spec) {
    if spec.hostname().as_deref() == Some("") {
        spec.set_hostname(None);
    }
    if spec.domainname().as_deref() == Some("") {
        spec.set_domainname(None);
    }
    if let Some(process) = spec.process_mut() {
        forget_empty_labels(process);
    }
    let Some(linux) = spec.linux_mut() else { return };
    let is_empty = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
    if is_empty(linux.cgroups_path()) {
        linux.set_cgroups_path(None);
    }
    if linux.mount_label().as_deref() == Some("") {
        linux.set_mount_label(None);
    }
    if linux.rootfs_propagation().as_deref() == Some("") {
        linux.set_rootfs_propagation(None);
    }
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        if is_empty(namespace.path()) {
            namespace.set_path(None);
        }
    }
    if let Some(seccomp) = linux.seccomp_mut() {
        if is_empty(seccomp.listener_path()) {
            seccomp.set_listener_path(None);
        }
    }
}

/// The names that `enableMonitoring` had before runtime-spec 1.3, which the model spells in another way than the spec.
fn take_old_monitoring(spec: &mut Spec, bytes: &[u8]) {
    let Some(rdt) = spec.linux_mut().as_mut().and_then(|linux| linux.intel_rdt_mut().as_mut()) else { return };
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if ["enableCMT", "enableMBM"].iter().any(|name| document["linux"]["intelRdt"][*name] == true) {
        rdt.set_enable_monitoring(Some(true));
    }
}

/// crun's annotation for the socket of a seccomp agent, from before the specification had `listenerPath`, which wins.
fn take_receiver(spec: &mut Spec) {
    let annotation = spec.annotations().as_ref().and_then(|all| all.get("run.oci.seccomp.receiver"));
    let receiver = annotation.filter(|path| !path.is_empty()).map(PathBuf::from);
    let seccomp = spec.linux_mut().as_mut().and_then(|linux| linux.seccomp_mut().as_mut());
    if let Some(seccomp) = seccomp.filter(|seccomp| seccomp.listener_path().is_none()) {
        seccomp.set_listener_path(receiver);
    }
}

fn forget_empty_labels(process: &mut Process) {
    if process.apparmor_profile().as_deref() == Some("") {
        process.set_apparmor_profile(None);
    }
    if process.selinux_label().as_deref() == Some("") {
        process.set_selinux_label(None);
    }
}

#[cfg(test)]
pub(in crate::config) mod tests {
    use super::*;
    use crate::error::Error;
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::OnceLock;

    fn parse(text: &str) -> Result<Config> {
        config(PathBuf::from("config.json"), text.as_bytes().to_vec())
    }

    /// Every config.json that was recorded from an engine, with its name.
    pub(in crate::config) fn recorded() -> &'static [(String, Vec<u8>)] {
        static RECORDED: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
        RECORDED.get_or_init(|| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/fixtures/recorded");
            let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
        })
    }

    #[test]
    fn every_recorded_config_takes_the_hot_path() {
        assert_eq!(recorded().len(), 48);
        for (name, bytes) in recorded() {
            let parsed: Result<Spec, _> = serde_json::from_slice(bytes);
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
            config(PathBuf::from(name), bytes.clone()).unwrap();
        }
    }

    #[test]
    fn a_pids_object_without_a_limit_is_no_limit_of_zero() {
        let absent = |pids: &str| {
            let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"resources":{{"pids":{pids}}}}}}}"#);
            let spec = parse(&text).unwrap().spec;
            spec.linux().as_ref().unwrap().resources().as_ref().unwrap().pids().is_none()
        };
        assert!(absent("{}"));
        assert!(absent(r#"{"limit":null}"#));
        assert!(!absent(r#"{"limit":0}"#));
        assert!(!absent(r#"{"limit":5}"#));
        assert!(absent("null"));
        assert_eq!(*resources(Path::new("-"), br#"{"pids":{}}"#).unwrap().pids(), None);
    }

    #[test]
    fn monitoring_has_older_names() {
        for (rdt, watched) in [
            (json!({"enableCMT": true}), Some(true)),
            (json!({"enableMBM": true, "enableCMT": false}), Some(true)),
            (json!({"enableCMT": false}), None),
            (json!({"enableMonitoring": false}), Some(false)),
        ] {
            let text = json!({"ociVersion": "1.0.2", "root": {"path": "r"}, "linux": {"intelRdt": rdt}}).to_string();
            let config = parse(&text).unwrap();
            let rdt = config.spec.linux().as_ref().and_then(|linux| linux.intel_rdt().clone()).unwrap();
            assert_eq!(*rdt.enable_monitoring(), watched, "{text}");
        }
    }

    #[test]
    fn an_empty_string_without_a_meaning_is_unset() {
        let text = json!({
            "ociVersion": "1.3.0", "hostname": "", "process": {"cwd": "/", "user": {}, "apparmorProfile": ""},
            "linux": {"cgroupsPath": "", "rootfsPropagation": "", "namespaces": [{"type": "pid", "path": ""}],
                "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": ""}},
        });
        let spec = parse(&text.to_string()).unwrap().spec;
        assert_eq!(spec.hostname(), &None);
        assert_eq!(spec.process().as_ref().unwrap().apparmor_profile(), &None);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!((linux.cgroups_path(), linux.rootfs_propagation()), (&None, &None));
        assert_eq!(linux.namespaces().as_ref().unwrap()[0].path(), &None);
        assert_eq!(linux.seccomp().as_ref().unwrap().listener_path(), &None);
    }

    #[test]
    fn a_process_file_is_judged_in_its_own_terms() {
        let error = process(Path::new("p.json"), br#"{"args": "sh", "cwd": "/", "user": {}}"#).unwrap_err();
        assert_eq!(error.to_string(), "args: must be an array of strings, not a string");
        let (process, _) = process(Path::new("p.json"), br#"{"args": ["sh"], "cwd": "/"}"#).unwrap();
        assert_eq!(process.user().uid(), 0);
    }

    #[test]
    fn a_file_of_mounts_is_judged_in_its_own_terms() {
        let of = |text: &str| mounts(Path::new("m.json"), text.as_bytes());
        let list = of(r#"[{"destination": "/a", "source": null, "options": ["ro"]}, {"destination": "/b"}]"#).unwrap();
        assert_eq!((list.len(), list[0].source().as_deref()), (2, None));
        match of("[{\"destination\": \"/a\"},\n{\"destination\": 7}]").unwrap_err() {
            Error::Violations(violations) => {
                assert_eq!((violations[0].field.pointer(), violations[0].line), ("/1/destination", Some(2)));
            }
            other => panic!("{other}"),
        }
        for text in [r#"{"mounts": []}"#, "7", ""] {
            assert!(matches!(of(text).unwrap_err(), Error::Syntax { .. }), "{text}");
        }
    }

    #[test]
    fn the_schema_knows_all_that_the_model_refuses() {
        // One wrong value at a time for every property of a config that has them all.
        let full: serde_json::Value = serde_json::from_str(include_str!("schema/full.json")).unwrap();
        assert_eq!(super::super::schema::unknown_properties(full.to_string().as_bytes()), []);
        serde_json::from_value::<Spec>(full.clone()).unwrap();
        for number in 1..600 {
            for by in [
                json!(null),
                json!(true),
                json!(-1),
                json!(1.5),
                json!(u64::MAX),
                json!("\u{663}"),
                json!([[]]),
                json!({}),
            ] {
                let mut document = full.clone();
                replace(&mut document, &mut { number }, &by);
                let outcome = parse(&document.to_string());
                assert!(!matches!(outcome, Err(Error::Syntax { .. })), "{number}, {by}: {outcome:?}");
            }
        }
    }

    #[test]
    fn nesting_of_ten_thousand_levels_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in [deep.clone(), format!(r#"{{"mounts": {deep}}}"#), format!(r#"{{"process": {{"args": {deep}}}}}"#)]
        {
            let error = parse(&text).unwrap_err();
            assert!(matches!(error, Error::Syntax { .. } | Error::Violations(_)), "{error}");
        }
    }

    #[test]
    fn nesting_in_a_property_that_is_ignored_does_no_harm() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let text = format!(r#"{{"ociVersion": "1.3.0", "foreign": {deep}}}"#);
        // The parser skips what it doesn't know without recursion, and so does the look-up of lines.
        let config = parse(&text).unwrap();
        assert_eq!(locate::line_of(&config.bytes, &Field::at("/foreign/0")), Some(1));
        assert_eq!(super::super::schema::unknown_properties(&config.bytes), []);
    }

    /// What a broken file may lead to: a config, a complaint about the syntax, or violations with lines.
    fn survives(bytes: Vec<u8>) -> Result<(), TestCaseError> {
        match config(PathBuf::from("config.json"), bytes) {
            Ok(_) | Err(Error::Syntax { .. }) => Ok(()),
            Err(Error::Violations(violations)) => {
                prop_assert!(!violations.is_empty());
                prop_assert!(violations.iter().all(|v| v.line.is_some()), "{violations:?}");
                Ok(())
            }
            Err(other) => Err(TestCaseError::fail(format!("{other}"))),
        }
    }

    /// Replaces the value at the `number`th place of a document, counted depth first.
    fn replace(value: &mut serde_json::Value, number: &mut usize, by: &serde_json::Value) {
        if *number == 0 {
            *value = by.clone();
        }
        *number = number.wrapping_sub(1);
        match value {
            serde_json::Value::Object(map) => map.values_mut().for_each(|value| replace(value, number, by)),
            serde_json::Value::Array(list) => list.iter_mut().for_each(|value| replace(value, number, by)),
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn torn_and_bent_bytes_never_panic(
            file in 0usize..48, cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
            by in prop::collection::vec(prop::sample::select(b"\"\\{}[]:,0-9an\xff\x00 ".to_vec()), 0..4),
        ) {
            let bytes = &recorded()[file].1;
            survives(bytes[..cut.index(bytes.len())].to_vec())?;
            let mut bent = bytes.clone();
            let at = at.index(bent.len());
            bent.splice(at..(at + by.len()).min(bytes.len()), by);
            survives(bent)?;
        }

        #[test]
        fn a_value_of_another_kind_is_named_or_accepted(
            file in 0usize..48, number in 1usize..400,
            by in prop::sample::select(vec![json!(null), json!(true), json!(-1), json!(1.5), json!(u64::MAX), json!(""),
                json!("a\0b"), json!([]), json!([null]), json!({}), json!({"a": 1})]),
        ) {
            let mut document = serde_json::from_slice(&recorded()[file].1).unwrap();
            replace(&mut document, &mut { number }, &by);
            let bytes = serde_json::to_vec_pretty(&document).unwrap();
            // It is JSON, so the schema must know all that the model refuses.
            let outcome = config(PathBuf::from("config.json"), bytes.clone());
            prop_assert!(!matches!(outcome, Err(Error::Syntax { .. })), "{outcome:?}");
            survives(bytes)?;
        }
    }
}
