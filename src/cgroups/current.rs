//! Reads what a container's cgroups hold, for a change of its limits. Nothing else needs it.

use super::file::read;
use super::group::{Group, Place, Version};
use super::plan::current::Current;

/// A file that is missing or makes no sense counts as the value of a new cgroup.
pub fn probe(group: &Group) -> Current {
    let mut current = Current::fresh();
    if let Some(place) = group.find("memory") {
        probe_memory(place, &mut current);
    }
    if let Some(place) = group.find("cpu") {
        probe_cpu(place, &mut current);
    }
    current
}

fn probe_memory(place: &Place, current: &mut Current) {
    let [limit, swap, usage] = match place.version {
        Version::V1 => ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.usage_in_bytes"],
        Version::V2 => ["memory.max", "memory.swap.max", "memory.current"],
    };
    current.memory_limit = limit_in(place, limit);
    current.memory_swap = limit_in(place, swap);
    current.memory_usage = number_in(place, usage).unwrap_or(0);
    current.oom_killer_disabled = text_of(place, "memory.oom_control").contains("oom_kill_disable 1");
}

fn probe_cpu(place: &Place, current: &mut Current) {
    let fresh = Current::fresh();
    let burst = match place.version {
        Version::V1 => {
            // -1 is no number, and no quota.
            current.cpu_quota = number_in(place, "cpu.cfs_quota_us");
            current.cpu_period = number_in(place, "cpu.cfs_period_us").unwrap_or(fresh.cpu_period);
            current.realtime_period = number_in(place, "cpu.rt_period_us").unwrap_or(fresh.realtime_period);
            "cpu.cfs_burst_us"
        }
        Version::V2 => {
            let text = text_of(place, "cpu.max");
            let mut words = text.split_whitespace().map(|word| word.parse().ok());
            current.cpu_quota = words.next().flatten();
            current.cpu_period = words.next().flatten().unwrap_or(fresh.cpu_period);
            "cpu.max.burst"
        }
    };
    current.cpu_burst = number_in(place, burst).unwrap_or(fresh.cpu_burst);
    current.cpu_idle = number_in(place, "cpu.idle") == Some(1);
}

fn text_of(place: &Place, name: &str) -> String {
    read(&place.dir().join(name)).unwrap_or_default()
}

fn number_in(place: &Place, name: &str) -> Option<u64> {
    text_of(place, name).trim().parse().ok()
}

/// Version 1 shows no limit as the largest number of whole pages (PAGE_COUNTER_MAX), version 2 as `max`.
fn limit_in(place: &Place, name: &str) -> Option<u64> {
    const LARGEST_PAGE: u64 = 1 << 20;
    number_in(place, name).filter(|limit| *limit < i64::MAX as u64 - LARGEST_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(version: Version, files: &[(&str, &str)]) -> Current {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("web")).unwrap();
        for (name, text) in files {
            std::fs::write(root.path().join("web").join(name), text).unwrap();
        }
        let controllers = vec!["memory".to_owned(), "cpu".to_owned()];
        let place = Place { version, controllers, mount: root.path().to_owned(), path: "web".into(), made: 0 };
        probe(&Group { places: vec![place], unit: None })
    }

    #[test]
    fn the_files_of_version_1_are_read_and_its_largest_number_is_no_limit() {
        let files = [
            ("memory.limit_in_bytes", "9998336\n"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n"),
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "50000\n"),
            ("cpu.cfs_burst_us", "700\n"),
            ("cpu.rt_period_us", "400000\n"),
            ("cpu.idle", "1\n"),
        ];
        let expected = Current {
            memory_limit: Some(9_998_336),
            memory_usage: 4096,
            oom_killer_disabled: true,
            cpu_period: 50_000,
            cpu_burst: 700,
            realtime_period: 400_000,
            cpu_idle: true,
            ..Current::fresh()
        };
        assert_eq!(probed(Version::V1, &files), expected);
    }

    #[test]
    fn the_files_of_version_2_are_read_and_missing_ones_are_as_new() {
        let files = [("memory.max", "max\n"), ("memory.swap.max", "8192\n"), ("cpu.max", "25000 50000\n")];
        let expected =
            Current { memory_swap: Some(8192), cpu_quota: Some(25_000), cpu_period: 50_000, ..Current::fresh() };
        assert_eq!(probed(Version::V2, &files), expected);
    }
}
