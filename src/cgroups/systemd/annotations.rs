//! Annotations `org.systemd.property.NAME`: properties of the unit that an engine wants set, with values in the text form
//! of GVariant (docs.gtk.org/glib/gvariant-text-format.html) as far as a unit's properties go. Pure.

use std::collections::HashMap;

use super::properties::{Property, Value};
use crate::error::Violation;
use crate::field::Field;

/// How an annotation that is a property begins.
pub const PREFIX: &str = "org.systemd.property.";

/// Properties without which corten's own plan would not come about.
const OWN: [&str; 3] = ["Delegate", "PIDs", "Slice"];

/// The properties in a config's annotations, in the order of their names.
pub fn plan_annotations(annotations: &HashMap<String, String>) -> Result<Vec<Property>, Vec<Violation>> {
    let mut given: Vec<(&str, &str, &str)> = annotations
        .iter()
        .filter_map(|(key, value)| Some((key.as_str(), key.strip_prefix(PREFIX)?, value.as_str())))
        .collect();
    given.sort_unstable();
    let (mut properties, mut violations) = (Vec::new(), Vec::new());
    for (key, name, value) in given {
        match plan_annotation(name, value) {
            Ok(property) => properties.push(property),
            Err((why, hint)) => {
                violations.push(Violation::new(Field::at("/annotations").key(key), why).hint(hint));
            }
        }
    }
    if violations.is_empty() { Ok(properties) } else { Err(violations) }
}

fn plan_annotation(name: &str, text: &str) -> Result<Property, (String, &'static str)> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let hint = "systemd.unit(5) and org.freedesktop.systemd1(5) list the properties, such as TimeoutStopUSec";
        return Err((
            format!("{name:?} is no name of a property: it takes three letters or more and nothing else"),
            hint,
        ));
    }
    if OWN.contains(&name) {
        return Err((format!("{name} is set by corten itself"), "linux.cgroupsPath names the slice"));
    }
    let value = parse(text).map_err(|why| {
        (
            format!("{text:?} is no value: {why}"),
            "write it in GVariant's text form: true, 5, uint64 5, 'text', ['a', 'b']",
        )
    })?;
    // Units' files have seconds, D-Bus has microseconds.
    match name.strip_suffix("Sec").filter(|name| !name.ends_with('U')) {
        Some(stem) => match to_microseconds(&value) {
            Some(microseconds) => Ok(Property::new(&format!("{stem}USec"), Value::Uint64(microseconds))),
            None => Err((format!("{text:?} is no number of seconds"), "or use the property in microseconds, NAMEUSec")),
        },
        None => Ok(Property::new(name, value)),
    }
}

/// Seconds, whole or not, as microseconds.
fn to_microseconds(value: &Value) -> Option<u64> {
    const MILLION: u64 = 1_000_000;
    let whole = match *value {
        Value::Byte(n) => n.into(),
        Value::Int16(n) => u64::try_from(n).ok()?,
        Value::Uint16(n) => n.into(),
        Value::Int32(n) => u64::try_from(n).ok()?,
        Value::Uint32(n) => n.into(),
        Value::Int64(n) => u64::try_from(n).ok()?,
        Value::Uint64(u64::MAX) => return Some(u64::MAX),
        Value::Uint64(n) => n,
        Value::Double(n) if n >= 0.0 && n < (u64::MAX / MILLION) as f64 => return Some((n * 1e6).round() as u64),
        _ => return None,
    };
    whole.checked_mul(MILLION)
}

/// Reads a value. The error continues `"x" is no value: …`.
fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    match reader.skip().is_empty() {
        true => Ok(value),
        false => Err(format!("{:?} stands behind its end", reader.rest)),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

/// Types that a word before a value names.
const TYPES: [&str; 9] = ["boolean", "byte", "int16", "uint16", "int32", "uint32", "int64", "uint64", "double"];

impl<'a> Reader<'a> {
    fn skip(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    /// A run of what isn't a separator.
    fn word(&mut self) -> &'a str {
        let rest = self.skip();
        let end = rest.find(|c: char| c.is_whitespace() || ",[]'\"".contains(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        self.rest = after;
        word
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.skip().chars().next() {
            None => Err("it is empty".to_owned()),
            Some(quote @ ('\'' | '"')) => self.string(quote).map(Value::String),
            Some('[') => self.array(),
            Some('@') => self.annotated(),
            Some(_) => {
                let word = self.word();
                match word {
                    "string" => match self.skip().chars().next() {
                        Some(quote @ ('\'' | '"')) => self.string(quote).map(Value::String),
                        _ => Err("a string stands in quotes".to_owned()),
                    },
                    name if TYPES.contains(&name) => {
                        let number = self.word();
                        number_of(name, number)
                    }
                    "true" => Ok(Value::Boolean(true)),
                    "false" => Ok(Value::Boolean(false)),
                    // What has no type is an int32, and a double with a point in it.
                    number if number.contains(['.', 'e', 'E']) && !is_hex(number) => number_of("double", number),
                    number => number_of("int32", number),
                }
            }
        }
    }

    /// `@t 5`: a value with its type's letters before it.
    fn annotated(&mut self) -> Result<Value, String> {
        let letters = self.word();
        let name = match letters {
            "@b" => "boolean",
            "@y" => "byte",
            "@n" => "int16",
            "@q" => "uint16",
            "@i" => "int32",
            "@u" => "uint32",
            "@x" => "int64",
            "@t" => "uint64",
            "@d" => "double",
            "@s" | "@as" | "@au" | "@ay" => {
                // One type is enough for a value: were a second read here, a text could nest types without end.
                if self.skip().starts_with('@') {
                    return Err("it has two types".to_owned());
                }
                let value = self.value()?;
                return match (letters, value) {
                    ("@s", value @ Value::String(_)) | ("@as", value @ Value::Strings(_)) => Ok(value),
                    ("@au", Value::Strings(none)) if none.is_empty() => Ok(Value::Uint32s(Vec::new())),
                    ("@ay", Value::Strings(none)) if none.is_empty() => Ok(Value::Bytes(Vec::new())),
                    ("@au", value @ Value::Uint32s(_)) | ("@ay", value @ Value::Bytes(_)) => Ok(value),
                    _ => Err(format!("it isn't of the type {letters}")),
                };
            }
            other => return Err(format!("the type {other} is none that corten can give to a property")),
        };
        let number = self.word();
        number_of(name, number)
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('\\' | '\'' | '"')) => text.push(c),
                    Some(c) => return Err(format!("it has the unknown escape \\{c}")),
                    None => break,
                },
                '\0' => return Err("it has a NUL in it".to_owned()),
                c => text.push(c),
            }
        }
        Err("its quote isn't closed".to_owned())
    }

    /// An array whose elements are of one type: strings, unless the first says otherwise.
    fn array(&mut self) -> Result<Value, String> {
        self.rest = &self.rest[1..];
        let mut items = Vec::new();
        if let Some(after) = self.skip().strip_prefix(']') {
            self.rest = after;
            return Ok(Value::Strings(Vec::new()));
        }
        loop {
            // No property has arrays in an array, and reading them would take the stack that the text's depth asks for.
            if self.skip().starts_with('[') || self.rest.starts_with("@a") {
                return Err("an array of a property has strings, uint32 or bytes".to_owned());
            }
            items.push(self.value()?);
            let rest = self.skip();
            if let Some(after) = rest.strip_prefix(']') {
                self.rest = after;
                return array_of(items);
            }
            // What a first element is, those behind it are too: [byte 1, 2].
            let Some(after) = rest.strip_prefix(',') else { return Err("its bracket isn't closed".to_owned()) };
            self.rest = after;
        }
    }
}

fn array_of(items: Vec<Value>) -> Result<Value, String> {
    let number = |item: &Value| match item {
        Value::Int32(n) => Some(i64::from(*n)),
        Value::Uint32(n) => Some(i64::from(*n)),
        Value::Byte(n) => Some(i64::from(*n)),
        _ => None,
    };
    match items.first() {
        Some(Value::String(_)) => {
            let text = |item| if let Value::String(text) = item { Some(text) } else { None };
            items.into_iter().map(text).collect::<Option<_>>().map(Value::Strings)
        }
        Some(Value::Uint32(_)) => {
            let each = |item: &Value| u32::try_from(number(item)?).ok();
            items.iter().map(each).collect::<Option<_>>().map(Value::Uint32s)
        }
        Some(Value::Byte(_)) => {
            items.iter().map(|item| u8::try_from(number(item)?).ok()).collect::<Option<_>>().map(Value::Bytes)
        }
        _ => return Err("an array of a property has strings, uint32 or bytes".to_owned()),
    }
    .ok_or_else(|| "the elements of an array are of one type".to_owned())
}

fn is_hex(number: &str) -> bool {
    number.trim_start_matches(['-', '+']).starts_with("0x")
}

/// A number of a type, decimal, hexadecimal behind `0x`, or octal behind `0`.
fn number_of(name: &str, text: &str) -> Result<Value, String> {
    let bad = || match text {
        "" => format!("a number must follow {name}"),
        text => format!("{text:?} is no {name}"),
    };
    if name == "boolean" {
        return text.parse().map(Value::Boolean).map_err(|_| bad());
    }
    if name == "double" {
        let number: f64 = text.parse().map_err(|_| bad())?;
        return if number.is_finite() { Ok(Value::Double(number)) } else { Err(bad()) };
    }
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits {
        hex if hex.starts_with("0x") => (&hex[2..], 16),
        octal if octal.len() > 1 && octal.starts_with('0') => (&octal[1..], 8),
        decimal => (decimal, 10),
    };
    // A second sign would be taken otherwise.
    let unsigned = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let number = unsigned.and_then(|digits| i128::from_str_radix(digits, radix).ok()).ok_or_else(bad)?;
    let number = if minus { -number } else { number };
    match name {
        "byte" => u8::try_from(number).map(Value::Byte),
        "int16" => i16::try_from(number).map(Value::Int16),
        "uint16" => u16::try_from(number).map(Value::Uint16),
        "int32" => i32::try_from(number).map(Value::Int32),
        "uint32" => u32::try_from(number).map(Value::Uint32),
        "int64" => i64::try_from(number).map(Value::Int64),
        _ => u64::try_from(number).map(Value::Uint64),
    }
    .map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(name: &str, value: &str) -> Result<Property, String> {
        let annotations = HashMap::from([(format!("{PREFIX}{name}"), value.to_owned()), ("other".into(), "x".into())]);
        let mut properties = plan_annotations(&annotations).map_err(|mut violations| {
            let violation = violations.remove(0);
            assert_eq!(violation.field, Field::at("/annotations").key(&format!("{PREFIX}{name}")));
            assert!(!violation.hint.is_empty());
            violation.why
        })?;
        assert_eq!(properties.len(), 1);
        Ok(properties.remove(0))
    }

    #[test]
    fn a_value_has_the_type_that_its_text_says() {
        let strings = |texts: &[&str]| Value::Strings(texts.iter().map(|text| text.to_string()).collect());
        let cases = [
            ("true", Value::Boolean(true)),
            ("false", Value::Boolean(false)),
            ("boolean true", Value::Boolean(true)),
            ("5", Value::Int32(5)),
            ("-5", Value::Int32(-5)),
            ("0x10", Value::Int32(16)),
            ("010", Value::Int32(8)),
            ("0", Value::Int32(0)),
            ("byte 255", Value::Byte(255)),
            ("int16 -1", Value::Int16(-1)),
            ("uint16 1", Value::Uint16(1)),
            ("uint32 7", Value::Uint32(7)),
            ("int64 -9", Value::Int64(-9)),
            ("uint64  18446744073709551615", Value::Uint64(u64::MAX)),
            ("@t 5", Value::Uint64(5)),
            ("1.5", Value::Double(1.5)),
            ("double 2", Value::Double(2.0)),
            ("'inactive-or-failed'", Value::String("inactive-or-failed".into())),
            ("string \"a'b\"", Value::String("a'b".into())),
            ("'a\\'b\\n'", Value::String("a'b\n".into())),
            ("['a.service', \"b.service\"]", strings(&["a.service", "b.service"])),
            ("@as []", strings(&[])),
            ("[]", strings(&[])),
            ("[byte 1, 0x2]", Value::Bytes(vec![1, 2])),
            ("[uint32 1, 2]", Value::Uint32s(vec![1, 2])),
            (" true ", Value::Boolean(true)),
        ];
        for (text, value) in cases {
            assert_eq!(plan("Something", text).map(|property| property.value), Ok(value), "{text}");
        }
    }

    /// As deep as the text is long, a reader that calls itself would run out of stack.
    #[test]
    fn a_value_cannot_nest() {
        assert_eq!(plan("Something", "[@u 1, 2]").map(|property| property.value), Ok(Value::Uint32s(vec![1, 2])));
        for text in ["[", "@as ", "[@as ", "@as [", "@s ", "[['a'], "] {
            assert!(plan("Something", &text.repeat(1_000_000)).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_the_annotations_name() {
        for text in [
            "",
            "yes",
            "'open",
            "uint64",
            "uint64 -1",
            "uint64 x",
            "byte 256",
            "2147483648",
            "true false",
            "[1, 2]",
            "['a', 5]",
            "['a'",
            "@zz 5",
            "nan",
            "1e999",
            "--5",
            "0x",
            "'\\q'",
            "string 5",
            "{}",
            "<5>",
            "[byte 1, 300]",
        ] {
            assert!(plan("Something", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_has_letters_alone_and_is_not_one_of_cortens_own() {
        for name in ["", "ab", "With-Dash", "With.Dot", "A1B", "Ünit", "PIDs", "Slice", "Delegate"] {
            assert!(plan(name, "true").is_err(), "{name}");
        }
        assert!(plan("abc", "true").is_ok());
    }

    #[test]
    fn seconds_become_microseconds() {
        let cases = [
            ("TimeoutStopSec", "uint64 3", Ok(("TimeoutStopUSec", 3_000_000))),
            ("TimeoutStopSec", "5", Ok(("TimeoutStopUSec", 5_000_000))),
            ("RuntimeMaxSec", "0.25", Ok(("RuntimeMaxUSec", 250_000))),
            ("TimeoutStopSec", "uint64 18446744073709551615", Ok(("TimeoutStopUSec", u64::MAX))),
            ("TimeoutStopUSec", "uint64 3", Ok(("TimeoutStopUSec", 3))),
            ("TimeoutStopSec", "-1", Err(())),
            ("TimeoutStopSec", "'3s'", Err(())),
            ("TimeoutStopSec", "uint64 18446744073709551614", Err(())),
        ];
        for (name, text, expected) in cases {
            let got = plan(name, text).map(|property| (property.name, property.value)).map_err(drop);
            assert_eq!(got, expected.map(|(name, us)| (name.to_owned(), Value::Uint64(us))), "{name}={text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[-+@a-z0-9'\"\\\\\\[\\],. é]{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn numbers_and_strings_come_back(number in any::<u64>(), text in "[^\\\\'\0]{0,12}") {
            prop_assert_eq!(parse(&format!("uint64 {number}")), Ok(Value::Uint64(number)));
            prop_assert_eq!(parse(&format!("'{text}'")), Ok(Value::String(text)));
        }
    }
}
