//! The second look at a document that the strict parser refused: step around what the typed model doesn't know but the
//! spec allows, and try again; name everything that is wrong when that fails too.
//!
//! Each step keeps the meaning. Gaps of the model (oci-spec 0.10), each with a test below: its own spelling of two
//! scheduler flags; unknown capabilities, which the spec wants warned about and ignored; an empty type of a device
//! rule; huge page limits above i64; null where a default stands; CPU lists with blanks; an absent `process.user`;
//! a seccomp object that asks for nothing; sections of other systems.

use std::path::Path;

use oci_spec::runtime::Capability;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::schema::{self, Kind};
use super::{Warning, locate};
use crate::error::{Error, Result, Violation};
use crate::field::Field;

/// One of the three documents that corten reads.
pub struct Document {
    kind: &'static Kind,
    mend: fn(&mut Map<String, Value>, &mut Vec<Warning>),
    /// Where the process stands in it, if it has one.
    process: &'static str,
}

/// config.json.
pub static CONFIG: Document = Document { kind: &schema::CONFIG, mend: mend_config, process: "/process" };
/// The file of `exec --process`.
pub static PROCESS: Document = Document {
    kind: &schema::PROCESS_FILE,
    mend: |map, warnings| mend_process(map, &Field::RUNTIME, warnings),
    process: "",
};
/// The file of `update --resources`.
pub static RESOURCES: Document =
    Document { kind: &schema::RESOURCES_FILE, mend: |map, _| mend_resources(map), process: "/process" };

/// Reads a document that the strict parser refused with `strict`.
///
/// # Errors
/// [`Error::Syntax`] for what is no JSON object, [`Error::Violations`] for what doesn't fit the schema: all of it.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    document: &Document,
    strict: &serde_json::Error,
) -> Result<(T, Vec<Warning>)> {
    let syntax = |error: &serde_json::Error| Error::Syntax {
        path: path.to_owned(),
        line: error.line().max(1),
        why: error.to_string(),
    };
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| syntax(&error))?;
    let Some(map) = value.as_object_mut() else {
        let why = "the file must hold a JSON object".to_owned();
        return Err(Error::Syntax { path: path.to_owned(), line: 1, why });
    };
    let mut warnings = Vec::new();
    if let Some(name) = strict.to_string().strip_prefix("duplicate field ").and_then(|rest| rest.split(' ').next()) {
        let text = format!("{name} stands twice (line {}): the last one counts", strict.line());
        warnings.push(Warning::new(Field::at("config.json"), text));
    }
    mend(map, document, &mut warnings);
    if let Some(model) = model(&value) {
        return Ok((model, warnings));
    }
    let complaints = schema::complaints(&value, document.kind);
    if let Some(model) = without_cwd(&mut value, document, &complaints) {
        return Ok((model, warnings));
    }
    // The table is meant to know all that the model refuses; should it not, the parser's own words have to do.
    if complaints.is_empty() { Err(syntax(strict)) } else { Err(Error::Violations(with_lines(bytes, complaints))) }
}

/// Reads the file of `mounts add`, a list, which the strict parser refused with `strict`.
///
/// # Errors
/// As [`read`].
pub fn read_mounts<T: DeserializeOwned>(path: &Path, bytes: &[u8], strict: &serde_json::Error) -> Result<T> {
    let syntax = |line: usize, why: String| Error::Syntax { path: path.to_owned(), line: line.max(1), why };
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| syntax(error.line(), error.to_string()))?;
    if !value.is_array() {
        return Err(syntax(1, "mounts must be an array, as `mounts` of config.json is one".to_owned()));
    }
    schema::drop_nulls(&mut value, &schema::MOUNTS_FILE);
    if let Some(model) = model(&value) {
        return Ok(model);
    }
    match schema::complaints(&value, &schema::MOUNTS_FILE) {
        complaints if complaints.is_empty() => Err(syntax(strict.line(), strict.to_string())),
        complaints => Err(Error::Violations(with_lines(bytes, complaints))),
    }
}

/// Takes what is broken out of a document, so that the rest can be validated: the model of the rest and the complaints
/// about what was taken out. `None` for what is no JSON object. Only `check` uses this: nothing runs from it.
pub fn salvage<T: DeserializeOwned>(bytes: &[u8], document: &Document) -> Option<(T, Vec<Violation>)> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    mend(value.as_object_mut()?, document, &mut Vec::new());
    let complaints = schema::complaints(&value, document.kind);
    let mut broken = complaints.clone();
    // What is taken out may leave an object without a property that it needs, and so on up to the top.
    for _ in 0..DEEPEST {
        for complaint in broken.iter().rev() {
            let pointer = complaint.field.pointer();
            let broken = if value.pointer(pointer).is_some() { Some(pointer) } else { parent(pointer, document) };
            if let Some(pointer) = broken {
                take_out(&mut value, pointer);
            }
        }
        if let Some(process) = value.pointer_mut(document.process).and_then(Value::as_object_mut) {
            process.entry("cwd").or_insert_with(|| "/".into());
            process.entry("user").or_insert_with(|| Value::Object(Map::new()));
        }
        if let Some(model) = model(&value) {
            return Some((model, with_lines(bytes, complaints)));
        }
        broken = schema::complaints(&value, document.kind);
    }
    None
}

/// How many objects stand around the deepest property of the spec.
const DEEPEST: usize = 8;

/// Removes a property, or the whole array for one of its elements: the numbers of the others must not change.
fn take_out(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(_)) => take_out(value, parent),
        _ => {}
    }
}

/// The object that lacks a property: nothing can be made of it. The document and its process stay in any case.
fn parent<'p>(pointer: &'p str, document: &Document) -> Option<&'p str> {
    let (parent, _) = pointer.rsplit_once('/')?;
    (!parent.is_empty() && parent != document.process).then_some(parent)
}

/// An absent working directory alone is left to validation, which names it together with every other broken rule.
fn without_cwd<T: DeserializeOwned>(value: &mut Value, document: &Document, complaints: &[Violation]) -> Option<T> {
    let [only] = complaints else { return None };
    if only.field.pointer().strip_prefix(document.process) != Some("/cwd") {
        return None;
    }
    let process = value.pointer_mut(document.process)?.as_object_mut()?;
    process.entry("cwd").or_insert_with(|| "".into());
    model(value)
}

/// By way of bytes: a second set of deserialisers, for values, would make the binary larger by a tenth.
fn model<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_slice(&serde_json::to_vec(value).ok()?).ok()
}

/// Fills the lines of violations in.
pub fn with_lines(bytes: &[u8], mut violations: Vec<Violation>) -> Vec<Violation> {
    let fields: Vec<&Field> = violations.iter().map(|violation| &violation.field).collect();
    let lines = locate::lines_of(bytes, &fields);
    violations.iter_mut().zip(lines).for_each(|(violation, line)| violation.line = line);
    violations
}

fn mend(map: &mut Map<String, Value>, document: &Document, warnings: &mut Vec<Warning>) {
    let mut value = Value::Object(std::mem::take(map));
    schema::drop_nulls(&mut value, document.kind);
    if let Value::Object(mended) = value {
        *map = mended;
    }
    (document.mend)(map, warnings);
}

fn mend_config(map: &mut Map<String, Value>, warnings: &mut Vec<Warning>) {
    // The model knows two properties at the top that no version of the spec has.
    for foreign in ["solaris", "windows", "vm", "zos", "uidMappings", "gidMappings"] {
        map.remove(foreign);
    }
    if let Some(process) = object(map, "process") {
        mend_process(process, &Field::at("/process"), warnings);
    }
    let Some(linux) = object(map, "linux") else { return };
    if linux.get("seccomp").is_some_and(asks_for_nothing) {
        linux.remove("seccomp");
        warnings
            .push(Warning::new(Field::at("/linux/seccomp"), "has no default action and no syscalls: no filter is set"));
    }
    if let Some(resources) = object(linux, "resources") {
        mend_resources(resources);
    }
}

/// An empty seccomp object is how some engines write "unconfined".
fn asks_for_nothing(seccomp: &Value) -> bool {
    let empty = |key: &str| match seccomp.get(key) {
        None => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    seccomp.is_object() && empty("defaultAction") && empty("syscalls")
}

fn mend_process(process: &mut Map<String, Value>, at: &Field, warnings: &mut Vec<Warning>) {
    if !process.contains_key("user") {
        process.insert("user".to_owned(), Value::Object(Map::new()));
        warnings.push(Warning::new(at.key("user"), "is absent: the process runs as uid 0, gid 0"));
    }
    if let Some(flags) = object(process, "scheduler").and_then(|scheduler| scheduler.get_mut("flags")) {
        flags.as_array_mut().into_iter().flatten().for_each(respell_scheduler_flag);
    }
    if let Some(affinity) = object(process, "execCPUAffinity") {
        affinity.retain(|_, list| !tidy_cpu_list(list));
    }
    if let Some(sets) = object(process, "capabilities") {
        let mut unknown = Vec::new();
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            if let Some(Value::Array(names)) = sets.get_mut(set) {
                names.retain(|name| is_capability(name) || !unknown_name(name, &mut unknown));
            }
        }
        unknown.sort();
        unknown.dedup();
        if !unknown.is_empty() {
            let text = format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" "));
            warnings.push(Warning::new(at.key("capabilities"), text));
        }
    }
}

fn is_capability(name: &Value) -> bool {
    serde::Deserialize::deserialize(name).map(|_: Capability| ()).is_ok()
}

/// Notes the name of an unknown capability; what isn't even a string is no name and stays, as a wrong type.
fn unknown_name(name: &Value, unknown: &mut Vec<String>) -> bool {
    name.as_str().map(|name| unknown.push(name.to_owned())).is_some()
}

/// The model has variants for these two flags of sched_setattr(2) but misspells their words.
fn respell_scheduler_flag(flag: &mut Value) {
    match flag.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
        Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
        _ => {}
    }
}

/// Blanks around the parts of a CPU list and empty parts are harmless. True when nothing is left of the list.
fn tidy_cpu_list(list: &mut Value) -> bool {
    let Some(text) = list.as_str() else { return false };
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let tidy = parts.join(",");
    let empty = tidy.is_empty();
    *list = tidy.into();
    empty
}

fn mend_resources(resources: &mut Map<String, Value>) {
    for rule in objects(resources, "devices") {
        // An empty type means all devices, as an absent one does.
        if rule.get("type").and_then(Value::as_str) == Some("") {
            rule.remove("type");
        }
    }
    for limit in objects(resources, "hugepageLimits") {
        // The kernel clips a limit to fewer bytes than i64 holds (page_counter), so nothing is lost.
        if limit.get("limit").and_then(Value::as_u64).is_some_and(|bytes| bytes > i64::MAX as u64) {
            limit.insert("limit".to_owned(), i64::MAX.into());
        }
    }
}

fn object<'m>(map: &'m mut Map<String, Value>, key: &str) -> Option<&'m mut Map<String, Value>> {
    map.get_mut(key)?.as_object_mut()
}

fn objects<'m>(map: &'m mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'m mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use oci_spec::runtime::{LinuxSchedulerFlag, Spec};
    use serde_json::json;
    use std::path::PathBuf;

    fn parsed(document: Value) -> Result<super::super::Config> {
        parse::config(PathBuf::from("config.json"), serde_json::to_vec_pretty(&document).unwrap())
    }

    /// A document with one process property, that the strict parser must refuse.
    fn with_process(name: &str, value: Value) -> super::super::Config {
        let mut document = json!({"ociVersion": "1.3.0", "process": {"cwd": "/", "args": ["x"], "user": {}}});
        document["process"][name] = value;
        assert!(Spec::deserialize_fails(&document), "the model has learnt it: remove the step");
        parsed(document).unwrap()
    }

    fn with_resources(name: &str, value: Value) -> super::super::Config {
        let mut document = json!({"ociVersion": "1.3.0", "linux": {"resources": {}}});
        document["linux"]["resources"][name] = value;
        assert!(Spec::deserialize_fails(&document), "the model has learnt it: remove the step");
        parsed(document).unwrap()
    }

    trait Fails {
        fn deserialize_fails(document: &Value) -> bool;
    }

    impl Fails for Spec {
        fn deserialize_fails(document: &Value) -> bool {
            <Spec as serde::Deserialize>::deserialize(document).is_err()
        }
    }

    #[test]
    fn both_scheduler_flags_that_the_model_misspells_are_kept() {
        let flags = json!(["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]);
        let config = with_process("scheduler", json!({"policy": "SCHED_DEADLINE", "flags": flags}));
        let scheduler = config.spec.process().as_ref().unwrap().scheduler().as_ref().unwrap();
        assert_eq!(
            scheduler.flags().as_ref().unwrap(),
            &[
                LinuxSchedulerFlag::SchedResetOnFork,
                LinuxSchedulerFlag::SchedFlagDLOverrun,
                LinuxSchedulerFlag::SchedFlagReclaim
            ]
        );
    }

    #[test]
    fn unknown_capabilities_are_dropped_with_one_warning() {
        let sets = json!({"bounding": ["CAP_FOO", "CAP_KILL"], "permitted": ["CAP_FOO", "CAP_BAR"]});
        let config = with_process("capabilities", sets);
        let sets = config.spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert_eq!(sets.permitted().as_ref().unwrap().len(), 0);
        assert_eq!(config.warnings[0].field, Field::at("/process/capabilities"));
        assert_eq!(config.warnings[0].text, "ignoring unknown or unavailable capabilities: [CAP_BAR CAP_FOO]");
    }

    #[test]
    fn an_empty_device_type_means_all() {
        let config = with_resources("devices", json!([{"allow": false, "type": "", "access": "rwm"}]));
        let resources = config.spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert_eq!(resources.devices().as_ref().unwrap()[0].typ(), None);
    }

    #[test]
    fn a_huge_page_limit_above_i64_is_the_highest_limit() {
        let config = with_resources("hugepageLimits", json!([{"pageSize": "2MB", "limit": u64::MAX}]));
        let resources = config.spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);
    }

    #[test]
    fn null_where_the_model_has_a_default_is_absent() {
        let config = with_resources("pids", json!({"limit": null}));
        assert_eq!(*config.spec.linux().as_ref().unwrap().resources().as_ref().unwrap().pids(), None);
    }

    #[test]
    fn blanks_and_empty_parts_of_a_cpu_list_are_harmless() {
        let config = with_process("execCPUAffinity", json!({"initial": " 0-3, 7,", "final": ""}));
        let affinity = config.spec.process().as_ref().unwrap().exec_cpu_affinity().clone().unwrap();
        assert_eq!(affinity.initial().as_deref(), Some("0-3,7"));
        assert_eq!(affinity.cpu_affinity_final(), &None);
    }

    #[test]
    fn an_absent_user_is_root_with_a_warning() {
        let config = parsed(json!({"ociVersion": "1.3.0", "process": {"cwd": "/"}})).unwrap();
        assert_eq!(config.spec.process().as_ref().unwrap().user().uid(), 0);
        assert_eq!(config.warnings[0].field, Field::at("/process/user"));
    }

    #[test]
    fn a_seccomp_object_that_asks_for_nothing_is_none() {
        for seccomp in [json!({}), json!({"defaultAction": "", "syscalls": []})] {
            let config = parsed(json!({"ociVersion": "1.3.0", "linux": {"seccomp": seccomp}})).unwrap();
            assert_eq!(config.spec.linux().as_ref().unwrap().seccomp(), &None);
            assert_eq!(config.warnings[0].field, Field::at("/linux/seccomp"));
        }
        let seccomp = json!({"syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW"}]});
        let error =
            parsed(json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "linux": {"seccomp": seccomp}})).unwrap_err();
        assert_eq!(error.to_string(), "linux.seccomp.defaultAction: is required");
    }

    #[test]
    fn sections_of_other_systems_are_not_judged() {
        let document = json!({"ociVersion": "1.3.0", "vm": {"hwConfig": 1}, "windows": {"devices": 7}, "zos": 1, "uidMappings": 3});
        parsed(document).unwrap();
    }

    #[test]
    fn of_a_property_that_stands_twice_the_last_counts() {
        let text = b"{\"ociVersion\": \"1.3.0\", \"hostname\": \"a\",\n\"hostname\": \"b\"}";
        let config = parse::config(PathBuf::from("config.json"), text.to_vec()).unwrap();
        assert_eq!(config.spec.hostname().as_deref(), Some("b"));
        assert!(config.warnings[0].text.contains("`hostname` stands twice (line 2)"), "{:?}", config.warnings);
    }

    #[test]
    fn everything_that_does_not_fit_is_named_with_its_line() {
        let text = b"{\n\"root\": {\"path\": 1},\n\"process\": {\n\"args\": \"sh\",\n\"rlimits\": [\n{\"type\": \"RLIMIT_FOO\", \"soft\": 1,\n\"hard\": \"x\"}]}}";
        let Error::Violations(found) = parse::config(PathBuf::from("config.json"), text.to_vec()).unwrap_err() else {
            panic!("no violations")
        };
        let found: Vec<_> = found.iter().map(|v| (v.field.pointer(), v.line)).collect();
        assert_eq!(
            found,
            [
                ("/ociVersion", Some(1)),
                ("/root/path", Some(2)),
                ("/process/cwd", Some(3)),
                ("/process/args", Some(4)),
                ("/process/rlimits/0/type", Some(6)),
                ("/process/rlimits/0/hard", Some(7)),
            ]
        );
    }

    #[test]
    fn what_is_left_after_the_broken_parts_can_be_validated() {
        let document = json!({
            "ociVersion": 1, "root": {"path": "r"}, "hostname": "h",
            "process": {"args": ["x"], "env": ["A=b", 7], "rlimits": [{"type": "RLIMIT_FOO"}]},
            "linux": {"namespaces": [{"type": "nope"}], "sysctl": {"a/b": 1}},
        });
        let (spec, complaints): (Spec, _) = salvage(document.to_string().as_bytes(), &CONFIG).unwrap();
        assert_eq!(complaints.len(), 8, "{complaints:#?}");
        assert_eq!(spec.hostname().as_deref(), Some("h"));
        let process = spec.process().as_ref().unwrap();
        assert_eq!((process.env(), process.rlimits()), (&None, &None));
        assert_eq!(process.args().as_ref().unwrap(), &["x"]);
    }
}
