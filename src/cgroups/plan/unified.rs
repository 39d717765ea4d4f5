//! `unified`: files of version 2, written as they stand in the config.

use std::collections::{BTreeMap, HashMap};

use super::resources::Planner;
use crate::field::Field;

/// Files of the core that are no limits: written here they would take over what the runtime does, kill or empty the
/// container, or keep it out of its own cgroup.
const NO_LIMITS: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.type", "cgroup.freeze", "cgroup.kill", "cgroup.subtree_control"];

pub(super) fn plan_unified(files: &HashMap<String, String>, at: &Field, planner: &mut Planner) {
    if files.is_empty() {
        return;
    }
    let Some(place) = planner.group.unified() else {
        let hint = "this host mounts version 1 alone: use memory, cpu, pids and so on, which both versions take";
        return planner.refuse(at, "invalid configuration: cannot use unified on cgroup v1", hint);
    };
    for (name, text) in files.iter().collect::<BTreeMap<_, _>>() {
        let field = at.key(name);
        let controller = name.split_once('.').map(|(controller, _)| controller);
        if !controller.is_some_and(|controller| controller == "cgroup" || place.has(controller)) {
            let why = match controller {
                Some(controller) => {
                    format!("unknown controller {controller:?}: the cgroups of version 2 on this host have none")
                }
                None => format!("unknown controller in {name:?}"),
            };
            planner.refuse(
                &field,
                why,
                "a name begins with one of the words in cgroup.controllers, like memory.high; on a host with both versions the rest is version 1's",
            );
            continue;
        }
        if NO_LIMITS.contains(&name.as_str()) {
            planner.refuse(&field, format!("{name} is no limit, and the runtime's own to write"), "leave it away");
            continue;
        }
        // Files with a line a device take one line a write.
        for line in text.lines().filter(|line| !line.is_empty()) {
            match name.as_str() {
                "pids.max" => planner.write_late(place, name, line, &field),
                _ => planner.write(place, name, line, &field),
            }
        }
    }
}
