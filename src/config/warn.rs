//! What a config asks for that works, but is ignored, deprecated or probably not meant.

use oci_spec::runtime::{Capabilities, Process, Spec};

use super::Warning;
use crate::field::Field;
use crate::host::Host;

/// Warnings that need nothing but the config. They are part of [`Config::warnings`](super::Config::warnings).
pub fn of_spec(spec: &Spec) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (i, mount) in spec.mounts().iter().flatten().enumerate() {
        if mount.destination().is_relative() && !mount.destination().as_os_str().is_empty() {
            let text = "a relative destination is deprecated: it is taken from the container's root";
            warnings.push(Warning::new(Field::item("/mounts", i, "/destination"), text));
        }
    }
    if let Some(process) = spec.process() {
        warnings.extend(of_process(process, &Field::at("/process")));
    }
    let Some(linux) = spec.linux() else { return warnings };
    if linux.personality().as_ref().is_some_and(|personality| !personality.flags().iter().flatten().eq([""; 0])) {
        let text = "personality flags are reserved by the spec: they are ignored";
        warnings.push(Warning::new(Field::at("/linux/personality/flags"), text));
    }
    warnings
}

/// Warnings about a process; `at` is where it stands in its file (`/process`, or nowhere in the file of `exec`).
pub fn of_process(process: &Process, at: &Field) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(sets) = process.capabilities() else {
        warnings.push(Warning::new(at.key("capabilities"), "is absent: the process gets no capabilities"));
        return warnings;
    };
    let holds = |set: &Option<Capabilities>, capability| set.as_ref().is_some_and(|set| set.contains(capability));
    let unraisable = sets
        .ambient()
        .iter()
        .flatten()
        .filter(|capability| !holds(sets.permitted(), capability) || !holds(sets.inheritable(), capability));
    let unraisable = names(unraisable.map(ToString::to_string));
    if !unraisable.is_empty() {
        let text = format!(
            "can't raise ambient capability {}: it must be permitted and inheritable too",
            unraisable.join(", ")
        );
        warnings.push(Warning::new(at.key("capabilities").key("ambient"), text));
    }
    warnings
}

/// Warnings that depend on the host: capabilities that it has no power to grant.
pub fn of_host(spec: &Spec, host: &Host) -> Option<Warning> {
    let sets = spec.process().as_ref()?.capabilities().as_ref()?;
    let all = [sets.bounding(), sets.effective(), sets.inheritable(), sets.permitted(), sets.ambient()];
    let unavailable = all.into_iter().flatten().flatten().map(ToString::to_string).filter(|name| {
        let number = format!("CAP_{name}").parse::<caps::Capability>().map(|capability| capability.index());
        number.is_ok_and(|number| number > host.last_capability || host.bounding & (1 << number) == 0)
    });
    let unavailable = names(unavailable);
    let text = format!("ignoring unknown or unavailable capabilities: [{}]", unavailable.join(" "));
    (!unavailable.is_empty()).then(|| Warning::new(Field::at("/process/capabilities"), text))
}

/// The names as the kernel has them, sorted, each once.
fn names(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.map(|name| format!("CAP_{name}")).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn warnings(document: Value) -> Vec<String> {
        let spec: Spec = serde_json::from_value(document).unwrap();
        of_spec(&spec).iter().map(|warning| format!("{}: {}", warning.field, warning.text)).collect()
    }

    #[test]
    fn an_ambient_capability_needs_permitted_and_inheritable() {
        let capabilities = json!({"permitted": ["CAP_CHOWN", "CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_CHOWN", "CAP_KILL"]});
        let found = warnings(json!({"process": {"cwd": "/", "user": {}, "capabilities": capabilities}}));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("ambient: can't raise ambient capability CAP_CHOWN: "), "{found:?}");
    }

    #[test]
    fn what_is_deprecated_reserved_or_risky_is_said() {
        let found = warnings(json!({
            "mounts": [{"destination": "data"}, {"destination": "/data"}],
            "process": {"cwd": "/", "user": {}},
            "linux": {"personality": {"domain": "LINUX", "flags": ["X"]}, "namespaces": [{"type": "pid"}]},
        }));
        let fields: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(fields, ["mounts[0].destination", "process.capabilities", "linux.personality.flags"]);
        let quiet =
            json!({"linux": {"personality": {"domain": "LINUX", "flags": []}, "namespaces": [{"type": "mount"}]}});
        assert_eq!(warnings(quiet), [""; 0]);
    }

    #[test]
    fn a_capability_that_the_host_cannot_grant_is_named() {
        let capabilities = json!({"bounding": ["CAP_SYS_RESOURCE", "CAP_KILL"], "permitted": ["CAP_SYS_RESOURCE"]});
        let spec: Spec =
            serde_json::from_value(json!({"process": {"cwd": "/", "user": {}, "capabilities": capabilities}})).unwrap();
        let mut host = Host::fixture();
        assert_eq!(of_host(&spec, &host), None);
        host.bounding &= !(1 << caps::Capability::CAP_SYS_RESOURCE.index());
        assert_eq!(
            of_host(&spec, &host).unwrap().text,
            "ignoring unknown or unavailable capabilities: [CAP_SYS_RESOURCE]"
        );
    }
}
