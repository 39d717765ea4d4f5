//! Amounts of memory as people write them: `64M`, `1.5G`, `512KiB`, `-1`. Units are binary whatever their spelling, as
//! every engine's `--memory` has them.

/// The amount in bytes; -1 for no limit, which is written `-1` or `unlimited`. A part of a byte is dropped.
pub fn bytes(text: &str) -> Result<i64, String> {
    if matches!(text, "-1" | "unlimited") {
        return Ok(-1);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let shift = shift(unit.strip_prefix(' ').unwrap_or(unit))
        .ok_or("must be a number of bytes with one of the units b, k, m, g, t and p, or -1 for no limit")?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.contains('.') || whole.len() + part.len() == 0 {
        return Err("must begin with a number, such as 64M or 1.5G".to_owned());
    }
    let too_large = || format!("must not be above {} bytes", i64::MAX);
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
    // Digits beyond these are less than a byte of the largest unit.
    let part = &part[..part.len().min(18)];
    let fraction: u128 = part.parse().unwrap_or(0);
    let fraction = (fraction << shift) / 10u128.pow(part.len() as u32);
    let bytes = whole.checked_mul(1 << shift).and_then(|bytes| bytes.checked_add(fraction)).ok_or_else(too_large)?;
    i64::try_from(bytes).map_err(|_| too_large())
}

/// By how many bits a unit shifts: `k`, `KB` and `KiB` are all 10; `None` for what is no unit.
fn shift(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b") {
        return Some(0);
    }
    let prefix = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["k", "m", "g", "t", "p"].iter().position(|known| *known == prefix)?;
    Some(10 * (power as u32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_binary_in_every_spelling() {
        let cases = [
            ("0", 0),
            ("1", 1),
            ("7b", 7),
            ("7 B", 7),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("512KiB", 512 << 10),
            ("1.5G", 3 << 29),
            ("1.5 g", 3 << 29),
            (".5k", 512),
            ("2.k", 2048),
            ("0.3", 0),
            ("1.0009765625k", 1025),
            ("3t", 3 << 40),
            ("2P", 2 << 50),
            ("9223372036854775807", i64::MAX),
            ("-1", -1),
            ("unlimited", -1),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "", " ", "M", ".", ".k", "1..5", "1.5.5", "-2", "-1k", "+5", "64X", "64kk", "64bb", "64bib", "64ib",
            "64  M", " 64", "64M ", "1e3", "0x10", "٣", "1\u{a0}k",
        ] {
            assert!(bytes(text).is_err(), "{text:?} is {:?}", bytes(text));
        }
        for text in ["9223372036854775808", "8192P", "99999999999999999999999999999999999999999999"] {
            assert!(bytes(text).unwrap_err().contains("must not be above"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_of_a_unit_are_exact(
            number in 0i64..(1 << 12), unit in prop::sample::select(vec![("", 0), ("k", 10), ("M", 20), ("gb", 30), ("TiB", 40), ("p", 50)]),
            space in prop::bool::ANY,
        ) {
            let text = format!("{number}{}{}", if space { " " } else { "" }, unit.0);
            prop_assert_eq!(bytes(&text), Ok(number << unit.1));
        }

        #[test]
        fn more_digits_after_the_point_are_never_less(number in "[0-9]{1,3}\\.[0-9]{1,30}", digit in "[0-9]", unit in "[kmgtpKMGTP]") {
            let (short, long) = (bytes(&format!("{number}{unit}")).unwrap(), bytes(&format!("{number}{digit}{unit}")).unwrap());
            prop_assert!(short <= long, "{short} {long}");
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = bytes(&text);
        }
    }
}
