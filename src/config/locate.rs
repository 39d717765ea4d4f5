//! Where in config.json a property stands: from a JSON pointer to an offset and a line.
//!
//! The parser of the hot path keeps no positions, so a message finds its line afterwards, in the bytes that were
//! parsed. The scan trusts nothing: it never recurses into the document, never allocates for a single look-up, and
//! answers "not there" on bytes that are no JSON. Of a key that stands twice the last one counts, as in the parser.

use std::collections::BTreeMap;

use crate::field::Field;

/// Where a look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset in bytes of the property's name, or of the value for an element of an array.
    pub offset: usize,
    /// Offset of the value.
    pub value: usize,
    /// Whether the property itself stands there; otherwise it is the nearest parent that exists.
    pub exact: bool,
}

impl Place {
    /// Whether the property stands there with a value other than null.
    pub fn is_set(&self, bytes: &[u8]) -> bool {
        self.exact && bytes.get(self.value..).is_some_and(|rest| !rest.starts_with(b"null"))
    }
}

/// The line, counted from 1, of the property that `field` names; of its nearest existing parent when config.json
/// doesn't have it. `None` for a flag, for corten's own defaults and for a file without a value.
pub fn line_of(bytes: &[u8], field: &Field) -> Option<usize> {
    find(bytes, field).map(|place| line_at(bytes, place.offset))
}

/// The same for a file that may be a list of mounts: no property of the container's config is near to anything in there.
pub fn line_in(bytes: &[u8], field: &Field) -> Option<usize> {
    let numbered = field.pointer().as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let list = bytes.get(skip_space(bytes, 0)) == Some(&b'[');
    if list && !numbered { None } else { line_of(bytes, field) }
}

/// Whether config.json gives the property a value; an explicit null says the same as nothing.
pub fn is_set(bytes: &[u8], field: &Field) -> bool {
    find(bytes, field).is_some_and(|place| place.is_set(bytes))
}

/// Looks one property up.
pub fn find(bytes: &[u8], field: &Field) -> Option<Place> {
    let path = field.pointer().strip_prefix('/')?;
    let mut value = skip_space(bytes, 0);
    bytes.get(value)?;
    let mut place = Place { offset: value, value, exact: true };
    for segment in path.split('/') {
        let child = match bytes.get(value) {
            Some(b'{') => last_member(bytes, value, segment),
            Some(b'[') => element(bytes, value, segment),
            _ => None,
        };
        let Some(child) = child else { return Some(Place { exact: false, ..place }) };
        value = child.value;
        place = Place { offset: child.name, value, exact: true };
    }
    Some(place)
}

/// Looks many properties up in one go; the answers stand in the order of `fields`. The time grows with the document
/// and not with the number of fields, which a hostile document could make large.
pub fn find_all(bytes: &[u8], fields: &[&Field]) -> Vec<Option<Place>> {
    let mut wanted = Node::default();
    let mut places = vec![None; fields.len()];
    for (number, field) in fields.iter().enumerate() {
        let Some(path) = field.pointer().strip_prefix('/') else { continue };
        let node = path.split('/').fold(&mut wanted, |node, segment| {
            node.children.entry(segment.replace("~1", "/").replace("~0", "~")).or_default()
        });
        node.numbers.push(number);
    }
    let start = skip_space(bytes, 0);
    if start < bytes.len() {
        wanted.resolve(bytes, Child { name: start, value: start }, &mut places);
    }
    places
}

/// The lines, counted from 1, of many properties at once.
pub fn lines_of(bytes: &[u8], fields: &[&Field]) -> Vec<Option<usize>> {
    // Offsets to lines in one pass as well: sort them, then count on from one to the next.
    let places = find_all(bytes, fields);
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&i| places[i].map(|place| place.offset));
    let mut lines = vec![None; places.len()];
    let (mut line, mut counted) = (1, 0);
    for i in order {
        if let Some(place) = places[i] {
            line += newlines(&bytes[counted..place.offset]);
            counted = place.offset;
            lines[i] = Some(line);
        }
    }
    lines
}

/// A tree of the wanted properties. Its depth is that of the pointers, which are corten's own.
#[derive(Default)]
struct Node {
    /// Which of the wanted fields end here.
    numbers: Vec<usize>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn resolve(&self, bytes: &[u8], at: Child, places: &mut [Option<Place>]) {
        for &number in &self.numbers {
            places[number] = Some(Place { offset: at.name, value: at.value, exact: true });
        }
        if self.children.is_empty() {
            return;
        }
        let mut found: BTreeMap<&str, Child> = BTreeMap::new();
        match bytes.get(at.value) {
            Some(b'{') => {
                for (key, child) in (Members { bytes, at: at.value + 1 }) {
                    let name: String = json_chars(key).collect();
                    if let Some((name, _)) = self.children.get_key_value(&name) {
                        found.insert(name, child);
                    }
                }
            }
            Some(b'[') => {
                for (index, child) in (Elements { bytes, at: at.value + 1 }).enumerate() {
                    if let Some((name, _)) = self.children.get_key_value(&index.to_string()) {
                        found.insert(name, child);
                    }
                }
            }
            _ => {}
        }
        for (name, node) in &self.children {
            match found.get(name.as_str()) {
                Some(&child) => node.resolve(bytes, child, places),
                None => node.settle_for(at, places),
            }
        }
    }

    /// Everything below is absent: the parent's place has to do.
    fn settle_for(&self, parent: Child, places: &mut [Option<Place>]) {
        for &number in &self.numbers {
            places[number] = Some(Place { offset: parent.name, value: parent.value, exact: false });
        }
        for node in self.children.values() {
            node.settle_for(parent, places);
        }
    }
}

/// A member or an element: where its name (the value itself in an array) and its value begin.
#[derive(Clone, Copy)]
struct Child {
    name: usize,
    value: usize,
}

fn last_member(bytes: &[u8], open: usize, segment: &str) -> Option<Child> {
    let members = Members { bytes, at: open + 1 };
    members.filter(|(key, _)| json_chars(key).eq(pointer_chars(segment))).map(|(_, child)| child).last()
}

fn element(bytes: &[u8], open: usize, segment: &str) -> Option<Child> {
    let plain = segment == "0" || (!segment.starts_with('0') && segment.bytes().all(|b| b.is_ascii_digit()));
    let index: usize = if plain { segment.parse().ok()? } else { return None };
    Elements { bytes, at: open + 1 }.nth(index)
}

/// The members of an object: the key as it stands between its quotes, and where it is.
struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Child);

    fn next(&mut self) -> Option<Self::Item> {
        let name = next_item(self.bytes, self.at)?;
        let end = skip_string(self.bytes, name)?;
        let colon = skip_space(self.bytes, end);
        if self.bytes.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_space(self.bytes, colon + 1);
        self.at = skip_value(self.bytes, value)?;
        Some((&self.bytes[name + 1..end - 1], Child { name, value }))
    }
}

/// The elements of an array.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Elements<'_> {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        let value = next_item(self.bytes, self.at)?;
        self.at = skip_value(self.bytes, value)?;
        Some(Child { name: value, value })
    }
}

/// The start of the next member or element, past a comma; `None` at the closing bracket.
fn next_item(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = skip_space(bytes, at);
    if bytes.get(at) == Some(&b',') {
        at = skip_space(bytes, at + 1);
    }
    match bytes.get(at) {
        None | Some(b'}' | b']' | b',' | b':') => None,
        Some(_) => Some(at),
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The offset after a string that begins at `at`.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The offset after the value that begins at `at`: a depth counter in place of recursion.
fn skip_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => at = skip_string(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => at += 1,
            _ => {
                let rest = &bytes[at..];
                let scalar = rest.iter().position(|b| b",:]}[{\" \t\r\n".contains(b)).unwrap_or(rest.len());
                if scalar == 0 {
                    return None;
                }
                at += scalar;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The characters of a JSON string's inside, escapes resolved. Lone surrogates, which the parser refuses, come out as
/// the replacement character.
fn json_chars(inside: &[u8]) -> impl Iterator<Item = char> + '_ {
    let mut chars = std::str::from_utf8(inside).unwrap_or("\u{fffd}").chars();
    std::iter::from_fn(move || match chars.next()? {
        '\\' => Some(match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => unicode_escape(&mut chars),
            plain => plain,
        }),
        plain => Some(plain),
    })
}

fn unicode_escape(chars: &mut std::str::Chars<'_>) -> char {
    let first = four_digits(chars);
    let code = match first {
        0xd800..=0xdbff if chars.as_str().starts_with("\\u") => {
            chars.nth(1);
            0x10000 + ((first - 0xd800) << 10) + (four_digits(chars) & 0x3ff)
        }
        code => code,
    };
    char::from_u32(code).unwrap_or('\u{fffd}')
}

fn four_digits(chars: &mut std::str::Chars<'_>) -> u32 {
    chars.take(4).fold(0, |code, c| code << 4 | c.to_digit(16).unwrap_or(0))
}

/// The characters of a segment of a JSON pointer, `~0` and `~1` resolved.
fn pointer_chars(segment: &str) -> impl Iterator<Item = char> + '_ {
    let mut chars = segment.chars();
    std::iter::from_fn(move || match chars.next()? {
        '~' => match chars.next()? {
            '1' => Some('/'),
            _ => Some('~'),
        },
        plain => Some(plain),
    })
}

fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + newlines(&bytes[..offset.min(bytes.len())])
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const TEXT: &[u8] =
        b"\n{\n  \"mounts\": [\n    {\"destination\": \"}{\\\"\"},\n    {\n      \"source\" : 1\n    }\n  ],\n  \
        \"a\\u002fb~\": {\"\\ud83d\\ude00\": [\n[], 7]},\n  \"mounts2\": 1\n}";

    #[test]
    fn a_property_is_found_on_its_line() {
        let line = |pointer| line_of(TEXT, &Field::at(pointer));
        assert_eq!(line("/mounts"), Some(3));
        assert_eq!(line("/mounts/0/destination"), Some(4));
        assert_eq!(line("/mounts/1"), Some(5));
        assert_eq!(line("/mounts/1/source"), Some(6));
        assert_eq!(line("/mounts2"), Some(11));
    }

    #[test]
    fn escapes_in_keys_and_pointers_meet() {
        assert_eq!(line_of(TEXT, &Field::at("/a~1b~0/\u{1f600}/1")), Some(10));
        assert!(is_set(TEXT, &Field::at("/a~1b~0/\u{1f600}/0")));
    }

    #[test]
    fn a_missing_property_is_looked_for_at_its_nearest_parent() {
        assert_eq!(line_of(TEXT, &Field::at("/mounts/1/type")), Some(5));
        assert_eq!(line_of(TEXT, &Field::at("/mounts/7/type/x")), Some(3));
        assert_eq!(line_of(TEXT, &Field::at("/nothing")), Some(2));
        assert_eq!(line_of(TEXT, &Field::at("/mounts/00")), Some(3));
        assert!(!is_set(TEXT, &Field::at("/mounts/1/type")));
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_counts() {
        let text = b"{\"a\": {\"b\": 1},\n\"a\": {},\n\"\\u0061\": {\"c\": 1}}";
        assert_eq!(line_of(text, &Field::at("/a/c")), Some(3));
        assert_eq!(find(text, &Field::at("/a/b")).map(|place| place.exact), Some(false));
        let (a, b) = (Field::at("/a/b"), Field::at("/a"));
        assert_eq!(lines_of(text, &[&a, &b]), [Some(3), Some(3)]);
    }

    #[test]
    fn flags_and_empty_files_have_no_line() {
        assert_eq!(line_of(TEXT, &Field::at("--pid-file")), None);
        assert_eq!(line_of(TEXT, &Field::RUNTIME), None);
        assert_eq!(line_of(b"  ", &Field::at("/a")), None);
    }

    #[test]
    fn nesting_as_deep_as_the_file_is_no_trouble() {
        let mut text = b"{\"x\":".to_vec();
        text.extend(std::iter::repeat_n(b'[', 100_000));
        text.extend(std::iter::repeat_n(b']', 100_000));
        text.extend(b",\n\"y\":1}");
        assert_eq!(line_of(&text, &Field::at("/y")), Some(2));
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(text(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Strings of the characters that a scanner could stumble over.
    fn text() -> impl Strategy<Value = String> {
        let alphabet = ['a', 'b', '0', '1', '~', '/', '"', '\\', '\n', '\u{0}', '{', ']', ',', ':', 'é', '\u{1f600}'];
        prop::collection::vec(prop::sample::select(alphabet.to_vec()), 0..4)
            .prop_map(|chars| chars.into_iter().collect())
    }

    /// Every pointer of a document with the value behind it.
    fn pointers<'v>(at: Field, value: &'v Value, into: &mut Vec<(Field, &'v Value)>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| pointers(at.key(key), value, into)),
            Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| pointers(at.index(i), value, into)),
            _ => {}
        }
        into.push((at, value));
    }

    /// The value after the name at a place, read back with the real parser.
    fn value_at(bytes: &[u8], place: Place) -> Option<Value> {
        let parse = |at: usize| serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>().next()?.ok();
        let text_end = skip_string(bytes, place.offset).map(|end| skip_space(bytes, end));
        match text_end {
            Some(colon) if bytes.get(colon) == Some(&b':') => parse(skip_space(bytes, colon + 1)),
            _ => parse(place.offset),
        }
    }

    #[test]
    fn a_list_of_mounts_has_no_line_for_what_is_the_containers() {
        let bytes = b"[\n{\"source\": 1}]";
        assert_eq!(line_in(bytes, &Field::at("/0/source")), Some(2));
        assert_eq!(line_in(bytes, &Field::at("/linux/namespaces")), None);
        assert_eq!(line_in(b"{}", &Field::at("/linux/namespaces")), Some(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

        #[test]
        fn what_is_found_is_what_the_parser_finds(document in documents()) {
            let bytes = serde_json::to_vec_pretty(&document).unwrap();
            // Through the parser once, so that floats are compared as it reads them.
            let document: Value = serde_json::from_slice(&bytes).unwrap();
            let mut all = Vec::new();
            pointers(Field::RUNTIME, &document, &mut all);
            all.retain(|(field, _)| field.is_config());
            let fields: Vec<&Field> = all.iter().map(|(field, _)| field).collect();
            let together = find_all(&bytes, &fields);
            let lines = lines_of(&bytes, &fields);
            for (i, (field, value)) in all.iter().enumerate() {
                let place = find(&bytes, field).unwrap();
                prop_assert!(place.exact, "{} in {document}", field.pointer());
                let found = value_at(&bytes, place);
                prop_assert_eq!(found.as_ref(), Some(*value), "{}", field.pointer());
                prop_assert_eq!(together[i], Some(place));
                prop_assert_eq!(lines[i], line_of(&bytes, field));
            }
        }

        #[test]
        fn a_pointer_that_leads_nowhere_ends_at_a_parent(document in documents(), segments in prop::collection::vec(text(), 1..4)) {
            let bytes = serde_json::to_vec_pretty(&document).unwrap();
            let field = segments.iter().fold(Field::RUNTIME, |field, segment| field.key(segment));
            let there = document.pointer(field.pointer()).is_some_and(|value| !value.is_null());
            prop_assert_eq!(is_set(&bytes, &field), there);
            prop_assert!(line_of(&bytes, &field).is_some());
            prop_assert_eq!(find_all(&bytes, &[&field])[0], find(&bytes, &field));
        }

        #[test]
        fn bytes_that_are_no_json_are_no_trouble(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u01ae \n".to_vec()), 0..64)) {
            let (a, b) = (Field::at("/a/0/1"), Field::at("/0/a"));
            line_of(&bytes, &a);
            line_of(&bytes, &b);
            lines_of(&bytes, &[&a, &b]);
        }
    }
}
