//! The files of version 2 (kernel documentation, admin-guide/cgroup-v2).

use super::{Blkio, CpuUsage, Cpuset, Memory, MemoryUse, Throttling, lines, number, read};
use crate::cgroups::Place;
use crate::error::Result;

/// Nanoseconds of a microsecond, in which this version counts.
const MICROSECOND: u64 = 1000;

pub fn cpu_usage(place: &Place) -> Result<CpuUsage> {
    let mut usage = CpuUsage::default();
    for (key, value) in lines::pairs(&read(place, "cpu.stat")?.unwrap_or_default()) {
        let time = value.saturating_mul(MICROSECOND);
        match key {
            "usage_usec" => usage.total = time,
            "user_usec" => usage.user = time,
            "system_usec" => usage.kernel = time,
            _ => {}
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
            "throttled_usec" => throttling.throttled_time = value.saturating_mul(MICROSECOND),
            _ => {}
        }
    }
    Ok(throttling)
}

/// `cpuset.cpus` is empty unless something was set; what holds stands in `.effective`.
pub fn cpuset(place: &Place) -> Result<Cpuset> {
    let list = |name| read(place, name).map(|text| lines::list(&text.unwrap_or_default()));
    Ok(Cpuset { cpus: list("cpuset.cpus.effective")?, mems: list("cpuset.mems.effective")?, ..Cpuset::default() })
}

pub fn memory(place: &Place) -> Result<Memory> {
    let raw = lines::map(&read(place, "memory.stat")?.unwrap_or_default());
    let file = |name| number(place, name).map(|n| n.unwrap_or(0));
    let usage =
        MemoryUse { limit: file("memory.max")?, usage: file("memory.current")?, max: file("memory.peak")?, failcnt: 0 };
    let swap = MemoryUse {
        limit: file("memory.swap.max")?.saturating_add(usage.limit),
        usage: file("memory.swap.current")?.saturating_add(usage.usage),
        // Two peaks at two times have no sum.
        max: 0,
        failcnt: 0,
    };
    let cache = raw.get("file").copied().unwrap_or(0);
    Ok(Memory { cache, usage, swap, raw, ..Memory::default() })
}

pub fn blkio(place: &Place) -> Result<Blkio> {
    let (bytes, requests) = lines::io_stat(&read(place, "io.stat")?.unwrap_or_default());
    Ok(Blkio { io_service_bytes_recursive: bytes, io_serviced_recursive: requests, ..Blkio::default() })
}
