//! Durations as Go programs write them, because callers of `events --interval` do: `5s`, `500ms`, `1h2m3.5s`.

use std::time::Duration;

/// Nanoseconds of each unit. The two letters for micro are two characters that look alike.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration; one below zero is zero, which no flag takes either.
pub fn parse(text: &str) -> Result<Duration, String> {
    let signless = text.strip_prefix(['-', '+']).unwrap_or(text);
    let nanoseconds = match signless {
        "0" => Some(0),
        signless => sum(signless),
    };
    match nanoseconds {
        // What Go's 64 bits with a sign hold: 292 years.
        Some(all) if i64::try_from(all).is_ok() => {
            Ok(Duration::from_nanos(if text.starts_with('-') { 0 } else { all }))
        }
        _ => Err("parse error, a duration has a unit: 5s, 500ms, 1m30s".to_owned()),
    }
}

/// One or more numbers, each with its unit.
fn sum(mut text: &str) -> Option<u64> {
    let mut all: u64 = 0;
    loop {
        let number = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, rest) = text.split_at(number);
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        all = all.checked_add(nanoseconds(amount, *unit)?)?;
        if rest.is_empty() {
            return Some(all);
        }
        text = rest;
    }
}

/// `1.5` of a unit; one of the sides of the point may be missing. What is finer than a nanosecond is dropped.
fn nanoseconds(amount: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // The value of a digit, with room behind the nanosecond so that nothing is lost on the way.
    const ROOM: u128 = 1_000_000_000_000_000_000;
    let (mut part, mut digit_value) = (0, u128::from(unit) * ROOM);
    for digit in fraction.bytes() {
        digit_value /= 10;
        part += u128::from(digit - b'0') * digit_value;
    }
    whole.checked_mul(unit)?.checked_add(u64::try_from(part / ROOM).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("500ms", 500_000_000),
            ("1h2m3s", 3_723_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("1.0000000019s", 1_000_000_001),
            ("0.1m", 6_000_000_000),
            ("3ns", 3),
            ("-5s", 0),
            ("9223372036854775807ns", i64::MAX as u64),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-",
            "5 s",
            "5x",
            "1.2.3s",
            ".s",
            "5s1",
            "--5s",
            "1e3s",
            "9223372036854775808ns",
            "999999h9999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_added_up_comes_out(hours in 0u64..1000, minutes in 0u64..600, milliseconds in 0u64..1_000_000) {
            let text = format!("{hours}h{minutes}m{milliseconds}ms");
            let expected = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&text), Ok(expected));
        }

        #[test]
        fn a_fraction_is_exact_to_the_nanosecond(seconds in 0u64..1_000_000, fraction in 0u32..1_000_000_000) {
            prop_assert_eq!(parse(&format!("{seconds}.{fraction:09}s")), Ok(Duration::new(seconds, fraction)));
        }

        #[test]
        fn no_text_is_too_strange(text in "[-+0-9.a-zµ]{0,40}|\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
