//! The files of version 1 (kernel documentation, admin-guide/cgroup-v1).

use super::{Blkio, BlkioEntry, CpuUsage, Cpuset, Memory, MemoryUse, Throttling, lines, number, read};
use crate::cgroups::Place;
use crate::error::Result;

/// Nanoseconds of a tick: times for programs are counted in hundredths of a second (USER_HZ, include/asm-generic/param.h),
/// whatever the kernel's own clock is.
const TICK: u64 = 1_000_000_000 / 100;

pub fn cpu_usage(place: &Place) -> Result<CpuUsage> {
    let mut usage = CpuUsage { total: number(place, "cpuacct.usage")?.unwrap_or(0), ..CpuUsage::default() };
    for (key, ticks) in lines::pairs(&read(place, "cpuacct.stat")?.unwrap_or_default()) {
        match key {
            "user" => usage.user = ticks.saturating_mul(TICK),
            "system" => usage.kernel = ticks.saturating_mul(TICK),
            _ => {}
        }
    }
    let percpu = read(place, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().filter_map(lines::number).collect();
    // A header, then `CPU USER SYSTEM`.
    for line in read(place, "cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(lines::number).collect();
        if let [_, user, kernel] = numbers[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(usage)
}

pub fn throttling(place: &Place) -> Result<Throttling> {
    let mut throttling = Throttling::default();
    for (key, value) in lines::pairs(&read(place, "cpu.stat")?.unwrap_or_default()) {
        match key {
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_time" => throttling.throttled_time = value,
            _ => {}
        }
    }
    Ok(throttling)
}

pub fn cpuset(place: &Place) -> Result<Cpuset> {
    let list = |name| read(place, name).map(|text| lines::list(&text.unwrap_or_default()));
    let flag = |name| number(place, name).map(|flag| flag.unwrap_or(0));
    let level = read(place, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: flag("cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: flag("cpuset.mem_hardwall")?,
        mem_exclusive: flag("cpuset.mem_exclusive")?,
        memory_migrate: flag("cpuset.memory_migrate")?,
        memory_spread_page: flag("cpuset.memory_spread_page")?,
        memory_spread_slab: flag("cpuset.memory_spread_slab")?,
        memory_pressure: flag("cpuset.memory_pressure")?,
        sched_load_balance: flag("cpuset.sched_load_balance")?,
        // -1 stands for the system's default.
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    })
}

pub fn memory(place: &Place) -> Result<Memory> {
    let raw = lines::map(&read(place, "memory.stat")?.unwrap_or_default());
    let counted = |of: &str| -> Result<MemoryUse> {
        let file = |what: &str| number(place, &format!("memory{of}.{what}")).map(|n| n.unwrap_or(0));
        Ok(MemoryUse {
            limit: file("limit_in_bytes")?,
            usage: file("usage_in_bytes")?,
            max: file("max_usage_in_bytes")?,
            failcnt: file("failcnt")?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: counted("")?,
        swap: counted(".memsw")?,
        kernel: counted(".kmem")?,
        kernel_tcp: counted(".kmem.tcp")?,
        raw,
        psi: None,
    })
}

/// Who may have counted, the best first: the scheduler bfq, the former cfq, the layer that throttles; the last one is
/// there always, and without children on old kernels.
const COUNTED_BY: [(&str, &str); 4] = [
    ("blkio.bfq.", "_recursive"),
    ("blkio.", "_recursive"),
    ("blkio.throttle.", "_recursive"),
    ("blkio.throttle.", ""),
];

pub fn blkio(place: &Place) -> Result<Blkio> {
    for (prefix, suffix) in COUNTED_BY {
        let table = |name: &str| -> Result<Vec<BlkioEntry>> {
            let text = read(place, &format!("{prefix}{name}{suffix}"))?;
            Ok(lines::blkio(&text.unwrap_or_default()))
        };
        let (bytes, requests) = (table("io_service_bytes")?, table("io_serviced")?);
        // Files of a scheduler that no disk uses are there, and empty.
        if bytes.is_empty() && requests.is_empty() {
            continue;
        }
        return Ok(Blkio {
            io_service_bytes_recursive: bytes,
            io_serviced_recursive: requests,
            io_queued_recursive: table("io_queued")?,
            io_service_time_recursive: table("io_service_time")?,
            io_wait_time_recursive: table("io_wait_time")?,
            io_merged_recursive: table("io_merged")?,
            io_time_recursive: table("time")?,
            sectors_recursive: table("sectors")?,
            psi: None,
        });
    }
    Ok(Blkio::default())
}
