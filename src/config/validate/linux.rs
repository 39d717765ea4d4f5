//! The rest of the `linux` section: cgroup path, propagation, memory policy, Intel RDT (config-linux.md).

use std::path::Component;

use oci_spec::runtime::{Linux, LinuxIntelRdt, LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

use super::{Facts, Findings, list};
use crate::field::Field;

/// Memory nodes are below 1 << CONFIG_NODES_SHIFT, which is at most 10.
const HIGHEST_NODE: u32 = 1023;

const PROPAGATIONS: &[&str] =
    &["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"];

pub(super) fn check(facts: &Facts, linux: &Linux, found: &mut Findings) {
    if let Some(path) = linux.cgroups_path() {
        if path.components().any(|component| component == Component::ParentDir) {
            let why = format!("must not lead upwards with \"..\": {:?}", path.to_string_lossy());
            found.refuse(Field::at("/linux/cgroupsPath"), why, "write the path from the root of the cgroup mounts");
        }
    }
    if let Some(propagation) = linux.rootfs_propagation() {
        check_propagation(facts, propagation, found);
    }
    if let Some(policy) = linux.memory_policy() {
        check_memory_policy(policy, found);
    }
    if let Some(rdt) = linux.intel_rdt() {
        check_intel_rdt(rdt, found);
    }
}

fn check_propagation(facts: &Facts, propagation: &str, found: &mut Findings) {
    let at = Field::at("/linux/rootfsPropagation");
    if !PROPAGATIONS.contains(&propagation) {
        let why = format!("rootfsPropagation must be one of {}, not {propagation:?}", PROPAGATIONS.join(", "));
        found.refuse(at, why, "leave it away for the default");
    } else if facts.request.no_pivot && matches!(propagation, "private" | "rprivate") {
        // Without pivot_root the old root stays mounted below the new one; private mounts there could never be undone
        // by what happens on the host.
        let why = "rootfsPropagation of private is not safe with --no-pivot";
        found.refuse(at, why, "use slave, or leave --no-pivot away");
    }
}

/// The kernel's rules for set_mempolicy(2) (mpol_new). Each text has the words that the peers start with.
fn check_memory_policy(policy: &LinuxMemoryPolicy, found: &mut Findings) {
    use MemoryPolicyFlagType::{MpolFNumaBalancing, MpolFRelativeNodes, MpolFStaticNodes};
    use MemoryPolicyModeType::{MpolBind, MpolDefault, MpolLocal, MpolPreferred, MpolPreferredMany};
    let at = Field::at("/linux/memoryPolicy");
    let mut refuse = |name: &str, why: String, hint: &str| {
        found.refuse(at.key(name), format!("invalid memory policy: {why}"), hint);
    };
    let text = policy.nodes().as_deref().unwrap_or_default();
    let nodes = if text.is_empty() { Ok(Vec::new()) } else { list::ranges(text, HIGHEST_NODE) };
    let mode = policy.mode();
    match nodes.map(|nodes| list::count(&nodes)) {
        Err(why) => refuse("nodes", format!("nodes must be a list of numbers: {why}"), "write it like \"0-3,7\""),
        Ok(count) if count > 0 && matches!(mode, MpolDefault | MpolLocal) => {
            refuse("nodes", format!("mode requires 0 nodes but got {count}"), "remove nodes, or use another mode");
        }
        Ok(0) if !matches!(mode, MpolDefault | MpolLocal | MpolPreferred) => {
            refuse("nodes", "mode requires at least one node".to_owned(), "write nodes like \"0-3,7\"");
        }
        Ok(_) => {}
    }
    let flags = policy.flags().as_deref().unwrap_or_default();
    let has = |flag| flags.contains(&flag);
    if has(MpolFStaticNodes) && has(MpolFRelativeNodes) {
        let why = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".to_owned();
        refuse("flags", why, "keep one of the two");
    }
    if has(MpolFNumaBalancing) && !matches!(mode, MpolBind | MpolPreferredMany) {
        let why = "MPOL_F_NUMA_BALANCING goes with MPOL_BIND and MPOL_PREFERRED_MANY only".to_owned();
        refuse("flags", why, "remove the flag, or use MPOL_BIND");
    }
    if (has(MpolFStaticNodes) || has(MpolFRelativeNodes))
        && (mode == MpolLocal || (mode == MpolPreferred && text.is_empty()))
    {
        refuse("flags", "without nodes there is nothing for the flags to apply to".to_owned(), "remove the flags");
    }
}

/// The id becomes a directory of resctrl, the schemata become its lines.
fn check_intel_rdt(rdt: &LinuxIntelRdt, found: &mut Findings) {
    let at = Field::at("/linux/intelRdt");
    if let Some(id) = rdt.clos_id().as_deref() {
        if matches!(id, "." | "..") || (id.len() > 1 && id.contains('/')) || id.contains('\n') {
            let why = format!("{id:?} is not the name of a directory in resctrl");
            found.refuse(at.key("closID"), why, "write a plain name, or / for the default group");
        }
    }
    let line = |text: &str, field: Field, found: &mut Findings| {
        if text.contains('\n') {
            found.refuse(field, "must be one line", "write each line as an element of schemata");
        }
    };
    for (i, schema) in rdt.schemata().iter().flatten().enumerate() {
        line(schema, at.key("schemata").index(i), found);
    }
}
