//! `linux.resources` as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)). corten writes
//! the exact limits into the files itself; systemd is told of them because it writes its own again at every
//! daemon-reload, and so they are rounded here so that they never bind harder than the files. Pure.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::super::group::{Group, Version};
use super::devices::plan_devices;
use crate::cgroups::plan::convert::{SHARES, cpu_weight, io_weight};

/// A value with the type that D-Bus gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    Byte(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    /// `as`
    Strings(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Uint32s(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// A property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    pub name: String,
    pub value: Value,
    /// The first version of systemd that knows it, where that is later than what any host still has.
    pub since: u32,
}

impl Property {
    pub fn new(name: &str, value: Value) -> Property {
        Property { name: name.to_owned(), value, since: 0 }
    }

    pub fn since(self, since: u32) -> Property {
        Property { since, ..self }
    }
}

/// What systemd takes for "no limit".
const INFINITY: u64 = u64::MAX;
/// The period of a quota whose config has none, in microseconds (sched-bwc).
const PERIOD: u64 = 100_000;
/// systemd keeps quotas in whole hundredths of a CPU, a multiple of ten milliseconds a second.
const QUOTA_STEP: u64 = 10_000;

/// The properties of a new unit's limits, or of an `update`: each is there once, for its own controller's version.
/// A limit that the group has no controller for is left out: planning the files has refused it already.
///
/// Where an update changes a quota or a period alone, or swap alone, `resources` must bring its counterpart along.
pub fn plan_properties(resources: &LinuxResources, group: &Group) -> Vec<Property> {
    let mut properties = Vec::new();
    let version = |controller: &str| group.find(controller).map(|place| place.version);
    if let (Some(memory), Some(version)) = (resources.memory(), version("memory")) {
        plan_memory(memory, version, &mut properties);
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(version) = version("cpu") {
            plan_cpu(cpu, version, &mut properties);
        }
        // systemd has no cpuset of version 1.
        if version("cpuset") == Some(Version::V2) {
            plan_cpuset(cpu, &mut properties);
        }
    }
    if let (Some(pids), Some(_)) = (resources.pids(), version("pids")) {
        // systemd has no TasksMax of 0; the file has.
        let most = if pids.limit() < 0 { INFINITY } else { pids.limit().max(1) as u64 };
        properties.push(Property::new("TasksMax", Value::Uint64(most)));
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight > 0);
    if let Some(weight) = weight {
        match (version("io"), version("blkio")) {
            (Some(Version::V2), _) => properties.push(Property::new("IOWeight", Value::Uint64(io_weight(weight)))),
            (_, Some(Version::V1)) => properties.push(Property::new("BlockIOWeight", Value::Uint64(weight.into()))),
            _ => {}
        }
    }
    // A user's manager has no power over devices, and its user none beyond those that are open to it anyway.
    if let Some(rules) = resources.devices().as_deref().filter(|_| group.unit.as_ref().is_none_or(|unit| !unit.user)) {
        properties.extend(plan_devices(rules));
    }
    for (file, value) in resources.unified().iter().flatten().filter(|(file, _)| !file.is_empty()) {
        properties.extend(plan_unified(file, value.trim()));
    }
    keep_last(properties)
}

/// The last of each name, in the order of their first.
pub fn keep_last(properties: Vec<Property>) -> Vec<Property> {
    let mut kept: Vec<Property> = Vec::with_capacity(properties.len());
    // By a table: annotations can bring as many as fit into a config.
    let mut places: HashMap<String, usize> = HashMap::with_capacity(properties.len());
    for property in properties {
        match places.get(&property.name).and_then(|place| kept.get_mut(*place)) {
            Some(earlier) => *earlier = property,
            None => {
                places.insert(property.name.clone(), kept.len());
                kept.push(property);
            }
        }
    }
    kept
}

fn plan_memory(memory: &LinuxMemory, version: Version, properties: &mut Vec<Property>) {
    let mut push = |name: &str, value: u64| properties.push(Property::new(name, Value::Uint64(value)));
    // 0 is how engines write "not given"; systemd refuses it.
    let bytes =
        |limit: Option<i64>| limit.filter(|limit| *limit != 0).map(|limit| u64::try_from(limit).unwrap_or(INFINITY));
    let limit = bytes(memory.limit());
    match version {
        Version::V1 => limit.into_iter().for_each(|limit| push("MemoryLimit", limit)),
        Version::V2 => {
            limit.into_iter().for_each(|limit| push("MemoryMax", limit));
            bytes(memory.reservation()).into_iter().for_each(|low| push("MemoryLow", low));
            // The config's is of memory and swap together.
            let swap = match (bytes(memory.swap()), limit) {
                (Some(INFINITY), _) => Some(INFINITY),
                (Some(both), Some(limit)) if limit != INFINITY => Some(both.saturating_sub(limit)),
                _ => None,
            };
            swap.into_iter().for_each(|swap| push("MemorySwapMax", swap));
        }
    }
}

fn plan_cpu(cpu: &LinuxCpu, version: Version, properties: &mut Vec<Property>) {
    let mut push = |property: Property| properties.push(property);
    match (version, cpu.shares().filter(|shares| *shares > 0)) {
        (Version::V1, Some(shares)) => {
            push(Property::new("CPUShares", Value::Uint64(shares.clamp(*SHARES.start(), *SHARES.end()))))
        }
        (Version::V2, Some(shares)) => push(Property::new("CPUWeight", Value::Uint64(cpu_weight(shares)))),
        (_, None) => {}
    }
    if version == Version::V2 && cpu.idle() == Some(1) {
        // The weight that stands for "idle".
        push(Property::new("CPUWeight", Value::Uint64(0)).since(252));
    }
    let period = cpu.period().filter(|period| *period > 0);
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        push(quota_property(u64::try_from(quota).ok(), period.unwrap_or(PERIOD)));
    }
    if let Some(period) = period {
        push(Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)).since(242));
    }
}

/// Microseconds a second, rounded up to what systemd can keep.
fn quota_property(quota: Option<u64>, period: u64) -> Property {
    let per_second = quota.map_or(INFINITY, |quota| {
        let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
        let exact = u64::try_from(exact).unwrap_or(INFINITY - QUOTA_STEP);
        exact.div_ceil(QUOTA_STEP).saturating_mul(QUOTA_STEP).max(QUOTA_STEP)
    });
    Property::new("CPUQuotaPerSecUSec", Value::Uint64(per_second))
}

fn plan_cpuset(cpu: &LinuxCpu, properties: &mut Vec<Property>) {
    let lists = [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())];
    for (name, list) in lists {
        // A list that can't be read is the kernel's to refuse.
        if let Some(bits) = list.as_deref().filter(|list| !list.trim().is_empty()).and_then(list_to_bits) {
            properties.push(Property::new(name, Value::Bytes(bits)).since(244));
        }
    }
}

/// A list of cpuset(7), `0-3,7`, as the bit mask that systemd takes: CPU 0 is the lowest bit of the first byte.
fn list_to_bits(list: &str) -> Option<Vec<u8>> {
    /// The most CPUs that any kernel is built for (CONFIG_NR_CPUS), with room.
    const MOST: usize = 1 << 16;
    let mut bits: Vec<u8> = Vec::new();
    for part in list.trim().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|number| bits[number / 8] |= 1 << (number % 8));
    }
    (!bits.is_empty()).then_some(bits)
}

/// A file of version 2 that systemd has a property for. A value that can't be read is the kernel's to refuse.
fn plan_unified(file: &str, value: &str) -> Vec<Property> {
    let number = || match value {
        "max" => Some(INFINITY),
        value => value.parse::<u64>().ok(),
    };
    let one = |name: &str| number().map(|number| Property::new(name, Value::Uint64(number))).into_iter().collect();
    let mask = |name: &str| {
        list_to_bits(value).map(|bits| Property::new(name, Value::Bytes(bits)).since(244)).into_iter().collect()
    };
    match file {
        "cpu.weight" => one("CPUWeight"),
        "cpu.idle" if value == "1" => vec![Property::new("CPUWeight", Value::Uint64(0)).since(252)],
        "cpu.max" => plan_cpu_max(value),
        "cpuset.cpus" => mask("AllowedCPUs"),
        "cpuset.mems" => mask("AllowedMemoryNodes"),
        "memory.high" => one("MemoryHigh"),
        "memory.low" => one("MemoryLow"),
        "memory.max" => one("MemoryMax"),
        "memory.min" => one("MemoryMin"),
        "memory.swap.max" => one("MemorySwapMax"),
        "io.weight" => {
            let weight = value.strip_prefix("default ").unwrap_or(value).trim().parse().ok();
            weight.map(|weight| Property::new("IOWeight", Value::Uint64(weight))).into_iter().collect()
        }
        "pids.max" => match number() {
            Some(most) => vec![Property::new("TasksMax", Value::Uint64(most.max(1)))],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The files whose values systemd has properties for, or writes on its own when it is told of others: BFQ's weights come of
/// those of the whole controller there, by a curve of systemd's.
pub fn known_files(version: Version) -> &'static [&'static str] {
    match version {
        Version::V1 => &[
            "blkio.bfq.weight",
            "blkio.weight",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "cpu.shares",
            "memory.limit_in_bytes",
            "pids.max",
        ],
        Version::V2 => &[
            "cpu.max",
            "cpu.weight",
            // Behind the weight: it has the last word on it.
            "cpu.idle",
            "cpuset.cpus",
            "cpuset.mems",
            "io.bfq.weight",
            "io.weight",
            "memory.high",
            "memory.low",
            "memory.max",
            "memory.min",
            "memory.swap.max",
            "pids.max",
        ],
    }
}

/// What the files of a unit's cgroups hold, as its properties: for an update, after which systemd is to know the limits
/// that there are, whichever of them have changed.
pub fn plan_files(files: &[(Version, &str, &str)]) -> Vec<Property> {
    let v1 = |wanted: &str| {
        let found = files.iter().find(|(version, name, _)| *version == Version::V1 && *name == wanted);
        found.and_then(|(.., value)| value.trim().parse::<i64>().ok())
    };
    let mut properties = Vec::new();
    for (version, name, value) in files {
        let value = value.lines().next().unwrap_or_default().trim();
        let number = value.parse::<u64>().ok();
        let mut one = |property: &str, number: u64| properties.push(Property::new(property, Value::Uint64(number)));
        match (version, *name, number) {
            // The weight of an idle cgroup.
            (Version::V2, "cpu.weight", Some(0)) => {
                properties.push(Property::new("CPUWeight", Value::Uint64(0)).since(252));
            }
            (Version::V2, name, _) => properties.extend(plan_unified(name, value)),
            // systemd knows no weight below 10.
            (Version::V1, "blkio.weight" | "blkio.bfq.weight", Some(weight)) => one("BlockIOWeight", weight.max(10)),
            (Version::V1, "cpu.shares", Some(shares)) => one("CPUShares", shares),
            // Version 1 shows no limit as the largest number of whole pages.
            (Version::V1, "memory.limit_in_bytes", Some(limit)) => {
                one("MemoryLimit", if limit >= 1 << 62 { INFINITY } else { limit });
            }
            (Version::V1, "pids.max", number) => one("TasksMax", number.map_or(INFINITY, |most| most.max(1))),
            (Version::V1, "cpu.cfs_quota_us", _) => {
                let period = v1("cpu.cfs_period_us").and_then(|period| u64::try_from(period).ok());
                let quota = v1("cpu.cfs_quota_us").and_then(|quota| u64::try_from(quota).ok());
                properties.push(quota_property(quota, period.unwrap_or(PERIOD)));
                let period = period.map(|period| Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)).since(242));
                properties.extend(period);
            }
            _ => {}
        }
    }
    keep_last(properties)
}

/// `max`, `50000`, or either with a period behind it.
fn plan_cpu_max(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let quota = match words.next() {
        Some("max") => None,
        Some(quota) => match quota.parse::<u64>() {
            Ok(quota) => Some(quota),
            Err(_) => return Vec::new(),
        },
        None => return Vec::new(),
    };
    let period = words.next().and_then(|period| period.parse().ok()).filter(|period| *period > 0);
    let mut properties = vec![quota_property(quota, period.unwrap_or(PERIOD))];
    properties.extend(period.map(|period| Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)).since(242)));
    properties
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::cgroups::Place;

    fn group(version: Version) -> Group {
        let names = ["cpu", "cpuset", "memory", "pids", "io", "blkio", "devices"];
        let place = Place {
            version,
            controllers: names.map(str::to_owned).to_vec(),
            mount: PathBuf::from("/m"),
            path: "a".into(),
            made: 0,
        };
        Group { places: vec![place], unit: None }
    }

    /// `Name=value` of each property but those of devices.
    fn plan(resources: Json, version: Version) -> Vec<String> {
        let resources = serde_json::from_value(resources).unwrap();
        let own = |property: &Property| !property.name.starts_with("Device");
        let word = |property: Property| match property.value {
            Value::Uint64(INFINITY) => format!("{}=infinity", property.name),
            Value::Uint64(number) => format!("{}={number}", property.name),
            other => format!("{}={other:?}", property.name),
        };
        plan_properties(&resources, &group(version)).into_iter().filter(own).map(word).collect()
    }

    #[test]
    fn every_limit_has_its_property_in_version_2() {
        let resources = json!({
            "memory": {"limit": 67108864, "reservation": 33554432, "swap": 100663296},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-2,9", "mems": "0"},
            "pids": {"limit": 42},
            "blockIO": {"weight": 500}
        });
        assert_eq!(
            plan(resources, Version::V2),
            [
                "MemoryMax=67108864",
                "MemoryLow=33554432",
                "MemorySwapMax=33554432",
                "CPUWeight=59",
                "CPUQuotaPerSecUSec=500000",
                "CPUQuotaPeriodUSec=100000",
                "AllowedCPUs=Bytes([7, 2])",
                "AllowedMemoryNodes=Bytes([1])",
                "TasksMax=42",
                "IOWeight=4950"
            ]
        );
    }

    #[test]
    fn version_1_has_its_own_names_and_lacks_some() {
        let resources = json!({
            "memory": {"limit": 67108864, "reservation": 33554432, "swap": 100663296},
            "cpu": {"shares": 512, "quota": 50000, "cpus": "0"},
            "pids": {"limit": -1},
            "blockIO": {"weight": 500}
        });
        assert_eq!(
            plan(resources, Version::V1),
            [
                "MemoryLimit=67108864",
                "CPUShares=512",
                "CPUQuotaPerSecUSec=500000",
                "TasksMax=infinity",
                "BlockIOWeight=500"
            ]
        );
    }

    #[test]
    fn no_limit_is_infinity_and_nothing_given_is_no_property() {
        let resources = json!({"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": 0}});
        let infinite = ["MemoryMax=infinity", "MemorySwapMax=infinity", "CPUQuotaPerSecUSec=infinity", "TasksMax=1"];
        assert_eq!(plan(resources, Version::V2), infinite);
        let zero =
            json!({"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}});
        assert_eq!(plan(zero, Version::V2), [] as [&str; 0]);
        assert_eq!(plan(json!({}), Version::V1), [] as [&str; 0]);
        // Swap is of both together: without a limit nothing can be taken off it.
        assert_eq!(plan(json!({"memory": {"swap": 4096}}), Version::V2), [] as [&str; 0]);
    }

    #[test]
    fn an_idle_container_has_the_weight_that_means_so() {
        let properties = plan(json!({"cpu": {"shares": 512, "idle": 1}}), Version::V2);
        assert_eq!(properties, ["CPUWeight=0"]);
    }

    #[test]
    fn a_unified_file_wins_over_the_key_of_the_same_limit() {
        let resources = json!({
            "memory": {"limit": 67108864},
            "pids": {"limit": 42},
            "unified": {"memory.max": "max", "memory.high": "1000", "cpu.max": "25000 50000", "pids.max": "7",
                "memory.oom.group": "1", "cpuset.cpus": "8", "io.weight": "default 77", "cpu.weight": "x"}
        });
        let mut properties = plan(resources, Version::V2);
        properties.sort();
        assert_eq!(
            properties,
            [
                "AllowedCPUs=Bytes([0, 1])",
                "CPUQuotaPerSecUSec=500000",
                "CPUQuotaPeriodUSec=50000",
                "IOWeight=77",
                "MemoryHigh=1000",
                "MemoryMax=infinity",
                "TasksMax=7"
            ]
        );
    }

    #[test]
    fn files_are_told_as_they_are() {
        let words = |files: &[(Version, &str, &str)]| {
            let word = |property: Property| match property.value {
                Value::Uint64(INFINITY) => format!("{}=infinity", property.name),
                Value::Uint64(number) => format!("{}={number}", property.name),
                other => format!("{}={other:?}", property.name),
            };
            plan_files(files).into_iter().map(word).collect::<Vec<_>>()
        };
        let v1 = [
            (Version::V1, "cpu.cfs_period_us", "50000\n"),
            (Version::V1, "cpu.cfs_quota_us", "12345\n"),
            (Version::V1, "memory.limit_in_bytes", "9223372036854771712\n"),
            (Version::V1, "pids.max", "max\n"),
            (Version::V1, "cpu.shares", "1024\n"),
            (Version::V1, "blkio.bfq.weight", "7\n"),
        ];
        let expected = [
            "CPUQuotaPerSecUSec=250000",
            "CPUQuotaPeriodUSec=50000",
            "MemoryLimit=infinity",
            "TasksMax=infinity",
            "CPUShares=1024",
            "BlockIOWeight=10",
        ];
        assert_eq!(words(&v1), expected);
        let v2 = [
            (Version::V2, "cpu.max", "max 100000\n"),
            (Version::V2, "cpu.weight", "0\n"),
            (Version::V2, "cpu.idle", "0\n"),
            (Version::V2, "cpuset.cpus", "\n"),
            (Version::V2, "io.bfq.weight", "default 300\n"),
            (Version::V2, "io.weight", "default 100\n8:0 50\n"),
            (Version::V2, "memory.max", "67108864\n"),
            (Version::V2, "pids.max", "0\n"),
        ];
        let expected = [
            "CPUQuotaPerSecUSec=infinity",
            "CPUQuotaPeriodUSec=100000",
            "CPUWeight=0",
            "IOWeight=100",
            "MemoryMax=67108864",
            "TasksMax=1",
        ];
        assert_eq!(words(&v2), expected);
        // Newer kernels show the least weight for an idle cgroup, and not 0.
        for weight in ["0\n", "1\n"] {
            let idle = [(Version::V2, "cpu.weight", weight), (Version::V2, "cpu.idle", "1\n")];
            assert_eq!(words(&idle), ["CPUWeight=0"]);
        }
    }

    #[test]
    fn a_list_that_is_none_is_left_to_the_kernel() {
        for list in ["", "x", "3-1", "1-", "-1", "0-99999999", ","] {
            assert_eq!(list_to_bits(list), None, "{list}");
        }
    }

    proptest! {
        #[test]
        fn a_quota_is_never_rounded_below_the_config(quota in 1u64..10_000_000_000, period in 1000u64..1_000_000) {
            let property = quota_property(Some(quota), period);
            let Value::Uint64(per_second) = property.value else { panic!() };
            prop_assert_eq!(per_second % QUOTA_STEP, 0);
            prop_assert!(per_second > 0);
            prop_assert!(u128::from(per_second) + 1 > u128::from(quota) * 1_000_000 / u128::from(period));
        }

        #[test]
        fn a_mask_has_the_bits_of_its_list(numbers in prop::collection::btree_set(0usize..300, 1..20)) {
            let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let bits = list_to_bits(&list.join(",")).unwrap();
            let set: Vec<usize> = (0..bits.len() * 8).filter(|n| bits[n / 8] & 1 << (n % 8) != 0).collect();
            prop_assert_eq!(set, numbers.into_iter().collect::<Vec<_>>());
        }
    }
}
