//! `pids`: how many processes there may be (Documentation/admin-guide/cgroup-v1/pids.rst).

use oci_spec::runtime::LinuxPids;

use super::resources::Planner;
use crate::field::Field;

/// pids.max of both versions: -1 is no limit, 0 is a limit (runtime-spec 1.3, "PIDs"). The child writes it itself, so
/// that what corten forks on the way (a second fork, hooks) doesn't count.
pub(super) fn plan_pids(pids: &LinuxPids, at: &Field, planner: &mut Planner) {
    let field = at.key("limit");
    let Some(place) = planner.place("pids", &field) else { return };
    let value = if pids.limit() < 0 { "max".to_owned() } else { pids.limit().to_string() };
    planner.write_late(place, "pids.max", value, &field);
}
