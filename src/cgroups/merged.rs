//! What a container's limits are after an update, in the words of config.json: the properties that were asked for are merged
//! into those that the container has had, as the kernel merges them. Pure; kept by `update`, shown by `spec --from`.
//!
//! An update changes single properties, and some of them change others on the way: a limit of memory moves the sum with swap
//! that version 2 doesn't have, `cpu.idle` takes the shares away, and a file of `unified` is the same as a property's own.

use serde_json::{Map, Value, json};

use super::update::is_keyed;
use super::{Op, Version};
use crate::field::Field;
use crate::plan::{self, Step};

/// An update that has been applied.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The properties that were asked for, as `linux.resources` has them.
    pub asked: &'a Value,
    /// Those of them that this host's control groups have nothing for.
    pub ignored: &'a [Field],
    /// What was written for them.
    pub steps: &'a [Step],
    /// The version that counts memory, if one does: the second counts swap apart.
    pub memory: Option<Version>,
}

/// Merges an update into `linux.resources` as they were.
pub fn merge(resources: &mut Value, applied: &Applied) {
    let mut asked = applied.asked.clone();
    for field in applied.ignored {
        remove(&mut asked, field.pointer());
    }
    forget_unset(&mut asked);
    let unified = asked.as_object_mut().and_then(|asked| asked.remove("unified"));
    correct_swap(resources, &mut asked, applied.memory);
    forget_shares(resources, &asked);
    take(resources, &asked, "");
    forget_lifted(resources);
    fold_written(resources, applied.steps);
    for (file, text) in unified.iter().filter_map(Value::as_object).flatten() {
        fold(
            object(object(resources).entry("unified").or_insert(Value::Null)).entry(file).or_insert(Value::Null),
            file,
            text,
        );
    }
}

/// Where 0 says nothing, because engines write it for what isn't set (`plan/resources.rs`).
const ZERO_IS_UNSET: [&str; 11] = [
    "/memory/limit",
    "/memory/reservation",
    "/memory/swap",
    "/memory/kernelTCP",
    "/cpu/shares",
    "/cpu/quota",
    "/cpu/period",
    "/cpu/realtimeRuntime",
    "/cpu/realtimePeriod",
    "/blockIO/weight",
    "/blockIO/leafWeight",
];

/// Takes away what asks for nothing: device rules, which an update leaves alone, a request about this one update, a limit
/// that kernels no longer have, and what isn't set.
fn forget_unset(asked: &mut Value) {
    for pointer in ["/devices", "/memory/checkBeforeUpdate", "/memory/kernel"] {
        remove(asked, pointer);
    }
    for pointer in ZERO_IS_UNSET.into_iter().chain(["/network/classID"]) {
        if asked.pointer(pointer).and_then(Value::as_i64) == Some(0) {
            remove(asked, pointer);
        }
    }
    for pointer in ["/cpu/cpus", "/cpu/mems"] {
        if asked.pointer(pointer).and_then(Value::as_str).is_some_and(|list| list.trim().is_empty()) {
            remove(asked, pointer);
        }
    }
    for device in asked.pointer_mut("/blockIO/weightDevice").and_then(Value::as_array_mut).into_iter().flatten() {
        for weight in ["weight", "leafWeight"] {
            if device[weight] == 0 {
                remove(device, &format!("/{weight}"));
            }
        }
    }
    prune(asked, "");
}

/// Takes away objects and lists with nothing in them, and members of lists that say no more than which one they are.
fn prune(value: &mut Value, name: &str) -> bool {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| prune(value, key));
            map.len() > keys_of(name).len()
        }
        Value::Array(list) => {
            list.retain_mut(|value| prune(value, name));
            !list.is_empty()
        }
        _ => true,
    }
}

/// What a new limit of memory means for the sum with swap when no sum is asked for. Version 2 keeps the swap and so moves the
/// sum; version 1 keeps the sum. Without a limit there is no sum in either.
fn correct_swap(resources: &Value, asked: &mut Value, memory: Option<Version>) {
    let number = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_i64);
    let (limit, swap) = (number(asked, "/memory/limit"), number(asked, "/memory/swap"));
    let (Some(limit), None) = (limit, swap) else { return };
    let before = number(resources, "/memory/limit").zip(number(resources, "/memory/swap"));
    let sum = match before {
        Some((_, 1..)) if limit < 0 => -1,
        Some((before @ 1.., sum @ 1..)) if memory == Some(Version::V2) => limit.saturating_add(sum - before),
        _ => return,
    };
    asked["memory"]["swap"] = json!(sum);
}

/// An idle cgroup has no weight, and one that no longer is has the default one.
fn forget_shares(resources: &mut Value, asked: &Value) {
    let idle = |value: &Value| value.pointer("/cpu/idle").and_then(Value::as_i64);
    if idle(asked).is_some_and(|then| then != 0 || idle(resources).is_some_and(|now| now != 0)) {
        remove(resources, "/cpu/shares");
    }
}

/// The members of a list, by what tells one from another; an update changes the one that it names.
const LISTS: [(&str, &[&str]); 7] = [
    ("hugepageLimits", &["pageSize"]),
    ("priorities", &["name"]),
    ("weightDevice", &["major", "minor"]),
    ("throttleReadBpsDevice", &["major", "minor"]),
    ("throttleWriteBpsDevice", &["major", "minor"]),
    ("throttleReadIOPSDevice", &["major", "minor"]),
    ("throttleWriteIOPSDevice", &["major", "minor"]),
];

fn keys_of(name: &str) -> &'static [&'static str] {
    LISTS.iter().find(|(list, _)| *list == name).map_or(&[], |(_, keys)| keys)
}

/// Takes what is asked for into what is there, under the property `name`.
fn take(now: &mut Value, asked: &Value, name: &str) {
    match asked {
        Value::Object(asked) => {
            let now = object(now);
            asked.iter().for_each(|(key, value)| take(now.entry(key).or_insert(Value::Null), value, key));
        }
        Value::Array(asked) => {
            let keys = keys_of(name);
            let now = array(now);
            for item in asked {
                let same = |there: &&mut Value| !keys.is_empty() && keys.iter().all(|key| there[*key] == item[*key]);
                match now.iter_mut().find(same) {
                    Some(there) => take(there, item, ""),
                    None => now.push(item.clone()),
                }
            }
        }
        plain => now.clone_from(plain),
    }
}

/// A throttle with the rate 0 is none.
fn forget_lifted(resources: &mut Value) {
    for (list, _) in LISTS.iter().filter(|(list, _)| list.starts_with("throttle")) {
        if let Some(list) = resources.pointer_mut(&format!("/blockIO/{list}")).and_then(Value::as_array_mut) {
            list.retain(|device| device["rate"] != 0);
        }
    }
}

/// A file that `unified` has named before holds what a property has written to it since.
fn fold_written(resources: &mut Value, steps: &[Step]) {
    let Some(unified) = resources.get_mut("unified").and_then(Value::as_object_mut) else { return };
    for step in steps.iter().filter(|step| !step.field.pointer().starts_with("/unified")) {
        let written: Vec<_> = match &step.op {
            plan::Op::Cgroup(Op::Write { file, value } | Op::WriteIfPresent { file, value }) => vec![(file, value)],
            plan::Op::Cgroup(Op::WriteFirst { choices }) => choices.iter().map(|(file, value)| (file, value)).collect(),
            _ => Vec::new(),
        };
        for (file, value) in written {
            let (file, value) = (file.to_string_lossy(), value.to_string_lossy());
            let name = file.rsplit('/').next().unwrap_or_default();
            if let Some(text) = unified.get_mut(name) {
                fold(text, name, &json!(value));
            }
        }
    }
}

/// Writes `new` to a file of a cgroup that holds `text`: a line for each key, or one value.
fn fold(text: &mut Value, file: &str, new: &Value) {
    let new = new.as_str().unwrap_or_default();
    if !is_keyed(file) {
        // A file of one value has the last one.
        *text = json!(new.lines().rfind(|line| !line.is_empty()).unwrap_or_default());
        return;
    }
    let mut lines: Vec<String> = text.as_str().unwrap_or_default().lines().map(str::to_owned).collect();
    for line in new.lines().filter(|line| !line.is_empty()) {
        let key = line.split_whitespace().next();
        match lines.iter_mut().find(|there| there.split_whitespace().next() == key) {
            Some(there) => *there = fold_line(there, line),
            None => lines.push(line.to_owned()),
        }
    }
    *text = json!(lines.join("\n"));
}

/// `8:0 rbps=5` and `8:0 wbps=6` are both there; of anything else the last one is.
fn fold_line(there: &str, line: &str) -> String {
    let mut words: Vec<&str> = there.split_whitespace().collect();
    for word in line.split_whitespace().skip(1) {
        let Some((name, _)) = word.split_once('=') else { return line.to_owned() };
        match words.iter_mut().find(|there| there.split_once('=').is_some_and(|(there, _)| there == name)) {
            Some(there) => *there = word,
            None => words.push(word),
        }
    }
    words.join(" ")
}

/// An object, made where there is none or null.
pub fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made one"),
    }
}

/// An array, made where there is none or null.
fn array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = json!([]);
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("it was made one"),
    }
}

/// Removes what a pointer leads to; it need not be there.
fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(name)),
        // Others of the list keep their places for the pointers that follow.
        Some(Value::Array(list)) => {
            if let Some(place) = name.parse::<usize>().ok().and_then(|index| list.get_mut(index)) {
                *place = json!([]);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "merged/tests.rs"]
mod tests;
