//! What a container has used, read from its cgroups controller by controller, whichever version each of them is.
//!
//! As JSON it has the keys of runc's `events` (its types/events.go), because engines decode those: sizes in bytes, times
//! in nanoseconds, an absent limit as the largest number. A controller that the container doesn't have leaves its part
//! at zero, which most keys show by not being there.

mod lines;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::group::{Group, Place, Version};
use super::rdt::IntelRdt;
use super::{file, members};
use crate::error::{Doing, Result};
use nix::errno::Errno;

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size, as the kernel writes it: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Cache and memory bandwidth monitoring; not part of control groups, and empty without a resctrl group.
    pub intel_rdt: IntelRdt,
    /// Interfaces that the runtime itself has made: none, as these belong to whoever made the network namespace.
    #[serde(serialize_with = "null")]
    pub network_interfaces: (),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// CPU time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By CPU; version 1 alone counts that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often the quota was used up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The CPUs and memory nodes, and the flags of version 1 (cpuset(7)); version 2 has no flags.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// The page cache in it.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryUse,
    /// Memory and swap together, which is what version 1 counts; of version 2 the sum.
    pub swap: MemoryUse,
    pub kernel: MemoryUse,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryUse,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryUse {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The highest usage so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was in the way; version 1 alone counts that.
    pub failcnt: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Processes and threads.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Tables of version 1; what version 2 knows stands in the two that it has in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds, as the next one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of the disk's time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

impl Blkio {
    /// Bytes of one operation (`Read`, `Write`) on all devices.
    pub fn bytes(&self, op: &str) -> u64 {
        let entries = self.io_service_bytes_recursive.iter().filter(|entry| entry.op == op);
        entries.fold(0, |sum, entry| sum.saturating_add(entry.value))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or their `Total`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Bytes of huge pages in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information (kernel documentation, accounting/psi): the share of time in which some or all
/// processes waited.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    pub some: Stall,
    pub full: Stall,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    #[serde(serialize_with = "short")]
    pub avg10: f64,
    #[serde(serialize_with = "short")]
    pub avg60: f64,
    #[serde(serialize_with = "short")]
    pub avg300: f64,
    /// Microseconds since the cgroup came into being.
    pub total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn null<S: Serializer>(_: &(), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}

/// Go writes a whole number without its `.0`.
fn short<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match number.fract() == 0.0 && (0.0..1e9).contains(number) {
        true => serializer.serialize_u64(*number as u64),
        false => serializer.serialize_f64(*number),
    }
}

/// Reads all of it. A cgroup that is gone has used nothing.
pub fn probe(group: &Group) -> Result<Stats> {
    let mut stats = Stats::default();
    probe_cpu(group, &mut stats.cpu)?;
    if let Some(place) = group.find("cpuset") {
        stats.cpuset = match place.version {
            Version::V1 => v1::cpuset(place)?,
            Version::V2 => v2::cpuset(place)?,
        };
    }
    if let Some(place) = group.find("memory") {
        stats.memory = match place.version {
            Version::V1 => v1::memory(place)?,
            Version::V2 => v2::memory(place)?,
        };
    }
    // Of version 1 the controller has another name.
    if let Some(place) = group.find("blkio") {
        stats.blkio = v1::blkio(place)?;
    } else if let Some(place) = group.find("io") {
        stats.blkio = v2::blkio(place)?;
    }
    if let Some(place) = group.find("hugetlb") {
        stats.hugetlb = hugetlb(place)?;
    }
    stats.pids = pids(group)?;
    // The pressure of every cgroup of version 2 is counted, whichever controllers it has.
    if let Some(place) = group.unified() {
        let psi = |name| read(place, name).map(|text| text.map(|text| lines::psi(&text)));
        stats.cpu.psi = psi("cpu.pressure")?;
        stats.memory.psi = psi("memory.pressure")?;
        stats.blkio.psi = psi("io.pressure")?;
    }
    Ok(stats)
}

/// `cpu` and `cpuacct` are two controllers in version 1. In version 2 the use of CPU is counted without any.
fn probe_cpu(group: &Group, cpu: &mut Cpu) -> Result<()> {
    match group.find("cpuacct") {
        Some(place) => cpu.usage = v1::cpu_usage(place)?,
        None => {
            if let Some(place) = group.unified() {
                cpu.usage = v2::cpu_usage(place)?;
            }
        }
    }
    if let Some(place) = group.find("cpu") {
        cpu.throttling = match place.version {
            Version::V1 => v1::throttling(place)?,
            Version::V2 => v2::throttling(place)?,
        };
    }
    Ok(())
}

fn pids(group: &Group) -> Result<Pids> {
    let counted = match group.find("pids") {
        Some(place) => number(place, "pids.current")?.map(|current| (place, current)),
        None => None,
    };
    match counted {
        // `max` is 0 here, where all other limits say it by the largest number.
        Some((place, current)) => {
            let limit = number(place, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or(0);
            Ok(Pids { current, limit })
        }
        None => Ok(Pids { current: members::pids(group)?.len() as u64, limit: 0 }),
    }
}

fn hugetlb(place: &Place) -> Result<BTreeMap<String, Hugetlb>> {
    let mut sizes = BTreeMap::new();
    // Which sizes there are depends on the machine.
    let suffix = match place.version {
        Version::V1 => ".usage_in_bytes",
        Version::V2 => ".current",
    };
    for entry in std::fs::read_dir(place.dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let size = name.to_str().and_then(|name| name.strip_prefix("hugetlb.")?.strip_suffix(suffix));
        // `hugetlb.2MB.rsvd.current` counts what is promised, not what is used.
        let Some(size) = size.filter(|size| !size.contains('.')) else { continue };
        let of = |what: &str| format!("hugetlb.{size}.{what}");
        let used = match place.version {
            Version::V1 => Hugetlb {
                usage: number(place, &of("usage_in_bytes"))?.unwrap_or(0),
                max: number(place, &of("max_usage_in_bytes"))?.unwrap_or(0),
                failcnt: number(place, &of("failcnt"))?.unwrap_or(0),
            },
            Version::V2 => {
                let events = read(place, &of("events"))?.unwrap_or_default();
                let failcnt = lines::pairs(&events).find(|(key, _)| *key == "max").map_or(0, |(_, count)| count);
                Hugetlb { usage: number(place, &of("current"))?.unwrap_or(0), max: 0, failcnt }
            }
        };
        sizes.insert(size.to_owned(), used);
    }
    Ok(sizes)
}

/// A file of the cgroup; `None` where there is no such file, or nothing that it could say.
fn read(place: &Place, name: &str) -> Result<Option<String>> {
    let path = place.dir().join(name);
    match file::read(&path) {
        Ok(text) => Ok(Some(text)),
        // ENODEV: the cgroup went meanwhile. EOPNOTSUPP: the kernel counts it only if told so at its start (swap, pressure).
        Err(trouble) if matches!(trouble.errno, Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
        Err(trouble) => Err(trouble).doing(|| format!("read {}", path.display())),
    }
}

/// A file that holds one number.
fn number(place: &Place, name: &str) -> Result<Option<u64>> {
    Ok(read(place, name)?.and_then(|text| lines::number(&text)))
}

#[cfg(test)]
mod tests;
