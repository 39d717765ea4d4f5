//! Lists of numbers and ranges such as `0-3,7` (cpuset(7), "List format"), as CPUs and memory nodes are written.

/// The ranges of a list, both ends included.
///
/// # Errors
/// What is wrong with the list, as the end of a sentence.
pub(super) fn ranges(text: &str, highest: u32) -> Result<Vec<(u32, u32)>, String> {
    let number = |part: &str| match part.parse::<u32>() {
        Ok(number) if number <= highest && part.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        Ok(number) if number > highest => Err(format!("{number} is above the kernel's limit {highest}")),
        _ => Err(format!("{part:?} is no number")),
    };
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last { Err(format!("the range {part} runs backwards")) } else { Ok((first, last)) }
        })
        .collect()
}

/// How many different numbers stand in the ranges.
pub(super) fn count(ranges: &[(u32, u32)]) -> usize {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut next = 0u64;
    let mut count = 0;
    for (first, last) in sorted {
        let (first, end) = (u64::from(first).max(next), u64::from(last) + 1);
        count += end.saturating_sub(first) as usize;
        next = next.max(end);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_counted() {
        assert_eq!(ranges("0-3,7", 1023), Ok(vec![(0, 3), (7, 7)]));
        assert_eq!(count(&[(0, 3), (7, 7), (2, 5)]), 7);
        for (text, why) in [
            ("", "no number"),
            ("1,", "no number"),
            ("3-1", "runs backwards"),
            ("a", "no number"),
            ("+1", "no number"),
            ("1-2-3", "no number"),
            ("5000", "above the kernel's limit 1023"),
            ("٣", "no number"),
        ] {
            assert!(ranges(text, 1023).unwrap_err().contains(why), "{text:?}");
        }
    }
}
