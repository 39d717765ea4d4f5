//! Which properties of config.json belong to control groups and are not applied yet.

use oci_spec::runtime::Spec;

use crate::field::Field;

/// The fields that ask for a control group or a limit; a run goes on without and names them in its one warning.
pub fn unapplied(spec: &Spec) -> Vec<Field> {
    let mut fields = Vec::new();
    let Some(linux) = spec.linux() else { return fields };
    if linux.cgroups_path().is_some() {
        fields.push(Field::at("/linux/cgroupsPath"));
    }
    if linux.resources().is_some() {
        fields.push(Field::at("/linux/resources"));
    }
    for (i, mount) in spec.mounts().iter().flatten().enumerate() {
        if matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")) {
            fields.push(Field::item("/mounts", i, ""));
        }
    }
    fields
}
