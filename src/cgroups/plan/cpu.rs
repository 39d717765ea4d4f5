//! `cpu`: shares of the processor time, and the most of it (Documentation/scheduler/sched-bwc.rst, cgroup-v2.rst "CPU").

use oci_spec::runtime::LinuxCpu;

use super::super::group::Version;
use super::convert::{SHARES, cpu_weight, or_max};
use super::resources::{Planner, given};
use crate::field::Field;

pub(super) fn plan_cpu(cpu: &LinuxCpu, at: &Field, planner: &mut Planner) {
    plan_idle_and_shares(cpu, at, planner);
    plan_bandwidth(cpu, at, planner);
    plan_realtime(cpu, at, planner);
}

/// An idle cgroup has no weight: the kernel refuses to give it one (sched_group_set_shares).
fn plan_idle_and_shares(cpu: &LinuxCpu, at: &Field, planner: &mut Planner) {
    let field = at.key("idle");
    let idle = cpu.idle().filter(|idle| (*idle != 0) != planner.current.cpu_idle);
    if let Some(idle) = idle {
        if let Some(place) = planner.place("cpu", &field) {
            planner.write(place, "cpu.idle", idle, &field);
        }
    }
    let field = at.key("shares");
    let Some(shares) = given(cpu.shares()) else { return };
    let Some(place) = planner.place("cpu", &field) else { return };
    if cpu.idle().is_some_and(|idle| idle != 0) {
        return planner.ignore(&field, "an idle cgroup has no weight");
    }
    if !SHARES.contains(&shares) {
        let (least, most) = (SHARES.start(), SHARES.end());
        let near = shares.clamp(*least, *most);
        planner.warn(&field, format!("{shares} counts as {near}: the kernel knows {least} to {most}"));
    }
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    match place.version {
        Version::V1 => planner.write(place, "cpu.shares", shares, &field),
        Version::V2 => planner.write(place, "cpu.weight", cpu_weight(shares), &field),
    }
}

/// Quota, period and burst. The burst never exceeds the quota, at no moment, and in version 1 quota / period never
/// exceeds what the cgroup above has.
fn plan_bandwidth(cpu: &LinuxCpu, at: &Field, planner: &mut Planner) {
    let (quota_at, period_at, burst_at) = (at.key("quota"), at.key("period"), at.key("burst"));
    let (quota, period) = (given(cpu.quota()), given(cpu.period()));
    let burst = cpu.burst().filter(|burst| *burst != planner.current.cpu_burst);
    let field = match (quota, period, burst) {
        (Some(_), _, _) => &quota_at,
        (_, Some(_), _) => &period_at,
        (_, _, Some(_)) => &burst_at,
        _ => return,
    };
    let Some(place) = planner.place("cpu", field) else { return };
    let burst_file = match place.version {
        Version::V1 => "cpu.cfs_burst_us",
        Version::V2 => "cpu.max.burst",
    };
    let sinks = burst.is_some_and(|burst| burst < planner.current.cpu_burst);
    if let Some(burst) = burst.filter(|_| sinks) {
        planner.write(place, burst_file, burst, &burst_at);
    }
    let new_quota = quota.map(|quota| u64::try_from(quota).ok());
    match place.version {
        Version::V1 => {
            let files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"];
            let write = |planner: &mut Planner, first: bool| match (first, quota, period) {
                (true, Some(quota), _) => planner.write(place, files[0], quota, &quota_at),
                (false, _, Some(period)) => planner.write(place, files[1], period, &period_at),
                _ => {}
            };
            // With the longer period first the share in between is below the old one, with the smaller quota first
            // below the new one, and each of those is allowed.
            let quota_first =
                period.is_some_and(|period| period < planner.current.cpu_period) && planner.current.cpu_quota.is_some();
            write(planner, quota_first);
            write(planner, !quota_first);
        }
        // One file, written at once; the half that isn't given stays.
        Version::V2 if new_quota.is_some() || period.is_some() => {
            let quota = or_max(new_quota.unwrap_or(planner.current.cpu_quota));
            let period = period.unwrap_or(planner.current.cpu_period);
            planner.write(place, "cpu.max", format!("{quota} {period}"), field);
        }
        Version::V2 => {}
    }
    if let Some(burst) = burst.filter(|_| !sinks) {
        planner.write(place, burst_file, burst, &burst_at);
    }
}

/// Real-time budget, which only version 1 has. The runtime never exceeds the period, at no moment.
fn plan_realtime(cpu: &LinuxCpu, at: &Field, planner: &mut Planner) {
    let (runtime_at, period_at) = (at.key("realtimeRuntime"), at.key("realtimePeriod"));
    let (runtime, period) = (given(cpu.realtime_runtime()), given(cpu.realtime_period()));
    let Some(field) = runtime.map(|_| &runtime_at).or(period.map(|_| &period_at)) else { return };
    let Some(place) = planner.place("cpu", field) else { return };
    if place.version == Version::V2 {
        for field in [runtime.map(|_| &runtime_at), period.map(|_| &period_at)].into_iter().flatten() {
            planner.warn_version_1_only(field);
        }
        return;
    }
    let write_period = |planner: &mut Planner| {
        if let Some(period) = period {
            planner.write(place, "cpu.rt_period_us", period, &period_at);
        }
    };
    // As above: a shorter period after the runtime, a longer one before it.
    let runtime_first = period.is_some_and(|period| period < planner.current.realtime_period);
    if !runtime_first {
        write_period(planner);
    }
    if let Some(runtime) = runtime {
        planner.write(place, "cpu.rt_runtime_us", runtime, &runtime_at);
    }
    if runtime_first {
        write_period(planner);
    }
}
