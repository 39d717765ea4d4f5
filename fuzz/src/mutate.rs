//! A mutator that knows JSON: it changes a document at one of its nodes, or grafts on a property of the specification, so
//! that the fuzzer spends its time behind the parser. Every other time, and on what is no JSON, bytes are changed as usual.

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value, json};

/// A document with every property of the specification.
pub fn full() -> &'static Value {
    static FULL: std::sync::OnceLock<Value> = std::sync::OnceLock::new();
    FULL.get_or_init(|| serde_json::from_str(include_str!("../../src/config/schema/full.json")).unwrap_or_default())
}

/// Strings that mean something to somebody.
const WORDS: [&str; 40] = [
    "",
    "/",
    "..",
    "/..",
    ".",
    "a/../b",
    "/proc",
    "/proc/self",
    "/dev",
    "/dev/null",
    "/sys",
    "/sys/fs/cgroup",
    "\0",
    "a=b",
    "=",
    "rbind",
    "ro",
    "remount",
    "idmap",
    "idmap=uids=0-1-10#@1-2-3;gids=0-0-1",
    "tmpcopyup",
    "rshared",
    "tmpfs",
    "bind",
    "cgroup",
    "proc",
    "sysfs",
    "a.slice:b:c",
    "-.slice:b:a-b.slice",
    "/a/./b",
    "0-3,7",
    "-1",
    "rwm",
    "SCMP_ACT_NOTIFY",
    "CAP_SYS_ADMIN",
    "net.ipv4.ip_forward",
    "net/ipv4/conf/a.b",
    "[uint32 1, 2]",
    "@as []",
    "'x'",
];

struct Dice(u64);

impl Dice {
    /// xorshift64
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    fn odd(&mut self) -> Value {
        match self.roll(14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(0),
            4 => json!(1.5),
            5 => json!(u64::MAX),
            6 => json!(i64::MIN),
            7 => json!(u32::MAX),
            8 => json!(1u64 << self.roll(64)),
            9 => json!([]),
            10 => json!({}),
            _ => json!(WORDS[self.roll(WORDS.len())]),
        }
    }
}

impl Dice {
    /// Mostly a value of the same type: with a wrong one the document isn't read any further.
    fn like(&mut self, old: &Value) -> Value {
        if self.roll(16) == 0 {
            return self.odd();
        }
        match old {
            Value::Bool(flag) => json!(!flag),
            Value::String(_) => json!(WORDS[self.roll(WORDS.len())]),
            Value::Number(_) => match self.roll(6) {
                0 => json!(-1),
                1 => json!(u64::MAX),
                2 => json!(u32::MAX),
                3 => json!(i64::MIN),
                _ => json!(1u64 << self.roll(64)),
            },
            Value::Array(_) if self.roll(4) == 0 => json!([]),
            other => other.clone(),
        }
    }
}

/// Pointers to the nodes of a document, up to a number.
fn nodes(value: &Value, at: String, found: &mut Vec<String>) {
    if found.len() > 4000 {
        return;
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            nodes(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| nodes(value, format!("{at}/{i}"), found)),
        _ => {}
    }
    found.push(at);
}

/// Puts a value where a pointer leads, and makes the way there.
fn graft(document: &mut Value, pointer: &str, graft: Value) {
    let mut at = document;
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Array(list) => {
                let index = name.parse().unwrap_or(0).min(list.len());
                if index == list.len() {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            other => {
                if !other.is_object() {
                    let list = name.bytes().all(|b| b.is_ascii_digit());
                    *other = if list { json!([null]) } else { Value::Object(Map::new()) };
                }
                match other {
                    Value::Array(list) => &mut list[0],
                    other => &mut other[name.as_str()],
                }
            }
        };
    }
    *at = graft;
}

fn change(document: &mut Value, template: &Value, dice: &mut Dice) {
    let mut own = Vec::new();
    nodes(document, String::new(), &mut own);
    let pointer = own[dice.roll(own.len())].clone();
    match dice.roll(8) {
        0..=2 => {
            let mut of_template = Vec::new();
            nodes(template, String::new(), &mut of_template);
            let pointer = of_template[dice.roll(of_template.len())].clone();
            let part = template.pointer(&pointer).cloned().unwrap_or_default();
            graft(document, &pointer, part);
        }
        3 => {
            let value = document.pointer(&pointer).map_or(Value::Null, |old| dice.like(old));
            graft(document, &pointer, value);
        }
        4 => remove(document, &pointer),
        5 => {
            let other = own[dice.roll(own.len())].clone();
            let part = document.pointer(&other).cloned().unwrap_or_default();
            let alike = document.pointer(&pointer).map(std::mem::discriminant) == Some(std::mem::discriminant(&part));
            if alike || dice.roll(8) == 0 {
                graft(document, &pointer, part);
            }
        }
        6 => match document.pointer_mut(&pointer) {
            Some(Value::Array(list)) if !list.is_empty() && list.len() < 64 => {
                let copy = list[dice.roll(list.len())].clone();
                (0..1 + dice.roll(3)).for_each(|_| list.push(copy.clone()));
            }
            Some(Value::Object(map)) if map.len() < 64 => {
                map.insert(WORDS[dice.roll(WORDS.len())].to_owned(), dice.odd());
            }
            _ => {}
        },
        _ => match document.pointer_mut(&pointer) {
            Some(Value::String(text)) => spoil(text, dice),
            Some(number @ Value::Number(_)) => {
                let near = [-1, 1, 1000, -1000][dice.roll(4)];
                *number = json!(number.as_i64().unwrap_or(0).wrapping_add(near));
            }
            Some(other) => *other = dice.like(other),
            None => {}
        },
    }
}

fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(list)) => {
            let index: usize = name.parse().unwrap_or(0);
            if index < list.len() {
                list.remove(index);
            }
        }
        _ => {}
    }
}

fn spoil(text: &mut String, dice: &mut Dice) {
    let word = WORDS[dice.roll(WORDS.len())];
    let mut at = dice.roll(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    match dice.roll(4) {
        0 => text.insert_str(at, word),
        1 => text.truncate(at),
        2 => text.insert(at, ['/', '.', ',', '=', ':', '-', '"', '\\', 'ä', '['][dice.roll(10)]),
        _ => {
            let mut bytes = std::mem::take(text).into_bytes();
            let len = bytes.len();
            bytes.resize(len + 16, 0);
            let len = fuzzer_mutate(&mut bytes, len, len + 16);
            bytes.truncate(len);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

/// Mutates an input whose document, behind its first line, is like `template`; the answer is the new length.
pub fn json(data: &mut [u8], size: usize, max: usize, seed: u32, template: &Value) -> usize {
    let mut dice = Dice(u64::from(seed) << 1 | 1);
    if dice.roll(4) == 0 {
        return fuzzer_mutate(data, size, max);
    }
    let (_, document) = crate::choice(&data[..size]);
    let first = size - document.len();
    let Ok(mut document) = serde_json::from_slice::<Value>(document) else {
        return fuzzer_mutate(data, size, max);
    };
    for _ in 0..1 + dice.roll(4) {
        change(&mut document, template, &mut dice);
    }
    let numbers = format!("{}{}\n", dice.roll(8), dice.roll(8)).into_bytes();
    let line = if first == 0 || dice.roll(4) == 0 { numbers } else { data[..first].to_vec() };
    let text = serde_json::to_vec(&document).unwrap_or_default();
    if line.len() + text.len() > max.min(data.len()) {
        return fuzzer_mutate(data, size, max);
    }
    data[..line.len()].copy_from_slice(&line);
    data[line.len()..line.len() + text.len()].copy_from_slice(&text);
    line.len() + text.len()
}
