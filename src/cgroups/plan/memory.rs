//! `memory`: memory.* of both versions (Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst "Memory").

use oci_spec::runtime::LinuxMemory;

use super::super::group::{Place, Version};
use super::convert::or_max;
use super::resources::{Planner, given};
use crate::field::Field;

/// A number of bytes that was asked for, and where.
struct Asked<'a> {
    /// `None` is no limit, written -1.
    bytes: Option<u64>,
    field: &'a Field,
}

pub(super) fn plan_memory(memory: &LinuxMemory, at: &Field, planner: &mut Planner) {
    plan_limits(memory, at, planner);

    let field = at.key("reservation");
    if let Some(reservation) = asked(memory.reservation(), &field, planner) {
        if let Some(place) = planner.place("memory", &field) {
            match place.version {
                Version::V1 => planner.write(place, "memory.soft_limit_in_bytes", or_minus(reservation.bytes), &field),
                Version::V2 => planner.write(place, "memory.low", or_max(reservation.bytes), &field),
            }
        }
    }
    if given(memory.kernel()).is_some_and(|kernel| kernel != -1) {
        planner.ignore(&at.key("kernel"), "kernels since 5.16 have no limit of kernel memory of its own");
    }
    let field = at.key("kernelTCP");
    if let Some(kernel_tcp) = asked(memory.kernel_tcp(), &field, planner) {
        if let Some(place) = planner.place("memory", &field) {
            match place.version {
                Version::V1 => {
                    planner.write(place, "memory.kmem.tcp.limit_in_bytes", or_minus(kernel_tcp.bytes), &field)
                }
                Version::V2 if kernel_tcp.bytes.is_none() => {}
                Version::V2 => planner.warn_version_1_only(&field),
            }
        }
    }
    let field = at.key("swappiness");
    if let Some(swappiness) = memory.swappiness() {
        if let Some(place) = planner.place("memory", &field) {
            match place.version {
                Version::V1 => planner.write(place, "memory.swappiness", swappiness, &field),
                Version::V2 => planner.warn_version_1_only(&field),
            }
        }
    }
    let field = at.key("disableOOMKiller");
    let disable = memory.disable_oom_killer().filter(|disable| *disable != planner.current.oom_killer_disabled);
    if let Some(disable) = disable {
        if let Some(place) = planner.place("memory", &field) {
            match place.version {
                Version::V1 => planner.write(place, "memory.oom_control", u8::from(disable), &field),
                Version::V2 => planner.warn_version_1_only(&field),
            }
        }
    }
    let field = at.key("useHierarchy");
    match memory.use_hierarchy() {
        // Version 2 has always counted so.
        Some(true) => {
            if let Some(place) = planner.place("memory", &field).filter(|place| place.version == Version::V1) {
                planner.write(place, "memory.use_hierarchy", 1, &field);
            }
        }
        Some(false) => planner.ignore(&field, "cgroup v2, and v1 since Linux 5.11, count memory along the hierarchy"),
        None => {}
    }
}

/// Limit and swap belong together: version 1 never lets the limit exceed the sum of both, at no moment, and version 2
/// has swap apart.
fn plan_limits(memory: &LinuxMemory, at: &Field, planner: &mut Planner) {
    let (limit_at, swap_at) = (at.key("limit"), at.key("swap"));
    let limit = asked(memory.limit(), &limit_at, planner);
    let swap = asked(memory.swap(), &swap_at, planner);
    let Some(first) = limit.as_ref().or(swap.as_ref()) else { return };
    let Some(place) = planner.place("memory", first.field) else { return };
    if memory.check_before_update().unwrap_or(false) {
        refuse_below_usage(&limit, &swap, planner);
    }
    let limit_then = limit.as_ref().map_or(planner.current.memory_limit, |limit| limit.bytes);
    if let Some(Asked { bytes: Some(sum), field }) = &swap {
        match limit_then {
            None => {
                let why = "unable to set swap limit without memory limit: it is the limit of memory and swap together";
                return planner.refuse(field, why, "set memory.limit too");
            }
            Some(limit) if *sum < limit => {
                let why = format!("memory+swap limit should be >= memory limit, but {sum} is below {limit}");
                return planner.refuse(field, why, "for no swap set both to the same number");
            }
            Some(_) => {}
        }
    }
    // Without a limit of memory one of the sum means nothing, and version 1 would refuse to lift the one alone.
    let unlimited = limit.as_ref().is_some_and(|limit| limit.bytes.is_none()) && swap.is_none();
    let swap = if unlimited { Some(Asked { bytes: None, field: &limit_at }) } else { swap };
    match place.version {
        Version::V1 => plan_version_1(place, limit, swap, planner),
        Version::V2 => plan_version_2(place, limit, swap, limit_then, planner),
    }
}

fn plan_version_1(place: &Place, limit: Option<Asked>, swap: Option<Asked>, planner: &mut Planner) {
    let sum_now = planner.current.memory_swap;
    let limit_fits = match (sum_now, limit.as_ref().map(|limit| limit.bytes)) {
        (None, _) | (_, None) => true,
        (Some(_), Some(None)) => false,
        (Some(sum), Some(Some(limit))) => limit <= sum,
    };
    let write_limit = |planner: &mut Planner| {
        if let Some(limit) = &limit {
            planner.write(place, "memory.limit_in_bytes", or_minus(limit.bytes), limit.field);
        }
    };
    if limit_fits {
        write_limit(planner);
    }
    match &swap {
        // A kernel that doesn't count swap doesn't limit it either.
        Some(Asked { bytes: None, field }) => {
            planner.write_if_present(place, "memory.memsw.limit_in_bytes", "-1", field);
        }
        Some(Asked { bytes: sum, field }) => {
            planner.write(place, "memory.memsw.limit_in_bytes", or_minus(*sum), field);
        }
        None => {}
    }
    if !limit_fits {
        write_limit(planner);
    }
}

fn plan_version_2(
    place: &Place,
    limit: Option<Asked>,
    swap: Option<Asked>,
    limit_then: Option<u64>,
    planner: &mut Planner,
) {
    if let Some(Asked { bytes: sum, field }) = &swap {
        let swap = sum.zip(limit_then).map(|(sum, limit)| sum - limit);
        match swap {
            // What a kernel without swap does anyway.
            None | Some(0) => planner.write_if_present(place, "memory.swap.max", or_max(swap), field),
            Some(swap) => planner.write(place, "memory.swap.max", swap, field),
        }
    }
    if let Some(limit) = &limit {
        planner.write(place, "memory.max", or_max(limit.bytes), limit.field);
    }
}

/// `checkBeforeUpdate`: a limit below what is in use would have processes killed.
fn refuse_below_usage(limit: &Option<Asked>, swap: &Option<Asked>, planner: &mut Planner) {
    let usage = planner.current.memory_usage;
    let hint =
        "raise the limit, or have the container use less first; without checkBeforeUpdate the kernel reclaims or kills";
    for (asked, what) in [(swap, "memory+swap limit"), (limit, "memory limit")] {
        if let Some(Asked { bytes: Some(bytes), field }) = asked {
            if usage > 0 && *bytes <= usage {
                planner.refuse(field, format!("rejecting {what} {bytes} <= usage {usage}"), hint);
            }
        }
    }
}

fn asked<'a>(value: Option<i64>, field: &'a Field, planner: &mut Planner) -> Option<Asked<'a>> {
    let value = given(value)?;
    match u64::try_from(value) {
        Ok(bytes) => Some(Asked { bytes: Some(bytes), field }),
        Err(_) if value == -1 => Some(Asked { bytes: None, field }),
        Err(_) => {
            planner.refuse(field, format!("must be a number of bytes, or -1 for no limit, not {value}"), "");
            None
        }
    }
}

/// How version 1 writes a limit that may be missing.
fn or_minus(limit: Option<u64>) -> String {
    limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string())
}
