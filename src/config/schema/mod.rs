//! A walk over a parsed JSON document with the table of runtime-spec's properties beside it.
//!
//! Nothing here runs when config.json is fine: the walk names what the strict parser stumbled over (all of it, not
//! only the first), and answers a few questions that the typed model can't, such as which properties are unknown.

mod table;

use serde_json::Value;

use crate::error::Violation;
use crate::field::Field;

pub use table::{CONFIG, Kind, MOUNTS_FILE, PROCESS_FILE, Property, RESOURCES_FILE, Words};

/// At most this many complaints are made about one file: it bounds time and memory for a hostile one.
pub const MOST_COMPLAINTS: usize = 1000;

/// What can be said about one value of the document.
enum Finding<'v> {
    WrongType(&'v Kind, &'v Value),
    /// A required property isn't there.
    Missing(&'static Property),
    /// A word that isn't one of the known ones.
    UnknownWord(&'static Words, &'v str),
    /// A property that the spec doesn't have; the known ones beside it.
    Unknown(&'static [Property], &'v str),
    /// A string, or a key of a map, with a NUL character in it.
    Nul,
}

/// Every wrong type, missing required property and unknown word, in the order of the table and of the arrays.
pub fn complaints(document: &Value, kind: &'static Kind) -> Vec<Violation> {
    let mut found = Vec::new();
    walk(document, kind, &Field::RUNTIME, &mut |field, finding| {
        let violation = match finding {
            Finding::WrongType(kind, value) => wrong_type(field, kind, value),
            Finding::Missing(property) => missing(field, property),
            Finding::UnknownWord(words, word) => unknown_word(field, words, word),
            Finding::Unknown(..) | Finding::Nul => return true,
        };
        found.push(violation);
        found.len() < MOST_COMPLAINTS
    });
    found
}

/// The properties of config.json that runtime-spec doesn't know. The spec wants them ignored; a misspelt one is a
/// common mistake, so they can be named where someone asks. Parses the document again.
pub fn unknown_properties(bytes: &[u8]) -> Vec<Field> {
    unknown_with_advice(bytes).into_iter().map(|(field, _)| field).collect()
}

/// The same, each with the known property that it looks like: `argz` looks like `args`.
pub fn unknown_with_advice(bytes: &[u8]) -> Vec<(Field, Option<&'static str>)> {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let mut found = Vec::new();
    walk(&document, &CONFIG, &Field::RUNTIME, &mut |field, finding| {
        if let Finding::Unknown(known, name) = finding {
            found.push((field, nearest(name, known.iter().map(|property| property.name))));
        }
        found.len() < MOST_COMPLAINTS
    });
    found
}

/// The properties whose string holds a NUL character, which no C string can.
pub fn strings_with_nul(document: &Value, kind: &'static Kind) -> Vec<Field> {
    let mut found = Vec::new();
    walk(document, kind, &Field::RUNTIME, &mut |field, finding| {
        if let Finding::Nul = finding {
            found.push(field);
        }
        found.len() < MOST_COMPLAINTS
    });
    found
}

/// Takes away properties that are null: they say the same as absent ones, and the typed model doesn't know it for
/// properties with a default. A null in an array or under a key of the user's own stays, and is an error.
pub fn drop_nulls(document: &mut Value, kind: &Kind) {
    match (kind, document) {
        (Kind::Object(properties), Value::Object(map)) => {
            map.retain(|_, value| !value.is_null());
            for property in *properties {
                if let Some(value) = map.get_mut(property.name) {
                    drop_nulls(value, &property.kind);
                }
            }
        }
        (Kind::List(kind), Value::Array(list)) => list.iter_mut().for_each(|value| drop_nulls(value, kind)),
        (Kind::Map(kind), Value::Object(map)) => map.values_mut().for_each(|value| drop_nulls(value, kind)),
        _ => {}
    }
}

/// Calls `visit` for every finding until it returns false. The recursion is as deep as the table.
fn walk<'v>(
    value: &'v Value,
    kind: &'static Kind,
    at: &Field,
    visit: &mut dyn FnMut(Field, Finding<'v>) -> bool,
) -> bool {
    match (kind, value) {
        (Kind::Free, _) | (Kind::Bool, Value::Bool(_)) => true,
        (Kind::Text, Value::String(text)) => !text.contains('\0') || visit(at.clone(), Finding::Nul),
        (Kind::Whole(least, most), Value::Number(number))
            if whole(number).is_some_and(|n| *least <= n && n <= *most) =>
        {
            true
        }
        (Kind::Ranges, Value::String(text)) if is_ranges(text) => true,
        (Kind::Word(words), Value::String(word)) => {
            words.known.contains(&word.as_str()) || visit(at.clone(), Finding::UnknownWord(words, word))
        }
        (Kind::List(kind), Value::Array(list)) => {
            list.iter().enumerate().all(|(i, value)| walk(value, kind, &at.index(i), visit))
        }
        (Kind::Map(kind), Value::Object(map)) => map.iter().all(|(key, value)| {
            let at = at.key(key);
            (!key.contains('\0') || visit(at.clone(), Finding::Nul)) && walk(value, kind, &at, visit)
        }),
        (Kind::Object(properties), Value::Object(map)) => {
            let known = properties.iter().all(|property| match map.get(property.name) {
                None | Some(Value::Null) => {
                    property.missing.is_none() || visit(at.key(property.name), Finding::Missing(property))
                }
                Some(value) => walk(value, &property.kind, &at.key(property.name), visit),
            });
            known
                && map.keys().all(|name| {
                    properties.iter().any(|property| property.name == name)
                        || visit(at.key(name), Finding::Unknown(properties, name))
                })
        }
        _ => visit(at.clone(), Finding::WrongType(kind, value)),
    }
}

/// `0-3,7` in shape; whether the numbers make sense is a rule.
fn is_ranges(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split(',').all(|part| part.split_once('-').map_or(number(part), |(first, last)| number(first) && number(last)))
}

fn whole(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn wrong_type(field: Field, kind: &Kind, value: &Value) -> Violation {
    let actual = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if matches!(kind, Kind::Ranges) => format!("{text:?}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    let hint = match (kind, value) {
        (Kind::List(_), Value::String(_)) => "put the value into square brackets".to_owned(),
        (Kind::Whole(..), Value::String(_)) | (Kind::Bool, Value::String(_)) => "leave the quotes away".to_owned(),
        (Kind::Text | Kind::Word(_) | Kind::Ranges, Value::Number(_) | Value::Bool(_)) => {
            "put the value into quotes".to_owned()
        }
        _ => "runtime-spec 1.3 (config.md, config-linux.md) describes the property".to_owned(),
    };
    Violation::new(field, format!("must be {}, not {actual}", one(kind, value))).hint(hint)
}

/// A kind in words: `an array of strings`.
fn one(kind: &Kind, value: &Value) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Text | Kind::Word(_) => "a string".to_owned(),
        Kind::Ranges => "a list of numbers and ranges such as \"0-3,7\"".to_owned(),
        // The bounds only matter to one who wrote a whole number.
        Kind::Whole(least, most) if value.is_i64() || value.is_u64() => {
            format!("a whole number from {least} to {most}")
        }
        Kind::Whole(..) => "a whole number".to_owned(),
        Kind::List(kind) => format!("an array of {}", many(kind)),
        Kind::Map(kind) => format!("an object with {} as values", many(kind)),
        Kind::Object(_) => "an object".to_owned(),
        Kind::Free => "anything".to_owned(),
    }
}

fn many(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Word(_) | Kind::Ranges => "strings",
        Kind::Whole(..) => "whole numbers",
        Kind::Bool => "true or false",
        Kind::List(_) => "arrays",
        Kind::Map(_) | Kind::Object(_) => "objects",
        Kind::Free => "values",
    }
}

fn missing(field: Field, property: &'static Property) -> Violation {
    let complaint = property.missing.unwrap_or("is required");
    let kind = one(&property.kind, &Value::Null);
    Violation::new(field, complaint).hint(format!("add \"{}\", {kind}", property.name))
}

fn unknown_word(field: Field, words: &'static Words, word: &str) -> Violation {
    let known = words.known.join(", ");
    if words.lead.is_empty() {
        let hint = nearest(word, words.known.iter().copied())
            .map_or_else(|| "use one of the known words".to_owned(), |near| format!("did you mean {near}?"));
        return Violation::new(field, format!("must be one of {known}, not {word:?}")).hint(hint);
    }
    Violation::new(field, format!("{}{word}", words.lead)).hint(format!("known are {known}"))
}

/// The known name that a misspelt one probably stands for: at most a third of its letters differ.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let name = name.to_lowercase();
    if name.len() > 64 {
        return None;
    }
    known
        .map(|known| (distance(&name, &known.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance * 3 <= known.len())
        .map(|(_, known)| known)
}

/// Levenshtein's distance between two short names, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let swap = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn complaints_of(document: Value) -> Vec<String> {
        complaints(&document, &CONFIG).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn every_wrong_type_is_named() {
        let found = complaints_of(json!({
            "ociVersion": 1, "root": {"path": "r", "readonly": "yes"}, "mounts": {},
            "process": {"args": "sh", "cwd": "/", "env": ["A=b", 7], "user": {"uid": -1, "gid": 1.5}, "terminal": null},
            "linux": {"sysctl": {"a": 1}, "resources": {"blockIO": {"weight": 70000}}},
        }));
        assert_eq!(
            found,
            [
                "ociVersion: must be a string, not 1",
                "root.readonly: must be true or false, not a string",
                "mounts: must be an array of objects, not an object",
                "process.env[1]: must be a string, not 7",
                "process.args: must be an array of strings, not a string",
                "process.user.uid: must be a whole number from 0 to 4294967295, not -1",
                "process.user.gid: must be a whole number, not 1.5",
                "linux.resources.blockIO.weight: must be a whole number from 0 to 65535, not 70000",
                "linux.sysctl.a: must be a string, not 1",
            ]
        );
    }

    #[test]
    fn missing_properties_and_unknown_words_are_named_with_the_known_ones() {
        let found = complaints_of(json!({
            "ociVersion": "1.3.0", "root": {},
            "process": {"rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]},
            "linux": {"namespaces": [{"type": "net"}, {}], "memoryPolicy": {"mode": "MPOL_FOO"}},
        }));
        assert_eq!(found[0], "root.path: is required");
        assert_eq!(found[1], "process.cwd: Cwd property must not be empty");
        assert_eq!(found[2], "process.args: args must not be empty");
        assert_eq!(found[3], "process.rlimits[0].type: wrong rlimit value: RLIMIT_FOO");
        assert!(found[4].starts_with("linux.namespaces[0].type: must be one of pid, network"), "{}", found[4]);
        assert_eq!(found[5], "linux.namespaces[1].type: is required");
        assert_eq!(found[6], "linux.memoryPolicy.mode: invalid memory policy: unknown mode MPOL_FOO");
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn unknown_properties_are_found_and_a_misspelt_one_is_recognised() {
        let bytes = br#"{"process": {"argz": []}, "linux": {"rootPropagation": "x", "sysctl": {"mine": "1"}}, "vm": {"x": 1}, "qqqqqqqqqq": 1}"#;
        let found: Vec<_> = unknown_with_advice(bytes).into_iter().map(|(f, a)| (f.to_string(), a)).collect();
        assert_eq!(
            found,
            [
                ("process.argz".to_owned(), Some("args")),
                ("linux.rootPropagation".to_owned(), Some("rootfsPropagation")),
                ("qqqqqqqqqq".to_owned(), None),
            ]
        );
        assert_eq!(unknown_properties(b"no json"), []);
    }

    #[test]
    fn nul_characters_are_found_in_strings_and_keys_that_matter() {
        let document = json!({"process": {"args": ["a", "b\0"]}, "linux": {"sysctl": {"k\0": "v"}}, "foreign": "\0"});
        let found = strings_with_nul(&document, &CONFIG);
        assert_eq!(found.iter().map(Field::pointer).collect::<Vec<_>>(), ["/process/args/1", "/linux/sysctl/k\0"]);
    }

    #[test]
    fn null_means_absent_for_a_property_but_not_for_an_element() {
        let mut document = json!({"process": null, "mounts": [null, {"type": null}], "annotations": {"a": null}});
        drop_nulls(&mut document, &CONFIG);
        assert_eq!(document, json!({"mounts": [null, {}], "annotations": {"a": null}}));
    }

    #[test]
    fn the_number_of_complaints_is_bounded() {
        let document = json!({"process": {"args": vec![1; 5000]}});
        assert_eq!(complaints(&document, &CONFIG).len(), MOST_COMPLAINTS);
    }
}
