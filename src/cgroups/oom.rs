//! Whether the kernel has killed somebody in a container's cgroup for want of memory.

use super::file::read;
use super::group::{Group, Version};

/// What the memory controller tells after such a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomKill {
    /// The container's limit in bytes; `None` when it has none, and it was one above it that had no room.
    pub limit: Option<u64>,
}

/// `None` when nobody was killed, or nothing counts it: version 1 does since Linux 4.13 (memory.oom_control), version 2
/// in memory.events.
pub fn probe(group: &Group) -> Option<OomKill> {
    let place = group.find("memory")?;
    let (events, limit) = match place.version {
        Version::V1 => ("memory.oom_control", "memory.limit_in_bytes"),
        Version::V2 => ("memory.events", "memory.max"),
    };
    let count = count(&read(&place.dir().join(events)).ok()?);
    let limit = || parse_limit(&read(&place.dir().join(limit)).unwrap_or_default());
    (count > 0).then(|| OomKill { limit: limit() })
}

fn count(events: &str) -> u64 {
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Without a limit version 2 has `max`, version 1 the highest number of pages that fits.
fn parse_limit(text: &str) -> Option<u64> {
    const NO_LIMIT: u64 = (i64::MAX as u64) >> 16 << 16;
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(count("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }

    #[test]
    fn a_limit_is_a_number_of_bytes_or_none() {
        assert_eq!(parse_limit("4096\n"), Some(4096));
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("9223372036854771712\n"), None);
        assert_eq!(parse_limit(""), None);
    }
}
