//! The formats in which cgroups write their numbers. Pure. A line that isn't understood is left out, because kernels
//! add lines.

use std::collections::BTreeMap;

use super::{BlkioEntry, Psi, Stall};

/// One number. `max` is the largest one, and one below zero, which a torn count may be, is 0.
pub fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text if text.starts_with('-') => text.parse::<i64>().ok().map(|_| 0),
        text => text.parse().ok(),
    }
}

/// Lines of a key and a number.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, number(value)?))
    })
}

/// The same by key.
pub fn map(text: &str) -> BTreeMap<String, u64> {
    pairs(text).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// CPUs or nodes: `0-3,8` (cpuset(7), "List format").
pub fn list(text: &str) -> Vec<u16> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

/// A table of the block controller of version 1: `8:0 Read 4096`, or `8:0 4096`. Its last line is a sum without device.
pub fn blkio(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (first, second) = (words.next()?, words.next());
        let (op, value) = second.map_or(("", first), |second| (first, second));
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: number(value)? })
    };
    text.lines().filter_map(entry).collect()
}

/// `io.stat` of version 2 (`8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …`) as the tables of bytes and of requests.
pub fn io_stat(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut requests) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut requests, "Read"),
                "wios" => (&mut requests, "Write"),
                _ => continue,
            };
            if let Some(value) = number(value) {
                table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
            }
        }
    }
    (bytes, requests)
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
pub fn psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let stall = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        words.filter_map(|word| word.split_once('=')).for_each(|(key, value)| fill(stall, key, value));
    }
    psi
}

fn fill(stall: &mut Stall, key: &str, value: &str) {
    let percent = || value.parse().unwrap_or(0.0);
    match key {
        "avg10" => stall.avg10 = percent(),
        "avg60" => stall.avg60 = percent(),
        "avg300" => stall.avg300 = percent(),
        "total" => stall.total = number(value).unwrap_or(0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_may_be_max_or_negative() {
        let cases = [("42\n", Some(42)), ("max\n", Some(u64::MAX)), ("-1\n", Some(0)), ("", None), ("x", None)];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_list_is_made_of_numbers_and_ranges() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert!(list("\n").is_empty());
    }

    #[test]
    fn a_table_has_lines_with_and_without_an_operation() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 16, op: op.to_owned(), value };
        assert_eq!(blkio("8:16 Read 4096\n8:16 Total 4096\nTotal 4096\n"), [entry("Read", 4096), entry("Total", 4096)]);
        assert_eq!(blkio("8:16 77\nTotal 77\n"), [entry("", 77)]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[ -~\n]{0,80}") {
            let _ = (number(&text), map(&text), list(&text), blkio(&text), io_stat(&text), psi(&text));
        }

        #[test]
        fn what_the_kernel_lists_comes_back(ranges in prop::collection::vec((0u16..500, 0u16..9), 1..9)) {
            let text: Vec<String> = ranges.iter().map(|(at, len)| format!("{at}-{}", at + len)).collect();
            let expected: Vec<u16> = ranges.iter().flat_map(|(at, len)| *at..=at + len).collect();
            prop_assert_eq!(list(&text.join(",")), expected);
        }
    }
}
