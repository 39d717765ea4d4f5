//! Two looks at a container as a row of numbers, and rows as text. Pure.

use std::io::Write;
use std::time::Instant;

use serde::Serialize;
use tabwriter::TabWriter;

use crate::cgroups::stats::Stats;
use crate::container::Status;
use crate::container::init::Init;
use crate::error::{Error, Result};
use crate::fault::Call;

/// One look.
pub struct Sample {
    id: String,
    status: Status,
    init: Init,
    at: Instant,
    stats: Stats,
}

impl Sample {
    /// A look that was taken now.
    pub fn new(id: String, status: Status, init: Init, stats: Stats) -> Sample {
        Sample { id, status, init, at: Instant::now(), stats }
    }

    /// Of the same container, not of another that got its id since.
    pub fn is_of(&self, other: &Sample) -> bool {
        self.id == other.id && self.init == other.init
    }
}

/// What a container uses. As JSON: bytes and percents.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub id: String,
    pub status: &'static str,
    /// 100 is one CPU; `None` at the first look at a container.
    pub cpu_percent: Option<f64>,
    /// Without the page cache that the kernel takes back first.
    pub memory_usage: u64,
    /// The container's limit, or all memory of the machine.
    pub memory_limit: u64,
    /// `None` where the limit is unknown.
    pub memory_percent: Option<f64>,
    pub pids: u64,
    /// `None` for no limit.
    pub pids_limit: Option<u64>,
    pub io_read: u64,
    pub io_write: u64,
}

impl Row {
    /// `total_memory` is the machine's, in bytes; 0 when nobody knows.
    pub fn between(before: Option<&Sample>, now: &Sample, total_memory: u64) -> Row {
        let stats = &now.stats;
        let inactive = ["total_inactive_file", "inactive_file"].iter().find_map(|key| stats.memory.raw.get(*key));
        let memory_usage = stats.memory.usage.usage.saturating_sub(inactive.copied().unwrap_or(0));
        let memory_limit = match (stats.memory.usage.limit, total_memory) {
            (0, total) => total,
            (limit, 0) => limit,
            (limit, total) => limit.min(total),
        };
        Row {
            id: now.id.clone(),
            status: now.status.name(),
            cpu_percent: before.and_then(|before| cpu_percent(before, now)),
            memory_usage,
            memory_limit,
            memory_percent: (memory_limit > 0).then(|| two_digits(memory_usage as f64 / memory_limit as f64 * 100.0)),
            pids: stats.pids.current,
            pids_limit: (stats.pids.limit > 0).then_some(stats.pids.limit),
            io_read: stats.blkio.bytes("Read"),
            io_write: stats.blkio.bytes("Write"),
        }
    }

    fn cells(&self) -> [String; 8] {
        let percent = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}%"));
        [
            percent(self.cpu_percent),
            size(self.memory_usage),
            size(self.memory_limit),
            percent(self.memory_percent),
            self.pids.to_string(),
            size(self.io_read),
            size(self.io_write),
            self.status.to_owned(),
        ]
    }
}

fn cpu_percent(before: &Sample, now: &Sample) -> Option<f64> {
    let elapsed = now.at.checked_duration_since(before.at)?.as_nanos();
    let used = now.stats.cpu.usage.total.saturating_sub(before.stats.cpu.usage.total);
    (elapsed > 0).then(|| two_digits(used as f64 / elapsed as f64 * 100.0))
}

/// More are noise.
fn two_digits(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

/// The machine's memory in bytes, out of /proc/meminfo (proc_meminfo(5)); 0 when it isn't there.
pub fn total_memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|total| total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// Bytes in the unit that leaves one to four digits before the point.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // 1023.95 would be rounded to 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// The header and a line for each row; numbers stand at the right of their column.
pub fn render(rows: &[Row]) -> Result<String> {
    let cells: Vec<[String; 8]> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| cells.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let pair = |left: &str, right: &str, at: usize| format!("{left:>0$} / {right:>1$}", width(at), width(at + 1));
    let header = ["CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS", "IO READ / WRITE"].map(str::to_owned);
    let mut lines = vec![header];
    lines.extend(cells.iter().map(|cells| {
        let [cpu, used, limit, percent, pids, read, written, _] = cells;
        [cpu.clone(), pair(used, limit, 1), percent.clone(), pids.clone(), pair(read, written, 5)]
    }));
    let widths: Vec<usize> = (0..5).map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0)).collect();
    let names = std::iter::once(("ID", "STATUS")).chain(rows.iter().map(|row| (row.id.as_str(), row.status)));
    let mut table = TabWriter::new(Vec::new()).minwidth(2).padding(3);
    let mut text = String::new();
    for ((id, status), line) in names.zip(&lines) {
        text.push_str(&format!("{id}\t{status}"));
        line.iter().zip(&widths).for_each(|(cell, width)| text.push_str(&format!("\t{cell:>width$}")));
        text.push('\n');
    }
    let written = table.write_all(text.as_bytes()).and_then(|()| table.flush());
    written.map_err(|e| Error::io("lay out the table", Call::None, &e))?;
    let bytes = table.into_inner().map_err(|e| Error::io("lay out the table", Call::None, e.error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::cgroups::stats::BlkioEntry;

    fn sample(id: &str, cpu: u64, after: Duration, start: Instant) -> Sample {
        let mut stats = Stats::default();
        stats.cpu.usage.total = cpu;
        stats.memory.usage.usage = 30 << 20;
        stats.memory.usage.limit = 64 << 20;
        stats.memory.raw = [("inactive_file".to_owned(), 14 << 20)].into();
        stats.pids.current = 3;
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.to_owned(), value };
        stats.blkio.io_service_bytes_recursive = vec![entry("Read", 2048), entry("Write", 100), entry("Total", 2148)];
        Sample {
            id: id.to_owned(),
            status: Status::Running,
            init: Init { pid: 77, start_time: 1 },
            at: start + after,
            stats,
        }
    }

    #[test]
    fn a_share_of_cpu_is_that_of_the_time_between() {
        let start = Instant::now();
        let before = sample("web", 1_000_000, Duration::ZERO, start);
        let now = sample("web", 501_000_000, Duration::from_millis(250), start);
        let row = Row::between(Some(&before), &now, 1 << 30);
        assert_eq!(row.cpu_percent, Some(200.0));
        assert_eq!((row.memory_usage, row.memory_limit, row.memory_percent), (16 << 20, 64 << 20, Some(25.0)));
        assert_eq!((row.pids, row.pids_limit, row.io_read, row.io_write), (3, None, 2048, 100));
        // The second look at a container is the first that has a share.
        assert_eq!(Row::between(None, &now, 0).cpu_percent, None);
        // A counter that goes back is one that went.
        assert_eq!(
            Row::between(Some(&sample("web", 900_000_000, Duration::ZERO, start)), &now, 0).cpu_percent,
            Some(0.0)
        );
        let reused = Sample { init: Init { pid: 77, start_time: 2 }, ..sample("web", 0, Duration::ZERO, start) };
        assert!(now.is_of(&before) && !reused.is_of(&now));
    }

    #[test]
    fn without_a_limit_the_machine_s_memory_counts() {
        let mut now = sample("web", 0, Duration::ZERO, Instant::now());
        for limit in [0, 9_223_372_036_854_771_712, u64::MAX] {
            now.stats.memory.usage.limit = limit;
            assert_eq!(Row::between(None, &now, 1 << 30).memory_limit, 1 << 30);
        }
        now.stats.memory.usage.limit = 0;
        assert_eq!(Row::between(None, &now, 0).memory_percent, None);
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:        4096 kB\n"), 4 << 20);
        assert_eq!(total_memory(""), 0);
    }

    #[test]
    fn a_size_has_the_unit_that_fits() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1536, "1.5KiB"),
            ((1 << 20) - 1, "1.0MiB"),
            (5 << 30, "5.0GiB"),
            (u64::MAX, "16.0EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn numbers_stand_at_the_right_of_their_column() {
        let start = Instant::now();
        let mut rows = vec![
            Row::between(None, &sample("web", 0, Duration::ZERO, start), 0),
            Row::between(None, &sample("a-long-name", 0, Duration::ZERO, start), 0),
        ];
        rows[0].cpu_percent = Some(123.4);
        rows[1].memory_usage = 3;
        rows[1].pids = 1000;
        let expected = "\
ID            STATUS      CPU %   MEM USAGE / LIMIT    MEM %   PIDS   IO READ / WRITE
web           running   123.40%   16.0MiB / 64.0MiB   25.00%      3     2.0KiB / 100B
a-long-name   running         -        3B / 64.0MiB   25.00%   1000     2.0KiB / 100B
";
        assert_eq!(render(&rows).unwrap(), expected);
        assert_eq!(render(&[]).unwrap().lines().count(), 1);
    }

    proptest! {
        #[test]
        fn a_size_is_short(bytes: u64) {
            let text = size(bytes);
            prop_assert!(text.len() <= 9, "{}", text);
        }
    }
}
